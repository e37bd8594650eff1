"""SPD: the distance never grows where a gradient asks to go back."""

from __future__ import annotations

import pytest
import torch

from metaft.hooks.spd import SPD
from tests.hooks.rows import added, tensors


class TestSPD:
    def step(self, strength, back):
        """A step from values that have drifted; the gradient asks to go back, or on."""
        anchors, drift = tensors(0), tensors(1, 0.1)
        values, hook = added(anchors, drift), SPD()
        grads = [d if back else -d for d in drift]
        proposed = added(values, tensors(2, 0.2))
        _, state = hook.before(grads, values, anchors, hook.initial(anchors), {})
        after, _ = hook.after(proposed, anchors, state, {"strength": strength})
        norms = [[float((p - a).norm()) for p, a in zip(v, anchors, strict=True)] for v in (values, proposed, after)]
        return proposed, after, norms

    def test_never_grows_the_distance_when_triggered(self):
        _, _, (before, bare_, held) = self.step(1.0, back=True)
        assert any(b > a for a, b in zip(before, bare_, strict=True))
        for a, b, c in zip(before, bare_, held, strict=True):
            assert c == pytest.approx(min(a, b), rel=1e-12)

    @pytest.mark.parametrize(("strength", "back"), [(1.0, False), (0.0, True)])
    def test_is_plain_where_it_is_not_triggered(self, strength, back):
        proposed, after, _ = self.step(strength, back)
        assert all(torch.equal(a, b) for a, b in zip(proposed, after, strict=True))

    def test_theta_0_itself_is_no_trouble(self):
        anchors, hook = tensors(0), SPD()
        _, state = hook.before(tensors(1), anchors, anchors, hook.initial(anchors), {})
        after, _ = hook.after(anchors, anchors, state, {"strength": 2.0})
        assert all(torch.equal(a, b) for a, b in zip(after, anchors, strict=True))
