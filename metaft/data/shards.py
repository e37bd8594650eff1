"""Shards: tar archives whose members KEY.SUFFIX belong together by key, a picture and its label among them."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from metaft.data.decode import suffixes
from metaft.data.stored import version_of
from metaft.data.tree import HIDDEN, is_hidden
from metaft.errors import DataError, few, why
from metaft.forms import form_of
from metaft.texts import regular, whole

# What is no archive that members can be read from at their places, by how it begins.
NO_TAR = {
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"version https://git-lfs": "a pointer of Git LFS, not what it points to (git lfs pull)",
}
BLOCK = 512  # bytes; an archive is made of such blocks, and ends with some that are empty
TAIL = 2**20  # bytes behind the last member that are looked at
PICTURE, CLS, JSON = "picture", "cls", "json"
NO_FILE = "no regular file"


@dataclass(frozen=True)
class Shard:
    """An archive as it was when its headers were read."""

    path: Path
    version: str


@dataclass(frozen=True, slots=True)  # there may be millions
class Member:
    """A file in a shard: its bytes begin at an offset."""

    shard: Shard
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        """As messages call it."""
        return f"{self.shard.path}, member {self.name}"

    @property
    def version(self) -> str:
        """The shard's, and its place there."""
        return f"{self.shard.version}\0{self.offset}\0{self.size}"

    def read(self) -> bytes:
        """The bytes.

        Raises:
            OSError: the shard is not there, or has become shorter.
        """
        with self.shard.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise OSError(f"the shard ends {self.size - len(content)} bytes early")
        return content


class Sample(NamedTuple):
    """A picture, the number of its class, and its group, empty where none is asked for."""

    picture: Member
    label: int
    group: str


def samples(path: Path, json_keys: Sequence[str], group_key: str | None = None) -> tuple[list[Sample], Counter[str]]:
    """The samples of a shard, in the order of their first members, and how many members are in none, by reason.

    A key ends, and a suffix begins, at the first dot of a name, as for the webdataset package. The label is the number
    in KEY.cls, or else that under the first of `json_keys` in KEY.json; the group is that under `group_key` there.

    Raises:
        DataError: no whole archive, a key without one picture and one label, or a group that is asked for, or no
            sample at all.
    """
    by_key, left_out = _by_key(path)
    found = []
    for key, parts in by_key.items():
        lacking = "picture" if PICTURE not in parts else "label (.cls or .json)" if len(parts) == 1 else None
        if lacking:
            others = ", ".join(member.name for member in parts.values())
            allowed = "a picture and a label under each key, which ends at a name's first dot"
            raise DataError(f"{path}: no {lacking} under the key {key!r}, only {others}; allowed: {allowed}")
        left_out[f".{JSON}"] += CLS in parts and JSON in parts and group_key is None
        label = _number(parts[CLS]) if CLS in parts else _number_in_json(parts[JSON], json_keys)
        group = "" if group_key is None else _group(parts, group_key)
        found.append(Sample(parts[PICTURE], label, group))
    if not found:
        others = few([f"{count} {what}" for what, count in sorted(left_out.items())]) or "nothing at all"
        allowed = "members KEY.jpg and KEY.cls, or others alike, whose keys have no dot"
        raise DataError(f"{path}: no pictures, but {others}; allowed: {allowed}")
    return found, +left_out


def _by_key(path: Path) -> tuple[dict[str, dict[str, Member]], Counter[str]]:
    """The pictures and labels of a shard by their keys, and the number of other members."""
    shard = Shard(path, version_of(path))
    by_key: dict[str, dict[str, Member]] = {}
    left_out: Counter[str] = Counter()
    for info in _headers(path):
        name = PurePosixPath(info.name)
        stem, dot, suffix = name.name.partition(".")
        part = PICTURE if f".{suffix}".lower() in suffixes() else suffix.lower()
        if info.isdir():
            continue
        if any(map(is_hidden, name.parts)):
            left_out[HIDDEN] += 1
        elif not info.isreg():
            left_out[NO_FILE] += 1
        elif part not in (PICTURE, CLS, JSON):
            left_out[dot + suffix or "without a suffix"] += 1
        else:
            parts = by_key.setdefault(str(name.with_name(stem)), {})
            if part in parts:
                both = f"{parts[part].name} and {info.name} under one key"
                raise DataError(f"{path}: {both}; allowed: a picture and a label under each key")
            parts[part] = Member(shard, info.name, info.offset_data, info.size)
    return by_key, left_out


def _headers(path: Path) -> list[tarfile.TarInfo]:
    """The headers of an archive's members.

    Python's reader takes a damaged header, and a file that ends with a member, for the end of the archive; so what
    follows its end is looked at.

    Raises:
        DataError: no archive, not a plain one, or not a whole one.
    """
    try:
        with regular(path).open("rb") as file:
            start = file.read(BLOCK)
            file.seek(0)
            for magic, what in NO_TAR.items():
                if start.startswith(magic):
                    raise DataError(f"{path}: {what}; allowed: a plain tar archive")
            if start and (form := form_of(start)):
                raise DataError(f"{path}: {form}; allowed: a plain tar archive")
            with tarfile.open(fileobj=file, mode="r:") as archive:
                infos = archive.getmembers()
                file.seek(archive.offset)
                rest = file.read(TAIL)
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path}: no tar archive that can be read ({why(error)}); allowed: a whole one") from error
    if rest[:BLOCK] != bytes(BLOCK):
        how = "damaged" if len(rest) >= BLOCK else "the shard ends early"
        last = f"after member {infos[-1].name}" if infos else "at its beginning"
        raise DataError(f"{path}: {how}, {last}; allowed: a whole archive")
    if rest.strip(b"\0"):
        raise DataError(f"{path}: more data behind the archive's end; allowed: one archive in a file")
    return infos


def _number(member: Member) -> int:
    """The class number in a text."""
    text = member.read().decode("utf-8", "backslashreplace").strip()
    number = whole(text)
    if number is None:
        raise DataError(f"{member}: the label {text[:40]!r}; allowed: a class number from 0")
    return number


def _number_in_json(member: Member, keys: Sequence[str]) -> int:
    """The class number under the first of some keys that is there."""
    key, label = _in_json(member, keys, "json_keys")
    if not isinstance(label, int) or isinstance(label, bool) or label < 0:
        raise DataError(f"{member}: the label {label!r} under {key!r}; allowed: a class number from 0")
    return label


def _group(parts: Mapping[str, Member], key: str) -> str:
    """The group of the picture in a sample."""
    if JSON not in parts:
        raise DataError(f"{parts[PICTURE]}: no .{JSON} beside it; allowed: one with data.options.group_key, {key!r}")
    _, group = _in_json(parts[JSON], [key], "group_key")
    if not isinstance(group, int | str) or isinstance(group, bool) or group == "":
        raise DataError(f"{parts[JSON]}: the group {group!r} under {key!r}; allowed: a name or a whole number")
    return str(group)


def _in_json(member: Member, keys: Sequence[str], option: str) -> tuple[str, Any]:
    """The first of some keys that is there, which an option names, and what is under it."""
    try:
        found = json.loads(member.read())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{member}: no JSON ({error}); allowed: an object with {' or '.join(keys)}") from error
    known = [key for key in keys if key in found] if isinstance(found, Mapping) else []
    if not known:
        raise DataError(f"{member}: no {' or '.join(keys)}; allowed: one, or data.options.{option}")
    return known[0], found[known[0]]
