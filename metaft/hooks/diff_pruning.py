"""Diff pruning: theta_0 plus a difference of which few entries are to be other than 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.drawn import COUNT, Drawn
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import is_of_head
from metaft.hooks.sparse import largest_of_all
from metaft.tensors import Tensors

DIFF, GATE = ".diff", ".gate"
LEFT, RIGHT = -1.5, 1.5  # the ends to which the concrete distribution is stretched
OPEN = 5.0  # alpha before the first step
MARGIN = 1e-4  # of uniform noise from 0 and 1


class DiffPruning(Drawn):
    """A relaxed L0 penalty on the difference from theta_0.

        p = p_0 + z d,  z = clip(l + (r - l) sigmoid(log u - log(1 - u) + alpha), 0, 1),  u uniform, new at every step
        loss + penalty mean_i P(z_i > 0),  P(z_i > 0) = sigmoid(alpha_i - log(-l / r))

    with l = -1.5, r = 1.5 and, at first, d = 0 and alpha = 5. The gradient of the penalty is added in closed form. A
    result has z without noise, log u - log(1 - u) = 0, and of z d the largest `per_mille` entries of a thousand, all
    tensors together. The head, which is the task's, takes plain steps.

    alpha = 5 + gate_factor a, with `a` the optimizer's, so that gates have `gate_factor` times its learning rate (the
    authors' code has 0.1 for gates). Weight decay draws d to 0 and alpha to 5. The penalty is of the mean where the
    authors' is of the sum, so that it means the same for models of any size (1.25e-7 of the sum, as their example has
    for BERT, is 42 of the mean). It has no gates of groups, and no training after the cut, as the paper has.

    Source: Guo, Rush and Kim, Parameter-efficient transfer learning with diff pruning, ACL 2021, section 3.
    """

    def __init__(self, names: Sequence[str], gate_factor: float, per_mille: int) -> None:
        self._names, self._factor, self._per_mille = tuple(names), gate_factor, per_mille

    def variables(self, pretrained: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Differences of 0 and open gates by name, the other parameters as they are, and the count of draws."""
        made = {name + part: torch.zeros_like(pretrained[name]) for part in (DIFF, GATE) for name in self._names}
        others = {name: p for name, p in pretrained.items() if name not in self._names}
        return {**made, **others, COUNT: self.count(generator, next(iter(pretrained.values())))}

    def parameters(self, variables: Mapping[str, Tensor], pretrained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """p_0 + z d, and the other parameters."""
        source = self.source(variables)
        moved = {
            name: torch.addcmul(pretrained[name], self._gates(variables[name + GATE], source), variables[name + DIFF])
            for name in self._names
        }
        return {**moved, **{name: v for name, v in variables.items() if name in pretrained}}

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The gradients with that of the penalty: by a, penalty / N sigmoid'(alpha - log(-l / r)) gate_factor."""
        n = len(self._names)
        gates = values[n : 2 * n]
        weight = knobs["penalty"] * self._factor / sum(a.numel() for a in gates)
        shares = [torch.sigmoid(self._alpha(a) - _OFFSET) for a in gates]
        pulls = [(weight * (s * (1 - s))).to(s) for s in shares]
        pulled = [g + pull for g, pull in zip(grads[n : 2 * n], pulls, strict=True)]
        return [*grads[:n], *pulled, *grads[2 * n :]], state

    def result(self, values: Tensors, state: State) -> Tensors:
        """The values without noise, and without all but the largest differences."""
        n = len(self._names)
        diffs, gates = values[:n], values[n : 2 * n]
        sizes = [self._gates(a, None) * d for a, d in zip(gates, diffs, strict=True)]
        kept = [m * d for m, d in zip(largest_of_all(sizes, self._per_mille), diffs, strict=True)]
        return super().result([*kept, *values[n:]], state)

    def _alpha(self, a: Tensor) -> Tensor:
        return OPEN + self._factor * a

    def _gates(self, a: Tensor, source: torch.Generator | None) -> Tensor:
        """z for a tensor's gates, with noise or without."""
        logits = self._alpha(a)
        if source is not None:
            noise = torch.rand(a.shape, generator=source, dtype=a.dtype, device=a.device)
            logits = logits + torch.logit(noise, MARGIN)
        return (LEFT + (RIGHT - LEFT) * torch.sigmoid(logits)).clamp(0.0, 1.0)


_OFFSET = torch.tensor(-LEFT / RIGHT).log().item()


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """Diff pruning of all parameters but the head's.

    Raises:
        ConfigError: no other is trained.
    """
    chosen = [name for name in names if not is_of_head(name)]
    if not chosen:
        headed = "'diff_pruning' prunes differences outside the head, and nothing else is to be trained here"
        raise ConfigError([Fault("evaluation.methods", headed, "other methods, or fewer parameters frozen")])
    return DiffPruning(chosen, knobs["gate_factor"], knobs["per_mille"])
