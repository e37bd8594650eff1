"""Building the search problem that settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from metaft.build import space as spaces
from metaft.build.fits import final_steps, fits, head_in_fold, plain_logits
from metaft.build.sources import fold_parts, sources, trains
from metaft.build.workspace import Workspace, workspace
from metaft.clip.classifier import grouped
from metaft.config.schema import Config
from metaft.data.folds import Fold
from metaft.data.types import Split
from metaft.errors import DataError
from metaft.finetune.fits import Fits
from metaft.hooks.hook import PLAIN, Hook
from metaft.hooks.registry import hook_for
from metaft.inner.running import RunningStep
from metaft.inner.sharded import ShardedStep
from metaft.inner.step import Step
from metaft.metrics import METRICS
from metaft.names import HEAD, OOD_VAL
from metaft.objective.heads import AUTO, HEADS
from metaft.objective.registry import TERMS
from metaft.objective.weighted import WeightedLoss
from metaft.search.bilevel import BilevelProblem, ProblemFactory
from metaft.search.problem.finetune import FinetuneProblem
from metaft.search.problem.judging import Judging
from metaft.search.problem.runs import FinalRun, HeadOf, InnerFold, InnerRuns
from metaft.search.problem.scales import pulls, sizes
from metaft.shards import sharded
from metaft.training.augment import AUGMENTS
from metaft.training.batches import TrainBatches
from metaft.training.reference import Reference
from metaft.training.schedule import paces


def bilevel_problem(cfg: Config) -> BilevelProblem:
    """Load the model and the data of these settings, and build the search problem on them."""
    return problem_in(workspace(cfg))


def problem_factory(cfg: Config) -> ProblemFactory:
    """A picklable function from a device's name to the search problem, for workers in other processes."""
    return partial(_problem_on, cfg)


def _problem_on(cfg: Config, device: str) -> BilevelProblem:
    return bilevel_problem(cfg.model_copy(update={"device": device}))


def problem_in(work: Workspace, begun: Fits | None = None) -> FinetuneProblem:
    """The search problem of an open workspace.

    Args:
        begun: the methods whose heads inner loops begin with, and plain fine-tuning, which sets the ID floor; each is
            fitted when it is first needed. By default they are kept in memory.

    Raises:
        DataError: the outer set has one class only, so that always naming that class is already perfect on it, or no
            named domains where the settings ask for them.
    """
    cfg = work.cfg
    _check_outer(work)
    begun = begun or fits(work)
    runs = inner_runs(work, begun)
    units = _units(work, runs)
    heads = heads_of(work)
    space = spaces.space(cfg, _groups(runs.step), units, sources(work), heads)
    start, fixed = spaces.recipe(cfg, space), {**spaces.fixed(cfg), HEAD: heads[0]}
    outer_sets = [fold.judging for fold in runs.folds]
    judging = Judging(outer_sets, work.splits.id_val, work.search, partial(plain_logits, begun), work.device)
    return FinetuneProblem(runs, judging, space, start, fixed, cfg.hypergrad)


def heads_of(work: Workspace) -> tuple[str, ...]:
    """The heads to begin with: that of the settings, or all to choose from, those fitted on ood_val where it trains."""
    head = work.cfg.objective.head
    if head != AUTO:
        return (head,)
    apart = trains(work)
    return tuple(name for name, registered in HEADS.items() if apart or not registered.fits_ood_val)


def inner_runs(work: Workspace, begun: Fits) -> InnerRuns:
    """The inner loops of an open workspace; arguments as for `problem_in`."""
    cfg = work.cfg
    text = _needs_text(cfg)
    reference = Reference(work.classifier, work.splits.id_train, work.device)
    parts, apart = fold_parts(work), trains(work)
    heads = [partial(head_in_fold, begun, i if apart else None) for i in range(len(parts))]
    folds = tuple(_fold(work, part, head, text, reference) for part, head in zip(parts, heads, strict=True))
    pace = paces(cfg.inner.schedule, cfg.inner.steps, cfg.finetune.warmup, final_steps(work), cfg.inner.stretch)
    final = FinalRun(final_steps(work), cfg.finetune.warmup, AUGMENTS[cfg.finetune.augment])
    return InnerRuns(inner_step(work, text), folds, final, cfg.inner.batch_size, pace, cfg.inner.warm_start)


