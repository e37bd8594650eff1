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
    """A positional embedding of another length than the model's.

    Args:
        name: of the embedding.
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
            if name in TEXT:
                found.append(Misfit(name, "context length", length, expected))
            elif (side := _side(length - _extra(name, model, expected))) is not None:
                grid, size = _grid(name, model, expected)[0], _pixels(model)
                found.append(Misfit(name, "image size", side * size // grid, size))
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
        grid, extra = _grid(name, model, length), _extra(name, model, length)
        batched = old if old.ndim == 3 else old[None]
        state[name] = resample_abs_pos_embed(batched, list(grid), num_prefix_tokens=extra).reshape(
            *old.shape[:-2], -1, old.shape[-1]
        )
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


def _grid(name: str, model: nn.Module, length: int) -> tuple[int, int]:
    """The patches [H, W] of the model's image tower, whose embedding has this length."""
    visual: Any = model.visual
    if name.endswith("trunk.pos_embed"):
        height, width = visual.trunk.patch_embed.grid_size
        return height, width
    if "attnpool" in name:
        return isqrt(length - 1), isqrt(length - 1)
    height, width = visual.grid_size
    return height, width


def _extra(name: str, model: nn.Module, length: int) -> int:
    """The tokens of the model's embedding that are no patches, such as the class token."""
    height, width = _grid(name, model, length)
    return length - height * width


def _side(patches: int) -> int | None:
    """The side of a square of patches."""
    side = isqrt(max(patches, 0))
    return side if side and side * side == patches else None


def _pixels(model: nn.Module) -> int:
    """The height of the model's images."""
    visual: Any = model.visual
    size = visual.image_size
    return int(size[0] if isinstance(size, (tuple, list)) else size)
