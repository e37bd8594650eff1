"""The search problem that settings mean: its space, its recipe, and ranges none of which is dead."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from metaft import build, config
from metaft.build.fits import fits
from metaft.build.problem import bilevel_problem, problem_in
from metaft.build.space import objective_of
from metaft.build.space import space as space_of
from metaft.errors import ConfigError, DataError
from metaft.objective.registry import TERMS
from metaft.search.bilevel import BilevelProblem
from tests.conftest import JUDGE, SMALL


@pytest.fixture(scope="module")
def problem(work):
    return problem_in(work)


def test_standard_space(problem):
    assert isinstance(problem, BilevelProblem)
    assert problem.space.names == (
        *("dcm", "entropy", "flyp", "hinge", "kd", "l1init", "l1zero", "l2init", "l2zero", "lr", "wd"),
    )
    assert problem.start.shape == (11,)
    assert problem.start.min() >= 0.05
    assert problem.start.max() <= 0.95


def test_groups_have_hyperparameters_of_their_own(work):
    cfg = config.load(None, [*SMALL, "objective.per_group=[lr, wd, l1init, l1zero, l2init, l2zero]"])
    problem = problem_in(replace(work, cfg=cfg))
    groups = ("stem", *(f"block.{i}.{part}" for i in range(4) for part in ("attn", "mlp")), "head", "text")
    names = [f"{n}@{g}" for n in ("l1init", "l1zero", "l2init", "l2zero") for g in groups]
    names += [f"{n}@{g}" for n in ("lr", "wd") for g in groups]
    assert sorted(problem.space.names) == sorted(("dcm", "entropy", "flyp", "hinge", "kd", *names))
    together, split = problem_in(work), problem
    (outcome, gradient), (same, parts) = (p.hypergradient(p.start, seed=0) for p in (together, split))
    assert same.value == pytest.approx(outcome.value, rel=1e-5)
    by_name = dict(zip(split.space.names, parts.tolist(), strict=True))
    for name in ("lr", "l2zero"):
        total = sum(by_name[f"{name}@{group}"] for group in groups)
        assert total == pytest.approx(float(gradient[together.space.names.index(name)]), rel=0.02)
    learned = objective_of(cfg, problem.space.plain(problem.start))
    assert set(learned.groups) == set(groups)
    assert {**learned.values(), "lr": 0, "wd": 0, "ce": 0} == {
        **problem.space.plain(problem.start),
        "lr": 0,
        "wd": 0,
        "ce": 0,
    }


def test_a_methods_knobs_join_the_space(work):
    words = [
        "search.method=ftp",
        "objective.bounds={ftp.speed: [0.01, 0.5]}",
        "objective.fixed={ce: 1, ftp.kappa: 0.5}",
    ]
    cfg = config.load(None, [*SMALL, *words, "finetune.knobs={ftp: {speed: 0.2, norm: l2}}"])
    build.check(cfg)
    problem = problem_in(replace(work, cfg=cfg))
    assert problem.space.names[-3:] == ("lr", "wd", "ftp.speed")
    assert problem.space.plain(problem.start)["ftp.speed"] == pytest.approx(0.2)
    outcome, gradient = problem.hypergradient(problem.start, seed=0)
    assert outcome.value == pytest.approx(problem.evaluate(problem.space.plain(problem.start), seed=0).value, rel=1e-5)
    assert gradient[-1] != 0
    learned = objective_of(cfg, problem.space.plain(problem.start))
    assert learned.method == "ftp"
    assert learned.knobs == {"kappa": 0.5, "speed": pytest.approx(0.2), "norm": "l2"}
    slow = problem.evaluate({**problem.space.plain(problem.start), "ftp.speed": 0.01}, seed=0)
    assert slow.value != outcome.value


def test_lora_in_the_inner_loop_moves_its_factors(work):
    cfg = config.load(None, [*SMALL, "search.method=lora", "finetune.knobs={lora: {rank: 2}}"])
    problem = problem_in(replace(work, cfg=cfg))
    assert len(problem.space) == 11
    assert any(name.endswith(".lora_a") for name in problem.inner.first.names)
    _, gradient = problem.hypergradient(problem.start, seed=0)
    assert torch.isfinite(gradient).all()
    assert objective_of(cfg, problem.space.plain(problem.start)).method == "lora"


def test_lr_and_decay_can_be_fixed(work):
    cfg = config.load(None, [*SMALL, "objective.fixed={ce: 1.0, lr: 0.001, wd: 0.1}", "hypergrad.estimator=implicit"])
    cfg = cfg.model_copy(update={"hypergrad": cfg.hypergrad.model_copy(update={"storage": "keep"})})
    build.check(cfg)
    problem = problem_in(replace(work, cfg=cfg))
    assert not {"lr", "wd"} & set(problem.space.names)
    _, gradient = problem.hypergradient(problem.start, seed=0)
    assert gradient.shape == (9,)
    assert torch.isfinite(gradient).all()
    assert objective_of(cfg, problem.space.plain(problem.start)).lr == 0.001


def spread(problem, names, shares=(0.0, 0.75, 1.0)) -> dict[str, float]:
    """How far the outer loss moves as each hyperparameter crosses its range, the others at the recipe."""
    moves = {}
    for name in names:
        values = []
        for x in shares:
            u = problem.start.clone()
            u[problem.space.names.index(name)] = x
            values.append(problem.evaluate(problem.space.plain(u), seed=0).value)
        moves[name] = max(values) - min(values)
    return moves


@pytest.mark.full
def test_few_steps_show_most_ranges_alive(work):
    """As below in four steps, but for weight decay and l1zero, which take more to show."""

    def problem(scale):
        short = ("inner.steps=4", "inner.stretch=1", f"objective.penalty_scale={scale}")
        return problem_in(replace(work, cfg=config.load(None, [*SMALL, *short])))

    standard = problem("standard")
    moves = spread(standard, [n for n in standard.space.names if n not in ("wd", "l1zero")], (0.0, 1.0))
    assert min(moves.values()) > 0.02, moves
    penalties = ("l1init", "l2init", "l2zero")
    for name, move in spread(problem("released"), penalties, (0.0, 1.0)).items():
        assert move < 0.05 * moves[name], name


@pytest.mark.full
def test_no_searched_range_is_dead():
    """Every weight and the lr move the outer loss by over 0.02 nats within their range, weight decay by over 0.002.

    Decay is weak by nature: over T steps it shrinks weights by (1 - lr wd)^T, 1 % at most here. With AutoFT's 1/N
    the penalties move at most a twentieth of that.
    """
    short = ("inner.steps=10", "inner.stretch=1", "inner.batch_size=32", "data.options.id_train=400")
    standard = bilevel_problem(config.load(None, short))
    moves = spread(standard, standard.space.names)
    assert moves.pop("wd") > 0.002
    assert min(moves.values()) > 0.02, moves
    released = bilevel_problem(config.load(None, [*short, "objective.penalty_scale=released"]))
    for name, move in spread(released, ("l1init", "l1zero", "l2init", "l2zero")).items():
        assert move < 0.05 * moves[name], name


def test_softplus_weights_reach_zero(work):
    cfg = config.load(None, [*JUDGE, "objective.weight_scale=softplus"])
    space = space_of(cfg)
    natural = space.plain(torch.zeros(11, dtype=torch.float64))
    assert natural["kd"] == 0.0
    problem = problem_in(replace(work, cfg=cfg.model_copy(update={"inner": work.cfg.inner})))
    _, gradient = problem.hypergradient(problem.start, seed=0)
    assert torch.isfinite(gradient).all()


def test_weights_can_be_in_units_of_each_terms_pull(work):
    """At the middle of its linear range every term then pulls about as hard as any other."""
    cfg = config.load(None, [*SMALL, "objective.weight_units=gradient", "objective.bounds={kd: [0.0, 3.0]}"])
    problem, plain = problem_in(replace(work, cfg=cfg)), problem_in(work)
    highs = {d.name: d.high for d in problem.space}
    assert highs["kd"] == 3.0, "a range that is given stays"
    assert {n: highs[n] for n in ("lr", "wd")} == {d.name: d.high for d in plain.space if d.name in ("lr", "wd")}
    step, (batch,) = plain.inner.first, plain.inner_batches(torch.Generator().manual_seed(1), [1.0])
    state = step.plain(step.initial(), batch, {"ce": 1.0, "lr": 1e-3, "wd": 0.1})

    def pull(term, weight):
        params = [p.detach().requires_grad_() for p in state.params]
        grads = torch.autograd.grad(step.loss(params, batch, {term: weight}), params, allow_unused=True)
        return math.sqrt(sum(float(g.square().sum()) for g in grads if g is not None))

    for term in ("hinge", "l1init", "l2init", "l2zero", "l1zero"):
        assert pull(term, highs[term] / 10) == pytest.approx(pull("ce", 1.0), rel=1.0), term


def pull_at_theta_0(problem, term):
    """The length of a term's gradient at the end of its range."""
    step, (batch,) = problem.inner.first, problem.inner_batches(torch.Generator().manual_seed(1), [1.0])
    params = [p.detach().requires_grad_() for p in step.initial().params]
    high = next(d.high for d in problem.space if d.name == term)
    grads = torch.autograd.grad(step.loss(params, batch, {term: high}), params, allow_unused=True)
    return math.sqrt(sum(float(g.square().sum()) for g in grads if g is not None))


