"""Paths as people write them: ~ and variables stand for what a shell would put there."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from metaft.errors import nearest

LOCAL = "local-dir:"  # how open_clip names a folder that holds a model
PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")  # suffixes of archives
NAME, WHOLE = 255, 2000  # bytes of a file's name, and of a path, of which systems take two in each other


def expanded(value: Any) -> Any:
    """A path or text with ~, ~USER, $NAME and ${NAME} replaced where they are known; other values as they are.

    >>> expanded(2024)  # which YAML makes of a folder's name
    '2024'
    """
    if isinstance(value, bool) or not isinstance(value, str | Path | int):
        return value
    text = str(value)
    if fault(text):
        return text  # as it is, for who refuses it
    prefix = LOCAL if text.startswith(LOCAL) else ""
    return prefix + os.path.expanduser(os.path.expandvars(text.removeprefix(prefix)))  # noqa: PTH111 (of a text)


def fault(text: str) -> str | None:
    """What is wrong with a text that no file can have as its path; None where one can."""
    if not text:
        return "an empty one"
    if "\0" in text:
        return "one with the letter \\0"
    if len(os.fsencode(text)) > WHOLE:
        return f"one of more than {WHOLE} bytes"
    long = any(len(os.fsencode(name)) > NAME for name in text.split("/"))
    return f"one with a name of more than {NAME} bytes" if long else None


def place(text: str) -> Path:
    """The path that a word of the command line means.

    Raises:
        ArgumentTypeError: there can be no such path.
    """
    if wrong := fault(expanded(text)):
        raise ArgumentTypeError(f"{wrong}; allowed: a path that files can have")
    return as_on_disk(Path(expanded(text)))


def named(text: str, folder: Path) -> Path:
    """The path that a row of a table means.

    Of a file as it is named, if there is one; else with variables replaced, and with / for the backslashes of Windows.
    """
    literal = folder / text
    if os.path.lexists(literal):
        return literal
    found = as_on_disk(folder / expanded(text))
    if "\\" not in text or os.path.lexists(found):
        return found
    other = as_on_disk(folder / expanded(text).replace("\\", "/"))
    return other if os.path.lexists(other) else found


def as_on_disk(path: Path) -> Path:
    """A path, with each part that is not there as one beside it is written that differs in Unicode's form alone.

    Macs take letters apart (NFD) that are typed as one (NFC).
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    here = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        there = here / part
        here = there if os.path.lexists(there) else here / _composed(here).get(normalize("NFC", part), part)
    return here


def _composed(folder: Path) -> Mapping[str, str]:
    """The names in a folder by their composed form; none where it cannot be read."""
    with suppress(OSError):
        return _names_in(folder.absolute(), folder.stat().st_mtime_ns)
    return {}


@lru_cache(maxsize=4096)  # a table may name thousands of folders in any order
def _names_in(folder: Path, changed: int) -> Mapping[str, str]:
    return {normalize("NFC", name): name for name in sorted((path.name for path in folder.iterdir()), reverse=True)}


def _usable(value: Any) -> Any:
    """A setting that may be a path, expanded.

    Raises:
        PydanticCustomError: there can be no such path, or YAML has made something else of its name.
    """
    if isinstance(value, bool) or not isinstance(value, str | Path | int):
        raise PydanticCustomError("path", "a path; in quotes where it is named like a number, true or a list")
    text = expanded(value)
    if isinstance(text, str) and (wrong := fault(text)):
        raise PydanticCustomError("path", "a path, not {wrong}", {"wrong": wrong})
    path = Path(text)
    found = as_on_disk(path)
    return text if found == path else str(found)


Place = Annotated[Path, BeforeValidator(_usable)]  # a setting that is a path
Named = Annotated[str, BeforeValidator(_usable)]  # a setting that is a path or another name


def names_beside(path: Path) -> list[str]:
    """The names of what lies where a file or folder is looked for."""
    return [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []


def no_folder(path: Path, but: Collection[str] = ()) -> str:
    """A message that a path leads to no folder, but what, or which one beside it may be meant, none of some names."""
    if path.is_symlink() and not path.exists():
        return f"{path}: no folder, but a link to {str(path.readlink())!a}, where nothing can be found"
    if path.exists():
        packed = " (unpack it first)" if path.suffix.lower() in PACKED else ""
        return f"{path}: no folder, but a file{packed}"
    near = nearest(path.name, [name for name in folders_beside(path) if name not in but])
    return f"{path}: no such folder" + (f" (nearest: {near!r})" if near else "")


def folders_beside(path: Path) -> list[str]:
    """The names of the folders that lie where a file or folder is looked for."""
    return [name for name in names_beside(path) if (path.parent / name).is_dir()]
