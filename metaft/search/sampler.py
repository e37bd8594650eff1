"""What proposes points, and what it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


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
    """Told in place of a value where a trial was stopped early; it ranks behind all that came to their end."""

    value: float


Told = float | Failed | Stopped


class Sampler(Protocol):
    """Ask for a point, tell its value; smaller is better."""

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Propose this point before any of its own.

        Raises:
            ValueError: it is no point of the space.
        """
        ...

    def observe(self, params: Mapping[str, Any], value: Told) -> None:
        """Take in a value from elsewhere, which is no trial of this search.

        Raises:
            ValueError: it is no point of the space.
        """
        ...

    def ask(self) -> Trial:
        """The next proposal."""
        ...

    def tell(self, number: int, value: Told) -> None:
        """The value of a proposal; a failure or a number that is not finite counts as the worst.

        Raises:
            ValueError: no such proposal, or it was told already.
        """
        ...
