"""YAML: what its traps would make something else of is text, and what no setting needs is a fault."""

from __future__ import annotations

import math

import pytest

from metaft.config.yamlfile import DEPTH, SIZE, VALUES, parse_yaml, to_yaml
from metaft.errors import Fault


def read(text: str):
    faults: list[Fault] = []
    document = parse_yaml(text, "it", faults)
    assert not faults
    return document.value


def fault(text: str) -> str:
    faults: list[Fault] = []
    assert parse_yaml(text, "it", faults) is None
    (only,) = faults
    return str(only)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("7", 7), ("-0", 0), ("+5", 5), ("1e-5", 1e-5), ("1.", 1.0), (".5E3", 500.0), ("-.inf", -math.inf)),
        *(("true", True), ("TRUE", True), ("~", None), ("", None), ("Null", None), ("no", "no"), ("yes", "yes")),
        *((text, text) for text in ("2024-01-01", "12:30", "1_000", "010", "0x1F", "0b1", "1:30:00.5", "=", "<<", "-")),
        *(("'7'", "7"), ("!!str 7", "7"), ("!!int '7'", 7), ("!!float 1e3", 1000.0), ("! 7", 7)),
        *(("[1, [2]]", [1, [2]]), ("{a: {b: 1}}", {"a": {"b": 1}}), ("{1: a, ~: b}", {"1": "a", "~": "b"})),
    ],
)
def test_plain_values(text, value):
    assert repr(read(f"a: {text}\n" if text != "-" else "a: '-'")["a"]) == repr(value)


def test_maps_are_merged_and_shared():
    base = "base: &b {x: 1, y: 2}\n"
    assert read(f"{base}own: {{<<: *b, x: 3}}")["own"] == {"x": 3, "y": 2}
    assert read(f"{base}own: {{x: 3, <<: [{{x: 4, z: 5}}, *b]}}")["own"] == {"x": 3, "y": 2, "z": 5}
    assert read("a: &a [1]\nb: [*a, *a]") == {"a": [1], "b": [[1], [1]]}
    assert read("{'<<': 1}") == {"<<": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        *((f"a: {tag} x", "tag ") for tag in ("!!python/object:os.system", "!!timestamp", "!!binary", "!own", "!!int")),
        *(("a: !!set {x}", "tag !!set"), ("!!omap [a: 1]", "tag !!omap"), ("a: !!map [1]", "tag !!map")),
        *(("a: &a [*a]", "an anchor that holds itself"), ("a: &a {b: *a}", "holds itself")),
        *(("a: &a {<<: *a}", "holds itself"), ("a: {<<: 5}", "<< with what is no map")),
        *(("? [a]\n: 1", "a key that is no text"), ("? {a: b}\n: 1", "a key that is no text")),
        *(("[" * 5000, f"more than {DEPTH} deep"), ("{a: " * 5000, "deep"), ("- " * 5000, "deep"), ("? " * 99, "deep")),
        *((f"a: {'9' * 5000}", "a whole number of 5000 digits"), ("a: *b", "undefined alias")),
        *(('"\\ud800"', "half a letter"), ('"\\UFFFFFFFF"', "invalid YAML"), ('"\\U00110000"', "invalid YAML")),
        *(("a: \0", "in line 1: the letter '\\x00'"), ("\n\n\x07", "in line 3: the letter"), ("\udcff", "the letter")),
        *(("a: 1\n---\nb: 2", "another document"), ("%YAML 2.0\n---\na", "incompatible"), ("a: [", "line 1")),
        *((f"%YAML 1.{'9' * 5000}\n--- a", "invalid YAML"), (" " * (SIZE + 1), f"at most {SIZE:,}")),
        (f"[{'a,' * (VALUES + 1)}]", f"more than {VALUES:,} values"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_faults(text, words):
    assert words in fault(text)


@pytest.mark.parametrize("form", ["[{}]", "{{<<: [{}]}}"])
def test_aliases_that_multiply_are_refused_soon(form):
    lines = ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {form.format(', '.join([f'*a{i - 1}'] * 9))}" for i in range(1, 12))]
    assert f"more than {VALUES:,} values" in fault("\n".join(lines))


def test_keys_that_come_again_leave_a_value():
    faults: list[Fault] = []
    assert parse_yaml("a: 1\nb: 2\na: 3\n", "it", faults).value == {"a": 3, "b": 2}
    assert [str(each) for each in faults] == ["it: key 'a' again in line 3; allowed: each key once."]


def test_what_is_written_is_read_back_as_it_was():
    document = {"a": ["1e5", "no", "12:30", "010", "1_0", "~", "", "<<", "2024-01-01", 1e-5, 1e30, 7, None, True]}
    assert read(to_yaml(document)) == document
