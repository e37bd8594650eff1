"""Names in the settings against the registries, and settings against each other."""

from __future__ import annotations

from typing import Any

import torch

from metaft import data as datasets
from metaft.clip.load import models
from metaft.errors import ConfigError, Problem, unknown
from metaft.finetune.methods import METHODS
from metaft.hooks import HOOKS, Knob
from metaft.hooks.knobs import faults
from metaft.hooks.registry import real_knobs
from metaft.inner import refusals
from metaft.objective import TERMS
from metaft.search.executors import EXECUTORS
from metaft.search.outer import OUTER_LOSSES
from metaft.settings import Config, SearchConfig


def check(cfg: Config) -> None:
    """Check every name in the settings against its registry, and what names must agree on.

    Raises:
        ConfigError: with every fault found.
    """
    found = [*_names(cfg), *_bounds(cfg), *_solver_settings(cfg), *_knobs(cfg)]
    if cfg.data.format in datasets.FORMATS:
        found += datasets.problems(cfg.data)
    if cfg.device != "auto":
        try:
            torch.empty(0, device=cfg.device)
        except (RuntimeError, AssertionError) as error:
            found.append(Problem("device", f"{cfg.device!r} ({str(error).splitlines()[0]})", "auto, cpu, cuda, cuda:N"))
    if found:
        raise ConfigError(found)


def _names(cfg: Config) -> list[Problem]:
    """Names that no registry holds."""
    knobs = _searched_knobs(cfg)
    searched = {*cfg.objective.terms, "lr", "wd", *knobs} - set(cfg.objective.fixed)
    own = {"lr", "wd", *(name for name, term in TERMS.items() if term.penalty)}
    lists: list[tuple[str, Any, Any]] = [
        ("data.format", [cfg.data.format], datasets.FORMATS),
        ("objective.terms", cfg.objective.terms, TERMS),
        ("objective.fixed", cfg.objective.fixed, {*TERMS, "lr", "wd", *knobs}),
        ("objective.per_group", cfg.objective.per_group, searched & own),
        ("objective.bounds", cfg.objective.bounds, searched),
        ("objective.recipe", cfg.objective.recipe, searched),
        ("search.outer_loss", [cfg.search.outer_loss], OUTER_LOSSES),
        ("search.executor", [cfg.search.executor], EXECUTORS),
        ("finetune.method", [cfg.finetune.method], METHODS),
        ("finetune.knobs", cfg.finetune.knobs, METHODS),
        ("search.method", [] if cfg.search.method is None else [cfg.search.method], HOOKS),
        ("evaluation.methods", cfg.evaluation.methods, METHODS),
    ]
    if ":" not in cfg.model.name:
        lists.append(("model.name", [cfg.model.name], models()))
    found = [unknown(field, name, known) for field, names, known in lists for name in names if name not in known]
    differentiated = sorted(searched) if cfg.search.mode == "hypergrad" else ()
    return found + refusals(cfg.hypergrad.estimator, cfg.hypergrad.storage, differentiated)


def _searched_knobs(cfg: Config) -> dict[str, Knob]:
    """The knobs of `search.method` by their names in the space."""
    return real_knobs(cfg.search.method) if cfg.search.method in HOOKS else {}


def _knobs(cfg: Config) -> list[Problem]:
    """Values of methods' own knobs that are none."""
    own = {name: values for name, values in cfg.finetune.knobs.items() if name in METHODS}
    found = [p for name, values in own.items() for p in faults(f"finetune.knobs.{name}", METHODS[name].knobs, values)]
    for field, values in (("objective.fixed", cfg.objective.fixed), ("objective.recipe", cfg.objective.recipe)):
        wrong = [(k, values[name]) for name, k in _searched_knobs(cfg).items() if name in values]
        found += [Problem(f"{field}.{k.name}", repr(v), k.allowed) for k, v in wrong if not k.admits(v)]
    return found


def _solver_settings(cfg: Config) -> list[Problem]:
    """Search settings that the solver of `search.mode` cannot use."""
    own: SearchConfig = cfg.search
    found: list[Problem] = []
    if own.mode == "hypergrad" and own.executor != "serial":
        found.append(Problem("search.executor", f"{own.executor!r} with hypergrad, which goes step by step", "serial"))
    if own.mode == "hypergrad" and own.stop_hopeless:
        found.append(Problem("search.stop_hopeless", "true with hypergrad", "false, or --mode tpe or random"))
    if own.mode in ("tpe", "random") and own.init == "tpe":
        found.append(Problem("search.init", f"'tpe' with {own.mode}", "recipe, or --mode hypergrad"))
    if own.init == "tpe" and cfg.hypergrad.regime == "online":
        found.append(Problem("search.init", "'tpe' with hypergrad.regime online", "recipe, or regime restart"))
    if own.mode in ("hypergrad", "random") and own.warm_start is not None:
        found.append(Problem("search.warm_start", f"given with {own.mode}", "null, or --mode tpe"))
    if own.executor == "serial" and own.workers != 1:
        others = ", ".join(name for name in EXECUTORS if name != "serial")
        found.append(Problem("search.workers", f"{own.workers} with executor serial", f"1, or one of {others}"))
    return found


def _bounds(cfg: Config) -> list[Problem]:
    """Ranges that make no dimension."""
    problems = []
    knobs = _searched_knobs(cfg)
    for name, (low, high) in cfg.objective.bounds.items():
        if name in knobs:
            if not (knobs[name].admits(low) and knobs[name].admits(high) and low < high):
                allowed = f"low < high within {knobs[name].allowed}"
                problems.append(Problem(f"objective.bounds.{name}", f"[{low}, {high}]", allowed))
            continue
        logarithmic = name == "lr" or (name != "wd" and cfg.objective.weight_scale == "log")
        if not 0 <= low < high or (logarithmic and low == 0):
            allowed = "0 < low < high (log scale)" if logarithmic else "0 <= low < high"
            problems.append(Problem(f"objective.bounds.{name}", f"[{low}, {high}]", allowed))
    return problems
