"""Positional embeddings of weights that were trained at another image size or caption length."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

from open_clip.model import resize_text_pos_embed
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn

IMAGE = ("visual.positional_embedding", "visual.attnpool.positional_embedding", "visual.trunk.pos_embed")
TEXT = ("positional_embedding", "text.positional_embedding")


@dataclass(frozen=True)
class Misfit:
    """A positional embedding of another length than the model's, or weights trained at another size of images.

    Args:
        name: of the embedding; of an image tower without one, what says its size.
        what: `image size` or `context length`.
        found, expected: in pixels or tokens.
    """

    name: str
    what: str
    found: int
    expected: int


def misfits(state: dict[str, Tensor], model: nn.Module) -> list[Misfit]:
    """The positional embeddings whose number of tokens is not the model's, but nothing else about them."""
    wanted = model.state_dict()
    found = []
    for name in (*IMAGE, *TEXT):
        if name in state and name in wanted and _longer_or_shorter(state[name], wanted[name]):
            length, expected = state[name].shape[-2], wanted[name].shape[-2]
            grid = _grid(name, model, expected)
            if name in TEXT:
                found.append(Misfit(name, "context length", length, expected))
            elif grid is not None and (side := _side(length - (expected - grid[0] * grid[1]))) is not None:
                found.append(Misfit(name, "image size", side * pixels(model) // grid[0], pixels(model)))
    return found


def resized(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The state dict with its positional embeddings interpolated to the model's lengths.

    Those of images are resampled as a grid, bicubic and antialiased, class tokens aside; those of texts linearly.

    Source: `open_clip.model.resize_pos_embed`, `resize_text_pos_embed`; `timm.layers.resample_abs_pos_embed`.
    """
    state = dict(state)
    for misfit in misfits(state, model):
        name, old = misfit.name, state[misfit.name].float()
        if name in TEXT:
            resize_text_pos_embed(state, model)
            continue
        length = model.state_dict()[name].shape[-2]
        grid = _grid(name, model, length)
        assert grid is not None, "or it were no misfit"
        tokens = length - grid[0] * grid[1]  # that are no patches, such as the class token
        new = resample_abs_pos_embed(old.reshape(1, *old.shape[-2:]), list(grid), num_prefix_tokens=tokens)
        state[name] = new.reshape(*old.shape[:-2], length, -1)
    return state


def _longer_or_shorter(one: Tensor, other: Tensor) -> bool:
    """Whether two embeddings [..., L, W] differ in L alone."""
    same_rank = one.ndim == other.ndim in (2, 3)
    return (
        same_rank
        and one.shape[-1] == other.shape[-1]
        and one.shape[:-2] == other.shape[:-2]
        and one.shape != other.shape
    )


def _grid(name: str, model: nn.Module, length: int) -> tuple[int, int] | None:
    """The patches [H, W] of the model's image tower, whose embedding has this length; None where they make no grid."""
    visual: Any = model.visual
    if "attnpool" in name:
        return isqrt(length - 1), isqrt(length - 1)
    patches = getattr(visual.trunk, "patch_embed", None) if name.endswith("trunk.pos_embed") else visual
    height, width = getattr(patches, "grid_size", None) or (0, 0)
    return (height, width) if 0 < height * width <= length else None


def _side(patches: int) -> int | None:
    """The side of a square of patches."""
    side = isqrt(max(patches, 0))
    return side if side and side * side == patches else None


def pixels(model: nn.Module) -> int:
    """The height of the model's images."""
    visual: Any = model.visual
    size = visual.image_size
    return int(size[0] if isinstance(size, (tuple, list)) else size)
