"""Writing files: what cannot be written to is named, and leaves nothing half-written behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaft.files import append, write
from metaft.report.figures import id_against_ood
from tests.results import RESULTS

FULL = Path("/dev/full")
NO_ROOM = "No space left on device: '{}'"


@pytest.fixture
def full(tmp_path) -> Path:
    """A path beside which, and at which, there is no room."""
    if not FULL.exists():
        pytest.skip("no device here that is always full")
    path = tmp_path / "file"
    for place in (path, tmp_path / "file.tmp"):
        place.symlink_to(FULL)
    return path


@pytest.mark.parametrize(
    "attempt",
    [
        lambda path: write(path, "text"),
        lambda path: append(path, "line"),
        lambda path: id_against_ood([RESULTS.to_dict()], path),
    ],
    ids=["write", "append", "figure"],
)
def test_a_file_without_room_is_named(full, attempt):
    """The system names none where one that is open cannot be written to."""
    with pytest.raises(OSError, match=NO_ROOM.format(full)):
        attempt(full)


def test_what_was_half_written_is_deleted(full):
    with pytest.raises(OSError, match="No space"):
        write(full, "text")
    assert not full.with_name("file.tmp").is_symlink()
