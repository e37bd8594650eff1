"""The rows of a batch that one of several ranks computes: it reads the pictures of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Pixels(Protocol):
    """Images by number."""

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """[B, 3, S, S]."""
        ...


@dataclass(frozen=True)
class Share:
    """One of `count` ranks by its number."""

    number: int = 0
    count: int = 1

    def rows(self, total: int, least: int | None = None) -> range:
        """The rows of this rank among `total`, as torch's `tensor_split` parts them.

        Where there are fewer rows than ranks, each computes all (see `metaft.apart`).

        Args:
            least: the number that decides it, where it is not `total`.
        """
        if self.count == 1 or (total if least is None else least) < self.count:
            return range(total)
        each, more = divmod(total, self.count)
        begin = self.number * each + min(self.number, more)
        return range(begin, begin + each + (self.number < more))


WHOLE = Share()


def read(source: Pixels, indices: Sequence[int], rows: range) -> Tensor:
    """The pixels of some images, of which those in these rows are read alone; the others are 0.

    Args:
        rows: places in `indices`; where there are none, one image tells what pixels are like.
    """
    if len(rows) == len(indices):
        return source.pixels(indices)
    found = source.pixels([indices[i] for i in rows or range(1)])
    pixels = found.new_zeros((len(indices), *found.shape[1:]))
    if rows:
        pixels[rows.start : rows.stop] = found
    return pixels


def overlap(rows: range, begin: int, size: int) -> range:
    """Those of some rows that lie in a part of `size` rows from `begin` on, by their places in the part.

    >>> overlap(range(3, 7), 5, 4), overlap(range(3, 7), 8, 2)
    (range(0, 2), range(0, 0))
    """
    first, last = max(rows.start, begin), min(rows.stop, begin + size)
    return range(first - begin, last - begin) if first < last else range(0)
