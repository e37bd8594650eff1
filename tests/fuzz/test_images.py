"""Stored pictures: pixels at the model's size, or a DataError."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import ExifTags, Image

from metaft.data.decode import Reading, decode, is_picture, quiet
from tests.data.test_decode import VIEW
from tests.fuzz.cases import FEWER, end_of, fuzzed, mutated

READING = Reading(VIEW, ground="#123456", exif_rotation=True)


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    """A small picture in a format."""
    pixels = np.random.default_rng(0).integers(256, size=(12, 10, 4), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return saved("JPEG", exif=exif)


FRAMES = [Image.new("P", (8, 8), number) for number in range(3)]
SEEDS = (
    *(saved("PNG"), saved("PNG", "RGBA"), saved("PNG", "P"), saved("PNG", "LA"), saved("PNG", "1")),
    *(saved("JPEG"), saved("JPEG", "L"), saved("JPEG", "CMYK"), saved("JPEG", progressive=True), turned()),
    *(saved("BMP"), saved("BMP", "P"), saved("GIF"), saved("GIF", save_all=True, append_images=FRAMES)),
    *(saved("WEBP"), saved("WEBP", "RGBA", lossless=True), saved("TIFF"), saved("TIFF", compression="tiff_lzw")),
    *(saved("TIFF", "F"), saved("TIFF", "CMYK"), saved("PPM")),
    *(saved("ICO"), saved("TGA"), saved("PCX")),
)


@dataclass(frozen=True)
class Bytes:
    """A picture in memory."""

    content: bytes
    version: str = ""

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self) -> bytes:
        return self.content


@fuzzed(mutated(SEEDS, st.binary(max_size=4) | st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))))
def test_pictures(folder: Path, content: bytes) -> None:
    with quiet():
        picture = end_of(lambda: decode(Bytes(content), READING))
    if picture is not None:
        assert picture.pixels.shape == (3, 16, 16)
        assert picture.pixels.dtype == torch.uint8


@fuzzed(
    st.tuples(mutated(SEEDS, st.binary(max_size=4)), st.sampled_from(("", ".png", ".jpg", ".txt", ".heic"))), few=FEWER
)
def test_files(folder: Path, case: tuple[bytes, str]) -> None:
    path = folder / f"a{case[1]}"
    path.write_bytes(case[0])
    with quiet():
        if is_picture(path):
            end_of(lambda: decode(path, Reading(VIEW)))
