"""Names of classes, domains and tests: what is taken can be written one a line and read back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st
from pydantic import ValidationError

from metaft.data import tree
from metaft.data.captions import class_names, listed
from metaft.data.classes import Classes
from metaft.data.folder import Options
from metaft.data.grouping import domains_of
from metaft.errors import DataError
from tests.fuzz.cases import FEWER, NASTY, SNIPPETS, end_of, fuzzed, mutated

SEEDS = ("dog", "cat", "Café au lait", "n01440764", "a = b", "0", "10", "007", "dog_house", "犬", "\u200d", "İ")
NAMES = mutated(SEEDS, SNIPPETS) | st.text(max_size=4)
SEVERAL = st.lists(NAMES, max_size=5, unique=True)
BREAKS = ("\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0", "\x7f", "\ud800", "\udcff")


def survive(names: tuple[str, ...]) -> None:
    """Names are the same when they have been in a file, however it is split into lines."""
    content = "".join(f"{name}\n" for name in names).encode("utf-8")
    assert tuple(content.decode("utf-8").split("\n")[:-1]) == names
    assert "".join(f"{name}\n" for name in names).splitlines() == list(names)


@fuzzed(SEVERAL)
def test_names_of_classes_and_domains(folder: Path, names: list[str]) -> None:
    classes = end_of(lambda: Classes(tuple(names), ("{}",)))
    if classes is not None:
        survive(classes.names)
    domains = end_of(lambda: domains_of(names))
    if domains is not None:
        survive(domains.names)
    assert (classes is None) == (domains is None)


@fuzzed(st.lists(mutated([name.encode() for name in SEEDS], st.binary(max_size=3)), max_size=4), few=FEWER)
def test_folders(folder: Path, names: list[bytes]) -> None:
    root = folder / "root"
    root.mkdir()
    for name in names:
        if name and b"\0" not in name and b"/" not in name and len(name) < 200 and name not in (b".", b".."):
            (root / os.fsdecode(name)).mkdir(exist_ok=True)
    found = end_of(lambda: tree.folders(root))
    end_of(lambda: tree.walked(root))
    shutil.rmtree(root)
    if found is not None:
        survive(tuple(found))
        survive(class_names(None, list(found)))


@fuzzed(st.tuples(mutated([f"{name}\n".encode() for name in SEEDS], st.binary(max_size=4), most=8), SEVERAL), few=FEWER)
def test_files_of_names(folder: Path, case: tuple[bytes, list[str]]) -> None:
    content, folders = case
    path = folder / "names.txt"
    path.write_bytes(content + "".join(f"{name} = {name}\n" for name in folders).encode("utf-8", "surrogatepass"))
    for read in (lambda: listed(path), lambda: class_names(path, sorted(folders))):
        found = end_of(read)
        if found is not None:
            survive(found)


@fuzzed(st.dictionaries(st.sampled_from(NASTY) | NAMES, st.just("x"), max_size=3), few=FEWER)
def test_names_of_tests(folder: Path, tests: dict[str, str]) -> None:
    try:
        taken = Options(ood_test=tests).ood_test
    except ValidationError:
        return
    survive(tuple(taken))


@pytest.mark.parametrize("letter", BREAKS, ids=ascii)
def test_letters_that_no_name_has(letter: str) -> None:
    with pytest.raises(DataError, match="allowed: plain text in UTF-8"):
        Classes(("dog", f"c{letter}t"), ("{}",))
    with pytest.raises(DataError, match="allowed: plain text in UTF-8"):
        domains_of(["dog", None, f"c{letter}t"])
    with pytest.raises(ValidationError):
        Options(ood_test={f"c{letter}t": "x"})
