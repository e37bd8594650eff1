"""Surgical fine-tuning: some layers move, or each as far as its gradient is large beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from metaft.clip.classifier import grouped
from metaft.config.schema import HookConfig
from metaft.errors import ConfigError, Fault
from metaft.hooks.chosen import Chosen
from metaft.hooks.hook import Hook, Knobs
from metaft.hooks.layer_decay import blocks_of
from metaft.hooks.scaled import Scaled
from metaft.tensors import Tensors, lengths

PARTS = ("first", "middle", "last")
_TINY = 1e-30


class AutoRGN(Scaled):
    """The learning rate of a layer is its relative gradient norm times the base one.

        s_l = RGN_l / max_k RGN_k,  RGN_l = |g_l| / |p_l|

    over the layers l, here the parameter groups (see `metaft.clip.classifier.group_of`), since a single tensor, such as
    the bias of a zero-shot head, may be 0. The paper measures it once an epoch, here every step does, on its batch.

    Args:
        layers: the numbers of the variables of each layer.

    Source: Lee et al., Surgical fine-tuning improves adaptation to distribution shifts, ICLR 2023 (Auto-RGN).
    """

    def __init__(self, layers: Sequence[Sequence[int]]) -> None:
        self._layers = layers

    def shares(self, grads: Tensors, values: Tensors, knobs: Knobs) -> list[Tensor]:
        """s of each tensor's layer."""
        relative = self._lengths(grads) / self._lengths(values).clamp(min=_TINY)
        share = relative / relative.max().clamp(min=_TINY)
        of = {i: share[number] for number, layer in enumerate(self._layers) for i in layer}
        return [of[i].to(p) for i, p in enumerate(values)]

    def _lengths(self, tensors: Tensors) -> Tensor:
        """The L2 norm of each layer."""
        each = lengths(tensors)
        return lengths([each[list(layer)] for layer in self._layers])


def parts_of(names: Sequence[str]) -> list[str]:
    """Which third each parameter is in, by its block; the embedding is in the first, norm and head are in the last."""
    blocks, count = blocks_of(names)
    thirds = {-1: 0, count: 2, **{block: 3 * block // count for block in range(count)}}
    return [PARTS[thirds[block]] for block in blocks]


def make(names: Sequence[str], knobs: Mapping[str, Any], settings: HookConfig) -> Hook:
    """`auto`: `AutoRGN` of all layers; otherwise the third of the layers that moves, while the others stay.

    Raises:
        ConfigError: no parameter of that third is trained.

    Source: Lee et al., ICLR 2023: the first layers for shifts of the input, the middle for shifts of
    features, the last for shifts of labels.
    """
    part = knobs["part"]
    if part == "auto":
        numbers = {name: i for i, name in enumerate(names)}
        return AutoRGN([[numbers[name] for name in members] for members in grouped(names).values()])
    chosen = [name for name, own in zip(names, parts_of(names), strict=True) if own == part]
    if not chosen:
        found = f"{part!r}, and no parameter of that third of the layers is to be trained here"
        raise ConfigError([Fault("finetune.knobs.surgical.part", found, "auto, or another third")])
    return Chosen(chosen)
