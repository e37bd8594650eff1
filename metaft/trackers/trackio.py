"""Trackio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trackio


class Trackio:
    """A run named like the folder, of the project metaft; where it lies is for trackio's own variables to say."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        self._run = trackio.init(
            project="metaft",
            name=run.resolve().name,
            config=dict(settings),
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def log(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Log each value as `part/name`."""
        self._run.log({f"{part}/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """Finish the run; that of the object alone would be followed by one of trackio as the process ends."""
        trackio.finish()
