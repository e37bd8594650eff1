"""Faults as a person reads them: on a line each, of a bounded length and number."""

from __future__ import annotations

from metaft.errors import LENGTH, SHOWN, ConfigError, Fault, all_unknown, nearest, on_a_line


def test_a_fault_stays_on_its_line():
    fault = Fault("a\nb\ud800", "c\x1b[31m\u2028", "d")
    assert str(fault) == "a\\nb\\ud800: c\\x1b[31m\\u2028; allowed: d."
    assert on_a_line("caf\u00e9") == "caf\u00e9"


def test_what_is_long_is_cut():
    assert on_a_line("x" * 10**6) == f"{'x' * LENGTH}... (1,000,000 letters)"
    assert nearest("k" * 10**6, ["kd"]) is None


def test_the_first_faults_are_shown_and_the_others_counted():
    said = str(ConfigError([Fault(f"k{i}", "unknown", "x") for i in range(SHOWN + 5)])).splitlines()
    assert said[0] == "25 problems in the settings:"
    assert len(said) == SHOWN + 2
    assert said[-1] == "  - and 5 more"
    assert "more" not in str(ConfigError([Fault("a", "b", "c")] * SHOWN))


def test_faults_of_arguments_are_said_to_be_on_the_command_line():
    flag, word, setting = Fault("--mode", "a", "b"), Fault("NAME", "a", "b"), Fault("data.name", "a", "b")
    assert str(ConfigError([flag, word])).startswith("2 problems on the command line:\n")
    assert str(ConfigError([flag, setting])).startswith("2 problems in the settings:\n")


def test_so_many_unknown_names_are_looked_up():
    odd = list(all_unknown("terms", [f"k{i}" for i in range(10**5)], ["kd", "ce"]))
    assert len(odd) == SHOWN
    assert [fault.found for fault in all_unknown("terms", ["kd", "ke", 1], ["kd"])] == [
        "unknown name 'ke'",
        "unknown name '1'",
    ]
