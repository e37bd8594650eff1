"""The interface of samplers, the history that they learn from, and a queue to drive one by hand."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from metaft.space import Categorical, Space

ROUNDING = 1e-6  # of an end of a range, by which a point that was made in float32 may lie beside it


@dataclass(frozen=True)
class Trial:
    """A proposal: its number and its point in natural units."""

    number: int
    params: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """Told in place of a value where a trial gave none; it counts as bad, never as unseen."""

    reason: str


@dataclass(frozen=True)
class Stopped:
    """Told in place of a value where a trial was stopped early; it ranks behind all trials that ran to their end."""

    value: float


Told = float | Failed | Stopped


OK, STOPPED, BAD, RUNNING = range(4)  # how observations rank before their values are compared


@dataclass(frozen=True, eq=False)
class History:
    """The points that were tried, in order, with their values; it never changes: methods that add to it give a new one.

    Args:
        space: of the points.
        x: the points [n, d] in the unit cube; NaN where a dimension is absent.
        kind: OK, STOPPED, BAD or RUNNING for each point, [n].
        y: the values [n], infinite where there is none.
    """

    space: Space
    x: NDArray[np.float64]
    kind: NDArray[np.int64]
    y: NDArray[np.float64]

    @classmethod
    def empty(cls, space: Space) -> History:
        """The history of a search that has not begun."""
        return cls(space, np.empty((0, len(space))), np.empty(0, dtype=np.int64), np.empty(0))

    def __len__(self) -> int:
        return len(self.y)

    def begun(self, params: Mapping[str, Any]) -> History:
        """The history with one more point, in natural units, that is running.

        Raises:
            ValueError: it is no point of the space.
        """
        u = self.space.to_unit(params).numpy()
        return History(self.space, np.vstack([self.x, u]), np.append(self.kind, RUNNING), np.append(self.y, math.inf))

    def told(self, row: int, value: Told) -> History:
        """The history with a value told of the point in a row."""
        kind, y = self.kind.copy(), self.y.copy()
        kind[row], y[row] = _ranked(value)
        return History(self.space, self.x, kind, y)

    def holds(self, params: Mapping[str, Any]) -> bool:
        """Whether a point was tried."""
        u = self.space.to_unit(params).numpy()
        present = ~np.isnan(u)
        return bool((self.x[:, present] == u[present]).all(axis=1).any())


def _ranked(told: Told) -> tuple[int, float]:
    """The kind of an observation, and its value (infinite if it has none).

    Raises:
        ValueError: it is neither a number nor one of the two.
    """
    value = math.inf if isinstance(told, Failed) else told.value if isinstance(told, Stopped) else told
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        finite = False
    except (TypeError, ValueError):
        raise ValueError(f"tell: {told!r}; allowed: a number, Failed or Stopped") from None
    if not finite:
        return BAD, math.inf
    return STOPPED if isinstance(told, Stopped) else OK, float(value)


class Sampler(Protocol):
    """Proposes points; smaller values are better."""

    def propose(self, history: History, number: int) -> dict[str, Any]:
        """The point to try as trial `number`, in natural units: a pure function of (history, seed, number).

        Whoever asks keeps the history and counts the trials. What a sampler keeps from one call to the next saves time
        and changes no proposal.
        """
        ...


class AskTell(ABC):
    """Ask for a point, tell its value: the queue, the numbers and the history around a sampler's `propose`.

    Raises:
        ValueError: the space is none, or the seed is no whole number from 0.
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        if not isinstance(space, Space):
            raise ValueError(f"space: a {type(space).__name__}; allowed: a Space")
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"seed: {seed!r}; allowed: a whole number from 0")
        self.space, self._seed = space, int(seed)
        self._history = History.empty(space)
        self._rows: list[int] = []  # rows of the history, by number of a trial
        self._queue: deque[dict[str, Any]] = deque()

    @abstractmethod
    def propose(self, history: History, number: int) -> dict[str, Any]:
        """See `Sampler`."""

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Let `ask` give this point before any that is proposed.

        Raises:
            ValueError: it is no point of the space.
        """
        self._refuse_outside(params)
        self._queue.append(dict(params))

    def observe(self, params: Mapping[str, Any], value: Told) -> None:
        """Learn from a point and a value that are no trial of this search.

        Raises:
            ValueError: it is no point of the space, or the value is none.
        """
        self._refuse_outside(params)
        self._history = self._history.begun(params).told(len(self._history), value)

    def _refuse_outside(self, params: Mapping[str, Any]) -> None:
        """Refuse what is no point of the space; a value outside its range would be taken for its edge.

        Raises:
            ValueError: so it is.
        """
        self.space.to_unit(params)
        for d in self.space:
            if d.name in params and not isinstance(d, Categorical):
                low, high = d.low - ROUNDING * abs(d.low), d.high + ROUNDING * abs(d.high)
                if not low <= params[d.name] <= high:
                    raise ValueError(f"{d.name}: {params[d.name]!r}; allowed: {d.low} to {d.high}")

    def ask(self) -> Trial:
        """The next trial: the next point of the queue, or a proposal."""
        number = len(self._rows)
        params = self._queue.popleft() if self._queue else self.propose(self._history, number)
        self._rows.append(len(self._history))
        self._history = self._history.begun(params)
        return Trial(number, params)

    def tell(self, number: int, value: Told) -> None:
        """Tell the value of a trial; a failure or a number that is not finite counts as the worst.

        Raises:
            ValueError: no such trial, it was told already, or the value is none.
        """
        if not isinstance(number, int | np.integer) or not 0 <= number < len(self._rows):
            known = f"0 to {len(self._rows) - 1}" if self._rows else "what `ask` has given, which is nothing yet"
            raise ValueError(f"tell: no trial {number} was asked for; allowed: {known}")
        row = self._rows[number]
        if self._history.kind[row] != RUNNING:
            raise ValueError(f"tell: trial {number} was told before; allowed: each trial once")
        self._history = self._history.told(row, value)
