"""What a search trains on and what judges it: never the same image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import pytest
import torch

from metaft import config
from metaft.build.fits import fit_settings, fits, head_in_fold
from metaft.build.problem import problem_in
from metaft.build.sources import fold_parts, sources, trains, unsplit, worst_of_one
from metaft.data.types import Domains, ImageSource
from metaft.errors import DataError
from metaft.finetune.methods import METHODS
from metaft.objective.heads import HEADS
from metaft.space import Categorical
from tests.conftest import SMALL

TRAIN = (*SMALL, "search.use_ood_labels=train", "objective.head=auto", "objective.mix=true")


@dataclass(frozen=True)
class Watched:
    """A source of images that remembers which were asked for, call by call."""

    source: ImageSource
    calls: list[set[int]] = field(default_factory=list)

    def pixels(self, indices):
        self.calls.append(set(indices))
        return self.source.pixels(indices)


def training(work, *words, domains=None, size=60):
    """A workspace that trains on a part of ood_val of this size, with the images that are asked for on record."""
    part = work.splits.ood_val.subset(torch.arange(size))
    watched = replace(part, source=Watched(part.source), domains=domains)
    splits = replace(work.splits, ood_val=watched)
    opened = replace(work, cfg=config.load(None, [*TRAIN, *words]), splits=splits)
    return opened, watched.source.calls


DOMAINS = Domains(("ink", "chalk", "pencil"), torch.arange(60) % 3)


@pytest.mark.full
@pytest.mark.parametrize(("count", "domains"), [(2, DOMAINS), (2, None), (3, None), (3, DOMAINS)])
def test_no_image_judges_what_was_trained_on_it(work, count, domains):
    """In trials, hypergradients and finalists, from every head: the images asked for are of one part or the other."""
    watched, calls = training(work, f"search.folds={count}", "inner.warm_start=2", domains=domains)
    problem = problem_in(watched)
    judging = [_numbers(fold.judging) for fold in fold_parts(watched)]
    assert sorted(n for part in judging for n in part) == list(range(60))
    if domains is not None:
        kinds = [{int(domains.numbers[n]) for n in part} for part in judging]
        assert all(not a & b for i, a in enumerate(kinds) for b in kinds[:i]), "no domain in two parts"
    u = problem.space.to_unit(problem.suggestions()[-1])
    problem._offsets  # noqa: B018  (measured once, over all parts)
    for head, fold in product(HEADS, range(count)):
        problem.inner.of({"head": head}, fold)  # heads choose their knobs on all parts; see the next test
    for seed in range(count):
        for act in (
            lambda seed: problem.hypergradient(u, seed),
            lambda seed: [problem.evaluate(point, seed) for point in problem.suggestions()],
            lambda seed: problem.become(problem.suggestions()[-1], seed, 0.5),
        ):
            calls.clear()
            act(seed)
            assert any(call <= judging[seed] for call in calls), "something judged"
            assert any(not call & judging[seed] for call in calls), "something was trained on"
            assert all(call <= judging[seed] or not call & judging[seed] for call in calls)


def test_a_head_does_not_depend_on_what_judges_it(work):
    """With its knobs given, other labels in the judging part of a fold change nothing, and in the fitting part do."""
    knobs = "finetune.knobs={linear_probe_ood_val: {weight: 3, inverse_penalty: 0.1}}"
    opened, _ = training(work, knobs, domains=DOMAINS)  # whole domains make the folds, whatever the labels
    fold = fold_parts(opened)[0]

    def head(changed):
        ood_val, rows = opened.splits.ood_val, torch.tensor(sorted(changed), dtype=torch.long)
        labels = ood_val.labels.index_copy(0, rows, ood_val.labels[rows].roll(1))
        splits = replace(opened.splits, ood_val=replace(ood_val, labels=labels))
        other = replace(opened, splits=splits)
        return head_in_fold(fits(other), 0, "linear_probe_ood_val")["head.weight"]

    assert torch.equal(head(()), head(_numbers(fold.judging)))
    assert not torch.equal(head(()), head(_numbers(fold.fitting)))


def _numbers(split):
    source, rows = split.source, torch.arange(len(split))
    while not isinstance(source, Watched):
        rows, source = torch.tensor(source.indices)[rows], source.source
    return set(rows.tolist())


def test_every_head_is_a_choice_and_a_suggestion(work):
    watched, _ = training(work)
    space = problem_in(watched).space
    assert space.names[-3:] == ("ce:ood_val", "alpha", "head")
    (head,) = (d for d in space if isinstance(d, Categorical))
    assert head.choices == tuple(HEADS)
    suggested = problem_in(watched).suggestions()
    assert [point["head"] for point in suggested] == list(HEADS)
    assert all(point["ce:ood_val"] == pytest.approx(1.0) for point in suggested)
    judging, _ = training(work, "search.use_ood_labels=judge")
    (head,) = (d for d in problem_in(judging).space if isinstance(d, Categorical))
    assert head.choices == ("zero_shot", "linear_probe")


def test_what_cannot_be_split_judges_alone(work):
    few, _ = training(work, "search.use_ood_labels=auto", size=3)
    assert not trains(few)
    assert unsplit(few).startswith("ood_val: 3 images, too few")
    assert unsplit(training(work, size=60)[0]) is None
    assert sources(few) == ()
    (fold,) = fold_parts(few)
    assert len(fold.judging) == 3
    with pytest.raises(DataError, match=r"ood_val: 3 images, too few .*search\.use_ood_labels=judge"):
        trains(training(work, size=3)[0])


@pytest.mark.parametrize("asks", ["objective.head=wise_probe", "objective.fixed={ce: 1, ce:ood_val: 1}"])
def test_what_asks_for_training_on_what_cannot_be_split_is_refused(work, asks):
    few, _ = training(work, "search.use_ood_labels=auto", asks, size=3)
    with pytest.raises(DataError, match=r"ood_val: 3 images, too few .*, or (another )?objective\.(head|fixed)"):
        problem_in(few)
    assert trains(training(work, "search.use_ood_labels=auto", asks)[0])


def test_heads_say_whether_they_are_fitted_on_ood_val(work):
    settings = fit_settings(work)
    assert all(METHODS[head.method].fits_ood_val(settings) == head.fits_ood_val for head in HEADS.values())


def test_the_worst_of_one_domain_is_not_the_worst(work):
    """Three domains in two folds: one judges alone. All judge at once where none trains."""
    worst = ("search.outer_domains=worst", "search.folds=2")
    assert worst_of_one(training(work, *worst, domains=DOMAINS)[0])
    assert not worst_of_one(training(work, *worst, "search.use_ood_labels=judge", domains=DOMAINS)[0])
    assert not worst_of_one(training(work, domains=DOMAINS)[0])


def test_parts_of_unlike_difficulty_can_be_compared(work):
    """The recipe is worth the same in every part, whatever its loss there."""
    watched, _ = training(work)
    problem = problem_in(watched)
    recipe = problem.space.plain(problem.start)
    first, second = (problem.evaluate(recipe, seed) for seed in (0, 1))
    assert first.loss != pytest.approx(second.loss, rel=1e-3)
    assert first.value == pytest.approx(second.value, rel=1e-6)
    outcome, gradient = problem.hypergradient(problem.start, 1)
    assert outcome.value == pytest.approx(second.value, rel=1e-4)
    weight, alpha, head = gradient[-3:].tolist()
    assert weight != 0
    assert alpha != 0
    assert head == 0, "a category has no derivative"


def test_a_source_of_the_data_set_has_a_weight_in_either_protocol(work):
    more = replace(work.splits, more={"sketches": work.splits.id_val})
    judging = replace(work, splits=more)
    assert sources(judging) == ("sketches",)
    assert problem_in(judging).space.names[-1] == "ce:sketches"


@pytest.mark.full
def test_the_worst_domain_judges(work):
    """In trials and finalists alike."""
    two_each = Domains(("ink", "chalk", "pencil", "pen"), torch.arange(60) % 4)
    watched, _ = training(work, "search.outer_domains=worst", "search.outer_loss=ce", domains=two_each)
    pooled, _ = training(work, "search.outer_loss=ce", domains=two_each)
    problem, other = problem_in(watched), problem_in(pooled)
    for seed in range(problem.folds):
        point = problem.suggestions()[-1]
        assert problem.evaluate(point, seed).loss > other.evaluate(point, seed).loss
        assert problem.become(point, seed, 0.5).loss > other.become(point, seed, 0.5).loss


def test_domains_that_have_no_names(work):
    watched, _ = training(work, "search.outer_domains=mean")
    with pytest.raises(DataError, match=r"outer_domains is mean, but no domain has a name; allowed: pooled"):
        problem_in(watched)
