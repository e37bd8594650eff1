"""The one place that turns settings into objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from metaft import data as datasets
from metaft import searches
from metaft.checks import check as check  # `metaft.build.check` is how others call it
from metaft.clip.classifier import Classifier, caption_tokens, group_of, train_only, zero_shot
from metaft.clip.load import Clip, load
from metaft.data import Splits
from metaft.data.types import Split
from metaft.errors import ConfigError, DataError, Problem, unknown
from metaft.evaluation import evaluate
from metaft.evaluation.drift import Drift
from metaft.finetune.fits import Fits, Memory
from metaft.finetune.methods import METHODS
from metaft.finetune.settings import FitSettings
from metaft.hooks import HOOKS, PLAIN, Hook, HookOptions, hook_for
from metaft.hooks.knobs import faults
from metaft.hooks.names import included
from metaft.inner import Step
from metaft.objective import TERMS, Objective, WeightedLoss
from metaft.objective.batches import Reference, TrainBatches
from metaft.objective.schedule import paces
from metaft.search.bilevel import BilevelProblem, ProblemFactory, Solver
from metaft.search.blackbox import earlier
from metaft.search.hypergrad import HypergradSolver
from metaft.search.journal import Journal
from metaft.search.online import Online
from metaft.search.problem import FinetuneProblem
from metaft.search.scales import pulls
from metaft.searches import budget as budget
from metaft.searches import device
from metaft.settings import Config
from metaft.spaces import fixed, recipe, space


@dataclass(frozen=True)
class Workspace:
    """An opened data set and a loaded model: all that search, training and evaluation share."""

    cfg: Config
    device: torch.device
    clip: Clip
    classifier: Classifier  # theta_0; never changed
    splits: Splits
    tokens: Tensor
    shelf: Memory = field(default_factory=Memory)  # of what a search begins with


def workspace(cfg: Config) -> Workspace:
    """Load the model, open every split, build the zero-shot classifier.

    Raises:
        CheckpointError, DataError, ConfigError: what cannot be had, and why.
    """
    where = device(cfg)
    clip = load(cfg.model.name, cfg.model.pretrained, where)
    splits = datasets.load(cfg.data, cfg.seed, clip.view)
    classifier = zero_shot(clip, splits.classes, where)
    train_only(classifier, text=True, freeze=cfg.model.freeze)
    return Workspace(cfg, where, clip, classifier, splits, caption_tokens(clip, splits.classes, where))


def check_objective(work: Workspace, objective: Objective) -> None:
    """Check that the groups an objective names are groups of this model, and its method a hook with such knobs.

    Raises:
        ConfigError: with everything that is not.
    """
    known = {group_of(name) for name, _ in work.classifier.named_parameters()}
    odd = [unknown("objective: groups", group, known) for group in objective.groups if group not in known]
    if objective.method is not None and objective.method not in HOOKS:
        odd.append(unknown("objective: method", objective.method, HOOKS))
    elif objective.method is not None:
        odd += faults(f"objective: method.{objective.method}", HOOKS[objective.method].knobs, objective.knobs)
    if odd:
        raise ConfigError(odd)


def fresh(work: Workspace) -> Classifier:
    """A copy of theta_0 that may be changed."""
    return copy.deepcopy(work.classifier)


def beginning(work: Workspace) -> Classifier:
    """What a learned objective's fine-tune begins with: theta_0, or theta_0 with the head of `objective.head`."""
    head = work.cfg.objective.head
    if head == "zero_shot":
        return work.classifier
    return Fits(partial(fit, work), fit_settings(work, None), work.shelf).model(head)


def bilevel_problem(cfg: Config) -> BilevelProblem:
    """The search problem of these settings."""
    return problem_in(workspace(cfg))


