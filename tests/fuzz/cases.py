"""How cases are made and run, and the ends that they may have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from metaft.errors import MetaftError
from metaft.shell import answered

T = TypeVar("T")
S = TypeVar("S", str, bytes)
FEW, FEWER = 100, 50
MANY = int(os.environ.get("FUZZ", "1000"))  # cases of a kind in full runs
SLOW = MANY // 50  # of those that open a model or run a search
HANG = timedelta(seconds=10)
CODES = (2, 3, 4)  # of errors; 0 and 130 are no errors

# Texts on which readers stumble: control characters, separators, halves of letters, numbers beyond every range.
NASTY = (
    *("", " ", "\0", "\n", "\r", "\t", "\x1b[31m", "\x85", "\u2028", "\u2029", "\ufeff", "\u202e", "\ud800", "\udcff"),
    *("{}", "{", "}", "[]", "[", "&a [*a]", "*a", "<<", "!!python/none", "!x", "---", "...", "? ", ": ", "- ", "#"),
    *("null", "true", "no", ".nan", ".inf", "-.inf", "1e308", "1e-320", "1e400", "-1", "0", "10000000000000"),
    *("9" * 5000, "0x10", "010", "1_0", "12:30", "2024-01-01", "\u0663", "1e5", "a" * 300, "a/" * 3000, "~", "~\0"),
    *("$HOME", "${", "..", "/", "meta", "kd", "lr", "ce", "é", "e\u0301", "=", ",", '"', "'", "\\", '"\\ud800"'),
)
SNIPPETS = st.sampled_from(NASTY) | st.text(max_size=6)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[S], pieces: SearchStrategy[S], most: int = 4) -> S:
    """One of some valid inputs, of which parts are cut, doubled, replaced, or spliced with another."""
    made = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, most))):
        start = draw(st.integers(0, len(made)))
        end = min(len(made), start + draw(st.integers(0, 1) | st.integers(0, len(made))))
        change = draw(st.sampled_from(("cut", "double", "replace", "insert", "splice")))
        if change == "cut":
            made = made[:start] + made[end:]
        elif change == "double":
            made = made[:end] + made[start:]
        elif change == "splice":
            made = made[:start] + draw(st.sampled_from(seeds))[start:]
        else:
            made = made[:start] + draw(pieces) + made[end if change == "replace" else start :]
    return made


def fuzzed(
    strategy: SearchStrategy[Any], few: int = FEW, many: int = MANY
) -> Callable[[Callable[[Path, Any], None]], Callable[..., None]]:
    """A test that runs a function on a folder and each of a few cases, and on many where full runs are asked for."""

    def as_test(function: Callable[[Path, Any], None]) -> Callable[..., None]:
        @pytest.mark.parametrize(
            "count", [few, pytest.param(many, marks=[pytest.mark.full, pytest.mark.timeout(3600)])]
        )
        def test(tmp_path: Path, count: int) -> None:
            limits = settings(
                max_examples=count,
                derandomize=True,
                database=None,
                deadline=HANG,
                suppress_health_check=list(HealthCheck),
            )
            limits(given(strategy)(lambda case: function(tmp_path, case)))()

        test.__doc__ = function.__doc__
        return test

    return as_test


def end_of(function: Callable[[], T]) -> T | None:
    """What a function gives, or None where it refuses its input as it may; the error has a line to print."""
    try:
        return function()
    except MetaftError as error:
        refused = error
    assert refused.exit_code in CODES
    assert str(refused).strip()
    return None


def answer_of(function: Callable[[], T]) -> T | None:
    """What a function gives, or None where a command line that calls it would end with a line and a code of errors."""
    made: list[T] = []

    def body() -> int:
        made.append(function())
        return 0

    assert answered(body) in (0, *CODES)
    return made[0] if made else None


DAMAGES = ("changed", "changed", "changed", "cut", "empty", "gone", "folder", "loop", "pipe", "noise")


@st.composite
def damages(draw: st.DrawFn, contents: Callable[[], Mapping[str, bytes]], most: int = 2) -> dict[str, bytes | str]:
    """What becomes of one or two of some files, by name: other contents, or in a word what is there instead."""
    files = contents()
    names = draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=most, unique=True))
    return {name: draw(_damaged(files[name])) for name in names}


@st.composite
def _damaged(draw: st.DrawFn, content: bytes) -> bytes | str:
    how = draw(st.sampled_from(DAMAGES))
    if how == "changed":
        texts = st.sampled_from([text.encode("utf-8", "replace") for text in NASTY])
        return draw(mutated([content], st.binary(max_size=3) | st.integers(0, 9).map(lambda n: b"%d" % n) | texts))
    if how == "cut":
        return content[: draw(st.integers(0, len(content)))]
    return {"empty": b"", "noise": draw(st.binary(max_size=30))}.get(how, how)


def damage(folder: Path, harm: Mapping[str, bytes | str]) -> None:
    """Do that to the files of a folder; others that share their contents by links stay as they are."""
    for name, what in harm.items():
        path = folder / name
        path.unlink()
        if isinstance(what, bytes):
            path.write_bytes(what)
        elif what != "gone":
            {"folder": path.mkdir, "loop": lambda p=path: p.symlink_to(p), "pipe": lambda p=path: os.mkfifo(p)}[what]()
