"""Tables of pictures: splits, or a DataError."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st
from PIL import Image

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.table import read_table
from metaft.progress import be_quiet
from tests.data.test_decode import VIEW
from tests.fuzz.cases import FEWER, SNIPPETS, end_of, fuzzed, mutated

ROWS = [
    f"{i}.png,{label},{split},{i},d{label}"
    for i, label, split in (
        *((0, "dog", "id_train"), (1, "cat", "id_train"), (2, "dog", "ood_val"), (3, "cat", "ood_val")),
        *((4, "dog", "id_test"), (5, "cat", "id_val"), (6, "dog", "ood_test/a"), (7, "cat", "ood_test/b")),
    )
]
TABLE = "\n".join(["filepath,label,split,group,domain", *ROWS, ""])
SEEDS = (
    TABLE,
    TABLE.replace(",", "\t"),
    TABLE.replace("\n", "\r\n"),
    TABLE.replace("dog", '"d,o""g"'),
    "\ufeff" + TABLE,
)
NUMBERED = TABLE.replace("dog", "0").replace("cat", "1.0")


@pytest.fixture(autouse=True)
def _quiet():
    be_quiet(True)


def opened(folder: Path, content: bytes, on_unreadable: str = "late") -> None:
    (folder / "all.csv").write_bytes(content)
    settings = {"format": "csv", "root": folder, "options": {"file": "all.csv"}, "on_unreadable": on_unreadable}
    if not (folder / "0.png").exists():
        for number in range(8):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(folder / f"{number}.png")
    splits = end_of(lambda: registry.load(DataConfig(**settings), 0, VIEW))
    if splits is not None:
        names = splits.classes.names
        assert "".join(f"{name}\n" for name in names).splitlines() == list(names)
        assert all(0 <= label < len(names) for split in splits.parts.values() for label in split.labels.tolist())


@fuzzed(mutated((*SEEDS, NUMBERED), SNIPPETS))
def test_texts(folder: Path, text: str) -> None:
    opened(folder, text.encode("utf-8", "surrogatepass"))


@fuzzed(mutated([text.encode() for text in (*SEEDS, NUMBERED)], st.binary(max_size=4)), few=FEWER)
def test_bytes(folder: Path, content: bytes) -> None:
    opened(folder, content)


CHANGES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 4), SNIPPETS.map(lambda cell: f'"{cell}"')), max_size=2)


@fuzzed(CHANGES, few=FEWER)
def test_cells(folder: Path, changes: list[tuple[int, int, str]]) -> None:
    cells = [line.split(",") for line in TABLE.splitlines()]
    for row, column, cell in changes:
        cells[row][column] = cell
    content = "\n".join(map(",".join, cells)).encode("utf-8", "surrogatepass")
    for on_unreadable in ("late", "skip"):
        opened(folder, content, on_unreadable)


@fuzzed(st.tuples(mutated(SEEDS, SNIPPETS), st.lists(SNIPPETS, max_size=2)), few=FEWER)
def test_tables(folder: Path, case: tuple[str, list[str]]) -> None:
    text, columns = case
    (folder / "t.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    lines = end_of(lambda: read_table(folder / "t.csv", columns))
    assert all({*columns} <= {*line.cells} for line in lines or ())
