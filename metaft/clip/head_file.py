"""A linear head on image features of unit length, in a file of its own or beside an image tower."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from metaft.clip.checkpoint import read
from metaft.clip.contents import Contents
from metaft.clip.weights import non_finite
from metaft.errors import CheckpointError

NAMES = ("classification_head", "classifier", "head", "fc", "linear_head")  # under which programs keep one
KEYS = tuple(f".{name}.weight" for name in NAMES)
NORMALIZE = "normalize"  # wise-ft's switch: whether the head divides features by their length


class HeadlessError(CheckpointError):
    """A file holds no head."""


class Head(NamedTuple):
    """logits = weight f(x) + bias: weight [C, D], bias [C]."""

    weight: Tensor
    bias: Tensor


def read_head(path: Path, width: int) -> Head:
    """The head in a file.

    Args:
        width: D, the length of image features.

    Raises:
        CheckpointError: there is none, or not one alone, or not one of such features.
    """
    contents = read(path)
    found = {name: t for name, t in contents.tensors.items() if name.rpartition(".")[2] == "weight" and t.dim() == 2}
    named = {name: t for name, t in found.items() if f".{name}".endswith(KEYS) and "visual." not in name}
    alone = named or (found if len(contents.tensors) <= 2 else {})
    if len(alone) != 1:
        what = ", ".join(named) or "none"
        allowed = f"one of [classes, {width}], as classification_head.weight"
        kind = CheckpointError if named else HeadlessError
        raise kind(f"{path}: heads in it: {what}; allowed: {allowed}")
    ((name, weight),) = alone.items()
    stem = name.removesuffix("weight")
    bias = contents.tensors.get(f"{stem}bias", weight.new_zeros(len(weight)))
    if weight.shape[1] != width or bias.shape != weight.shape[:1]:
        shapes = f"{list(weight.shape)} and {list(bias.shape)}"
        raise CheckpointError(f"{path}: {name} and its bias are {shapes}; allowed: [classes, {width}] and [classes]")
    if bad := non_finite({name: weight, f"{stem}bias": bias}):
        raise CheckpointError(f"{path}: {bad}; allowed: finite weights")
    _refuse_other_features(path, contents, stem)
    return Head(weight.float(), bias.float())


def _refuse_other_features(path: Path, contents: Contents, stem: str) -> None:
    """Refuse a head of wise-ft that takes features as they come, and not of unit length."""
    if contents.settings.get(f"{stem}{NORMALIZE}") is False:
        raise CheckpointError(f"{path}: a head with {NORMALIZE}=False; allowed: one on features of unit length")
