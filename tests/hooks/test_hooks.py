"""Each hook's golden identities, and their state."""

from __future__ import annotations

import pytest
import torch

from metaft.errors import ConfigError
from metaft.hooks import PLAIN
from metaft.hooks.ball import project, radius_gradient, row_norms, row_pulls
from metaft.hooks.ema import EMA
from metaft.hooks.ftp import FTP
from metaft.hooks.knobs import Knob, faults, settled
from metaft.hooks.patterns import Only, bare, except_for, matching
from metaft.hooks.radii import LEAST, Radii
from metaft.hooks.spd import SPD
from metaft.hooks.tpgm import TPGM
from metaft.space import Categorical, Float, Int

KNOBS = {"kappa": 1.0, "speed": 0.1}


def tensors(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(s, generator=g, dtype=torch.float64) for s in ((5, 7), (9,), (4, 3, 2, 2))]


def added(a, b):
    return [x + y for x, y in zip(a, b, strict=True)]


def test_plain_changes_nothing():
    a, g, v = tensors(0), tensors(1), tensors(2)
    assert PLAIN.before(g, v, a, (), {})[0] is g
    assert PLAIN.after(v, a, (), {})[0] is v
    assert PLAIN.result(v, ()) is v


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


def test_ema_is_the_average_and_does_not_touch_training():
    anchors, hook = tensors(0), EMA()
    state, expected = hook.initial(anchors), anchors
    for seed in range(1, 4):
        values = tensors(seed)
        after, state = hook.after(values, anchors, state, {"decay": 0.8})
        assert after is values
        expected = [0.8 * e + 0.2 * v for e, v in zip(expected, values, strict=True)]
    for ours, theirs in zip(hook.result(values, state), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


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


class TestNames:
    NAMES = ("module.head.weight", "module.head.bias", "module.visual.weight")

    def test_wrappers_are_looked_through(self):
        assert bare("_orig_mod.module.head.bias") == "head.bias"
        assert matching(self.NAMES, ["head.*"]) == list(self.NAMES[:2])

    def test_an_exclusion_that_matches_nothing_fails(self):
        with pytest.raises(ConfigError, match=r"finetune.exclude: 'haed.\*' matches no parameter; allowed: patterns"):
            except_for(SPD(), self.NAMES, ["head.*", "haed.*"])
        with pytest.raises(ConfigError, match="every parameter is excluded"):
            except_for(SPD(), self.NAMES, ["*"])
        plain = SPD()
        assert except_for(plain, self.NAMES, []) is plain

    def test_excluded_ones_take_the_plain_step(self):
        anchors, values, proposed = tensors(0), tensors(1), tensors(2)
        whole, hook = FTP(), except_for(FTP(), ("a", "b", "c"), ["b"])
        assert isinstance(hook, Only)
        ours, theirs = hook.initial(anchors), whole.initial(anchors)
        for _ in range(3):
            _, ours = hook.before(tensors(3), values, anchors, ours, KNOBS)
            _, theirs = whole.before(tensors(3), values, anchors, theirs, KNOBS)
            some, ours = hook.after(proposed, anchors, ours, KNOBS)
            every, theirs = whole.after(proposed, anchors, theirs, KNOBS)
        assert torch.equal(some[1], proposed[1])
        assert not torch.equal(every[1], proposed[1]) or torch.equal(every[0], some[0])
        assert torch.equal(some[0], every[0])
        assert torch.equal(some[2], every[2])
        assert hook.result(some, ours)[1] is some[1]


def test_knobs():
    knobs = (
        Knob(Float("speed", 0.0, 1.0), 0.5),
        Knob(Int("rank", 1, 8), 4),
        Knob(Categorical("norm", ("mars", "l2")), "mars"),
    )
    assert settled(knobs, {"rank": 2}) == {"speed": 0.5, "rank": 2, "norm": "mars"}
    assert faults("f", knobs, {"speed": 1, "rank": 8, "norm": "l2"}) == []
    found = [str(p) for p in faults("f", knobs, {"speeed": 1, "speed": 2.0, "rank": 1.5, "norm": "l3"})]
    assert found == [
        "f.speeed: unknown name 'speeed'; allowed: norm, rank, speed. Did you mean 'speed'?",
        "f.speed: 2.0; allowed: 0.0 to 1.0.",
        "f.rank: 1.5; allowed: 1 to 8.",
        "f.norm: 'l3'; allowed: mars, l2.",
    ]