def test_penalties_towards_zero_pull_alike_at_the_ends_of_their_ranges(work):
    problem = problem_in(work)
    assert pull_at_theta_0(problem, "l2zero") == pytest.approx(20, rel=0.02), "2 |theta_0| over |theta_0|"
    assert pull_at_theta_0(problem, "l1zero") == pytest.approx(10, rel=0.02), "one a parameter, over sqrt(N)"
    released = problem_in(replace(work, cfg=config.load(None, [*SMALL, "objective.penalty_scale=released"])))
    assert {d.name: d.high for d in released.space}["l2zero"] == 10.0, "AutoFT's range, with AutoFT's scale"


@pytest.mark.full
def test_no_loss_begins_above_ten_thousand_in_a_full_size_model(picture_tree):
    """The sum of all terms at the ends of their ranges, ViT-B/32 with its text tower, as open_clip initialises it."""
    words = ("data.format=folder", f"data.root={picture_tree}", "model.name=ViT-B-32", "model.pretrained=random")
    small = ("objective.head=zero_shot", "search.id_drop_max=null", "inner.batch_size=4")
    problem = bilevel_problem(config.load(None, [*words, *small]))
    step, (batch,) = problem.inner.first, problem.inner_batches(torch.Generator().manual_seed(1), [1.0])
    highs = {d.name: d.high for d in problem.space if d.name in TERMS}
    assert sum(p.numel() for p in step.pretrained.values()) > 1e8
    loss = step.loss(step.initial().params, batch, {"ce": 1.0, **highs})
    assert 100 < loss.item() < 1e4


