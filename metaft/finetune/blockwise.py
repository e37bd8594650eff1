"""A model over shards, of which one block at a time is whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from metaft.clip.classifier import Classifier, Outputs
from metaft.config.schema import ComputeConfig
from metaft.errors import ConfigError, Fault
from metaft.finetune.running import Running, Slots
from metaft.hooks.hook import Hook
from metaft.ranks import count
from metaft.shards import Shards, Whole, joined

BLOCK = re.compile(r"(.*?\.(?:resblocks|blocks?|layers?)\.\d+)\.")  # in names of open_clip, timm and transformers


class Blockwise(Running):
    """A `Running` that is given shards of parameters: a block is whole as it runs, and again as it is differentiated.

    What a derivative needs of a whole block is not kept: when it is asked for, the block is joined again. What is in no
    block is whole while the model runs.

    Args:
        shapes: of the parameters that will be given, by name.
    """

    def __init__(self, classifier: Classifier, how: ComputeConfig, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__(classifier, how)
        modules = dict(self._eager.named_modules())
        self._blocks = _Blocks(self._slots, shapes)
        for (path, _), names in _units(self._slots, shapes).items():
            modules[path].register_forward_pre_hook(partial(self._blocks.join, names))
            modules[path].register_forward_hook(partial(self._blocks.part, names), always_call=True)

    def __call__(self, parameters: Mapping[str, Tensor], images: Tensor, tokens: Tensor | None) -> Outputs:
        """The outputs at shards of parameters by name, on rows of this rank's own."""
        self._blocks.given = parameters
        with saved_tensors_hooks(self._blocks.pack, self._blocks.unpack):
            return super().__call__(parameters, images, tokens)


def laid_out(
    classifier: Classifier, whole: Mapping[str, Tensor], how: ComputeConfig, hook: Hook
) -> tuple[Whole, Running]:
    """How a training of these parameters by name holds tensors, and the model that runs on what it holds.

    Raises:
        ConfigError: it is to hold shards, and the hook needs whole tensors.
    """
    if not sharded(how):
        return Whole(), Running(classifier, how)
    if not hook.entrywise:
        raise ConfigError([refusal(f"a method ({type(hook).__name__})")])
    shapes = {name: p.shape for name, p in whole.items()}
    return Shards(shapes), Blockwise(classifier, how, shapes)


def sharded(how: ComputeConfig) -> bool:
    """Whether trainings hold shards."""
    return how.shard and count() > 1


def refusal(method: str) -> Fault:
    """The fault of a method whose steps are not `entrywise`."""
    return Fault("finetune.shard", f"true, and {method} needs whole tensors in its steps", "false, or other methods")


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
        self._running: dict[int, _Recipe] = {}  # by where in memory the block is
        self._last: tuple[_Recipe, Tensor] | None = None  # the block that a derivative has last asked for

    def join(self, names: Sequence[str], *_: Any) -> None:
        """Put whole parameters in their places."""
        self._last = None
        there = [name for name in names if name in self.given]
        if there:
            recipe = _Recipe(tuple(self.given[n] for n in there), tuple(self._shapes[n] for n in there))
            whole = joined(*recipe)
            self._running[_place(whole[0])] = recipe
            self._put(dict(zip(there, whole, strict=True)))

    def part(self, names: Sequence[str], *_: Any) -> None:
        """Put shards back in the places of whole parameters."""
        there = [name for name in names if name in self.given]
        if there:
            own, key = self._slots[there[0]][0]
            self._running.pop(_place(own[key]), None)
            self._put({name: self.given[name] for name in there})

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, t in tensors.items():
            for own, key in self._slots[name]:
                own[key] = t

    def pack(self, tensor: Tensor) -> Tensor | _Piece:
        """What a graph keeps of a tensor that it needs: of a block, how to have it again."""
        recipe = self._running.get(_place(tensor))
        if recipe is None:
            return tensor.detach()  # the tensor itself would hold the graph that holds it
        return _Piece(recipe, tensor.size(), tensor.stride(), int(tensor.storage_offset()))

    def unpack(self, kept: Tensor | _Piece) -> Tensor:
        """The tensor that a graph needs."""
        if isinstance(kept, Tensor):
            return kept
        if self._last is None or self._last[0] is not kept.recipe:
            self._last = None  # before the next is there
            with torch.no_grad():
                self._last = kept.recipe, joined(*kept.recipe)[0]
        return self._last[1].as_strided(kept.size, kept.stride, kept.start)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
