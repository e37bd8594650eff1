"""Journals of searches: they are refused, or what was written is read and a search can go on from it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import strategies as st

from metaft.files import to_json
from metaft.progress import be_quiet
from metaft.search.bilevel import Budget, Solver
from metaft.search.journal import BY_LINE, VERSION, Journal
from metaft.search.lines import SUM, checksum
from metaft.search.solvers.blackbox import BlackBoxSolver, earlier
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE
from tests.fuzz.cases import FEWER, NASTY, end_of, fuzzed, mutated
from tests.search.problems import Bowl, Ripening, Slow

TRIALS, STEEP = 6, 13  # the latter of a descent that begins with what a problem suggests
Raw = dict[str, Any]


@pytest.fixture(autouse=True)
def _quiet():
    be_quiet(True)


def black_box(**options: Any) -> Solver:
    return BlackBoxSolver(lambda space, seed: TPE(space, seed, startup=3), **options)


def written(folder: Path) -> Iterator[bytes]:
    """Journals of searches of every kind, an earlier one's trials among them."""
    made: list[tuple[str, Solver, Any]] = [
        ("tpe", black_box(), Bowl(bad_seeds=True)),
        ("hypergrad", HypergradSolver(), Bowl(bad_seeds=True)),
        ("stopped", black_box(stopping=True), Slow()),
        ("ripe", black_box(), Ripening()),
        ("ripe_hypergrad", HypergradSolver(), Ripening()),
        ("warm", black_box(warm_start=folder / "tpe"), Bowl()),
    ]
    for name, solver, problem in made:
        limits = Budget(trials=STEEP) if name == "ripe_hypergrad" else Budget(trials=TRIALS, step_equivalents=200)
        solver.solve(problem, limits, Journal(folder / name, run="a"))
        yield (folder / name).read_bytes()


@cache
def seeds() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return tuple(written(Path(folder)))


def sealed(lines: Sequence[str], how: str) -> bytes:
    """Lines of records without checksums as a journal: sums of all lines, of each alone, or none."""
    version, total = VERSION if how == "chain" else BY_LINE, 0
    done = [json.dumps({"version": version, "run": "a"})]
    for line in lines:
        total = checksum(json.loads(line), total if how == "chain" else 0)
        done.append(line if how == "none" else f'{line[:-1]}, "{SUM}": "{total:08x}"}}')
    return ("\n".join(done) + "\n").encode()


@cache
def records() -> tuple[tuple[Raw, ...], ...]:
    """The records of each seed without their checksums."""
    raw = [[json.loads(line) for line in seed.splitlines()[1:]] for seed in seeds()]
    return tuple(tuple({k: v for k, v in line.items() if k != SUM} for line in lines) for lines in raw)


def state(journal: Journal) -> str:
    return repr((journal.space, journal.starts, journal.lost, journal.records))


@cache
def states() -> frozenset[str]:
    """What is read of the first lines of each seed."""
    found = set()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.jsonl"
        for seed in seeds():
            lines = seed.splitlines(keepends=True)
            for count in range(1, len(lines) + 1):
                path.write_bytes(b"".join(lines[:count]))
                found.add(state(Journal(path, read_only=True)))
    return frozenset(found)


def opened(folder: Path, content: bytes) -> Journal | None:
    """The journal of a content, from which a search by one solver or another goes on, or None where it is refused."""
    path = folder / "t.jsonl"
    path.write_bytes(content)
    found = end_of(lambda: Journal(path, read_only=True))
    again = end_of(lambda: Journal(path, run="a"))
    if again is not None:
        assert found is not None
        assert state(again) == state(found)
    path.write_bytes(content)
    if found is not None:
        problem = Ripening() if "'lr'" in str(found.space) else Bowl()
        end_of(lambda: earlier(path, problem.space))
        if crc32(content) % 2:
            goes_on(Journal(path, read_only=True), black_box(stopping=True), problem, TRIALS + 2)
        else:
            goes_on(Journal(path, read_only=True), HypergradSolver(), problem, STEEP + 1)
    return found


