"""The weighted sum of terms, as a fine-tune descends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from metaft.errors import ConfigError, Fault
from metaft.lazy import Lazy
from metaft.names import Name, source_name, value_for
from metaft.objective.penalties import Power, values_of
from metaft.objective.registry import TERMS, Term
from metaft.objective.state import InParts, InPartsError, StepState
from metaft.shards import Whole

Weights = list[tuple[Any, tuple[str, ...] | None]]  # each with the names of its parameters (None: all)


@dataclass(frozen=True)
class WeightedLoss:
    """The weighted sum of terms, and of cross-entropy on further sources of images.

        sum_i h[i] * scale_i * term_i(state) + sum_s h["ce:s"] * ce(logits of s, labels of s)

    A penalty is called once for each parameter group whose weight differs (`NAME@GROUP` in h), otherwise once for
    all parameters; its scale is fixed by the number of all trained scalars, so equal group weights add up to one
    global weight.

    Args:
        groups: parameter names by group.
        count: N, how many scalars are trained.
        penalty_scale: `standard` (each penalty's own scale) or `released` (1 / N, AutoFT's code).
        part: all terms, those that look at a batch, or penalties.
        total: for parameters that are shards (see `metaft.shards`), the sum over all ranks of sums over numbers. Other
            terms than such sums may then not look at parameters.
    """

    groups: Mapping[str, tuple[str, ...]]
    count: int
    penalty_scale: str = "standard"
    part: Literal["all", "batch", "penalties"] = "all"
    total: Callable[[Tensor], Tensor] | None = None

    def over(self, layout: Whole) -> WeightedLoss:
        """The same for parameters that are held in this way."""
        return replace(self, total=layout.total) if layout.sharded else self

    @property
    def of_batch(self) -> WeightedLoss:
        """The part that looks at a batch."""
        return replace(self, part="batch")

    @property
    def of_parameters(self) -> WeightedLoss:
        """The part that looks at the parameters alone."""
        return replace(self, part="penalties")

    def scale(self, name: str) -> float:
        """The factor of a term, by which a weight means the same for models of any size."""
        term = TERMS[name]
        return 1 / self.count if term.penalty and self.penalty_scale == "released" else term.scale(self.count)

    def __call__(self, state: StepState, h: Mapping[str, Any]) -> Tensor:
        """The loss [] at a state, for weights h by name (numbers or 0-d tensors)."""
        total = torch.zeros((), dtype=state.logits.dtype, device=state.logits.device)
        return sum(self.parts(state, h).values(), total)

    def parts(self, state: StepState, h: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss by term, each with its weights and scale; terms without a weight are left out.

        Raises:
            ConfigError: the state is part of a graph, but a term's value is not: it has no derivative. Or it looks at
                parameters that are shards.
        """
        names = [name for name, term in TERMS.items() if self.part in ("all", "penalties" if term.penalty else "batch")]
        weights = {name: found for name in names if (found := self._weights(name, h))}
        return {**self._powers(state, weights), **self._others(state, weights)} | {
            name: h[name] * source.share * F.cross_entropy(source.logits, source.labels)
            for name, source in ((source_name(key), source) for key, source in state.sources.items())
            if name in h and not _is_zero(h[name])
        }

    def _powers(self, state: StepState, weights: Mapping[str, Weights]) -> dict[str, Tensor]:
        """Penalties that are powers: for each set of parameters all of them at once."""
        powers = {name: power for name in weights if (power := _power(TERMS[name]))}
        sets = dict.fromkeys(members for name in powers for _, members in weights[name])
        parts: dict[str, Tensor] = {}
        for members in sets:
            here = {name: weight for name in powers for weight, of in weights[name] if of == members}
            values = values_of([powers[name] for name in here], _restrict(state, members))
            values = values if self.total is None else self.total(values)
            for value, (name, weight) in zip(values, here.items(), strict=True):
                part = weight * self.scale(name) * value
                parts[name] = parts[name] + part if name in parts else part
        return parts

    def _others(self, state: StepState, weights: Mapping[str, Weights]) -> dict[str, Tensor]:
        seen = state if self.total is None else replace(state, params=InParts(), pretrained=InParts())
        return {name: self._part(name, seen, ws) for name, ws in weights.items() if not _power(TERMS[name])}

    def _part(self, name: str, state: StepState, weights: Weights) -> Tensor:
        total = torch.zeros((), dtype=state.logits.dtype, device=state.logits.device)
        for weight, members in weights:
            try:
                value = TERMS[name](_restrict(state, members))
            except InPartsError as error:
                found = f"{name!r}, which looks at parameters, of which each rank holds a part"
                allowed = "other terms, or inner.shard and finetune.shard false"
                raise ConfigError([Fault("objective.terms", found, allowed)]) from error
            if state.logits.requires_grad and not value.requires_grad:
                raise ConfigError([Fault("objective.terms", f"{name!r} has no derivative", "differentiable terms")])
            total = total + weight * self.scale(name) * value
        return total

    def _weights(self, name: str, h: Mapping[str, Any]) -> Weights:
        """A term's weights other than the number 0, each with the names of its parameters (None: all)."""
        weights: Weights = [(h[name], None)] if name in h else []
        if any(str(Name(name, group)) in h for group in self.groups):
            weights = [(value_for({name: 0.0, **h}, name, group), members) for group, members in self.groups.items()]
        return [(weight, members) for weight, members in weights if not _is_zero(weight)]


def _is_zero(weight: Any) -> bool:
    """Whether a weight is the number 0, which is not differentiated."""
    return not isinstance(weight, Tensor) and bool(weight == 0)


def _power(term: Term) -> Power | None:
    """The power that a term is, if it is one."""
    function = term.function.target if isinstance(term.function, Lazy) else term.function
    return function if isinstance(function, Power) else None


def _restrict(state: StepState, names: tuple[str, ...] | None) -> StepState:
    """The state with these parameters alone; None: all."""
    if names is None:
        return state
    return replace(
        state,
        params={k: state.params[k] for k in names if k in state.params},
        pretrained={k: state.pretrained[k] for k in names if k in state.pretrained},
    )