def test_one_class_is_no_outer_set(work):
    rows = (work.splits.ood_val.labels == 3).nonzero()[:, 0]
    alone = replace(work, splits=replace(work.splits, ood_val=work.splits.ood_val.subset(rows)))
    with pytest.raises(DataError, match=r"ood_val: all \d+ images are of one class \(.*\); allowed: at least two"):
        problem_in(alone)
    cfg = config.load(None, [*SMALL, "search.outer_data=id_val"])
    _, labels = problem_in(replace(alone, cfg=cfg)).outer_batch(torch.Generator())
    assert len(labels) == 60


def test_a_search_begins_where_the_fine_tune_does(work):
    probed = replace(work, cfg=config.load(None, [*SMALL, "objective.head=linear_probe"]))
    first = problem_in(probed)
    probe = dict(fits(probed).model("linear_probe").named_parameters())
    step = first.inner.of({"head": "linear_probe"}, 0)
    for ours, name in zip(step.initial().params, step.pretrained, strict=True):
        torch.testing.assert_close(ours, probe[name])


def test_inner_images_are_augmented_where_it_is_asked(work, problem):
    augmented = problem_in(replace(work, cfg=config.load(None, [*SMALL, "inner.augment=crop"])))
    recipe = problem.space.plain(problem.start)
    plain, cut, again = (p.evaluate(recipe, seed=0).value for p in (problem, augmented, augmented))
    assert cut == again != plain
    assert augmented.hypergradient(problem.start, seed=0)[0].value == pytest.approx(cut, rel=1e-5)


def test_finalists_are_trained_as_the_final_fine_tune_is(work, problem):
    """At its length and with its augmentation, whatever the inner loop's."""
    final = problem_in(replace(work, cfg=config.load(None, [*SMALL, "finetune.augment=crop"])))
    recipe = problem.space.plain(problem.start)
    assert final.evaluate(recipe, seed=0).value == problem.evaluate(recipe, seed=0).value
    assert final.become(recipe, 0, 0.5).value != problem.become(recipe, 0, 0.5).value


def test_settings_that_leave_nothing_to_search_are_refused():
    everything = ["objective.terms=[]", "objective.mix=false", "objective.fixed={ce: 1, lr: 1e-3, wd: 0.1}"]
    cfg = config.load(None, everything)
    with pytest.raises(ConfigError, match="objective: nothing left to search; allowed: a term, lr, wd or alpha"):
        space_of(cfg)
    assert space_of(cfg, heads=("zero_shot", "linear_probe")).names == ("head",)
