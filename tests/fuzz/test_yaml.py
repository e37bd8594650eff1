"""YAML: plain values or faults, and what is written is read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from metaft.config.yamlfile import DEPTH, SIZE, VALUES, parse_yaml, to_yaml
from metaft.errors import Fault
from metaft.texts import read_text
from tests.fuzz.cases import FEWER, SNIPPETS, fuzzed, mutated

SEEDS = (
    "a: 1\nb: [x, 'y', 2.5, null, true]\nc: {d: -1e-5, e: ~}\n",
    "base: &a {x: 1, y: [1, 2]}\nother: {<<: *a, x: 2}\nmore: {<<: [*a, {z: 3}]}\nagain: *a\n",
    "- - - 1\n- ? a\n  : b\n",
    "a: |\n  two\n  lines\nb: >-\n  folded\n  text\n",
    "%YAML 1.1\n---\na: !!str 5\nb: !!int 7\n...\n",
    'a: "\\x41\\u00e9\\U0001F600\\n"\n',
    "a: &a [*a]\n",
    "a: &a [1, 1]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
)
FLOATS = st.floats(allow_nan=False)
SCALARS = st.none() | st.booleans() | st.integers(-(10**20), 10**20) | FLOATS | st.text(st.characters(codec="utf-8"))
KEYS = st.text(st.characters(codec="utf-8"))
VALUES_OF = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))


def is_plain(value: Any, depth: int = 0) -> bool:
    """Whether a value is made of what YAML files may hold."""
    if isinstance(value, dict):
        return depth < DEPTH and all(isinstance(k, str) and is_plain(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return depth < DEPTH and all(is_plain(item, depth + 1) for item in value)
    if isinstance(value, str):
        return value.encode("utf-8") is not None
    return value is None or isinstance(value, bool | int | float)


@fuzzed(mutated(SEEDS, SNIPPETS) | st.text(max_size=40))
def test_texts_are_plain_values_or_faults(folder: Path, text: str) -> None:
    faults: list[Fault] = []
    document = parse_yaml(text, "it", faults)
    assert document is not None or faults
    assert document is None or is_plain(document.value)
    assert all(str(fault).isprintable() for fault in faults)


@fuzzed(mutated([text.encode() for text in SEEDS], st.binary(max_size=4)) | st.binary(max_size=40), few=FEWER)
def test_files_are_texts_or_are_refused(folder: Path, content: bytes) -> None:
    path = folder / "a.yaml"
    path.write_bytes(content)
    try:
        text = read_text(path, SIZE)
    except UnicodeDecodeError:
        return
    parse_yaml(text, "it", [])


@fuzzed(st.dictionaries(KEYS, VALUES_OF, max_size=4), few=FEWER)
def test_what_is_written_is_read_back(folder: Path, document: dict[str, Any]) -> None:
    faults: list[Fault] = []
    found = parse_yaml(to_yaml(document), "it", faults)
    assert not faults
    assert found is not None
    assert found.value == document
    assert repr(found.value) == repr(document), "1 is not 1.0"


@fuzzed(
    st.tuples(st.integers(1, 10), st.integers(0, 3), st.sampled_from(("[{}]", "{{<<: [{}]}}", "{{k: [{}]}}"))),
    few=FEWER,
)
def test_aliases_that_multiply_end_soon(folder: Path, shape: tuple[int, int, str]) -> None:
    levels, width, form = shape
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {form.format(', '.join([f'*a{i - 1}'] * width))}" for i in range(1, levels)]
    faults: list[Fault] = []
    parse_yaml("\n".join(lines), "it", faults)
    assert bool(faults) == any(f"{VALUES:,}" in str(fault) for fault in faults)
