"""The fine-tuning problem on the toy CLIP: both views agree, nothing leaks, no hyperparameter is dead."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from metaft import build, config, spaces
from metaft.data.types import SearchData
from metaft.errors import DataError
from metaft.objective.registry import TERMS, Term
from metaft.search.bilevel import BilevelProblem
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def problem(work):
    return build.problem_in(work)


def test_standard_space(problem):
    assert isinstance(problem, BilevelProblem)
    assert problem.space.names == (
        *("dcm", "entropy", "flyp", "hinge", "kd", "l1init", "l1zero", "l2init", "l2zero", "lr", "wd"),
    )
    assert problem.start.shape == (11,)
    assert problem.start.min() >= 0.05
    assert problem.start.max() <= 0.95


def test_a_search_cannot_reach_a_test_split():
    assert {f.name for f in fields(SearchData)} == {"id_train", "id_val", "ood_val", "classes"}


def test_both_views_agree_and_repeat(problem):
    plain = problem.evaluate(problem.space.plain(problem.start), seed=3)
    outcome, gradient = problem.hypergradient(problem.start, seed=3)
    assert outcome.value == pytest.approx(plain.value, rel=1e-5)
    assert outcome.metric == plain.metric
    assert gradient.shape == (11,)
    assert torch.isfinite(gradient).all()
    again, same = problem.hypergradient(problem.start, seed=3)
    assert (again.value, same.tolist()) == (outcome.value, gradient.tolist())
    assert problem.evaluate(problem.space.plain(problem.start), seed=4).value != plain.value


def test_gradient_is_the_slope_along_lr(problem):
    """A float32 check on the real model: the mean curve of three seeds over lr has the slope that is claimed.

    (Single seeds differ by some per cent: float32 rounding, and l1init starts on its kink.)
    """
    k, delta, seeds = problem.space.names.index("lr"), 5e-3, (1, 2, 3)
    gradient = sum(float(problem.hypergradient(problem.start, seed)[1][k]) for seed in seeds)
    ends = []
    for sign in (1, -1):
        v = problem.start.clone()
        v[k] += sign * delta
        ends.append(sum(problem.evaluate(problem.space.plain(v), seed).value for seed in seeds))
    assert (ends[0] - ends[1]) / (2 * delta) == pytest.approx(gradient, rel=0.05)


def test_cost_is_counted_and_repeats(work):
    """What is done once for all runs (theta_0's outputs, a graph's bytes) is on no bill, so a resumed search agrees."""
    problem = build.problem_in(work)
    share = 64 / 16
    for _ in range(2):
        outcome = problem.evaluate(problem.space.plain(problem.start), seed=0)
        assert outcome.step_equivalents == pytest.approx(2 + share / 3)
        outcome, _ = problem.hypergradient(problem.start, seed=0)
        assert outcome.step_equivalents == pytest.approx(2 * 3 + share)


@pytest.mark.parametrize(
    ("estimator", "storage", "cost"),
    [
        ("unroll", "keep", 9),
        ("unroll", "replay", 12),
        ("unroll", "segments", 14),  # two spans, the first of two steps run again
        ("truncated", "replay", 9),
        ("one_step", "keep", 5),
        ("forward", "keep", 2 * 3 * 11),
        ("implicit", "keep", 3 + 1 + 2 * 5),
    ],
)
def test_cost_of_estimators(work, estimator, storage, cost):
    """The bill is what the registry says it will be."""
    own = [f"hypergrad.estimator={estimator}", f"hypergrad.storage={storage}", "hypergrad.last=2", "inner.steps=3"]
    own += [
        "hypergrad.iterations=4",
        *(["objective.fixed={ce: 1, lr: 1.0e-3, wd: 0.1}"] if estimator == "implicit" else []),
    ]
    problem = build.problem_in(replace(work, cfg=config.load(None, [*SMALL, *own])))
    problem.hypergradient(problem.start, seed=0)
    outcome, _ = problem.hypergradient(problem.start, seed=0)
    assert outcome.step_equivalents == pytest.approx(cost + 64 / 16)
    assert problem.forecast().step_equivalents == pytest.approx(cost + 64 / 16)


def test_slope_is_the_derivative_along_a_direction(problem):
    outcome, gradient = problem.hypergradient(problem.start, seed=3)
    direction = torch.linspace(-1, 1, 11, dtype=torch.float64)
    along, slope = problem.slope(problem.start, direction, seed=3)
    assert along.value == pytest.approx(outcome.value, rel=1e-5)
    assert slope == pytest.approx(float(gradient @ direction), rel=0.02)


def test_groups_have_hyperparameters_of_their_own(work):
    cfg = config.load(None, [*SMALL, "objective.per_group=[lr, wd, l1init, l1zero, l2init, l2zero]"])
    problem = build.problem_in(replace(work, cfg=cfg))
    groups = ("stem", *(f"block.{i}.{part}" for i in range(4) for part in ("attn", "mlp")), "head", "text")
    names = [f"{n}@{g}" for n in ("l1init", "l1zero", "l2init", "l2zero") for g in groups]
    names += [f"{n}@{g}" for n in ("lr", "wd") for g in groups]
    assert sorted(problem.space.names) == sorted(("dcm", "entropy", "flyp", "hinge", "kd", *names))
    whole, split = build.problem_in(work), problem
    (outcome, gradient), (same, parts) = (p.hypergradient(p.start, seed=0) for p in (whole, split))
    assert same.value == pytest.approx(outcome.value, rel=1e-5)
    by_name = dict(zip(split.space.names, parts.tolist(), strict=True))
    for name in ("lr", "l2zero"):
        total = sum(by_name[f"{name}@{group}"] for group in groups)
        assert total == pytest.approx(float(gradient[whole.space.names.index(name)]), rel=0.02)
    found = spaces.objective_of(cfg, problem.space.plain(problem.start))
    assert set(found.groups) == set(groups)
    assert {**found.values(), "lr": 0, "wd": 0, "ce": 0} == {
        **problem.space.plain(problem.start),
        "lr": 0,
        "wd": 0,
        "ce": 0,
    }


def test_a_methods_knobs_join_the_space(work):
    own = ["search.method=ftp", "objective.bounds={ftp.speed: [0.01, 0.5]}", "objective.fixed={ce: 1, ftp.kappa: 0.5}"]
    cfg = config.load(None, [*SMALL, *own, "finetune.knobs={ftp: {speed: 0.2, norm: l2}}"])
    build.check(cfg)
    problem = build.problem_in(replace(work, cfg=cfg))
    assert problem.space.names[-3:] == ("lr", "wd", "ftp.speed")
    assert problem.space.plain(problem.start)["ftp.speed"] == pytest.approx(0.2)
    outcome, gradient = problem.hypergradient(problem.start, seed=0)
    assert outcome.value == pytest.approx(problem.evaluate(problem.space.plain(problem.start), seed=0).value, rel=1e-5)
    assert gradient[-1] != 0
    found = spaces.objective_of(cfg, problem.space.plain(problem.start))
    assert found.method == "ftp"
    assert found.knobs == {"kappa": 0.5, "speed": pytest.approx(0.2), "norm": "l2"}
    slow = problem.evaluate({**problem.space.plain(problem.start), "ftp.speed": 0.01}, seed=0)
    assert slow.value != outcome.value


def test_lora_in_the_inner_loop_moves_its_factors(work):
    cfg = config.load(None, [*SMALL, "search.method=lora", "finetune.knobs={lora: {rank: 2}}"])
    problem = build.problem_in(replace(work, cfg=cfg))
    assert len(problem.space) == 11
    assert any(name.endswith(".lora_a") for name in problem.step.names)
    _, gradient = problem.hypergradient(problem.start, seed=0)
    assert torch.isfinite(gradient).all()
    assert spaces.objective_of(cfg, problem.space.plain(problem.start)).method == "lora"


def test_lr_and_decay_can_be_fixed(work):
    cfg = config.load(None, [*SMALL, "objective.fixed={ce: 1.0, lr: 0.001, wd: 0.1}", "hypergrad.estimator=implicit"])
    cfg = cfg.model_copy(update={"hypergrad": cfg.hypergrad.model_copy(update={"storage": "keep"})})
    build.check(cfg)
    problem = build.problem_in(replace(work, cfg=cfg))
    assert not {"lr", "wd"} & set(problem.space.names)
    _, gradient = problem.hypergradient(problem.start, seed=0)
    assert gradient.shape == (9,)
    assert torch.isfinite(gradient).all()
    assert spaces.objective_of(cfg, problem.space.plain(problem.start)).lr == 0.001


def test_a_warm_start_has_moments_and_theta_0(work):
    cfg = config.load(None, [*SMALL, "inner.warm_start=3"])
    warm = build.problem_in(replace(work, cfg=cfg))
    first, second = (warm.evaluate(warm.space.plain(warm.start), seed=0) for _ in range(2))
    assert first.value == second.value
    assert first.step_equivalents == second.step_equivalents
    cold = build.problem_in(work)
    assert cold.evaluate(cold.space.plain(cold.start), seed=0).value != first.value
    outcome, gradient = warm.hypergradient(warm.start, seed=0)
    assert outcome.value == pytest.approx(first.value, rel=1e-5)
    assert torch.isfinite(gradient).all()


def test_an_explosion_names_its_step_and_term(work):
    cfg = config.load(None, [*SMALL, "hypergrad.storage=replay", "hypergrad.explosion=1e-9"])
    problem = build.problem_in(replace(work, cfg=cfg))
    outcome, gradient = problem.hypergradient(problem.start, seed=0)
    assert torch.isfinite(gradient).all()
    assert outcome.reason.startswith(f"hypergradient of length {float(gradient.norm()):.3g}, from inner step ")
    assert outcome.reason.rpartition(" ")[2] in {"ce", *problem.space.names}


def test_a_hypergradient_that_is_not_finite_names_its_step_and_term(work, monkeypatch):
    class Slope(torch.autograd.Function):  # 2 x, whose own derivative is not a number
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, adjoint):
            return math.nan * adjoint

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.square().sum()

        @staticmethod
        def backward(ctx, adjoint):
            return adjoint * Slope.apply(*ctx.saved_tensors)

    def sharp(s):
        return sum(Square.apply(p - s.pretrained[k]) for k, p in s.params.items())

    monkeypatch.setitem(TERMS, "l2init", Term("l2init", "no second derivative", sharp, penalty=True))
    problem = build.problem_in(work)
    outcome, gradient = problem.hypergradient(problem.start, seed=0)
    assert not torch.isfinite(gradient).all()
    assert outcome.status == "ok"
    assert outcome.reason == "hypergradient of length nan, from inner step 2 of 2, term l2init"


def test_a_diverging_inner_loop_names_its_step(work):
    cfg = config.load(None, [*SMALL, "objective.bounds={lr: [1.0e+10, 1.0e+38]}"])
    problem = build.problem_in(replace(work, cfg=cfg))
    outcome, _ = problem.hypergradient(problem.start.clamp(min=0.9), seed=0)
    assert outcome.status == "diverged"
    assert outcome.reason == "the inner loop diverged at step 2 of 2"


def test_report_may_stop_a_trial(problem):
    seen = []
    outcome = problem.evaluate(
        problem.space.plain(problem.start), seed=0, report=lambda step, loss: seen.append((step, loss)) or True
    )
    assert outcome.status == "stopped"
    assert seen == [(1, pytest.approx(outcome.value))]


def test_divergence_is_an_outcome(problem):
    params = {**problem.space.plain(problem.start), "lr": 1e30}
    outcome = problem.evaluate(params, seed=0)
    assert (outcome.status, outcome.value) == ("diverged", float("inf"))


def test_a_validation_set_smaller_than_a_batch(work):
    ood_val = work.splits.ood_val.subset(torch.arange(5))
    few = replace(work, splits=replace(work.splits, ood_val=ood_val))
    outcome = build.problem_in(few).evaluate(build.problem_in(few).space.plain(build.problem_in(few).start), seed=0)
    assert outcome.status == "ok"


def spread(overrides: list[str]) -> dict[str, float]:
    """How far the outer loss moves as each hyperparameter crosses its range, the others at the recipe."""
    short = ("inner.steps=10", "inner.stretch=1", "inner.batch_size=32", "data.options.id_train=400")
    cfg = config.load(None, [*overrides, *short])
    problem = build.bilevel_problem(cfg)
    found = {}
    for k, name in enumerate(problem.space.names):
        values = []
        for x in (0.0, 0.75, 1.0):
            u = problem.start.clone()
            u[k] = x
            values.append(problem.evaluate(problem.space.plain(u), seed=0).value)
        found[name] = max(values) - min(values)
    return found


def test_no_searched_range_is_dead():
    """Every weight and the lr move the outer loss by over 0.02 nats within their range, weight decay by over 0.002.

    Decay is weak by nature: over T steps it shrinks weights by (1 - lr wd)^T, 1 % at most here. With AutoFT's 1/N
    the penalties move at most a twentieth of that.
    """
    found = spread([])
    assert found.pop("wd") > 0.002
    assert min(found.values()) > 0.02, found
    released = spread(["objective.penalty_scale=released"])
    for name in ("l1init", "l1zero", "l2init", "l2zero"):
        assert released[name] < 0.05 * found[name], name


def test_softplus_weights_reach_zero(work):
    cfg = config.load(None, ["objective.weight_scale=softplus"])
    space = spaces.space(cfg)
    natural = space.plain(torch.zeros(11, dtype=torch.float64))
    assert natural["kd"] == 0.0
    problem = build.problem_in(replace(work, cfg=cfg.model_copy(update={"inner": work.cfg.inner})))
    _, gradient = problem.hypergradient(problem.start, seed=0)
    assert torch.isfinite(gradient).all()


def test_weights_can_be_in_units_of_each_terms_pull(work):
    """At the middle of its linear range every term then pulls about as hard as any other."""
    cfg = config.load(None, [*SMALL, "objective.weight_units=gradient", "objective.bounds={kd: [0.0, 3.0]}"])
    problem, plain = build.problem_in(replace(work, cfg=cfg)), build.problem_in(work)
    highs = {d.name: d.high for d in problem.space}
    assert highs["kd"] == 3.0, "a range that is given stays"
    assert {n: highs[n] for n in ("lr", "wd")} == {d.name: d.high for d in plain.space if d.name in ("lr", "wd")}
    step, (batch,) = plain.step, plain.inner_batches(torch.Generator().manual_seed(1), [1.0])
    state = step.plain(step.initial(), batch, {"ce": 1.0, "lr": 1e-3, "wd": 0.1})

    def pull(term, weight):
        params = [p.detach().requires_grad_() for p in state.params]
        grads = torch.autograd.grad(step.loss(params, batch, {term: weight}), params, allow_unused=True)
        return math.sqrt(sum(float(g.square().sum()) for g in grads if g is not None))

    for term in ("hinge", "l1init", "l2init", "l2zero", "l1zero"):
        assert pull(term, highs[term] / 10) == pytest.approx(pull("ce", 1.0), rel=1.0), term


def test_one_class_is_no_outer_set(work):
    rows = (work.splits.ood_val.labels == 3).nonzero()[:, 0]
    alone = replace(work, splits=replace(work.splits, ood_val=work.splits.ood_val.subset(rows)))
    with pytest.raises(DataError, match=r"ood_val: all \d+ images are of one class \(.*\); allowed: at least two"):
        build.problem_in(alone)
    cfg = config.load(None, [*SMALL, "search.outer_data=id_val"])
    assert build.problem_in(replace(alone, cfg=cfg)).outer_batch_size == 60


def test_a_metric_without_gradient_has_a_stand_in(work):
    """The value is the metric's own, the derivative that of the margin loss."""
    error, margin = (
        build.problem_in(replace(work, cfg=config.load(None, [*SMALL, f"search.outer_loss={name}"])))
        for name in ("error", "margin")
    )
    outcome, gradient = error.hypergradient(error.start, seed=1)
    assert outcome.value == pytest.approx(1 - outcome.metric)
    assert gradient.tolist() == margin.hypergradient(margin.start, seed=1)[1].tolist()
    assert outcome.value == error.evaluate(error.space.plain(error.start), seed=1).value


def test_id_accuracy_below_its_floor_costs(work):
    """Weights that run away lose ID accuracy; the recipe, within what it may lose, costs nothing."""
    plain = build.problem_in(work)
    kept = build.problem_in(replace(work, cfg=config.load(None, [*SMALL, "search.id_drop_max=0.02"])))
    recipe = plain.space.plain(plain.start)
    far = {**recipe, "lr": 0.05}
    assert kept.evaluate(far, 0).value > plain.evaluate(far, 0).value + 1
    assert kept.evaluate(recipe, 0).value == pytest.approx(plain.evaluate(recipe, 0).value, abs=0.5)
    share = 64 / 16 + 60 / 16
    assert kept.evaluate(recipe, 0).step_equivalents == pytest.approx(2 + share / 3)
    (_, own), (_, other) = (p.hypergradient(p.space.to_unit(far), 0) for p in (kept, plain))
    assert float((own - other).abs().max()) > 0
