"""TensorBoard: event files beside the run's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Event files in RUN/tensorboard; those of an earlier sitting, all of which is told again, are hidden."""

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=0)
        self._writer.add_text("settings", f"```\n{json.dumps(settings, indent=1)}\n```")

    def log(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Write each value as `part/name`."""
        for name, value in values.items():
            self._writer.add_scalar(f"{part}/{name}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
