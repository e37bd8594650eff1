"""Image files: decoded when a split is opened or when asked for, each tried once before any training."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from metaft.data.types import MEMORY, ImageSource, ImageView, PixelArray
from metaft.errors import DataError
from metaft.progress import warn


@dataclass(frozen=True)
class ImageFiles:
    """Images decoded when asked for."""

    paths: tuple[Path, ...]
    view: ImageView

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """uint8 [B, 3, S, S]."""
        return torch.stack([decode(self.paths[i], self.view) for i in indices])


@dataclass(frozen=True)
class Decoded(PixelArray):
    """Images held in memory, and the files they were read from."""

    paths: tuple[Path, ...]


def decode(path: Path, view: ImageView) -> Tensor:
    """One image file at the model's size, uint8 [3, S, S].

    Raises:
        DataError: the file is no readable image.
    """
    try:
        with Image.open(path) as image:
            return view.transform(image)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(
            f"{path}: unreadable image ({error}); allowed: a picture, or data.on_unreadable=skip"
        ) from error


def open_pictures(name: str, files: list[Path], view: ImageView, skip: bool) -> tuple[ImageSource, Tensor]:
    """The readable images, and their numbers [N] among the files."""
    in_memory = len(files) * 3 * view.size**2 <= MEMORY

    def attempt(file: Path) -> Tensor | DataError:
        try:
            return decode(file, view) if in_memory else _header(file)
        except DataError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, files))
    faults = [r for r in results if isinstance(r, DataError)]
    if faults and not skip:
        raise DataError(f"{name}: {len(faults)} of {len(files)} images unreadable; the first: {faults[0]}")
    for fault in faults:
        warn(f"skipped: {fault}")
    if faults:
        warn(f"{name}: skipped {len(faults)} of {len(files)} images as unreadable")
    kept = torch.tensor([i for i, r in enumerate(results) if not isinstance(r, DataError)], dtype=torch.long)
    paths = tuple(files[i] for i in kept)
    if in_memory:
        decoded = [r for r in results if not isinstance(r, DataError)]
        return Decoded(torch.stack(decoded) if decoded else torch.empty(0), view.size, paths), kept
    return ImageFiles(paths, view), kept


def _header(file: Path) -> Tensor:
    """Check a file without decoding it, for sets too large to decode up front; gives an empty tensor."""
    try:
        with Image.open(file) as image:
            image.verify()
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(f"{file}: unreadable image ({error}); allowed: a picture") from error
    return torch.empty(0)
