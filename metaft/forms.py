"""What a file is instead of what it should be, told by its first bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from metaft.texts import regular

HEAD = 512  # bytes that tell the form
PACKED = "unpack it first"
TIFF = "a TIFF picture"
PICTURES = ("a PNG picture", "a JPEG picture", "a GIF picture", TIFF, "a WebP picture")
ZIP = "a zip archive, or a table of Excel"
JXL = "a JPEG XL picture"
ARRAYS = ("a numpy array", "an HDF5 file, as of Keras")
MAGIC = (
    (b"\x1f\x8b", "compressed by gzip", PACKED),
    (b"BZh", "compressed by bzip2", PACKED),
    (b"\xfd7zXZ\x00", "compressed by xz", PACKED),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", PACKED),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", PACKED),
    (b"Rar!", "a RAR archive", PACKED),
    (b"PK\x03\x04", ZIP, "unpack it, or save it as CSV"),
    (b"\x93NUMPY", ARRAYS[0], ""),
    (b"\x89HDF", ARRAYS[1], ""),
    (b"GGUF", "a GGUF file", ""),
    (b"\x89PNG", PICTURES[0], ""),
    (b"\xff\xd8\xff", PICTURES[1], ""),
    (b"GIF8", PICTURES[2], ""),
    (b"II*\0", PICTURES[3], ""),
    (b"MM\0*", PICTURES[3], ""),
    (b"\xff\x0a", JXL, "save it as PNG"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", JXL, "save it as PNG"),
    (b"%PDF", "a PDF document", ""),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it points to", "run `git lfs pull`"),
)
PAGE = re.compile(rb"(?i)(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head|body)")
HEIF, AVIF = ('pip install "metaft[heif]"', 'pip install "metaft[avif]", or a newer Pillow')  # what opens them
BRANDS = {  # of pictures in the container of MP4, at bytes 8 to 12
    **dict.fromkeys([b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"], ("HEIC", HEIF)),
    **dict.fromkeys([b"avif", b"avis"], ("AVIF", AVIF)),
    b"crx ": ("raw", "develop it to TIFF or PNG"),
}


class Form(NamedTuple):
    """The form of a file, and what to do about it; empty: nothing is known."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}" if self.remedy else self.what


def is_page(head: bytes) -> bool:
    """Whether a file that begins with these bytes is an HTML page."""
    return PAGE.match(head) is not None


def form_of(head: bytes) -> Form | None:
    """The form of a file that begins with these bytes; None: none of those that are known.

    >>> form_of(b"version https://git-lfs.github.com/spec/v1").remedy
    'run `git lfs pull`'
    """
    if not head:
        return Form("an empty file (0 bytes)", "fetch it again")
    if is_page(head):
        return Form("an HTML page", "fetch the file itself, not the page about it")
    if head[4:8] == b"ftyp":
        if head[8:12] not in BRANDS:
            return Form("a film, or sound, in the container of MP4", "")
        name, opener = BRANDS[head[8:12]]
        return Form(f"{'an' if name[0] == 'A' else 'a'} {name} picture", opener)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Form(PICTURES[4], "")
    if head[128:132] == b"DICM":
        return Form("a DICOM file", "save its picture as PNG")
    return next((Form(what, remedy) for magic, what, remedy in MAGIC if head.startswith(magic)), None)


def beginning(head: bytes) -> str | None:
    """The first words of a file that begins with these bytes, where it is a text; None: it is none.

    >>> beginning(b'{"error": "not found"}'), beginning(b"\\x00\\x01")
    ('{"error": "not found"}', None)
    """
    text = head.decode("utf-8-sig", errors="replace").strip()[:60]
    plain = all((letter.isprintable() or letter.isspace()) and letter != "\ufffd" for letter in text)
    return text if text and plain else None


def form_at(path: Path) -> Form | None:
    """The form of a file, as of its first bytes.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with regular(path).open("rb") as file:
        return form_of(file.read(HEAD))
