"""The search space that settings describe, and how its points become objectives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from metaft.config.schema import Config
from metaft.errors import ConfigError, Fault
from metaft.hooks.knobs import Knob, settled
from metaft.hooks.registry import HOOKS, searchable_knobs
from metaft.names import ALPHA, HEAD, Name, source_name
from metaft.objective.heads import AUTO, ZERO_SHOT
from metaft.objective.objective import Objective
from metaft.space import SCALES, Categorical, Float, Space

WEIGHTS = (1e-4, 10.0)  # AutoFT's range of a term's weight
LR_FACTOR = 100.0  # lr is searched this far below and above plain fine-tuning's
WEIGHT_DECAY = (0.0, 1.0)


def space(
    cfg: Config,
    groups: Iterable[str] = (),
    units: Mapping[str, float] | None = None,
    sources: Iterable[str] = (),
    heads: Sequence[str] = (),
) -> Space:
    """The searched terms, `lr` and `wd`, real knobs of `search.method`, weights of sources, `alpha` and the head.

    Each name in `objective.per_group` has a dimension `NAME@GROUP` for each of the parameter groups.

    Args:
        units: factors of the terms' standard ranges, by default 1; ranges under `objective.bounds` are not scaled.
        sources: further sources of training images.
        heads: the last layers to choose from; one or none is no choice.

    Raises:
        ConfigError: everything is fixed.
    """
    objective = cfg.objective
    mix = [Float(ALPHA, *objective.bounds.get(ALPHA, (0.0, 1.0)))] if cfg.mixes else []
    dimensions = [*_weights(cfg, units or {}), *_optimizer(cfg), *_knobs(cfg), *_sources(cfg, sources), *mix]
    searched = [d for d in dimensions if d.name not in objective.fixed]
    per_group = {d.name: [replace(d, name=str(Name(d.name, group))) for group in groups] for d in searched}
    real = [part for d in searched for part in (per_group[d.name] if d.name in objective.per_group else [d])]
    if not real and len(heads) < 2:
        allowed = "a term, lr, wd or alpha that is not fixed, or no search"
        raise ConfigError([Fault("objective", "nothing left to search", allowed)])
    return Space([*real, Categorical(HEAD, tuple(heads))] if len(heads) > 1 else real)


def _weights(cfg: Config, units: Mapping[str, float]) -> list[Float]:
    return [_weight(cfg, term, units.get(term, 1.0)) for term in cfg.objective.terms]


def _sources(cfg: Config, sources: Iterable[str]) -> list[Float]:
    return [_weight(cfg, source_name(source), 1.0) for source in sources]


def _weight(cfg: Config, name: str, unit: float) -> Float:
    """The dimension of a weight: in the range of the settings, or else in the standard one, in units."""
    scale, low = cfg.objective.weight_scale, WEIGHTS[0] if SCALES[cfg.objective.weight_scale].positive else 0.0
    low, high = cfg.objective.bounds.get(name, (unit * low, unit * WEIGHTS[1]))
    return Float(name, low, high, scale=scale)


def _optimizer(cfg: Config) -> list[Float]:
    bounds, lr = cfg.objective.bounds, cfg.finetune.lr
    return [
        Float("lr", *bounds.get("lr", (lr / LR_FACTOR, lr * LR_FACTOR)), log=True),
        Float("wd", *bounds.get("wd", WEIGHT_DECAY)),
    ]


def _knobs(cfg: Config) -> list[Float]:
    dimensions = []
    for name, knob in knobs(cfg).items():
        assert isinstance(knob.dimension, Float)
        low, high = cfg.objective.bounds.get(name, (knob.dimension.low, knob.dimension.high))
        dimensions.append(replace(knob.dimension, name=name, low=low, high=high))
    return dimensions


def knobs(cfg: Config) -> dict[str, Knob]:
    """The real knobs of `search.method` by their names in the space."""
    return {} if cfg.search.method is None else searchable_knobs(cfg.search.method)


def recipe(cfg: Config, searched: Space) -> Tensor:
    """The point where a search starts: plain fine-tuning overridden by `objective.recipe`, [K] in [0.05, 0.95]."""
    settings = cfg.finetune.knobs.get(cfg.search.method or "", {})
    defaults = {name: settings.get(knob.name, knob.default) for name, knob in knobs(cfg).items()}
    plain = {"lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay, HEAD: ZERO_SHOT, ALPHA: 1.0, **defaults}
    chosen = {**plain, **cfg.objective.recipe}
    values = {name: chosen.get(Name.parse(name).ungrouped, 0.0) for name in searched.names}
    return searched.to_unit(values).clamp(0.05, 0.95)


def fixed(cfg: Config) -> dict[str, float]:
    """The values that are not searched; if lr or wd are per group, plain ones too, for groups that train nothing."""
    plain = {"lr": cfg.finetune.lr, "wd": cfg.finetune.weight_decay}
    return {**{name: plain[name] for name in cfg.objective.per_group if name in plain}, **cfg.objective.fixed}


def objective_of(cfg: Config, params: Mapping[str, Any]) -> Objective:
    """A point of the space, with the fixed terms, as an objective."""
    method = cfg.search.method
    values = {} if method is None else settled(HOOKS[method].knobs, cfg.finetune.knobs.get(method, {}))
    knob_values = {str(Name(knob, method=method)): value for knob, value in values.items()}
    numbers = {name: value for name, value in params.items() if name != HEAD}
    head = params.get(HEAD, cfg.objective.head if cfg.objective.head != AUTO else ZERO_SHOT)
    return replace(Objective.from_values({**knob_values, **fixed(cfg), **numbers}, method), head=head)
