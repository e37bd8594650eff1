"""One stored picture to pixels at the model's size, whatever Pillow can read and however it stores them."""

from __future__ import annotations

import importlib
import stat
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError, features
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from metaft.data.stored import Stored, to_open
from metaft.data.types import ImageView
from metaft.errors import DataError, why
from metaft.forms import AVIF, HEAD, HEIF, PICTURES, TIFF, beginning, form_of

RULES = 5  # one more whenever `decode` makes other pixels or marks of a file than it did
CODECS = ("jpg", "libjpeg_turbo", "jpg_2000", "libtiff", "zlib", "webp", "avif")  # as Pillow's features call them
COMMON = ("JPEG", "PNG", "WEBP")
# Formats that Pillow only names, that are films, or that another program would have to draw.
NO_PICTURES = frozenset({"BUFR", "EPS", "FITS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})
# What opens more, where it is installed: a suffix of theirs, which may be known without, and how it is switched on.
PLUGINS = {"pillow_heif": (".heic", "register_heif_opener"), "pillow_avif": (".avif", None)}
PHONES = {".heic": HEIF, ".heif": HEIF, ".hif": HEIF, ".avif": AVIF, ".avifs": AVIF}
RAW = frozenset(  # suffixes of what cameras measure: most are TIFFs, of which the first picture is a small preview
    f".{name}"
    for name in (
        *("3fr", "arw", "cr2", "cr3", "dcr", "dng", "erf", "iiq", "kdc", "mef", "mos", "mrw", "nef", "nrw", "orf"),
        *("pef", "raf", "rw2", "rwl", "sr2", "srf", "srw"),
    )
)
UNMIXED = frozenset({"1", "P"})  # modes whose numbers are no shades: Pillow resizes them without mixing pixels
FILMS = frozenset({"GIF", "PNG", "TIFF", "WEBP"})  # formats of one picture or several
MARKUP = ("{", "[", "<")  # how answers of servers begin that were kept in a picture's place, and SVG
FRAMES = "of several frames"
TRANSPARENT, TURNED, CONSTANT, FLAT = "transparent", "turned", "of one colour", "of one colour, or nearly"
VALUES = "values"  # begins the mark of numbers of which 8 bits keep few
LEVELS = 20  # of 256, of which a picture has fewer that is nearly of one colour
FOURTH = 0.25  # of the range of a depth, below which all numbers of 14, 12 or 10 bits are
SIXTEEN_BITS = frozenset({"PNG", "PPM"})  # whose pictures of Pillow's mode I have no more
BITS, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of a TIFF
WHITE_IS_ZERO, SIGNED = 0, 2  # their values
UPRIGHT = 1  # the EXIF orientation of a picture that is stored as it is to be seen
Transpose = Image.Transpose
BACK = {  # from how a picture is to be seen to how it is stored, by the other orientations
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


@dataclass(frozen=True)
class Reading:
    """How files become pixels.

    Args:
        view: the model's size and geometry.
        ground: the colour beneath transparent pictures, as Pillow knows colours.
        exif_rotation: whether pictures are turned as their EXIF orientation says; open_clip does not turn them.
    """

    view: ImageView
    ground: str = "white"
    exif_rotation: bool = False


@dataclass(frozen=True)
class Picture:
    """Pixels, uint8 [3, S, S], and what is remarkable of them: the marks above, or text after VALUES."""

    pixels: Tensor
    marks: frozenset[str]


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read: those that Pillow can open, with its plugins, and that hold pictures.

    Pillow tries one after the other, which takes as long as to decode a small picture: so the common ones come first.
    """
    Image.init()
    for plugin, (suffix, switch) in PLUGINS.items():
        if suffix not in Image.registered_extensions():
            with suppress(ImportError):
                module = importlib.import_module(plugin)
                if switch is not None:
                    getattr(module, switch)()
    return *COMMON, *sorted(set(Image.OPEN) - NO_PICTURES - set(COMMON))


@cache
def decoders() -> str:
    """The versions of what decides, beside settings, which pixels a file gives."""
    formats()
    known = [name for name in CODECS if name in {*features.codecs, *features.modules, *features.features}]
    versions = [f"{name} {features.version(name)}" for name in known]
    versions += [f"{name} {getattr(sys.modules.get(name), '__version__', None)}" for name in PLUGINS]
    return f"{RULES}; Pillow {PIL.__version__}; {'; '.join(versions)}"


@cache
def suffixes() -> frozenset[str]:
    """The suffixes of files that are to be pictures, in small letters."""
    known = formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in known)


def is_picture(path: Path) -> bool:
    """Whether a file is to be a picture: by its suffix, or where that says nothing, by its content."""
    if path.suffix.lower() in RAW:
        return False
    if path.suffix.lower() in suffixes() or not stat.S_ISREG(path.lstat().st_mode):
        return True  # a pipe, a device or a link to nothing is a fault for who opens it, not a file of another kind
    try:
        with Image.open(path, formats=formats()):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # a picture, and one that its decoder stumbles over
        return True


def kind(path: Path) -> str:
    """What a file that is no picture is counted as: its suffix, and what would open it."""
    suffix = path.suffix.lower()
    if suffix in PHONES:
        return f"{suffix} ({PHONES[suffix]} reads them)"
    if suffix in RAW:
        return f"{suffix} (raw of a camera, to be developed first)"
    return suffix or "without a suffix"


def decode(stored: Stored, reading: Reading) -> Picture:
    """A stored picture at the model's size.

    16 bits a channel become 8 (x / 257), as do floats in [0, 1] (255 x); transparent pixels lie on the ground. Of
    several frames the first is read.

    Raises:
        DataError: it is no picture that can be read, whatever its decoder raises.
    """
    try:
        if isinstance(stored, Path) and stored.suffix.lower() in RAW:
            raise ValueError("raw of a camera, to be developed first")
        opened = to_open(stored)
        with Image.open(opened, formats=formats()) as image:
            if image.mode == "I" and image.format not in SIXTEEN_BITS:
                allowed = "8 or 16 bits without a sign, or floats from 0 to 1"
                raise ValueError(f"{_integers(image)}; allowed: {allowed}")
            upright, marks = _turned(image, reading.exif_rotation)
            if image.format == "PNG":
                _refuse_damaged(opened.read_bytes() if isinstance(opened, Path) else opened.getvalue())
            plain, more = opaque(upright, reading.ground, negative=_tag(image, PHOTOMETRIC) == WHITE_IS_ZERO)
            pixels: Tensor = reading.view.transform(plain)
            more |= _frames(image)
    except Exception as error:  # decoders of damaged files raise anything: struct.error, zlib.error, IndexError, ...
        allowed = "a picture, or data.on_unreadable=skip"
        raise DataError(f"{stored}: unreadable image ({_reason(stored, error)}); allowed: {allowed}") from error
    return Picture(pixels, marks | more | _flat(pixels, more))


def _frames(image: Image.Image) -> frozenset[str]:
    """FRAMES, if there are several; what cannot be read behind the first is none."""
    with suppress(Exception):  # of a damaged one, which is not asked for
        if image.format in FILMS and getattr(image, "is_animated", False):
            return frozenset({FRAMES})
    return frozenset()


def _refuse_damaged(png: bytes) -> None:
    """Refuse a PNG picture of which a block of pixels is not what its checksum says, which Pillow does not look at.

    Raises:
        ValueError: there is one.
    """
    place = len(b"\x89PNG\r\n\x1a\n")
    while place + 12 <= len(png):
        size, kind = struct.unpack_from(">I4s", png, place)
        end = place + 8 + size
        if kind == b"IDAT" and zlib.crc32(png[place + 4 : end]) != int.from_bytes(png[end : end + 4], "big"):
            raise ValueError("damaged: a checksum of its pixels is wrong")
        place = len(png) if kind == b"IEND" else end + 4


def _reason(stored: Stored, error: Exception) -> str:
    """Why a picture cannot be read: what it is instead, where its first bytes tell, or what its decoder said."""
    if not isinstance(error, UnidentifiedImageError):
        return why(error)
    with suppress(OSError):
        opened = to_open(stored)
        with opened.open("rb") if isinstance(opened, Path) else opened as file:
            head = file.read(HEAD)
            if form := form_of(head):
                known = form.what in PICTURES or form.remedy in {PHONES[end] for end in PHONES if end in suffixes()}
                part = "list of contents" if form.what == TIFF else "beginning"
                return f"{form.what}, whose {part} is damaged" if known else str(form)
            if (text := beginning(head)) and text.startswith(MARKUP):
                return f"a text beginning {text!r}"
    return "in no form that Pillow knows"


def _flat(pixels: Tensor, marks: frozenset[str]) -> frozenset[str]:
    """CONSTANT or FLAT, if pixels are."""
    channels, narrow = pixels.numpy().reshape(3, -1), any(mark.startswith(VALUES) for mark in marks)
    if not narrow and int(channels[0].max()) - int(channels[0].min()) >= LEVELS:  # which is said of most
        return frozenset()
    levels = int(np.ptp(channels, axis=1).max())
    if levels == 0:
        return frozenset({CONSTANT})
    return frozenset({FLAT}) if levels < LEVELS or narrow else frozenset()


def _tag(image: Image.Image, number: int) -> object:
    """A tag of a TIFF, the first of its numbers; None: it has none."""
    found = image.tag_v2.get(number) if isinstance(image, TiffImageFile) else None
    return found[0] if isinstance(found, tuple) and found else found


def _integers(image: Image.Image) -> str:
    """What a picture of integers has that are not of 8 or 16 bits without a sign."""
    sign = "signed " if _tag(image, SAMPLE_FORMAT) == SIGNED else ""
    return f"{sign}integers of {_tag(image, BITS) or 32} bits"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings of large pictures and odd tags, in the whole process.

    What cannot be read is a fault, and the rest is read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _turned(image: Image.Image, apply: bool) -> tuple[Image.Image, frozenset[str]]:
    """The picture as its EXIF orientation has it, where that is asked for; marked where it is to be turned."""
    if isinstance(image, TiffImageFile):  # Pillow turns these as it loads them, and then forgets that it did
        orientation = image.tag_v2.get(ExifTags.Base.Orientation, UPRIGHT)
        image.load()
        if orientation not in BACK:
            return image, frozenset()
        return (image if apply else image.transpose(BACK[orientation])), frozenset({TURNED})
    image.load()  # first, as a decoder that has failed once may be content with half a picture
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except (OSError, SyntaxError, ValueError, struct.error):  # damaged, though the pixels may not be
        return image, frozenset()
    if orientation not in BACK:
        return image, frozenset()
    return (ImageOps.exif_transpose(image) if apply else image), frozenset({TURNED})


def opaque(image: Image.Image, ground: str, *, negative: bool = False) -> tuple[Image.Image, frozenset[str]]:
    """The picture in 8-bit colours without transparency; marked where some of it was transparent, or much is lost.

    Args:
        negative: of more than 8 bits a channel, 0 is white.
    """
    if image.mode == "F" or image.mode.startswith("I"):
        return _in_8_bits(image, negative)
    if not image.has_transparency_data:
        return (image.convert("RGB") if image.mode in UNMIXED else image), frozenset()
    layer = image.convert("RGBA")
    if np.asarray(layer.getchannel("A")).min() == 255:
        return layer.convert("RGB"), frozenset()
    under = Image.new("RGBA", layer.size, ground)
    return Image.alpha_composite(under, layer).convert("RGB"), frozenset({TRANSPARENT})


def _in_8_bits(image: Image.Image, negative: bool) -> tuple[Image.Image, frozenset[str]]:
    """A picture of 16-bit integers, or of floats in [0, 1], in 8 bits; marked where they use little of their range.

    Raises:
        ValueError: the numbers are of another range.
    """
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F":
        top, factor, allowed = 1.0, 255.0, "floats from 0 to 1"
    else:
        top, factor, allowed = 65535, 1 / 257, "integers from 0 to 65535"
    if not (low >= 0 and high <= top):
        raise ValueError(f"values from {low:g} to {high:g}; allowed: {allowed}")
    few = low < high < FOURTH * top
    marks = frozenset({f"{VALUES} {low:g} to {high:g} of {top:g}"} if few else ())
    return Image.fromarray(np.rint((top - values if negative else values) * factor).astype(np.uint8), "L"), marks
