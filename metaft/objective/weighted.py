"""The weighted sum of terms, as a fine-tune descends it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from metaft.errors import ConfigError, Fault
from metaft.names import Name, source_name, value_for
from metaft.objective.registry import TERMS
from metaft.objective.state import StepState


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
    """

    groups: Mapping[str, tuple[str, ...]]
    count: int
    penalty_scale: str = "standard"

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
            ConfigError: the state is part of a graph, but a term's value is not: it has no derivative.
        """
        of_terms = {name: self._part(name, state, weights) for name in TERMS if (weights := self._weights(name, h))}
        return of_terms | {
            name: h[name] * source.share * F.cross_entropy(source.logits, source.labels)
            for name, source in ((source_name(key), source) for key, source in state.sources.items())
            if name in h and not _is_zero(h[name])
        }

    def _part(self, name: str, state: StepState, weights: Sequence[tuple[Any, tuple[str, ...] | None]]) -> Tensor:
        total = torch.zeros((), dtype=state.logits.dtype, device=state.logits.device)
        for weight, members in weights:
            value = TERMS[name](state if members is None else _restrict(state, members))
            if state.logits.requires_grad and not value.requires_grad:
                raise ConfigError([Fault("objective.terms", f"{name!r} has no derivative", "differentiable terms")])
            total = total + weight * self.scale(name) * value
        return total

    def _weights(self, name: str, h: Mapping[str, Any]) -> list[tuple[Any, tuple[str, ...] | None]]:
        """A term's weights other than the number 0, each with the names of its parameters (None: all)."""
        weights: list[tuple[Any, tuple[str, ...] | None]] = [(h[name], None)] if name in h else []
        if any(str(Name(name, group)) in h for group in self.groups):
            weights = [(value_for({name: 0.0, **h}, name, group), members) for group, members in self.groups.items()]
        return [(weight, members) for weight, members in weights if not _is_zero(weight)]


def _is_zero(weight: Any) -> bool:
    """Whether a weight is the number 0, which is not differentiated."""
    return not isinstance(weight, Tensor) and bool(weight == 0)


def _restrict(state: StepState, names: tuple[str, ...]) -> StepState:
    return replace(
        state,
        params={k: state.params[k] for k in names if k in state.params},
        pretrained={k: state.pretrained[k] for k in names if k in state.pretrained},
    )
