"""A model over shards, of which one block at a time is whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from metaft.clip.classifier import Classifier, Outputs
from metaft.clip.running import Running, Slots
from metaft.config.schema import ComputeConfig
from metaft.shards import joined
from metaft.tensors import kept

BLOCK = re.compile(r"(.*?\.(?:resblocks|blocks?|layers?\d*)\.\d+)\.")  # in names of open_clip, timm and transformers


class Blockwise(Running):
    """A `Running` that is given shards of parameters: a block is whole as it runs, and again as it is differentiated.

    What a derivative needs of a whole block is not kept: when it is asked for, the block is joined again. What is in no
    block is whole while the model runs.

    Args:
        shapes: of the parameters that will be given, by name.
    """

    def __init__(self, classifier: Classifier, how: ComputeConfig, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__(classifier, how)
        modules = dict(self.model.named_modules())
        self._blocks = _Blocks(self._slots, shapes)
        for (path, _), names in _units(self._slots, shapes).items():
            modules[path].register_forward_pre_hook(partial(self._blocks.join, names))
            modules[path].register_forward_hook(partial(self._blocks.part, names), always_call=True)

    def __call__(self, parameters: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The outputs at shards of parameters by name, on rows of this rank's own."""
        self._blocks.given = parameters
        with self.kept_in_pieces():
            return super().__call__(parameters, images, tokens)

    def kept_in_pieces(self) -> AbstractContextManager[object]:
        """A context in which no graph keeps a block: the model's as it runs, or its derivative's as that is taken."""
        return saved_tensors_hooks(self._blocks.pack, self._blocks.unpack)


def _units(slots: Mapping[str, Slots], names: Iterable[str]) -> dict[tuple[str, torch.dtype], list[str]]:
    """The names of parameters by the block that has them, and by type; those in several places are the model's own."""
    units: dict[tuple[str, torch.dtype], list[str]] = {}
    for name in names:
        (own, key), *others = slots[name]
        block = None if others else BLOCK.match(name)
        units.setdefault((block[1] if block else "", own[key].dtype), []).append(name)
    return units


class _Recipe(NamedTuple):
    """Shards that make a block, and the shapes of its parameters."""

    shards: tuple[Tensor, ...]
    shapes: tuple[torch.Size, ...]


class _Piece(NamedTuple):
    """A view of a block that is not kept."""

    recipe: _Recipe
    size: torch.Size
    stride: tuple[int, ...]
    start: int


class _Blocks:
    """Shards in the place of a model's parameters, and blocks for as long as they are needed.

    Args:
        given: the shards by name that the model runs on.
    """

    def __init__(self, slots: Mapping[str, Slots], shapes: Mapping[str, torch.Size]) -> None:
        self._slots, self._shapes = slots, shapes
        self.given: Mapping[str, Tensor] = {}
        self._whole: dict[int, _Recipe] = {}  # of blocks that are whole, by where in memory
        self._last: tuple[_Recipe, Tensor] | None = None  # the block that a derivative has last asked for

    def join(self, names: Sequence[str], *_: Any) -> None:
        """Put whole parameters in their places."""
        self._forget()
        there = [name for name in names if name in self.given]
        if there:
            recipe = _Recipe(tuple(self.given[n] for n in there), tuple(self._shapes[n] for n in there))
            whole = joined(*recipe)
            self._whole[_place(whole[0])] = recipe
            self._put(dict(zip(there, whole, strict=True)))

    def part(self, names: Sequence[str], *_: Any) -> None:
        """Put shards back in the places of whole parameters."""
        there = [name for name in names if name in self.given]
        if there:
            own, key = self._slots[there[0]][0]
            self._whole.pop(_place(own[key]), None)
            self._put({name: self.given[name] for name in there})

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, t in tensors.items():
            for own, key in self._slots[name]:
                own[key] = t

    def pack(self, tensor: Tensor) -> Tensor | _Piece:
        """What a graph keeps of a tensor that it needs: of a block, how to have it again."""
        recipe = self._whole.get(_place(tensor))
        if recipe is None:
            return kept(tensor)
        return _Piece(recipe, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def unpack(self, packed: Tensor | _Piece) -> Tensor:
        """The tensor that a graph needs."""
        if isinstance(packed, Tensor):
            return packed
        if self._last is None or self._last[0] is not packed.recipe:
            self._forget()  # before the next is there
            with torch.no_grad():
                self._last = packed.recipe, joined(*packed.recipe)[0]
            self._whole[_place(self._last[1])] = packed.recipe
        return self._last[1].as_strided(packed.size, packed.stride, packed.start)

    def _forget(self) -> None:
        """Let go of the block that a derivative has last asked for."""
        if self._last is not None:
            self._whole.pop(_place(self._last[1]), None)
        self._last = None


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
