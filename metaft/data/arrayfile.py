"""Pixels of many pictures in one file of numpy's form, each read from its place and written to it.

A mapped file would count as memory of whoever has gone through it once, all of a data set where splits are compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from metaft.errors import DataError

Array = NDArray[np.uint8]


class ArrayFile:
    """An array uint8 [N, ...] in a file, which is open for as long as this object is there.

    Raises:
        OSError, ValueError: there is no such file, or no such array in it, or not all of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("an array of another version")
            self.shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
            self._offset, self._size = file.tell(), int(np.prod(self.shape[1:]))
            end = self._offset + self.shape[0] * self._size
            if by_columns or dtype != np.uint8 or os.fstat(file.fileno()).st_size < end:
                raise ValueError("another array, or not all of it")
            self._descriptor = os.dup(file.fileno())
        finalize(self, os.close, self._descriptor)

    def read(self, row: int, into: Array) -> None:
        """Read rows from one on [B, ...].

        Raises:
            DataError: the file has become shorter.
        """
        room, place = into.data.cast("B"), self._offset + row * self._size
        while room:
            count = os.preadv(self._descriptor, [room], place)
            if count == 0:
                allowed = "as it was written; deleted, its pictures are decoded again"
                raise DataError(f"{self._path}: it has become shorter; allowed: {allowed}")
            room, place = room[count:], place + count


class NewArray:
    """An array uint8 [N, ...] that is being written."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size = descriptor, offset, size

    def write(self, row: int, content: Array) -> None:
        """Write a row; several threads may at once."""
        rest, place = np.ascontiguousarray(content).data.cast("B"), self._offset + row * self._size
        while rest:
            count = os.pwrite(self._descriptor, rest, place)
            rest, place = rest[count:], place + count


@contextmanager
def new_array(path: Path, shape: tuple[int, ...]) -> Iterator[NewArray]:
    """A file for an array of zeros to be written to, which is on disk at the end.

    Raises:
        OSError: there is no room, or the like.
    """
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.flush()
        offset, size = file.tell(), int(np.prod(shape[1:]))
        file.truncate(offset + shape[0] * size)
        yield NewArray(file.fileno(), offset, size)
        os.fsync(file.fileno())
