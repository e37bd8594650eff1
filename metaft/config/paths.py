"""Paths as people write them: ~ and variables stand for what a shell would put there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

LOCAL = "local-dir:"  # how open_clip names a folder that holds a model


def expanded(value: Any) -> Any:
    """A path or text with ~, ~USER, $NAME and ${NAME} replaced where they are known; other values as they are.

    >>> expanded(2024)  # which YAML makes of a folder's name
    '2024'
    """
    if isinstance(value, bool) or not isinstance(value, str | Path | int):
        return value
    text = str(value)
    prefix = LOCAL if text.startswith(LOCAL) else ""
    return prefix + os.path.expanduser(os.path.expandvars(text.removeprefix(prefix)))  # noqa: PTH111 (of a text)


def place(text: str) -> Path:
    """The path that a word of the command line means."""
    return Path(expanded(text))


Place = Annotated[Path, BeforeValidator(expanded)]  # a setting that is a path
Named = Annotated[str, BeforeValidator(expanded)]  # a setting that is a path or another name
