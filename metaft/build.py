"""The one place that turns settings into objects."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaft import data as datasets
from metaft.checks import check as check  # `metaft.build.check` is how others call it
from metaft.clip.classifier import Classifier, caption_tokens, group_of, train_only, zero_shot
from metaft.clip.load import Clip, load
from metaft.config import Config
from metaft.data import Splits
from metaft.errors import ConfigError, Problem, unknown
from metaft.evaluation import evaluate
from metaft.evaluation.drift import Drift
from metaft.finetune.methods import METHODS
from metaft.finetune.settings import FitSettings
from metaft.hooks import HOOKS, PLAIN, Hook, HookOptions, hook_for
from metaft.hooks.knobs import faults
from metaft.hooks.names import included
from metaft.inner import Options, Step
from metaft.objective import TERMS, Objective, WeightedLoss
from metaft.search.bilevel import BilevelProblem, Budget, ProblemFactory, Solver
from metaft.search.blackbox import BlackBoxSolver, earlier
from metaft.search.executors import EXECUTORS, Place
from metaft.search.hypergrad import HypergradSolver
from metaft.search.problem import Differentiation, FinetuneProblem
from metaft.search.random import Uniform
from metaft.search.session import FinalChoice
from metaft.search.tpe import TPE
from metaft.spaces import fixed, recipe, space


def device(cfg: Config) -> torch.device:
    """The configured device; `auto` is a GPU where there is one."""
    if cfg.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(cfg.device)


@dataclass(frozen=True)
class Workspace:
    """An opened data set and a loaded model: all that search, training and evaluation share."""

    cfg: Config
    device: torch.device
    clip: Clip
    classifier: Classifier  # theta_0; never changed
    splits: Splits
    tokens: Tensor


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


def bilevel_problem(cfg: Config) -> BilevelProblem:
    """The search problem of these settings."""
    return problem_in(workspace(cfg))


def problem_in(work: Workspace) -> FinetuneProblem:
    """The search problem of an open workspace."""
    cfg = work.cfg
    text = any(TERMS[name].needs_text for name in (*cfg.objective.terms, *cfg.objective.fixed) if name in TERMS)
    train_only(work.classifier, text=text, freeze=cfg.model.freeze)
    groups = work.classifier.groups()
    searched = space(cfg, groups)
    count = sum(p.numel() for p in work.classifier.trained().values())
    hook, hook_knobs = search_hook(work)
    step = Step(
        work.classifier,
        WeightedLoss(groups, count, cfg.objective.penalty_scale),
        cfg.inner.betas,
        cfg.inner.eps,
        accumulate=cfg.inner.accumulate,
        precision=cfg.inner.precision,
        hook=hook,
        knobs=hook_knobs,
    )
    return FinetuneProblem(
        step,
        work.classifier,
        work.splits.search_data,
        searched,
        recipe(cfg, searched),
        fixed=fixed(cfg),
        tokens=work.tokens if text else None,
        steps=cfg.inner.steps,
        batch_size=cfg.inner.batch_size,
        warm_start=cfg.inner.warm_start,
        outer_loss=cfg.search.outer_loss,
        outer_batch_size=cfg.search.outer_batch_size,
        differentiation=differentiation(cfg),
        device=work.device,
    )


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


def differentiation(cfg: Config) -> Differentiation:
    """How the settings want hypergradients computed."""
    own = cfg.hypergrad
    options = Options(
        memory=None if own.memory is None else own.memory * 2**30,
        offload=own.offload,
        last=own.last,
        solver=own.solver,
        iterations=own.iterations,
        damping=own.damping,
        scale=own.scale,
    )
    return Differentiation(own.estimator, own.storage, options, own.explosion)


def solver(cfg: Config) -> Solver:
    """The solver of `search.mode`."""
    own, final = cfg.search, FinalChoice(cfg.search.candidates, cfg.search.final_share)
    if own.mode == "hypergrad":
        hyper = cfg.hypergrad
        return HypergradSolver(cfg.seed, final, hyper.lr, hyper.clip, hyper.explosion, hyper.check_every)
    place = Place(problem_factory(cfg), own.workers, devices(cfg))
    everywhere = partial(
        BlackBoxSolver,
        seed=cfg.seed,
        final=final,
        executor=lambda problem: EXECUTORS[own.executor].make(problem, place),
        stopping=own.stop_hopeless,
    )
    if own.mode == "random":
        return everywhere(Uniform)
    options = cfg.tpe.model_dump()
    return everywhere(partial(TPE, **options), warm_start=_earlier_journal(cfg))


def _earlier_journal(cfg: Config) -> Path | None:
    run = cfg.search.warm_start
    return None if run is None else run / "search" / "trials.jsonl"


def check_warm_start(work: Workspace) -> None:
    """Check that the run of `search.warm_start` has searched this space.

    Raises:
        DataError: it has not; names the first parameter that differs.
    """
    journal = _earlier_journal(work.cfg)
    if journal is not None:
        earlier(journal, problem_in(work).space)


def problem_factory(cfg: Config) -> ProblemFactory:
    """What makes the search problem on a device in another process."""
    return partial(_problem_on, cfg)


def _problem_on(cfg: Config, where: str) -> BilevelProblem:
    return bilevel_problem(cfg.model_copy(update={"device": where}))


def devices(cfg: Config) -> list[str]:
    """The devices of workers, in turn: all GPUs where `auto` finds any, else the configured device alone."""
    if cfg.device == "auto" and torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [str(device(cfg))]


def budget(cfg: Config) -> Budget:
    """The search's limits."""
    return Budget(cfg.search.trials, cfg.search.seconds, cfg.search.step_equivalents)


def fit_settings(
    work: Workspace, learned: Objective | None, log: Callable[[dict[str, Any]], None] | None = None
) -> FitSettings:
    """The settings every method is fitted with."""
    cfg, n = work.cfg, len(work.splits.id_train)
    settings = FitSettings(
        plain=Objective({"ce": 1.0}, cfg.finetune.lr, cfg.finetune.weight_decay),
        learned=learned,
        options=hook_options(cfg),
        steps=cfg.finetune.epochs * (n // min(n, cfg.finetune.batch_size)),
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
