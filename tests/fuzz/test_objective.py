"""objective.yaml: an objective that is written and read back, or faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from metaft.config.yamlfile import to_yaml
from metaft.objective import Objective, load_objective
from tests.fuzz.cases import FEWER, SNIPPETS, end_of, fuzzed, mutated

SEEDS = (
    "version: 1\nterms: {ce: 1.0, kd: 0.1}\nlr: 1e-5\nwd: 0.1\ngroups: {}\nschedule: null\n",
    "version: 1\nterms: {ce: 1}\nlr: 1e-5\nwd: 0\ngroups: {head: {lr: 1e-3, terms: {l2init: 1}}}\nhead: linear_probe\n",
    "version: 1\nterms: {ce: 1}\nlr: 1e-5\nwd: 0\nschedule:\n- {start: 0.5, lr: 1e-4, wd: 0.1, terms: {ce: 1}}\n",
    "version: 1\nterms: {ce: 1}\nsources: {ood_val: 2}\nlr: 1\nwd: 0\nalpha: 0.5\nmethod: {name: ftp, kappa: 0.5}\n",
)
FIELDS = ("version", "terms", "sources", "lr", "wd", "groups", "schedule", "head", "alpha", "method", "start", "name")
NAMES = st.sampled_from((*FIELDS, "ce", "kd", "l2init", "head", "1"))
NUMBERS = st.sampled_from((0, 1, -1, 0.5, 1e-320, 1e308, 10**80, True)) | st.floats()
LEAVES = NUMBERS | st.none() | NAMES | st.text(st.characters(codec="utf-8"), max_size=3)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3))
RATES = st.sampled_from((1e-5, 0, 1, 0.5)) | NUMBERS
TERMS = st.dictionaries(st.sampled_from(("ce", "kd", "l2init", "x")), RATES, max_size=2)
WHOLE = st.fixed_dictionaries({"version": st.just(1), "terms": TERMS, "lr": RATES, "wd": RATES})
PARTS = st.dictionaries(st.sampled_from(FIELDS), VALUES | TERMS, max_size=2)


def kept(folder: Path, text: str) -> None:
    path = folder / "objective.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found = end_of(lambda: load_objective(path))
    if found is None:
        return
    found.save(folder / "again.yaml")
    assert load_objective(folder / "again.yaml") == found
    assert isinstance(Objective.from_values(found.values(), found.method), Objective)
    assert isinstance(found.needs_text, bool)
    assert all(found.at(share) for share in (0.0, 0.5, 1.0))


@fuzzed(mutated(SEEDS, SNIPPETS))
def test_files(folder: Path, text: str) -> None:
    kept(folder, text)


@fuzzed(st.tuples(WHOLE, PARTS), few=FEWER)
def test_documents(folder: Path, parts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    kept(folder, to_yaml({**parts[0], **parts[1]}))
