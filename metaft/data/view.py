"""How a model wants its images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL.Image import Image
from torch import Tensor


@dataclass(frozen=True)
class ImageView:
    """How a model wants its images: geometry as a transform to pixels, colour as mean and deviation.

    `transform` maps a PIL image to uint8 [3, size, size]; `mean` and `std` are per channel, of values in [0, 1].
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    transform: Callable[[Image], Tensor]

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] to (pixels / 255 - mean) / std, float32, on the pixels' device."""
        mean = torch.tensor(self.mean, device=pixels.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, 3, 1, 1)
        return (pixels.float() / 255 - mean) / std


class View(Protocol):
    """How a model wants its images."""

    @property
    def size(self) -> int:
        """S, the side of an image in pixels."""
        ...

    def normalise(self, pixels: Tensor, /) -> Tensor:
        """A source's pixels [B, 3, S, S] to the model's input, float32, of the same shape and on the same device."""
        ...


@dataclass(frozen=True)
class Ready:
    """The view of images that are the model's input already."""

    size: int

    def normalise(self, pixels: Tensor) -> Tensor:
        """The same numbers in float32, [B, 3, S, S]."""
        return pixels.float()
