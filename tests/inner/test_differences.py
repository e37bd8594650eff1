"""Hypergradients from first derivatives of the model: against the exact ones, in float64 and below."""

from __future__ import annotations

import math
import weakref
from dataclasses import replace

import pytest
import torch

from metaft.config.schema import HypergradConfig, StepConfig, StorageConfig
from metaft.errors import ConfigError
from metaft.hooks.registry import HOOKS
from metaft.inner import Auto, Differences, Unroll, differentiate, estimate
from metaft.inner.loop import Footprint, Trace
from metaft.inner.step import Step
from metaft.inner.storage import GIB
from metaft.inner.sweep import Shelf
from metaft.objective.registry import TERMS, Term
from metaft.training.batches import SourceBatch
from tests.conftest import by_default
from tests.inner.problems import BETAS, EPS, TOWERS, T, hooked, loss_of, problem, tiny
from tests.inner.test_step import KNOBS, Filled

EXACT = Unroll(StorageConfig(storage="keep"))
NEAR = 1e-6  # a spacing for float64, whose rounding and curvature are far below the bounds here
CASES = {"vit": ("vit", False), "vit by group": ("vit", True), "resnet": ("resnet", False)}


def differ(case, estimator=None, **changes):
    """The largest relative difference between a derivative by differences and the exact one."""
    loop = case.loop(**changes)
    (value, exact), (same, close) = EXACT(loop), (estimator or Differences(spacing=NEAR))(loop)
    assert float(same) == pytest.approx(float(value), rel=1e-12)
    assert set(close) == set(exact)
    return max(abs(float(close[name] / exact[name]) - 1) for name in exact)


@pytest.mark.parametrize("name", by_default(("vit", "vit by group"), CASES))
def test_agrees_with_the_exact_derivative(name):
    """All terms and all hyperparameters; the spacing is found."""
    tower, by_group = CASES[name]
    case = problem(tower, by_group=by_group)
    assert set(TERMS) <= set(case.h)
    settled = Differences("both").settled(case.loop())
    assert settled.error < 1e-6
    assert differ(case, settled) < 1e-6
    one = Differences("one").settled(case.loop())
    assert one.error < 1e-6
    assert differ(case, one) < 1e-4


@pytest.mark.parametrize("method", HOOKS)
def test_hooks_and_their_knobs(method):
    spacing = NEAR / 30 if method == "diff_pruning" else NEAR  # past few of its gates' kinks
    assert differ(hooked(method, KNOBS[method]), Differences(spacing=spacing)) < 1e-6


def test_parts_sources_captions_and_the_share_of_the_way():
    made = problem("vit", accumulate=2)
    sources = [{"ood_val": SourceBatch(b.images.flip(0)[:3].neg(), b.labels[:3])} for b in made.batches]
    batches = [b._replace(sources=more, pace=0.5) for b, more in zip(made.batches, sources, strict=True)]
    batches[-1] = batches[-1]._replace(last=True)
    more = {name: torch.tensor(x, dtype=torch.float64) for name, x in {"ce:ood_val": 0.7, "alpha": 0.4}.items()}
    assert differ(replace(made, batches=batches, h={**made.h, **more})) < 1e-6


def test_another_head_to_begin_with():
    case = problem("vit")
    head = {name: p + 0.1 * torch.randn_like(p) for name, p in case.step.pretrained.items() if name.startswith("head.")}
    assert len(head) == 2
    begun = replace(case, step=case.step.begun_at(head))
    assert differ(begun) < 1e-6


def test_dropout_is_drawn_again():
    classifier = tiny("vit", towers={"vit": {**TOWERS["vit"], "patch_dropout": 0.5}})
    classifier.clip.visual.patch_dropout.train()
    case = problem("vit", classifier=classifier)
    assert differ(replace(case, batches=[b._replace(seed=7 + t) for t, b in enumerate(case.batches)])) < 1e-6


