"""Pictures of every kind and depth, and files that are none."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from metaft.clip.load import image_view
from metaft.data.decode import CONSTANT, FLAT, FRAMES, TRANSPARENT, TURNED, Reading, decode, is_picture, kind, quiet
from metaft.errors import DataError

PREPROCESS = {"size": (16, 16), "mode": "RGB", "mean": (0.5,) * 3, "std": (0.25,) * 3}
VIEW = image_view({**PREPROCESS, "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0})
READING = Reading(VIEW)
RAMP = np.linspace(0, 1, 16)[None, :].repeat(16, 0)  # as large as the model's images: nothing is resampled
EXPECTED = torch.tensor(np.rint(RAMP * 255)).to(torch.uint8)


def saved(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    Image.fromarray(array, mode).save(path, **options) if mode is None else Image.fromarray(array).convert(mode).save(
        path, **options
    )
    return path


@pytest.mark.parametrize(
    ("name", "top", "dtype"),
    [
        ("a.tif", 65535, np.uint16),
        ("a.png", 65535, np.uint16),
        ("a.tif", 255, np.uint8),
        ("a.tif", 1.0, np.float32),
        ("a.tif", 65535, ">u2"),
    ],
)
def test_depths_become_8_bits(tmp_path, name, top, dtype):
    levels = RAMP * 255  # levels that 8 bits can hold
    array = np.rint(np.rint(levels) / 255 * top).astype(dtype) if top > 1 else (np.rint(levels) / 255).astype(dtype)
    picture = decode(saved(tmp_path / name, array), READING)
    assert (picture.pixels.int() - EXPECTED.int()).abs().max() == 0
    assert picture.marks == frozenset()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (RAMP.astype(np.float32) * 255, "values from 0 to 255; allowed: floats from 0 to 1"),
        (RAMP.astype(np.float32) - 0.5, "values from -0.5 to 0.5"),
        (np.full((16, 16), np.nan, np.float32), "values from nan to nan"),
        ((RAMP * 1e6).astype(np.int32), "integers of 32 bits"),
        (
            (RAMP * 1e4).astype(np.int16),
            r"\(signed integers of 16 bits; allowed: 8 or 16 bits without a sign, or floats",
        ),
    ],
)
def test_numbers_of_another_range_are_refused(tmp_path, array, words):
    with pytest.raises(DataError, match=words):
        decode(
            tiff(tmp_path / "a.tif", array) if array.dtype == np.int16 else saved(tmp_path / "a.tif", array), READING
        )


def tiff(path: Path, array: np.ndarray, photometric: int = 1) -> Path:
    """A TIFF as Pillow does not write it: of signed integers, or of numbers of which 0 is white."""
    form = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    (height, width), bits, data = array.shape, array.dtype.itemsize * 8, array.tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: height, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in {**tags, 339: form}.items())
    head = b"II*\0" + struct.pack("<I", 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(tags) + 1) + entries + bytes(4))
    return path


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_white_may_be_zero(tmp_path, dtype, top):
    array = (np.rint(RAMP * 255) * (top / 255)).astype(dtype)
    found = [decode(tiff(tmp_path / f"{kind}.tif", array, kind), READING).pixels for kind in (1, 0)]
    assert torch.equal(found[0][0], EXPECTED)
    assert torch.equal(found[1][0], 255 - EXPECTED)


@pytest.mark.parametrize(
    ("top", "dtype", "marks"),
    [
        (4095, np.uint16, {FLAT, "values 0 to 4095 of 65535"}),
        (16383, np.uint16, {FLAT, "values 0 to 16383 of 65535"}),
        (0.003, np.float32, {FLAT, "values 0 to 0.003 of 1"}),
        (15, np.uint8, {FLAT}),
        (30, np.uint8, set()),
        (40000, np.uint16, set()),
    ],
)
def test_a_picture_of_fewer_bits_than_its_file_is_marked(tmp_path, top, dtype, marks):
    assert decode(saved(tmp_path / "a.tif", (RAMP * top).astype(dtype)), READING).marks == marks


@pytest.mark.parametrize(("ground", "level"), [("white", 255), ("black", 0), ("#ff0000", None)])
def test_transparency_lies_on_the_ground(tmp_path, ground, level):
    array = np.zeros((16, 16, 4), np.uint8)
    array[:8, :, 3] = 255  # a black half, and a half that is not there
    picture = decode(saved(tmp_path / "a.png", array), Reading(VIEW, ground))
    assert (picture.pixels[:, :8] == 0).all()
    below = torch.tensor([255, 0, 0] if level is None else [level] * 3, dtype=torch.uint8)
    assert (picture.pixels[:, 8:] == below[:, None, None]).all()
    assert TRANSPARENT in picture.marks


def test_transparency_of_palettes_and_opaque_pictures(tmp_path):
    array = np.zeros((16, 16), np.uint8)
    array[:8] = 1
    palette = Image.fromarray(array)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "p.png", transparency=0)
    picture = decode(tmp_path / "p.png", READING)
    assert TRANSPARENT in picture.marks
    assert picture.pixels[:, -1, -1].tolist() == [255, 255, 255]
    opaque = np.full((16, 16, 4), 255, np.uint8)
    opaque[0, 0] = (1, 2, 3, 255)
    assert decode(saved(tmp_path / "o.png", opaque), READING).marks == frozenset()


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg"])
@pytest.mark.parametrize("rotation", [True, False])
def test_pixels_beside_damaged_exif_are_read(tmp_path, suffix, rotation):
    image, damaged = (
        Image.fromarray(np.rint(RAMP * 255).astype(np.uint8)).convert("RGB"),
        tmp_path / f"damaged.{suffix}",
    )
    image.save(tmp_path / f"whole.{suffix}")
    image.save(damaged, **({} if suffix == "png" else {"exif": b"Exif\0\0junkjunk"}))
    if suffix == "png":
        content, junk = damaged.read_bytes(), b"eXIfjunkjunk"
        chunk = struct.pack(">I", 8) + junk + struct.pack(">I", zlib.crc32(junk))
        damaged.write_bytes(content[:33] + chunk + content[33:])
    reading = Reading(VIEW, exif_rotation=rotation)
    whole = decode(tmp_path / f"whole.{suffix}", reading)
    assert torch.equal(decode(damaged, reading).pixels, whole.pixels)


def test_exif_rotation_is_a_setting(tmp_path):
    levels = np.rint(RAMP * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6  # to be seen a quarter turn clockwise
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    as_stored = decode(tmp_path / "a.png", READING)
    turned = decode(tmp_path / "a.png", Reading(VIEW, exif_rotation=True))
    assert TURNED in as_stored.marks & turned.marks
    assert torch.equal(as_stored.pixels[0], EXPECTED)
    assert torch.equal(turned.pixels[0], EXPECTED.T.flip(1).flip(1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])  # by Pillow itself, and by libtiff
def test_tiffs_are_turned_as_others_are(tmp_path, orientation, compression):
    """Which Pillow turns by itself, whatever is asked for."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(256, size=(16, 24, 3), dtype=np.uint8))  # no turn looks like another
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    image.save(tmp_path / "a.tif", tiffinfo={274: orientation}, compression=compression)
    for rotation in (False, True):
        reading = Reading(VIEW, exif_rotation=rotation)
        png, tiff = (decode(tmp_path / name, reading) for name in ("a.png", "a.tif"))
        assert torch.equal(tiff.pixels, png.pixels)
        assert tiff.marks == png.marks == ({TURNED} if orientation > 1 else frozenset())