def problem_in(work: Workspace) -> FinetuneProblem:
    """The search problem of an open workspace.

    Raises:
        DataError: the outer set has one class, so that no model can do better on it than by naming that class.
    """
    cfg = work.cfg
    _check_outer(work)
    text = any(TERMS[name].needs_text for name in (*cfg.objective.terms, *cfg.objective.fixed) if name in TERMS)
    train_only(work.classifier, text=text, freeze=cfg.model.freeze)
    model = train_only(beginning(work), text=text, freeze=cfg.model.freeze)
    groups = model.groups()
    count = sum(p.numel() for p in model.trained().values())
    hook, hook_knobs = search_hook(work)
    step = Step(
        model,
        WeightedLoss(groups, count, cfg.objective.penalty_scale),
        cfg.inner.betas,
        cfg.inner.eps,
        accumulate=cfg.inner.accumulate,
        precision=cfg.inner.precision,
        hook=hook,
        knobs=hook_knobs,
    )
    tokens = work.tokens if text else None
    searched = space(cfg, groups, _units(work, step, tokens) if cfg.objective.weight_units == "gradient" else None)
    return FinetuneProblem(
        step,
        work.classifier,
        work.splits.search_data,
        searched,
        recipe(cfg, searched),
        fixed=fixed(cfg),
        tokens=tokens,
        paces=paces(cfg.inner.schedule, cfg.inner.steps, cfg.finetune.warmup, final_steps(work), cfg.inner.stretch),
        batch_size=cfg.inner.batch_size,
        warm_start=cfg.inner.warm_start,
        outer_loss=cfg.search.outer_loss,
        outer_data=cfg.search.outer_data,
        outer_batch_size=cfg.search.outer_batch_size,
        id_drop_max=cfg.search.id_drop_max,
        differentiation=searches.differentiation(cfg),
        device=work.device,
    )