def goes_on(read: Journal, solver: Solver, problem: Any, trials: int) -> None:
    """A search that goes on from a journal comes to a choice, or refuses the journal."""
    assert [r.number for r in read.trials] == sorted(r.number for r in read.trials)
    choice = end_of(lambda: solver.solve(problem, Budget(trials=trials, step_equivalents=250), read))
    if choice is not None:
        assert problem.space.to_unit(choice.params).isfinite().all()


PIECES = st.binary(max_size=4) | st.sampled_from([text.encode("utf-8", "replace") for text in NASTY])


@fuzzed(st.deferred(lambda: mutated(seeds(), PIECES)))
def test_bytes(folder: Path, content: bytes) -> None:
    found = opened(folder, content)
    assert found is None or state(found) in states(), "what is read was written, in its order"


NUMBERS = ("NaN", "-Infinity", "1e400", "-1e400", "1e308", "-1e308", "1" + "0" * 400, "-1", "0", "1", "0.5", "2.0")
ODD = (*NUMBERS, "null", "true", "[]", "{}", '"a"', '""', '"\\ud800"', '"\\u0000"', "[[[1]]]", '{"a": {"b": 1}}', "[1]")
LIKELY = ("0", "1", "2", "5", "0.5", "0.7", "1e15", "1e300", "-1e300", "1e-320", "null")
KINDS = ('"ok"', '"stopped"', '"failed"', '"trial"', '"final"', '"check"', '"prior"', '"start"', '"lost"')
VALUES = st.sampled_from((*LIKELY, *KINDS)) | st.sampled_from(LIKELY) | st.sampled_from(ODD)
HOW = st.sampled_from(("chain", "by line", "none"))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value within another."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from places(part, (*path, key))


def drawn_place(draw: st.DrawFn, document: Any) -> tuple[Any, Any]:
    """A map or list within a document, and a key or place of it."""
    *way, last = draw(st.sampled_from(tuple(places(document))))
    for key in way:
        document = document[key]
    return document, last


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A journal of which some values, keys or lines are others, with checksums that are right or without any."""
    lines = list(draw(st.sampled_from(records())))
    texts: dict[str, str] = {}
    for number in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(lines) - 1))
        line = json.loads(json.dumps(lines[at]))
        node, last = drawn_place(draw, line)
        change = draw(st.sampled_from(("put", "put", "put", "take", "more")))
        if change == "take":
            del node[last]
        else:
            mark = f"@{number}@"
            texts[f'"{mark}"'] = draw(VALUES)
            if change == "more" and isinstance(node, list):
                node.append(mark)
            else:
                node["more" if change == "more" else last] = mark
        lines[at] = line
    written = []
    for line in lines:
        text = json.dumps(line)
        for mark, odd in texts.items():
            text = text.replace(mark, odd)
        written.append(text)
    return sealed(written, draw(HOW))


@fuzzed(changed())
def test_values(folder: Path, content: bytes) -> None:
    opened(folder, content)


@st.composite
def moved(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A journal whose lines are doubled, moved, missing or others': with its own checksums, and with new ones."""
    number = draw(st.integers(0, len(seeds()) - 1))
    header, *lines = seeds()[number].splitlines(keepends=True)
    raw = list(records()[number])
    for _ in range(draw(st.integers(1, 3))):
        at, to = draw(st.integers(0, len(raw) - 1)), draw(st.integers(0, len(raw) - 1))
        change = draw(st.sampled_from(("move", "double", "drop", "other")))
        if change == "other":
            other = draw(st.integers(0, len(seeds()) - 1))
            line = draw(st.integers(0, len(records()[other]) - 1))
            raw[at], lines[at] = records()[other][line], seeds()[other].splitlines(keepends=True)[line + 1]
            continue
        taken = raw[at], lines[at]
        if change in ("move", "drop") and len(raw) > 1:
            del raw[at], lines[at]
        if change != "drop":
            raw.insert(to, taken[0])
            lines.insert(to, taken[1])
    return b"".join([header, *lines]), sealed([to_json(line) for line in raw], draw(HOW))


@fuzzed(moved(), few=FEWER)
def test_lines(folder: Path, contents: tuple[bytes, bytes]) -> None:
    found = opened(folder, contents[0])
    assert found is None or state(found) in states()
    opened(folder, contents[1])
