"""Faults that show only once the data and the model are open: methods, patterns of names, groups of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch

from metaft import ranks
from metaft.build.fits import fit_settings, servable
from metaft.build.workspace import Workspace
from metaft.clip.classifier import group_of, picked_parameters
from metaft.clip.precision import served
from metaft.config.schema import EvaluationConfig
from metaft.errors import ConfigError, Fault, unknown
from metaft.finetune.method import Method
from metaft.finetune.methods import METHODS
from metaft.finetune.trainee import hook_of
from metaft.hooks.knobs import faults as knob_faults
from metaft.hooks.patterns import included
from metaft.hooks.registry import HOOKS, hook_for
from metaft.inner.registry import ESTIMATORS
from metaft.objective.heads import AUTO
from metaft.objective.objective import Objective
from metaft.search.registry import HYPERGRAD
from metaft.shards import refusal, sharded


def faults_in(work: Workspace, learned: Objective | None = None) -> list[Fault]:
    """Faults of settings, and of a given objective, that the opened data or model cannot serve."""
    faults = [*_compute(work), *_methods(work), *_patterns(work), *_needs(work), *_ranks(work), *_on_shards(work)]
    return faults if learned is None else [*faults, *_objective(work, learned)]


def _compute(work: Workspace) -> list[Fault]:
    """Faults of a precision that the device lacks, of checkpointing and compiled blocks in models that cannot."""
    how, inner, able = work.cfg.finetune, work.cfg.inner, served(work.device)
    faults = []
    for section, settings in (("finetune", how), ("inner", inner)):
        if settings.precision not in able:
            known = get_args(type(settings).model_fields["precision"].annotation)
            allowed = ", ".join(name for name in able if name in known)
            faults.append(Fault(f"{section}.precision", f"{settings.precision!r} on {work.device.type}", allowed))
    if not hasattr(work.clip.model, "set_grad_checkpointing"):
        asked = [name for name, on in (("finetune", how.checkpointing), ("inner", inner.checkpointing)) if on]
        without = "true, and the model has no set_grad_checkpointing"
        faults += [Fault(f"{name}.checkpointing", without, "false") for name in asked]
    drawing = any(module.training for module in work.classifier.modules())
    for name, on in (("checkpointing", inner.checkpointing), ("compile", inner.compile)):
        if on and drawing:
            faults.append(Fault(f"inner.{name}", "true, and parts of the model draw at random (dropout)", "false"))
    for section, step in (("finetune", how), ("inner", inner)):
        if step.compile and sharded(step):
            faults.append(Fault(f"{section}.compile", f"true, with {section}.shard on several ranks", "one of them"))
    return faults


def _methods(work: Workspace) -> list[Fault]:
    """Faults of methods that the data set cannot serve; those of the default list are left out instead."""
    able, cfg, usual = servable(work), work.cfg, EvaluationConfig().methods
    named = [("finetune.method", cfg.finetune.method)] if cfg.finetune.method != AUTO else []
    named += [("evaluation.methods", name) for name in cfg.evaluation.methods if name not in usual]
    found = "which this data set cannot serve"
    return [Fault(field, f"{name!r}, {found}", ", ".join(able)) for field, name in named if name not in able]


def _ranks(work: Workspace) -> list[Fault]:
    """Faults of what several ranks cannot share: batches that they do not divide, and trials of other processes."""
    count, cfg = ranks.count(), work.cfg
    sizes = {"inner.batch_size": cfg.inner.batch_size, "finetune.batch_size": cfg.finetune.batch_size}
    faults = [
        Fault(field, f"{size}, which {count} ranks do not divide", f"a multiple of {count}")
        for field, size in sizes.items()
        if size % count
    ]
    if count > 1 and ":" in cfg.device:
        faults.append(Fault("device", f"{cfg.device!r} on {count} ranks", "auto, cuda or cpu: each has one of its own"))
    if work.device.type == "cuda" and ranks.beside() > (gpus := torch.cuda.device_count()):
        faults.append(Fault("device", f"{gpus} GPUs for {ranks.beside()} ranks of a machine", "a rank a GPU, or cpu"))
    executors = {"search.executor": cfg.search.executor, "evaluation.executor": cfg.evaluation.executor}
    faults += [Fault(f, f"{e} on {count} ranks", "serial") for f, e in executors.items() if count > 1 and e != "serial"]
    return faults


def _on_shards(work: Workspace) -> list[Fault]:
    """Faults of hypergradients that need states whole where ranks hold parts of them."""
    how, where = work.cfg.hypergrad, "with inner.shard on several ranks"
    if work.cfg.search.mode != HYPERGRAD or not sharded(work.cfg.inner):
        return []
    able, faults = [name for name, kind in ESTIMATORS.items() if not kind.whole], []
    if how.estimator not in able:
        faults.append(Fault("hypergrad.estimator", f"{how.estimator!r} {where}", ", ".join(able)))
    if how.regime == "online":
        faults.append(Fault("hypergrad.regime", f"online, {where}", "restart"))
    if how.check_every:
        faults.append(Fault("hypergrad.check_every", f"{how.check_every}, {where}", "0"))
    return faults


def _patterns(work: Workspace) -> list[Fault]:
    """Faults of patterns that match no parameter, and of hooks that find none to act on or cannot be given shards."""
    cfg, faults = work.cfg, list[Fault]()
    try:
        names = work.trained(text=False)
        included(names, cfg.finetune.exclude)
    except ConfigError as error:
        return list(error.faults)
    asked = (cfg.search.method, cfg.finetune.method, *cfg.evaluation.methods)
    for name in (name for name in HOOKS if name in asked):
        try:
            hook = hook_for(name, names, cfg.finetune)[0]
            if name == "lora":
                hook.variables(picked_parameters(work.classifier, names), torch.Generator())
            if sharded(cfg.finetune) and not hook.entrywise:
                faults.append(refusal("finetune.shard", repr(name)))
            if sharded(cfg.inner) and name == cfg.search.method and not hook.entrywise:
                faults.append(refusal("inner.shard", repr(name)))
        except ConfigError as error:
            faults += error.faults
    return faults + [
        fault for name, method in METHODS.items() if name in asked for fault in _frozen(name, method, names)
    ]


def _frozen(name: str, method: Method, trained: Sequence[str]) -> list[Fault]:
    """Faults of parameters that a method makes of others that learn, and that are none of those trained."""
    return [
        Fault(
            "evaluation.methods",
            f"{name!r} learns what {made} is made of, and model.freeze keeps it",
            "other methods, or model.freeze without it",
        )
        for made in method.makes
        if made not in trained
    ]


def _needs(work: Workspace) -> list[Fault]:
    """Faults of methods that need what captions or model do not have, or whole tensors where shards are held."""
    faults, settings = list[Fault](), fit_settings(work)
    for name in dict.fromkeys((work.cfg.finetune.method, *work.cfg.evaluation.methods)):
        if name in METHODS:
            try:
                METHODS[name].needs(work.classifier, work.tokens)
            except ConfigError as error:
                faults += error.faults
            if sharded(settings.finetune) and METHODS[name].whole(settings):
                faults.append(refusal("finetune.shard", repr(name)))
    return faults


def _objective(work: Workspace, objective: Objective) -> list[Fault]:
    """Faults of groups and sources that model and data do not have, of no weight, and of a method and its knobs."""
    stages = (objective, *(stage for _, stage in objective.schedule))
    groups = dict.fromkeys(group for stage in stages for group in stage.groups)
    named = (
        ("groups", groups, {group_of(name) for name, _ in work.classifier.named_parameters()}),
        ("sources", objective.trained_sources, work.splits.search_data.sources),
    )
    faults = [unknown(f"objective: {what}", x, known) for what, names, known in named for x in names if x not in known]
    if not all(stage.weighted for stage in stages):
        faults.append(Fault("objective: terms", "nothing with a weight, now or later", "a term with a weight above 0"))
    if objective.method is None:
        return faults
    if objective.method not in HOOKS:
        return [*faults, unknown("objective: method", objective.method, HOOKS)]
    field = f"objective: method.{objective.method}"
    odd = knob_faults(field, HOOKS[objective.method].knobs, objective.knobs)
    if not odd and sharded(work.cfg.finetune):
        hook, _ = hook_of(objective, work.trained(text=objective.needs_text), fit_settings(work))
        odd = [] if hook.entrywise else [refusal("finetune.shard", repr(objective.method))]
    return faults + odd