def _fold(work: Workspace, fold: Fold, head: HeadOf, text: bool, reference: Reference) -> InnerFold:
    """What is trained on and what judges in one fold."""
    splits = work.splits
    of_name = {**splits.search_data.sources, OOD_VAL: fold.fitting}
    chosen = {name: of_name[name] for name in sources(work)}
    augment = AUGMENTS[work.cfg.inner.augment]
    batches = TrainBatches(splits.id_train, work.tokens if text else None, reference, work.device, chosen, augment)
    judging = fold.judging if work.cfg.search.outer_data == OOD_VAL else splits.id_val
    return InnerFold(batches, judging, head)


def inner_step(work: Workspace, text: bool) -> Step:
    """One step of the inner loop, from theta_0."""
    cfg, names = work.cfg, work.trained(text=text)
    model = work.classifier.in_precision("float32")  # within which a step has its own
    count = sum(model.get_parameter(name).numel() for name in names)
    loss = WeightedLoss(grouped(names), count, cfg.objective.penalty_scale)
    on_modules = cfg.inner.checkpointing or cfg.inner.compile
    kind = ShardedStep if sharded(cfg.inner) else RunningStep if on_modules else Step
    return kind(model, names, loss, cfg.inner, *search_hook(cfg, names))


def search_hook(cfg: Config, names: tuple[str, ...]) -> tuple[Hook, Mapping[str, Any]]:
    """The hook of `search.method` for trained parameters of these names, and its knobs.

    Raises:
        ConfigError: a pattern of the settings matches none of them.
    """
    return (PLAIN, {}) if cfg.search.method is None else hook_for(cfg.search.method, names, cfg.finetune)


def _needs_text(cfg: Config) -> bool:
    """Whether a term, searched or fixed, needs the text tower."""
    return any(TERMS[name].needs_text for name in (*cfg.objective.terms, *cfg.objective.fixed) if name in TERMS)


def _groups(step: Step) -> tuple[str, ...]:
    return tuple(grouped(step.pretrained))


def _units(work: Workspace, runs: InnerRuns) -> dict[str, float]:
    """The weight at which each searched term pulls as hard as cross-entropy, or as others do, by name."""
    cfg = work.cfg
    if cfg.objective.weight_units == "fixed":
        return sizes(runs.step) if cfg.objective.penalty_scale == "standard" else {}
    reference = Reference(work.classifier, work.splits.id_train, work.device)  # not the search's, which stays empty
    batches = replace(runs.folds[0].batches, reference=reference)
    (batch,) = batches.drawn(1, cfg.inner.batch_size, torch.Generator().manual_seed(cfg.seed))
    recipe = {"ce": 1.0, "lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay}
    return pulls(runs.step, batch, recipe, cfg.objective.terms)


def _check_outer(work: Workspace) -> None:
    name, how = work.cfg.search.outer_data, work.cfg.search.outer_domains
    split: Split = getattr(work.splits, name)
    seen = split.labels.unique().tolist()
    if len(seen) < 2:
        classes = ", ".join(work.splits.classes.names[i] for i in seen)
        raise DataError(f"{name}: all {len(split)} images are of one class ({classes}); allowed: at least two classes")
    if how != "pooled" and split.domains is None:
        raise DataError(f"{name}: search.outer_domains is {how}, but no domain has a name; allowed: pooled")
    if METRICS[work.search.metric].by_group and split.parts is None:
        one = f"search.metric is {work.search.metric}, but there are no two domains or groups"
        raise DataError(f"{name}: {one}; allowed: images of several, or another metric")
