"""Trackers by name: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from metaft.lazy import Lazy


class Tracker(Protocol):
    """Takes what is told of a run; one thread at a time calls it."""

    def log(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Take the values of a part of the run, such as a method, at a step of that part."""
        ...

    def close(self) -> None:
        """Take it that nothing more comes."""
        ...


@dataclass(frozen=True)
class TrackerKind:
    """A registered tracker: `make` gives it from a run's folder and its settings as JSON types.

    `package` is one that it needs beside metaft's own, and the name of the extra that installs it is the tracker's.
    """

    description: str
    make: Callable[[Path, Mapping[str, Any]], Tracker]
    package: str | None = None

    @property
    def installed(self) -> bool:
        """Whether its package is there; a folder of that name, as wandb leaves, is none."""
        found = None if self.package is None else find_spec(self.package)
        return self.package is None or (found is not None and found.origin is not None)


TRACKERS: dict[str, TrackerKind] = {
    "tensorboard": TrackerKind(
        "event files in RUN/tensorboard", Lazy("metaft.trackers.tensorboard:TensorBoard"), "tensorboard"
    ),
    "wandb": TrackerKind("a run of the project metaft, or WANDB_PROJECT", Lazy("metaft.trackers.wandb:WandB"), "wandb"),
    "trackio": TrackerKind("a run of the project metaft", Lazy("metaft.trackers.trackio:Trackio"), "trackio"),
}