def test_kinks_of_the_losses_do_no_harm():
    """Where the model is linear in what trains, no spacing is too wide: hinge losses are bent at theta alone."""
    case = problem("vit")
    head = [name for name in case.step.names if name.startswith("head.")]
    linear = replace(case, step=_training(head), h={name: case.h[name] for name in ("ce", "hinge", "dcm", "lr", "wd")})
    assert differ(linear, Differences(spacing=0.3)) < 1e-9


def _training(names):
    classifier = tiny("vit")
    return Step(classifier, names, loss_of(classifier), StepConfig(betas=BETAS, eps=EPS))


STORAGES = {
    "offload": (StorageConfig(storage="replay", offload=True), None),
    "segments": (StorageConfig(storage="segments"), None),
    "auto": (StorageConfig(storage="auto"), None),
    "auto, no room": (StorageConfig(storage="auto", memory=1e-12), None),
}


def test_an_adjoint_is_let_go_of_before_the_model_is_gone_through(monkeypatch):
    case = problem("vit")
    ends: list[weakref.ref] = []
    held: list[bool] = []
    parts = case.step.parts

    def watched(batch):
        held.extend(end() is not None for end in ends[-1:])
        return parts(batch)

    monkeypatch.setattr(case.step, "parts", watched)
    look = Trace(link=lambda t, start, batch, adjoint: ends.append(weakref.ref(adjoint.tensors[0])))
    Differences(spacing=NEAR)(case.loop(), look)
    assert len(ends) == T
    assert len(held) >= T
    assert not any(held)


def test_all_storages_agree():
    case = problem("vit")
    value, kept = Differences(spacing=NEAR, storage=StorageConfig(storage="replay"))(case.loop())
    for name, (storage, footprint) in STORAGES.items():
        other, gradient = Differences(spacing=NEAR, storage=storage)(case.loop(footprint))
        assert float(other) == float(value), name
        assert all(gradient[k].equal(kept[k]) for k in kept), name


