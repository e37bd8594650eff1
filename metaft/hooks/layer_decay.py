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

    entrywise = True

    def __init__(self, below: Sequence[int]) -> None:
        self._below = below

    def shares(self, grads: Tensors, values: Tensors, knobs: Knobs) -> list[Tensor]:
        """ratio^k of each tensor."""
        ratio = torch.as_tensor(knobs["ratio"])
        return [(ratio**k).to(p) for k, p in zip(self._below, values, strict=True)]


def blocks_of(names: Sequence[str]) -> tuple[list[int], int]:
    """The block of each parameter, from 0, and how many blocks there are.

    -1 is all that comes before the first, the number of blocks the norm and the head behind the last, and the text
    side, where it trains. An image tower without transformer blocks is all before the first.
    """
    groups = [group_of(name) for name in names]
    numbers = [int(group.split(".")[1]) if group.startswith("block.") else -1 for group in groups]
    count = max(numbers, default=-1) + 1
    return [
        count if group in ("head", "text") else number for group, number in zip(groups, numbers, strict=True)
    ], count


def layers_below(names: Sequence[str]) -> list[int]:
    """k of each parameter: as in BEiT, 0 for the head, 1 for the last block, and so on to the embedding, one layer."""
    blocks, count = blocks_of(names)
    return [count - block for block in blocks]


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """Layer-wise decay of all parameters."""
    return LayerDecay(layers_below(names))
