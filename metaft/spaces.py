"""The search space that settings mean, and how its points become objectives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from metaft.hooks import HOOKS, Knob
from metaft.hooks.knobs import settled
from metaft.hooks.registry import real_knobs
from metaft.objective import Objective, base_name
from metaft.objective.space import Float, Space
from metaft.settings import Config

WEIGHTS = (1e-4, 10.0)  # AutoFT's range of a term's weight
LR_FACTOR = 100.0  # lr is searched this far to both sides of plain fine-tuning's
WEIGHT_DECAY = (0.0, 1.0)


def space(cfg: Config, groups: Iterable[str] = (), units: Mapping[str, float] | None = None) -> Space:
    """The searched terms, then `lr` and `wd`, then the real knobs of `search.method`, each in its range.

    What `objective.per_group` names has a dimension `NAME@GROUP` for each of these parameter groups.

    Args:
        units: factors of the terms' standard ranges, 1 where none is given; ranges under `objective.bounds` stay.
    """
    objective, units = cfg.objective, units or {}
    low = WEIGHTS[0] if objective.weight_scale == "log" else 0.0
    standard = {name: (low * units.get(name, 1.0), WEIGHTS[1] * units.get(name, 1.0)) for name in objective.terms}
    weights = [Float(t, *{**standard, **objective.bounds}[t], scale=objective.weight_scale) for t in objective.terms]
    lr = objective.bounds.get("lr", (cfg.finetune.lr / LR_FACTOR, cfg.finetune.lr * LR_FACTOR))
    every = [*weights, Float("lr", *lr, log=True), Float("wd", *objective.bounds.get("wd", WEIGHT_DECAY))]
    every += [_knob_dimension(name, knob, objective.bounds) for name, knob in knobs(cfg).items()]
    searched = [d for d in every if d.name not in objective.fixed]
    split = {d.name: [replace(d, name=f"{d.name}@{g}") for g in groups] for d in searched}
    return Space([own for d in searched for own in (split[d.name] if d.name in objective.per_group else [d])])


def knobs(cfg: Config) -> dict[str, Knob]:
    """The real knobs of `search.method` by their names in the space."""
    return {} if cfg.search.method is None else real_knobs(cfg.search.method)


def _knob_dimension(name: str, knob: Knob, bounds: Mapping[str, tuple[float, float]]) -> Float:
    own = knob.dimension
    assert isinstance(own, Float)
    low, high = bounds.get(name, (own.low, own.high))
    return replace(own, name=name, low=low, high=high)


def recipe(cfg: Config, searched: Space) -> Tensor:
    """Where a search starts: plain fine-tuning with `objective.recipe` on top, in [0.05, 0.95]^K."""
    own = cfg.finetune.knobs.get(cfg.search.method or "", {})
    defaults = {name: own.get(knob.name, knob.default) for name, knob in knobs(cfg).items()}
    plain = {"lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay, **defaults, **cfg.objective.recipe}
    values = {name: plain.get(base_name(name), 0.0) for name in searched.names}
    return searched.to_unit(values).clamp(0.05, 0.95)


def fixed(cfg: Config) -> dict[str, float]:
    """What is not searched; lr and wd stand here too where every group has its own, for groups without parameters."""
    whole = {"lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay}
    return {**{name: whole[name] for name in cfg.objective.per_group if name in whole}, **cfg.objective.fixed}


def objective_of(cfg: Config, params: Mapping[str, Any]) -> Objective:
    """A point of the space, with the fixed terms, as an objective."""
    method = cfg.search.method
    values = {} if method is None else settled(HOOKS[method].knobs, cfg.finetune.knobs.get(method, {}))
    shape = {f"{method}.{name}": value for name, value in values.items()}
    return replace(Objective.from_values({**shape, **fixed(cfg), **params}, method), head=cfg.objective.head)