@pytest.mark.parametrize(("storage", "kept"), [("replay", (T + 1) // 2), ("auto", 0), ("segments", 3)])
def test_every_second_state_is_kept(monkeypatch, storage, kept):
    """Of those that no graph holds, and in each span anew: the last span of segments has one step."""
    put, puts = Shelf.put, []
    monkeypatch.setattr(Shelf, "put", lambda shelf, state: puts.append(state.step) or put(shelf, state))
    Differences(spacing=NEAR, storage=StorageConfig(storage=storage))(problem("vit").loop())
    assert len(puts) == kept
    assert all(step % 2 == 0 for step in puts)


def rounded(precision="float32"):
    """The problem in float32, its loop, and how far derivatives by logarithms are from those in float64."""
    case = problem("vit", classifier=tiny("vit").float(), precision=precision)
    true = EXACT(problem("vit").loop())[1]

    def error(gradient):
        ours, theirs = (torch.stack([g[name].double() * case.h[name] for name in true]) for g in (gradient, true))
        return float((ours - theirs).norm() / theirs.norm())

    return case, case.loop(h={name: x.float() for name, x in case.h.items()}), error


def test_in_float32_the_error_is_that_of_the_precision():
    _, loop, error = rounded()
    settled = Differences("both").settled(loop)
    assert error(settled(loop)[1]) < 1e-4
    assert settled.error < 1e-4
    one = Differences("one").settled(loop)
    assert error(one(loop)[1]) < 1e-3
    assert one.error < 1e-3
    assert Differences("auto").settled(loop) == one  # which is good enough


@pytest.mark.full
def test_in_bfloat16_the_error_is_found():
    """The forward pass rounds to 8 bits, which puts the exact derivative as wrong, too."""
    _, loop, error = rounded("bfloat16")
    settled = Differences("auto").settled(loop)
    assert settled.sides == "both"
    assert error(EXACT(loop)[1]) > 0.01
    assert error(settled(loop)[1]) > 0.01
    assert error(settled(loop)[1]) == pytest.approx(settled.error, rel=0.1)
    assert isinstance(Auto(HypergradConfig(memory=1e-9)).settled(loop), Unroll)


def test_what_it_costs_is_what_it_takes():
    """Plain steps as the estimator counts them, by the passes of the model."""
    case = problem("vit")
    for storage, sides, asked in (("replay", "both", 3 * T), ("replay", "one", 2 * T), ("segments", "both", 3 * T + 2)):
        estimator = Differences(sides, NEAR, StorageConfig(storage=storage))
        passes = _Counted(case.step, {})
        estimator(case.loop(step=passes))
        assert passes.count == asked == estimator.cost(case.loop()), (storage, sides)


class _Counted(Filled):
    count = 0

    def plain(self, state, batch, h):
        object.__setattr__(self, "count", self.count + 1)
        return super().plain(state, batch, h)

    def parts(self, batch):
        def outputs(part):
            def counted(params):
                object.__setattr__(self, "count", self.count + 1)
                return part.outputs(params)

            return counted

        return [part._replace(outputs=outputs(part)) for part in super().parts(batch)]


def test_the_trace_is_that_of_the_exact_sweep():
    case = problem("vit")
    exact, close = Trace(whole=True), Trace(whole=True)
    EXACT(case.loop(), exact)
    Differences(spacing=NEAR)(case.loop(), close)
    assert sorted(close.lengths) == list(range(T + 1))
    for t, length in exact.lengths.items():
        assert float(close.lengths[t]) == pytest.approx(float(length), rel=1e-6), t


class TestRefusals:
    def test_losses_that_are_too_noisy(self):
        """Outputs are wrong by a hundredth by chance."""
        case = problem("vit")
        noise = torch.Generator().manual_seed(0)

        def wrong(z):
            return 1 + 0.01 * torch.randn(z.shape, generator=noise).to(z)

        class Noisy(Filled):
            def parts(self, batch):
                def outputs(part):
                    at = part.outputs
                    return lambda params: [z * wrong(z) for z in at(params)]

                return [part._replace(outputs=outputs(part)) for part in super().parts(batch)]

        with pytest.raises(ConfigError, match=r"'differences', whose error is \d+% at best.*; allowed: unroll"):
            Differences().settled(case.loop(step=Noisy(case.step, {})))

    @pytest.mark.parametrize(
        ("spacing", "words"),
        [
            (1e-12, "1e-12, which rounds to no difference in float32; allowed: 1e-07 to 0.3, or null"),
            (1e-8, "1e-08, which rounds to no difference in float32"),
            (1.0, "1, too far; allowed: 1e-07 to 0.3, or null, which chooses it"),
        ],
    )
    def test_a_spacing_that_rounds_to_nothing_or_is_not_small(self, spacing, words):
        """Also where a parameter is 0, beside which nothing is too small to be seen."""
        case = problem("vit", dtype=torch.float32)
        start = case.step.initial()
        loop = replace(
            case.loop(h={name: x.float() for name, x in case.h.items()}),
            state=replace(start, params=(torch.zeros_like(start.params[0]), *start.params[1:])),
        )
        with pytest.raises(ConfigError) as caught:
            Differences(spacing=spacing)(loop)
        assert f"hypergrad.spacing: {words}" in str(caught.value)

    def test_a_spacing_that_rounds_to_nothing_in_the_forward_pass(self):
        loop = rounded("bfloat16")[1]
        with pytest.raises(ConfigError, match=r"spacing: 1e-05, whose error is \d{3,}%, .*; allowed: null, which cho"):
            Differences(spacing=1e-5).settled(loop)

    def test_a_spacing_by_hand_that_is_good_enough_in_the_forward_pass(self):
        """Its error is told, as that of a spacing that is chosen."""
        _, loop, error = rounded("bfloat16")
        given = Differences(spacing=0.003).settled(loop)
        assert given.spacing == 0.003
        assert given.error == pytest.approx(error(given(loop)[1]), rel=0.1)

    def test_an_error_that_cannot_be_measured(self):
        """Beside a step of full precision that gives no number."""

        class Lost(Filled):
            def moved(self, state, grads, batch, h):
                return super().moved(state, grads, batch, h).map(lambda x: math.nan * x)

        class Coarse(Filled):
            @property
            def precise(self):
                return Lost(self.step, {})

        case = problem("vit")
        with pytest.raises(ConfigError, match="'differences', whose error is inf% at best"):
            Differences().settled(case.loop(step=Coarse(case.step, {})))

    def test_a_step_in_one_piece(self):
        x = torch.zeros(())
        with pytest.raises(ConfigError, match=r"hypergrad\.estimator: 'differences', for a step without its halves"):
            differentiate(lambda x, target, h: x - h["rate"] * x, x, [1.0], {"rate": x}, lambda x: x, "differences")

    def test_a_term_that_looks_at_images_and_parameters(self, monkeypatch):
        both = Term(
            "both", "both", lambda s: s.logits.square().mean() * sum(p.square().sum() for p in s.params.values())
        )
        monkeypatch.setitem(TERMS, "both", both)
        case = problem("vit")
        with pytest.raises(ConfigError, match=r"hypergrad\.estimator: 'differences', with a term that looks at images"):
            Differences(spacing=NEAR)(case.loop(h={**case.h, "both": case.h["ce"]}))

    def test_keeping_graphs(self):
        case = problem("vit")
        with pytest.raises(ConfigError, match=r"hypergrad\.storage: unknown name 'keep'; allowed: auto, replay"):
            estimate(case.step, case.step.initial(), case.batches, case.h, case.outer, "keep", "differences")


class TestAuto:
    def test_graphs_that_fit_are_kept(self):
        case = problem("vit")
        assert Auto(HypergradConfig(memory=1.0)).settled(case.loop()) == Unroll(HypergradConfig(memory=1.0))

    def test_graphs_that_do_not_fit_are_not(self):
        settings = HypergradConfig(memory=305.0 / GIB)
        loop = problem("vit").loop(Footprint(1, 100, 0))
        picked = Auto(settings).picked(loop)
        assert isinstance(picked, Differences)
        assert Auto(settings).cost(loop) == picked.cost(loop) == 3 * T < Unroll(settings).cost(loop)
        settled = Auto(settings).settled(loop)
        assert isinstance(settled, Differences)
        assert settled.error < 1e-6

    def test_one_side_costs_less_than_any_graph(self):
        settings = HypergradConfig(memory=1.0, sides="one")
        picked = Auto(settings).picked(problem("vit").loop())
        assert picked == Differences.of(settings)
        assert Auto(settings).described(problem("vit").loop()) == f"{picked} (unroll where their error is above 2%)"

    def test_a_step_in_one_piece_has_the_exact_derivative(self):
        h, x = {"rate": torch.tensor(0.5)}, torch.zeros(())
        step = lambda x, target, h: x - h["rate"] * (x - target)  # noqa: E731
        _, slopes = differentiate(step, x, [1.0, 1.0], h, lambda x: x, "auto")
        assert slopes["rate"].item() == 1.0


@pytest.mark.parametrize("estimator", [EXACT, Unroll(StorageConfig(storage="segments")), Differences(spacing=NEAR)])
def test_the_adjoint_of_the_start_is_left_out_and_nothing_else_changes(estimator):
    loop, some, whole = problem("vit").loop(), Trace(), Trace(whole=True)
    (value, found), (same, in_full) = estimator(loop, some), estimator(loop, whole)
    assert value == same
    for name, x in found.items():
        torch.testing.assert_close(x, in_full[name], rtol=1e-12 if isinstance(estimator, Unroll) else 1e-6, atol=0)
    assert set(some.lengths) == set(range(1, T + 1))
    assert set(whole.lengths) == set(range(T + 1))
