"""The cost of work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Cost:
    """Step equivalents (a fit's in steps at `finetune.batch_size`, a search's at `inner.batch_size`) and seconds."""

    step_equivalents: float = 0.0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        """Add another cost to this one, in place."""
        self.step_equivalents += other.step_equivalents
        self.seconds += other.seconds
