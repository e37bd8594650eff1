"""Class names and caption templates, from files or open_clip's lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metaft.errors import DataError, nearest


def templates(setting: str) -> tuple[str, ...]:
    """Caption templates, each with one `{}`.

    Args:
        setting: `simple` or `openai` (open_clip's lists), or a file with one template a line.

    Raises:
        DataError: no such file, or a line without exactly one `{}`.
    """
    import open_clip  # takes seconds, which class names alone need not

    known = {"simple": open_clip.SIMPLE_IMAGENET_TEMPLATES, "openai": open_clip.OPENAI_IMAGENET_TEMPLATES}
    if setting in known:
        return tuple(t("{}") for t in known[setting])
    lines = _lines(Path(setting), "data.templates", "simple, openai or a file")
    for number, line in enumerate(lines, 1):
        if line.count("{}") != 1:
            raise DataError(f"{setting}, line {number}: {line!r}; allowed: a template with one {{}}")
    return tuple(lines)


def class_names(path: Path, folders: Sequence[str]) -> tuple[str, ...]:
    """Readable class names for class folders in sorted order.

    Args:
        path: one name a line in the order of the folders, or lines `folder = name` in any order.
        folders: the class folders.

    Raises:
        DataError: the names do not match the folders.
    """
    lines = _lines(path, "data.classnames", "a text file")
    parts = [line.partition("=") for line in lines if "=" in line]
    pairs = {folder.strip(): name.strip() for folder, _, name in parts}
    if not pairs:
        if len(lines) != len(folders):
            raise DataError(f"{path}: {len(lines)} class names; allowed: {len(folders)}, one for each class folder")
        return tuple(lines)
    unknown = [name for name in pairs if name not in folders]
    missing = [name for name in folders if name not in pairs]
    if unknown or missing or len(pairs) != len(lines):
        hint = f" (nearest to {unknown[0]!r}: {nearest(unknown[0], folders)!r})" if unknown else ""
        raise DataError(
            f"{path}: class folders unknown {unknown}, without a name {missing}{hint}; "
            "allowed: one line `folder = name` for each class folder"
        )
    return tuple(pairs[f] for f in folders)


def _lines(path: Path, setting: str, allowed: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{setting}: cannot read {path} ({error}); allowed: {allowed}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{setting}: {path} is empty; allowed: {allowed} with at least one line")
    return lines
