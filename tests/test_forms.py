"""Files that are something else are called what they are, whatever they should have been."""

from __future__ import annotations

import logging
import tarfile
from importlib.util import find_spec

import numpy as np
import pytest

from metaft.clip.checkpoint import read
from metaft.data.decode import decode
from metaft.data.sets.arrays import contents, npy
from metaft.data.shards import samples
from metaft.data.table import read_table
from metaft.errors import CheckpointError, DataError
from tests.data.test_decode import READING

OTHERS = {
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 605\n", "git lfs pull"),
    "page": (b"\xef\xbb\xbf\n<!DOCTYPE html><html></html>", "an HTML page"),
    "packed": (b"\x1f\x8b\x08\x00" + bytes(600), "gzip"),
    "phone": (b"\0\0\0\x18ftypheic" + bytes(500), "HEIC"),
}


def table(file):
    pytest.importorskip("datasets")
    from metaft.data.arrow import Table

    Table.at(file)


READERS = {
    "a.jpg": lambda file: decode(file, READING),
    "a.npy": lambda file: contents("id_val", file, npy),
    "a.tar": lambda file: samples(file, ["label"]),
    "a.pt": read,
    "a.parquet": table,
    "a.csv": lambda file: read_table(file, ["label"]),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("name", READERS)
def test_the_first_bytes_tell(tmp_path, name, other):
    if (name, other) == ("a.jpg", "phone") and find_spec("pillow_heif"):
        pytest.skip("this Pillow reads them")
    content, words = OTHERS[other]
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, CheckpointError)) as caught:
        READERS[name](tmp_path / name)
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert "object at" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jpg", "a.tar", "a.parquet", "a.csv"])
def test_archives_and_tables_of_excel(tmp_path, name):
    """Arrays and checkpoints are zip archives themselves."""
    (tmp_path / name).write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(DataError, match="a zip archive, or a table of Excel: unpack it, or save it as CSV"):
        READERS[name](tmp_path / name)


def test_pictures_inside_others_are_not_named_by_where_they_are_in_memory(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as archive:
        for name, content in (("a.png", b"no picture"), ("a.cls", b"0")):
            (tmp_path / name).write_bytes(content)
            archive.add(tmp_path / name, name)
    ((sample,), _) = samples(tmp_path / "s.tar", ["label"])
    with pytest.raises(DataError, match=r"member a\.png: unreadable image \(in no form that Pillow knows\)"):
        decode(sample.picture, READING)


def test_a_damaged_array_is_not_said_to_be_an_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(9))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.npy: cannot be read \((?!a numpy array)"):
        contents("id_val", tmp_path / "a.npy", npy)


def test_the_package_datasets_says_nothing_beside(tmp_path, capfd):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(50))
    before = logging.getLogger("datasets").level
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        table(tmp_path / "a.parquet")
    assert capfd.readouterr().err == ""
    assert logging.getLogger("datasets").level == before