def _units(work: Workspace, step: Step, tokens: Tensor | None) -> dict[str, float]:
    """The weight at which each searched term pulls as hard as cross-entropy."""
    cfg, data = work.cfg, work.splits.id_train
    batches = TrainBatches(data, tokens, Reference(work.classifier, data, work.device), work.device)
    (batch,) = batches.drawn(1, cfg.inner.batch_size, torch.Generator().manual_seed(cfg.seed))
    recipe = {"ce": 1.0, "lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay}
    return pulls(step, batch, recipe, cfg.objective.terms)


def _check_outer(work: Workspace) -> None:
    name = work.cfg.search.outer_data
    split: Split = getattr(work.splits, name)
    seen = split.labels.unique().tolist()
    if len(seen) < 2:
        found = ", ".join(work.splits.classes.names[i] for i in seen)
        raise DataError(f"{name}: all {len(split)} images are of one class ({found}); allowed: at least two classes")


def hook_options(cfg: Config) -> HookOptions:
    """What the settings say of hooks."""
    return HookOptions(cfg.finetune.knobs, cfg.finetune.exclude, cfg.finetune.lora_targets)


def search_hook(work: Workspace) -> tuple[Hook, Mapping[str, Any]]:
    """The hook of `search.method` for the trained parameters, and its knobs.

    Raises:
        ConfigError: a pattern of the settings matches none of them.
    """
    method = work.cfg.search.method
    return (PLAIN, {}) if method is None else hook_for(method, list(work.classifier.trained()), hook_options(work.cfg))


def solver(cfg: Config) -> Solver:
    """The solver of `search.mode`."""
    return searches.solver(cfg, problem_factory(cfg))


def check_search(work: Workspace) -> None:
    """Check that a search can begin: its outer set, its budget, and the run of `search.warm_start`.

    Raises:
        DataError: the outer set has one class; the earlier run is not there or has searched another space.
        ConfigError: the budget does not hold one outer step.
    """
    if searches.online(work.cfg):
        online(work, Journal())
        return
    problem, journal, searcher = problem_in(work), searches.earlier_journal(work.cfg), solver(work.cfg)
    if journal is not None:
        earlier(journal, problem.space)
    if isinstance(searcher, HypergradSolver):
        searcher.check(problem, budget(work.cfg))


def problem_factory(cfg: Config) -> ProblemFactory:
    """What makes the search problem on a device in another process."""
    return partial(_problem_on, cfg)


def _problem_on(cfg: Config, where: str) -> BilevelProblem:
    return bilevel_problem(cfg.model_copy(update={"device": where}))


def final_steps(work: Workspace) -> int:
    """How many steps every method's fine-tune has."""
    own, n = work.cfg.finetune, len(work.splits.id_train)
    return own.epochs * (n // min(n, own.batch_size))


def finetune_cost(work: Workspace) -> float:
    """What one fine-tune costs, in steps of the inner loop's batch size."""
    cfg, n = work.cfg, len(work.splits.id_train)
    return final_steps(work) * min(cfg.finetune.batch_size, n) / min(cfg.inner.batch_size, n)


def online(work: Workspace, journal: Journal) -> Online:
    """The search along one fine-tune.

    Raises:
        ConfigError: `hypergrad.share` of the fine-tune does not hold one outer step.
    """
    cfg, steps = work.cfg, final_steps(work)
    extra = cfg.hypergrad.share * finetune_cost(work)
    return Online(problem_in(work), journal, cfg.seed, searches.steps(cfg), steps, cfg.finetune.warmup, extra)


def fit_settings(
    work: Workspace, learned: Objective | None, log: Callable[[dict[str, Any]], None] | None = None
) -> FitSettings:
    """The settings every method is fitted with."""
    cfg = work.cfg
    settings = FitSettings(
        plain=Objective({"ce": 1.0}, cfg.finetune.lr, cfg.finetune.weight_decay),
        learned=learned,
        options=hook_options(cfg),
        steps=final_steps(work),
        checks=cfg.finetune.epochs,
        batch_size=cfg.finetune.batch_size,
        warmup=cfg.finetune.warmup,
        betas=cfg.inner.betas,
        eps=cfg.inner.eps,
        penalty_scale=cfg.objective.penalty_scale,
        freeze=cfg.model.freeze,
        tokens=work.tokens,
        eval_batch_size=cfg.evaluation.batch_size,
        seed=cfg.seed,
        device=work.device,
    )
    return settings if log is None else replace(settings, log=log)


def methods(work: Workspace) -> list[str]:
    """The methods to compare, without those that this data set cannot serve, and the one whose model is kept.

    Raises:
        ConfigError: the one whose model is to be kept cannot be served.
    """
    able = [name for name, method in METHODS.items() if method.sees(work.splits) is not None]
    kept = work.cfg.finetune.method
    if kept not in able:
        raise ConfigError([Problem("finetune.method", f"{kept!r}, which this data set cannot serve", ", ".join(able))])
    return [name for name in dict.fromkeys((*work.cfg.evaluation.methods, kept)) if name in able]


def check_patterns(work: Workspace) -> None:
    """Check that every pattern of parameter names in the settings matches one.

    Raises:
        ConfigError: one does not.
    """
    cfg = work.cfg
    model = train_only(fresh(work), text=False, freeze=cfg.model.freeze)
    included(list(model.trained()), cfg.finetune.exclude)
    if "lora" in (cfg.search.method, cfg.finetune.method, *cfg.evaluation.methods):
        hook_for("lora", list(model.trained()), hook_options(cfg))[0].variables(model.trained(), torch.Generator())


def fit(work: Workspace, name: str, settings: FitSettings) -> Classifier:
    """A method's classifier, fitted to what the method may see of the data.

    Raises:
        DivergedError: the fit diverged.
    """
    seen = METHODS[name].sees(work.splits)
    assert seen is not None  # `methods` has left it out
    return METHODS[name].fit(fresh(work), seen, settings)


def drift(work: Workspace) -> Drift:
    """How far a classifier is from theta_0, as a function of it."""
    return Drift(work.classifier, work.splits.search_data, work.cfg.evaluation.batch_size, work.device)


def evaluated(work: Workspace, classifier: Classifier) -> dict[str, dict[str, Any]]:
    """A classifier's metrics on every test split."""
    cfg = work.cfg
    return evaluate(
        classifier,
        work.splits.tests,
        batch_size=cfg.evaluation.batch_size,
        resamples=cfg.evaluation.bootstrap,
        seed=cfg.seed,
        device=work.device,
    )
