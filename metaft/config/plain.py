"""Settings given as Python's values, as the plain values that YAML would hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from metaft.config.yamlfile import DEPTH, DIGITS, VALUES
from metaft.texts import half_letter

END = object()  # of what may be counted
ALLOWED = "text, numbers, true, false, null, and lists and mappings of them"


def plain(value: Any) -> Any:
    """Text, numbers, truth values, None, and lists and mappings of these; numpy's and torch's as Python's.

    Raises:
        ValueError: it is something else, holds itself, or is larger than the limits of a YAML file.

    >>> plain({"steps": (1, 2), "root": PurePath("pictures")})
    {'steps': [1, 2], 'root': 'pictures'}
    """
    return _plain(value, 1, iter(range(VALUES)))


def _plain(value: Any, depth: int, left: Iterator[Any]) -> Any:
    if depth > DEPTH:
        raise ValueError(f"nested more than {DEPTH} deep, or holding itself")
    if next(left, END) is END:
        raise ValueError(f"more than {VALUES:,} values")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        if abs(value) >= 10**DIGITS:
            raise ValueError(f"a whole number of more than {DIGITS} digits")
        return int(value)
    if isinstance(value, str | PurePath):
        return _text(str(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(inner, depth + 1, left) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1, left) for item in value]
    if not isinstance(value, type) and hasattr(value, "tolist"):  # numpy's and torch's
        return _plain(value.tolist(), depth + 1, left)
    raise ValueError(f"a {type(value).__name__}")


def _text(text: str) -> str:
    if half_letter(text) is not None:
        raise ValueError(f"{text!a}, which is not UTF-8")
    return text


def _key(key: Any) -> str:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise ValueError(f"a key that is no text, {key!r}")
    return str(_plain(key, 1, iter([key])))
