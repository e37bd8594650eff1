"""Layer-wise learning rates: the deeper a layer is below the output, the smaller its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import group_of
from metaft.config.schema import HookConfig
from metaft.hooks.hook import Hook, Knobs
from metaft.hooks.scaled import Scaled
from metaft.tensors import Tensors


class LayerDecay(Scaled):
    """The learning rate of a tensor is ratio^k of the base one, with k the layers between it and the output.

    At ratio 1 it is plain fine-tuning.

    Args:
        below: k by variable.

    Source: Clark et al., ELECTRA, ICLR 2020, appendix B; Bao et al., BEiT, ICLR 2022, appendix.
    """

    def __init__(self, below: Sequence[int]) -> None:
        self._below = below

    def shares(self, grads: Tensors, values: Tensors, knobs: Knobs) -> list[Tensor]:
        """ratio^k of each tensor."""
        ratio = torch.as_tensor(knobs["ratio"])
        return [(ratio**k).to(p) for k, p in zip(self._below, values, strict=True)]


def layers_below(names: Sequence[str]) -> list[int]:
    """k of each parameter: 0 for the head and the norm before it, 1 for the last block, and so on to the embedding.

    As in BEiT, all that comes before the first block is one layer. The text side, where it trains, takes full steps;
    an image tower without transformer blocks is one layer.
    """
    groups = [group_of(name) for name in names]
    blocks = [int(group.split(".")[1]) if group.startswith("block.") else -1 for group in groups]
    top = max(blocks, default=-1) + 1
    return [0 if group in ("head", "text") else top - block for group, block in zip(groups, blocks, strict=True)]


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """Layer-wise decay of all parameters."""
    return LayerDecay(layers_below(names))
