"""R-Adapter: linear adapters behind attention and MLP, dropped at random, averaged, rescaled and merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.drawn import COUNT, NONE, Drawn
from metaft.hooks.hook import Hook, Knobs, State
from metaft.hooks.patterns import is_of_head, matching
from metaft.tensors import Tensors

LAST = (
    *("*attn.out_proj.weight", "*mlp.c_proj.weight"),  # the last matrices of open_clip's attention and MLP
    *("*attn.proj.weight", "*mlp.fc2.weight"),  # timm's
)
ADAPTER = ".adapter"


class RAdapter(Drawn):
    """Adapters x + A x behind the last matrix W_0 and bias b_0 of attention and MLP, without a nonlinearity.

        in a step:  W = (I + s A) W_0,  b = (I + s A) b_0,  s = gamma / (1 - drop),  gamma ~ Bernoulli(1 - drop)
        a result:   W = (I + share A~) W_0,  b = (I + share A~) b_0,   A~_t = decay A~_{t-1} + (1 - decay) A_t

    A [out, out] begins at 0, and there is a gamma for each adapter in each step. So a result costs no more than
    theta_0, and is an ensemble of it with all the steps. Only adapters and the head train; the head, which the paper
    makes by adapters in the text tower, is averaged and drawn to theta_0's in the same way. The loss is cross-entropy,
    not the paper's MPM-NCE. Knobs: `decay`, 0.999 in the paper; `share` (alpha there), `drop`. A bias that does not
    train stays without its adapter.

    The average is kept rescaled, e_t = decay e_{t-1} + (1 - decay) (p_0 + share (p_t - p_0)), which is the same for a
    share that stays.

    Source: Kim et al., Efficient and versatile robust fine-tuning of zero-shot models, ECCV 2024, section 3.
    """

    def __init__(self, targets: Sequence[str], drop: float) -> None:
        self._targets, self._drop = tuple(targets), drop

    def variables(self, pretrained: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Adapters of 0 by name, the head's parameters as they are, and the count of draws."""
        made = {}
        for name in self._targets:
            w = pretrained[name]
            made[name + ADAPTER] = torch.zeros(len(w), len(w), dtype=w.dtype, device=w.device)
        head = {name: p for name, p in pretrained.items() if is_of_head(name)}
        return {**made, **head, COUNT: self.count(generator, next(iter(pretrained.values())))}

    def parameters(self, variables: Mapping[str, Tensor], pretrained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The merged matrices and biases, and the head."""
        merged = {name: v for name, v in variables.items() if name in pretrained}
        for name, scale in zip(self._targets, self._scales(variables), strict=True):
            adapter, bias = variables[name + ADAPTER], name.removesuffix("weight") + "bias"
            w = pretrained[name]
            merged[name] = torch.addmm(w, adapter, w, alpha=scale)
            if bias in pretrained:
                merged[bias] = torch.addmv(pretrained[bias], adapter, pretrained[bias], alpha=scale)
        return merged

    def _scales(self, variables: Mapping[str, Tensor]) -> list[float]:
        """gamma / (1 - drop) of each adapter; 1 where nothing is drawn."""
        source = self.source(variables)
        if source is None:
            return [1.0] * len(self._targets)
        kept = torch.rand(len(self._targets), generator=source, device=source.device) >= self._drop
        return (kept.double() / (1 - self._drop)).tolist()

    def initial(self, anchors: Tensors) -> State:
        """The average before the first step."""
        return tuple(anchors[:-1])

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The values with one more draw; the average moves towards them, rescaled."""
        values, _ = super().after(values, anchors, (), knobs)
        share, weight = torch.as_tensor(knobs["share"]), torch.as_tensor(1 - knobs["decay"])
        nearer = [torch.lerp(a, p, share.to(p)) for a, p in zip(anchors[:-1], values[:-1], strict=True)]
        return values, tuple(torch.lerp(e, p, weight.to(e)) for e, p in zip(state, nearer, strict=True))

    def result(self, values: Tensors, state: State) -> Tensors:
        """The average, without noise."""
        return [*state, torch.full_like(values[-1], NONE)]


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """Adapters behind every attention and MLP that trains.

    Raises:
        ConfigError: there is none.
    """
    targets = matching(names, LAST)
    if not targets:
        blockless = "'r_adapter' adapts what attention and MLP put out, and this model has neither to be trained"
        raise ConfigError([Fault("evaluation.methods", blockless, "other methods, or a model with transformer blocks")])
    return RAdapter(targets, knobs["drop"])
