"""FTP: free first step, balls that hold, radii that learn as by hand."""

from __future__ import annotations

import pytest
import torch

from metaft.hooks.ball import project, radius_gradient, row_norms, row_pulls
from metaft.hooks.ftp import FTP
from metaft.hooks.radii import LEAST, Radii
from tests.hooks.rows import KNOBS, added, tensors


class TestFTP:
    def run(self, hook, steps, seed=1, lr=0.01, width=1.0):
        """Signed steps with gradients of a quadratic; the values after each step, and the last state."""
        anchors = tensors(0)
        values, state, trail = anchors, hook.initial(anchors), []
        targets = added(anchors, tensors(seed))
        for _ in range(steps):
            grads = [p - t for p, t in zip(values, targets, strict=True)]
            grads, state = hook.before(grads, values, anchors, state, KNOBS)
            proposed = [p - lr * g.sign() for p, g in zip(values, grads, strict=True)]
            values, state = hook.after(proposed, anchors, state, KNOBS)
            trail.append(values)
        return anchors, trail, Radii.of(state)

    def test_the_first_step_is_free(self):
        anchors, trail, radii = self.run(FTP(), 1)
        targets = added(anchors, tensors(1))
        for p, a, t in zip(trail[0], anchors, targets, strict=True):
            torch.testing.assert_close(p, a - 0.01 * (a - t).sign(), rtol=0, atol=1e-15)
        torch.testing.assert_close(radii.radius, radii.longest)
        assert (radii.taken == 0).all()

    @pytest.mark.parametrize("norm", ["mars", "l2"])
    def test_rows_stay_within_their_radius(self, norm):
        anchors, trail, radii = self.run(FTP(norm), 20)
        for p, a, r in zip(trail[-1], anchors, radii.radius, strict=True):
            assert (row_norms(p - a, norm) <= r * (1 + 1e-9)).all()
        assert (radii.radius >= LEAST * radii.longest).all()
        assert (radii.radius < radii.longest).any(), "something is projected"
        assert (radii.taken > 0).all()

    def test_second_step_by_hand(self):
        """gamma_2 = n_1 - speed n_1 sign(h): Adam's first move is a sign."""
        anchors, trail, radii = self.run(FTP(), 2)
        targets = added(anchors, tensors(1))
        for i, (a, p, t) in enumerate(zip(anchors, trail[0], targets, strict=True)):
            n = row_norms(p - a, "mars")
            pulls = row_pulls(p - t, p - a, "mars")
            h = radius_gradient(pulls[None], n.max().view(1, 1), n.max()[None], n[None])
            assert h < 0, "further is better"
            proposed = p - 0.01 * (p - t).sign()
            gamma = torch.minimum(1.1 * n.max(), row_norms(proposed - a, "mars").max())
            torch.testing.assert_close(radii.radius[i], gamma, rtol=1e-6, atol=0)
            torch.testing.assert_close(trail[1][i], project(proposed, a, gamma, "mars"), rtol=1e-6, atol=1e-12)

    def test_scale_is_that_of_the_steps(self):
        """A hundredth of the learning rate gives a hundredth of the radii and the same shares of them."""
        shares = []
        for lr in (0.01, 0.0001):
            _, _, radii = self.run(FTP(), 15, lr=lr)
            shares.append(radii.radius / radii.longest)
        torch.testing.assert_close(*shares, rtol=0.02, atol=0)
        assert (shares[0] < 1).any()

    def test_scale_is_that_of_the_width(self):
        """Columns written twice give rows of twice the norm, twice the radius and the same path."""
        for copies in (1, 2):
            anchors = [torch.cat([t] * copies, dim=1) for t in tensors(0)[:1]]
            goal = [torch.cat([t] * copies, dim=1) for t in tensors(1)[:1]]
            hook, values = FTP(), anchors
            state = hook.initial(anchors)
            for _ in range(15):
                grads = added(values, [-g for g in goal])
                _, state = hook.before(grads, values, anchors, state, KNOBS)
                proposed = [p - 0.01 * g.sign() for p, g in zip(values, grads, strict=True)]
                values, state = hook.after(proposed, anchors, state, KNOBS)
            radii = Radii.of(state)
            if copies == 1:
                narrow, radius = values[0], radii.radius
        torch.testing.assert_close(radii.radius, 2 * radius)
        torch.testing.assert_close(values[0][:, :7], narrow)
        assert (radii.radius < radii.longest).all()

    def test_kappa_0_lets_a_ball_only_grow(self):
        hook, anchors = FTP(), tensors(0)
        radii = Radii.initial([row_norms(a, "mars") for a in anchors])._replace(radius=torch.ones(3).double())
        for sign, grows in ((1.0, False), (-1.0, True)):
            learned = hook.learned(torch.full((3,), sign).double(), radii, {"kappa": 0.0, "speed": 0.1})
            assert bool((learned.radius > 1).all()) is grows
            assert bool((learned.radius == 1).all()) is not grows

    def test_state_is_one_number_a_row_and_four_a_tensor(self):
        anchors = tensors(0)
        state = FTP().initial(anchors)
        assert sum(t.numel() for t in state) == 4 * 3 + (5 + 1 + 4)
