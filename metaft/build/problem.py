"""Building the search problem that settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from metaft.build import space as spaces
from metaft.build.fits import beginning, final_steps
from metaft.build.workspace import Workspace, workspace
from metaft.clip.classifier import grouped
from metaft.config.schema import Config
from metaft.data.types import Split
from metaft.errors import DataError
from metaft.hooks.hook import PLAIN, Hook
from metaft.hooks.registry import hook_for
from metaft.inner.step import Step
from metaft.objective.registry import TERMS
from metaft.objective.weighted import WeightedLoss
from metaft.search.bilevel import BilevelProblem, ProblemFactory
from metaft.search.problem.finetune import FinetuneProblem, InnerRuns
from metaft.search.problem.scales import pulls
from metaft.training.batches import Reference, TrainBatches
from metaft.training.schedule import paces


def bilevel_problem(cfg: Config) -> BilevelProblem:
    """Load the model and the data of these settings, and build the search problem on them."""
    return problem_in(workspace(cfg))


def problem_factory(cfg: Config) -> ProblemFactory:
    """A picklable function from a device's name to the search problem, for workers in other processes."""
    return partial(_problem_on, cfg)


def _problem_on(cfg: Config, device: str) -> BilevelProblem:
    return bilevel_problem(cfg.model_copy(update={"device": device}))


def problem_in(work: Workspace) -> FinetuneProblem:
    """The search problem of an open workspace.

    Raises:
        DataError: the outer set has one class only, so that always naming that class is already perfect on it.
    """
    cfg = work.cfg
    _check_outer(work)
    runs = inner_runs(work)
    space = spaces.space(
        cfg, _groups(runs.step), _units(work, runs) if cfg.objective.weight_units == "gradient" else None
    )
    start, fixed = spaces.recipe(cfg, space), spaces.fixed(cfg)
    return FinetuneProblem(runs, work.splits.search_data, space, start, fixed, cfg.search, cfg.hypergrad, work.device)


def inner_runs(work: Workspace) -> InnerRuns:
    """The inner loop of an open workspace."""
    cfg, data = work.cfg, work.splits.id_train
    text = _needs_text(cfg)
    batches = TrainBatches(
        data, work.tokens if text else None, Reference(work.classifier, data, work.device), work.device
    )
    pace = paces(cfg.inner.schedule, cfg.inner.steps, cfg.finetune.warmup, final_steps(work), cfg.inner.stretch)
    return InnerRuns(inner_step(work, text), batches, cfg.inner.batch_size, pace, cfg.inner.warm_start)


def inner_step(work: Workspace, text: bool) -> Step:
    """One step of the inner loop, from where the fine-tune of a learned objective begins."""
    cfg, names, model = work.cfg, work.trained(text=text), beginning(work)
    count = sum(model.get_parameter(name).numel() for name in names)
    loss = WeightedLoss(grouped(names), count, cfg.objective.penalty_scale)
    return Step(model, names, loss, cfg.inner, *search_hook(cfg, names))


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
    """The weight at which each searched term pulls as hard as cross-entropy, by name."""
    cfg = work.cfg
    reference = Reference(work.classifier, work.splits.id_train, work.device)  # not the search's, which stays empty
    batches = replace(runs.batches, reference=reference)
    (batch,) = batches.drawn(1, cfg.inner.batch_size, torch.Generator().manual_seed(cfg.seed))
    recipe = {"ce": 1.0, "lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay}
    return pulls(runs.step, batch, recipe, cfg.objective.terms)


def _check_outer(work: Workspace) -> None:
    name = work.cfg.search.outer_data
    split: Split = getattr(work.splits, name)
    seen = split.labels.unique().tolist()
    if len(seen) < 2:
        classes = ", ".join(work.splits.classes.names[i] for i in seen)
        raise DataError(f"{name}: all {len(split)} images are of one class ({classes}); allowed: at least two classes")
