"""TPGM: radii that learn on validation batches."""

from __future__ import annotations

import torch

from metaft.hooks.ball import project, row_norms
from metaft.hooks.radii import LEAST
from metaft.hooks.tpgm import TPGM
from tests.hooks.rows import KNOBS, tensors


class TestTPGM:
    def test_radii_go_down_autograds_gradient(self):
        """Against Adam on radii that are leaves of the projected loss."""
        anchors, values, targets = tensors(0), tensors(1), tensors(2)

        def loss(point):
            return sum((p - t).square().sum() for p, t in zip(point, targets, strict=True))

        def probe(point, number):
            leaves = [p.detach().requires_grad_() for p in point]
            return torch.autograd.grad(loss(leaves), leaves)

        norms = [row_norms(v - a, "mars") for v, a in zip(values, anchors, strict=True)]
        scale = torch.stack([n.max() for n in norms])
        radii = torch.stack([n.min() / 2 for n in norms]).requires_grad_()
        m = v = torch.zeros(3, dtype=torch.float64)
        for t in range(1, 6):
            point = [project(p, a, r, "mars") for p, a, r in zip(values, anchors, radii, strict=True)]
            (g,) = torch.autograd.grad(loss(point), radii)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            move = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-12)
            radii = torch.minimum((radii - 0.05 * scale * move).detach().clamp(min=0), scale).requires_grad_()
            radii = torch.maximum(radii.detach(), LEAST * scale).requires_grad_()
        expected = [project(p, a, r, "mars").detach() for p, a, r in zip(values, anchors, radii, strict=True)]
        hook = TPGM(probe, 5, "mars")
        ours, state = hook.after(values, anchors, hook.initial(anchors), {"speed": 0.05})
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b)
        assert int(state[0]) == 5

    def test_each_batch_has_its_number(self):
        seen = []

        def probe(point, number):
            seen.append(number)
            return [torch.ones_like(p) for p in point]

        anchors, hook = tensors(0), TPGM(probe, 2, "l2")
        state = hook.initial(anchors)
        for seed in (1, 2):
            _, state = hook.after(tensors(seed), anchors, state, KNOBS)
        assert seen == [0, 1, 2, 3]
