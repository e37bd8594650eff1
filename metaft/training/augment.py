"""Augmentation of training images: random crops at the model's size, and flips, drawn from a batch's seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

TRIES = 10  # crops drawn for an image until one lies inside it


@dataclass(frozen=True)
class Augment:
    """A random crop of each image, enlarged to the whole, and perhaps mirrored.

    A crop has `scale` of an image's area, uniformly, and a width of `ratio` times its height, in its logarithm; one
    that does not lie inside the image is drawn again, `TRIES` times at most. What is cropped is what the model is
    given without augmentation, which open_clip takes from the whole picture.

    Args:
        scale: the range of the share of the area; open_clip's.
        ratio: the range of width to height; open_clip's.
        flip: the probability that an image is mirrored.

    Source: Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6 (crops).
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augmented images [B, 3, S, S] (bicubic); the same seed gives the same, on every device."""
        boxes = self.boxes(len(images), torch.Generator().manual_seed(seed))
        return cropped(images, boxes.to(images))

    def boxes(self, count: int, generator: torch.Generator) -> Tensor:
        """Left, top, width and height of each crop, as shares of an image's side, [B, 4]; mirrored: a width below 0."""

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(*shape, generator=generator)

        area = uniform(*self.scale, count, TRIES)
        ratio = uniform(math.log(self.ratio[0]), math.log(self.ratio[1]), count, TRIES).exp()
        sizes = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=2)  # [B, TRIES, 2]
        inside = (sizes <= 1).all(dim=2)
        first = inside.int().argmax(dim=1)
        sizes = torch.where(inside.any(dim=1)[:, None], sizes[torch.arange(count), first], torch.ones(count, 2))
        corners = (1 - sizes) * uniform(0, 1, count, 2)
        mirrored = uniform(0, 1, count) < self.flip
        (left, top), (width, height) = corners.unbind(1), sizes.unbind(1)
        return torch.stack(
            [torch.where(mirrored, left + width, left), top, torch.where(mirrored, -width, width), height], dim=1
        )


def cropped(images: Tensor, boxes: Tensor) -> Tensor:
    """Each image's box (see `Augment.boxes`) at the size of the image: [B, C, S, S] and [B, 4] to [B, C, S, S]."""
    left, top, width, height = boxes.unbind(1)
    zero = torch.zeros_like(width)
    # maps the square from -1 to 1 onto the box in the image's own
    onto = torch.stack([width, zero, 2 * left + width - 1, zero, height, 2 * top + height - 1], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(onto, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)


AUGMENTS: dict[str, Augment | None] = {"none": None, "crop": Augment(), "crop_flip": Augment(flip=0.5)}
