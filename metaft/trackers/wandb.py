"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb


class WandB:
    """A run named like the folder, of the project metaft unless WANDB_PROJECT names another; files in RUN/wandb.

    Each part has steps of its own, `part/step`. Whether it is online is for WANDB_MODE and `wandb login` to say.
    """

    def __init__(self, run: Path, settings: Mapping[str, Any]) -> None:
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "metaft"),
            name=run.resolve().name,
            dir=str(run),
            config=dict(settings),
            settings=wandb.Settings(console="off", silent=True),
        )
        self._parts: set[str] = set()

    def log(self, part: str, step: int, values: Mapping[str, float]) -> None:
        """Log each value as `part/name`."""
        if part not in self._parts:
            self._parts.add(part)
            self._run.define_metric(f"{part}/*", step_metric=f"{part}/step")
        self._run.log({f"{part}/step": step, **{f"{part}/{name}": value for name, value in values.items()}})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
