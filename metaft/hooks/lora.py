"""LoRA: attention matrices move within a low rank."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.hook import Hook
from metaft.hooks.patterns import bare, is_of_head, matching

ATTENTION = (
    *("*attn.in_proj_weight", "*attn.out_proj.weight"),  # nn.MultiheadAttention, query, key and value stacked
    *("*attn.qkv.weight", "*attn.proj.weight"),  # timm
)
A, B = ".lora_a", ".lora_b"


class LoRA(Hook):
    """Low-rank adaptation: W = W_0 + alpha / rank B A, with A [rank, in] as in nn.Linear, B [out, rank] zero.

    Only A and B of each target and the head train; targets are matrices by name, so that a stacked
    projection inside nn.MultiheadAttention is one target like any other. Trained models are returned merged.

    Args:
        targets: patterns of parameter names; those of attention by default.

    Raises:
        ConfigError: no target is found, or a given pattern matches no matrix.

    Source: Hu et al., LoRA, ICLR 2022, section 4.1.
    """

    def __init__(self, rank: int, alpha: int, targets: Sequence[str] | None = None) -> None:
        self.rank, self.scale, self._given = rank, alpha / rank, targets

    def targets(self, pretrained: Mapping[str, Tensor]) -> list[str]:
        """The names of the matrices that get factors."""
        matrices = [name for name, p in pretrained.items() if p.ndim == 2]
        if self._given is not None:
            return matching(matrices, self._given, "finetune.lora_targets", "matrix")
        attention = [name for name in matrices if any(matching([name], [p]) for p in ATTENTION)]
        if not attention:
            missing = "no attention matrix among the trained parameters"
            allowed = f"patterns of names like {', '.join(map(bare, matrices[:3]))}"
            raise ConfigError([Fault("finetune.lora_targets", missing, allowed)])
        return attention

    def variables(self, pretrained: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """New factors A and B by name, and the head's parameters as they are."""
        made = {}
        for name in self.targets(pretrained):
            w = pretrained[name]
            bound = 1 / math.sqrt(w.shape[1])  # nn.Linear's
            a = torch.rand(self.rank, w.shape[1], generator=generator, dtype=w.dtype).to(w.device)
            made[name + A] = bound * (2 * a - 1)
            made[name + B] = torch.zeros(w.shape[0], self.rank, dtype=w.dtype, device=w.device)
        return {**made, **{name: p for name, p in pretrained.items() if is_of_head(name)}}

    def parameters(self, variables: Mapping[str, Tensor], pretrained: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The merged matrices W_0 + alpha / rank B A, and the head."""
        merged = {}
        for name, value in variables.items():
            if name.endswith(A):
                target = name.removesuffix(A)
                merged[target] = torch.addmm(pretrained[target], variables[target + B], value, alpha=self.scale)
            elif not name.endswith(B):
                merged[name] = value
        return merged


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """LoRA of the matrices that the settings target."""
    return LoRA(knobs["rank"], knobs["alpha"], settings.lora_targets)