def test_a_picture_of_one_colour_is_marked(tmp_path):
    assert decode(saved(tmp_path / "a.png", np.full((16, 16, 3), 7, np.uint8)), READING).marks == {CONSTANT}


@pytest.mark.parametrize(
    "suffix", [".jfif", ".jpe", ".jp2", ".TIFF", ".JPEG", ".WebP", ".avif", ".ppm", ".tga", ".gif"]
)
def test_all_that_pillow_reads_is_a_picture(tmp_path, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = saved(tmp_path / f"a{suffix}", np.rint(RAMP * 255).astype(np.uint8), "RGB")
    assert is_picture(path)
    assert decode(path, READING).pixels.shape == (3, 16, 16)


def test_content_counts_where_the_suffix_says_nothing(tmp_path):
    array = np.rint(RAMP * 255).astype(np.uint8)
    for name in ("a.png", "b.tif"):
        saved(tmp_path / name, array)
    (tmp_path / "a.png").rename(tmp_path / "without")
    (tmp_path / "b.tif").rename(tmp_path / "b.jpg")
    (tmp_path / "notes.txt").write_text("a list of pictures")
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(500))
    assert [is_picture(tmp_path / name) for name in ("without", "b.jpg", "notes.txt")] == [True, True, False]
    for name in ("without", "b.jpg"):
        assert torch.equal(decode(tmp_path / name, READING).pixels[0], EXPECTED)
    if not is_picture(tmp_path / "IMG_1.HEIC"):
        assert kind(tmp_path / "IMG_1.HEIC") == '.heic (pip install "metaft[heif]" reads them)'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b'{"error": "not found"}', 'a text beginning \'{"error": "not found"}\''),
        ("a.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 'a text beginning "<svg xmlns'),
        ("a.jpg", b"\0\0\0\x18ftypisom" + bytes(500), "a film, or sound, in the container of MP4"),
        ("a.png", b"\xff\x0a" + bytes(500), "a JPEG XL picture: save it as PNG"),
        ("a.png", bytes(128) + b"DICM" + bytes(500), "a DICOM file: save its picture as PNG"),
        ("a.gif", b"GIF89", "a GIF picture, whose beginning is damaged"),
        ("a.png", b"\x80\x81\0\1" + bytes(500), "in no form that Pillow knows"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        decode(tmp_path / name, READING)
    assert f"unreadable image ({said}" in str(caught.value)


def test_a_tiff_whose_end_is_missing(tmp_path):
    """There Pillow writes which tags it has."""
    noise = np.random.default_rng(0).integers(255, size=(200, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tif", compression="tiff_lzw")
    (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-9000])
    with (
        quiet(),
        pytest.raises(DataError, match=r"unreadable image \(a TIFF picture, whose list of contents is damaged\)"),
    ):
        decode(tmp_path / "a.tif", READING)


def test_a_phones_picture_that_can_be_read_elsewhere_is_damaged(tmp_path, monkeypatch):
    """Where a package reads the form, none is to be installed."""
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypavif" + bytes(500))
    for known, said in (({".avif", ".png"}, "an AVIF picture, whose beginning is damaged"), ({".png"}, "metaft[avif]")):
        monkeypatch.setattr("metaft.data.decode.suffixes", lambda known=known: frozenset(known))
        with pytest.raises(DataError) as caught:
            decode(tmp_path / "a.jpg", READING)
        assert said in str(caught.value)


@pytest.mark.parametrize("suffix", [".heic", ".HIF", ".jpg"])
def test_pictures_of_phones(tmp_path, suffix):
    """With the extra `heif`; a file whose suffix lies is read too."""
    pillow_heif = pytest.importorskip("pillow_heif")
    array = np.repeat(np.rint(RAMP * 255).astype(np.uint8)[..., None], 3, axis=2)
    heif = pillow_heif.from_pillow(Image.fromarray(array).resize((64, 64)))
    heif.save(tmp_path / "a.heic", quality=95)
    (tmp_path / "a.heic").rename(tmp_path / f"b{suffix}")
    assert is_picture(tmp_path / f"b{suffix}")
    pixels = decode(tmp_path / f"b{suffix}", READING).pixels
    assert (pixels[0].int() - EXPECTED.int()).abs().float().mean() < 4


def bomb(path: Path) -> Path:
    """A small BMP whose head claims 40,000 million pixels."""
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<II", 200_000, 200_000)
    path.write_bytes(bytes(content))
    return path


def half(path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(255, size=(64, 64, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def flipped(path: Path) -> Path:
    """A picture with bytes changed in its middle."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(255, size=(64, 64, 3)).astype(np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 200] = bytes(200)
    path.write_bytes(bytes(content))
    return path


def pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def linked(path: Path) -> Path:
    path.symlink_to(path.parent / "nowhere")
    return path


def written(content: bytes):
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make


FAULTS = {
    "a.bmp": bomb,
    "a.png": half,
    "b.png": flipped,
    "a.tif": half,
    "a.webp": half,
    "a.gif": written(b"GIF89a"),
    "empty.jpg": written(b""),
    "page.jpg": written(b"<!DOCTYPE html><html></html>"),
    "pipe.png": pipe,
    "gone.png": linked,
    "deep.psd": written(b"8BPS\x00\x01" + bytes(6) + b"\xff" * 40),
}


def test_a_png_is_what_its_checksums_say(tmp_path):
    """Of a picture that packs well, Pillow shows other pixels without a word where a bit has flipped."""
    ramp = np.add.outer(np.arange(36), np.arange(40)).astype(np.uint8) * 3
    Image.fromarray(np.stack([ramp] * 3, -1)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    pixels = decode(tmp_path / "a.png", READING).pixels
    (tmp_path / "a.png").write_bytes(whole + b"behind the end" + whole)
    assert torch.equal(decode(tmp_path / "a.png", READING).pixels, pixels)
    for place in range(len(whole)):
        (tmp_path / "a.png").write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        with suppress(DataError):
            assert torch.equal(decode(tmp_path / "a.png", READING).pixels, pixels), place
    (tmp_path / "a.png").write_bytes(whole[:30] + bytes([whole[30] ^ 1]) + whole[31:])
    with pytest.raises(DataError, match=r"unreadable image \(a PNG picture, whose beginning is damaged\)"):
        decode(tmp_path / "a.png", READING)
    data = whole.index(b"IDAT") + 10
    (tmp_path / "a.png").write_bytes(whole[:data] + bytes([whole[data] ^ 1]) + whole[data + 1 :])
    with pytest.raises(DataError, match="unreadable image"):
        decode(tmp_path / "a.png", READING)


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_names_its_file(tmp_path, name):
    path = FAULTS[name](tmp_path / name)
    assert is_picture(path)
    with pytest.raises(DataError) as caught:
        decode(path, READING)
    assert str(caught.value).startswith(f"{path}: unreadable image (")
    assert str(caught.value).endswith("allowed: a picture, or data.on_unreadable=skip")


@pytest.mark.parametrize("mode", ["1", "P"])
def test_pixels_of_palettes_and_of_one_bit_are_mixed_as_others_are(tmp_path, mode):
    """One of a chequerboard was taken, and it became black."""
    board = Image.fromarray((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8))
    board.save(tmp_path / "grey.png")
    board.convert(mode).save(tmp_path / "other.png")
    with Image.open(tmp_path / "other.png") as image:
        assert image.mode == mode
    found, expected = (decode(tmp_path / f"{name}.png", READING).pixels.int() for name in ("other", "grey"))
    assert (found - expected).abs().max() <= 1
    assert 100 < found.float().mean() < 150


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_of_several_frames_the_first_is_read_and_marked(tmp_path, suffix):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    lossless = {"lossless": True} if suffix == "webp" else {}
    first.save(tmp_path / f"one.{suffix}", **lossless)
    first.save(tmp_path / f"two.{suffix}", save_all=True, append_images=[second], **lossless)
    one, two = (decode(tmp_path / f"{name}.{suffix}", READING) for name in ("one", "two"))
    assert torch.equal(one.pixels, two.pixels)
    assert two.marks - one.marks == {FRAMES}


@pytest.mark.parametrize("name", ["a.NEF", "a.dng", "a.cr2", "a.arw"])
def test_raw_files_of_cameras_are_no_pictures(tmp_path, name):
    """They are TIFFs, whose first picture is a small preview."""
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / name)
    assert not is_picture(tmp_path / name)
    assert kind(tmp_path / name) == f"{Path(name).suffix.lower()} (raw of a camera, to be developed first)"
    with pytest.raises(DataError, match=r"unreadable image \(raw of a camera, to be developed first\)"):
        decode(tmp_path / name, READING)
