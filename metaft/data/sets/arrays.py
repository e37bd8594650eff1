"""Pictures in arrays on disk: each row is a stored picture, so that arrays go the way of files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from metaft.data.stored import Files, version_of
from metaft.errors import DataError, first_line
from metaft.forms import ARRAYS, ZIP, form_at
from metaft.texts import regular

if TYPE_CHECKING:  # options are checked before anything heavy is imported
    from metaft.data.pictures import Listed

# All that a pickle of arrays and plain containers names, as numpy and Python have written it over the years.
HARMLESS = frozenset(
    {
        *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
        *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
        *(("numpy", name) for name in ("ndarray", "dtype")),
        ("_codecs", "encode"),
    }
)
Bytes = NDArray[np.uint8]
Open = Callable[[Path], Any]  # an array on disk, or what can be indexed like one, [N, H, W, 3] in bytes


@dataclass(frozen=True)
class Array:
    """An array of pictures in a file, as it was when it was listed."""

    path: Path
    open: Open
    version: str

    @classmethod
    def at(cls, path: Path, open_: Open) -> Array:
        """The array that a file holds now."""
        return cls(path, open_, version_of(path))

    def count(self, name: str) -> int:
        """N, the number of its pictures, for a split of a name.

        Raises:
            DataError: the file is not there, or holds no such array.
        """
        kind, shape = contents(name, self.path, lambda _: (_opened(self).dtype, tuple(_opened(self).shape)))
        if len(shape) != 4 or shape[3] != 3 or shape[1] != shape[2]:
            raise DataError(f"{name}: {self.path}: an array of shape {list(shape)}; allowed: pictures [N, S, S, 3]")
        if kind != np.uint8:
            raise DataError(f"{name}: {self.path}: pictures in numbers of the type {kind}; allowed: uint8")
        return int(shape[0])


@dataclass(frozen=True, slots=True)
class Row:
    """A picture in an array, uint8 [H, W, 3]."""

    array: Array
    number: int

    def __str__(self) -> str:
        """As messages call it."""
        return f"{self.array.path}, row {self.number}"

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.read())

    @property
    def version(self) -> str:
        """The file's, and its place there."""
        return f"{self.array.version}\0{self.number}"

    def read(self) -> bytes:
        """The picture as a PPM file, which keeps every byte."""
        pixels: Bytes = np.asarray(_opened(self.array)[self.number])
        height, width, _ = pixels.shape
        return f"P6 {width} {height} 255\n".encode() + pixels.tobytes()


@lru_cache(maxsize=64)
def _opened(array: Array) -> Any:
    return array.open(array.path)


def contents(name: str, path: Path, read: Callable[[Path], Any]) -> Any:
    """What is read of a split's file.

    Raises:
        DataError: it is no regular file, or cannot be read, whatever its reader raises.
    """
    try:
        return read(regular(path))
    except DataError:
        raise
    except Exception as error:  # readers of damaged files raise anything
        reason = _instead(path) or first_line(error)
        raise DataError(f"{name}: {path}: cannot be read ({reason}); allowed: the file as it is given away") from error


def _instead(path: Path) -> str:
    """What a file is by its first bytes, but for arrays, of which zip archives are made too; empty: it is not known."""
    with suppress(OSError):
        form = form_at(path)
        return "" if form is None or form.what in (*ARRAYS, ZIP) else str(form)
    return ""


def npy(path: Path) -> Any:
    """An array of a .npy file, of which only what is asked for is read."""
    return np.load(path, mmap_mode="r", allow_pickle=False)


class _Unpickler(pickle.Unpickler):
    """Reads arrays and plain containers, and runs nothing else that a pickle may name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"names {module}.{name}, which is no array")
        return super().find_class(module, name)


def unpickled(file: BinaryIO) -> Any:
    """The arrays and plain containers of a pickle, those of Python 2 with texts as keys."""
    return _Unpickler(file, encoding="latin1").load()


def tables(path: Path) -> dict[str, Any]:
    """The arrays by name of a .npz file, or of a .npy file that holds a dict."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as found:
            return dict(found)
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        inner: dict[str, Any] = unpickled(file).item()
    return inner


def matlab(path: Path) -> Any:
    """The variables of a MATLAB file by name, without dimensions of length one."""
    from scipy.io import loadmat

    return loadmat(path, squeeze_me=True)


def labels_of(name: str, path: Path, found: Sequence[object]) -> list[int]:
    """Labels of any type as whole numbers.

    Raises:
        DataError: one is none.
    """
    odd = next((label for label in found if not _is_whole(label)), None)
    if odd is not None:
        raise DataError(f"{name}: {path}: a label {odd}; allowed: whole numbers")
    return [int(label) for label in found]  # type: ignore[call-overload] # each is whole


def _is_whole(label: object) -> bool:
    """Whether a label of any type is a whole number."""
    if isinstance(label, float | np.floating):
        return float(label).is_integer()
    return isinstance(label, int | np.integer)


def listed(name: str, arrays: Sequence[tuple[Array, Sequence[int]]], block: slice = slice(None)) -> Listed:
    """The pictures of arrays, one after the other, with their labels; of each array those in a block of its rows.

    Raises:
        DataError: a file that cannot be read, has not as many labels as pictures, or labels that are no whole numbers.
    """
    from metaft.data.pictures import Listed

    rows: list[Row] = []
    labels: list[int] = []
    for array, numbers in arrays:
        count = array.count(name)
        if len(numbers) != count:
            raise DataError(f"{name}: {array.path}: {count} pictures and {len(numbers)} labels; allowed: as many")
        rows += [Row(array, number) for number in range(count)[block]]
        labels += labels_of(name, array.path, numbers)[block]
    return Listed(name, arrays[0][0].path, Files(rows), labels)
