"""What every section of the settings is, and the numbers that they hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from metaft.config import limits

Count = Annotated[int, Field(ge=1, le=limits.STEPS)]
CountOr0 = Annotated[int, Field(ge=0, le=limits.STEPS)]
Images = Annotated[int, Field(ge=1, le=limits.IMAGES)]
Batch = Annotated[int, Field(ge=1, le=limits.BATCH)]
Parts = Annotated[int, Field(ge=1, le=limits.PARTS)]
PartsOr0 = Annotated[int, Field(ge=0, le=limits.PARTS)]
Positive = Annotated[float, Field(ge=limits.SMALL, le=limits.LARGE)]
NotNegative = Annotated[float, Field(ge=0, le=limits.LARGE)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """Settings that are checked when they are made, and then do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class WorkersConfig(Section):
    """Where independent pieces of work run."""

    executor: str = "serial"  # see --list executors
    workers: Parts = 1  # of the executor; each builds its own model
    gpu_share: float = Field(1.0, gt=0, le=1)  # of a GPU that each of `ray` asks for
