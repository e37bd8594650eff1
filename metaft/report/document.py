"""Reading a results.json: its form is checked as a whole, so that nothing that takes it apart meets a surprise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metaft.errors import DataError

Document = Mapping[str, Any]  # the contents of a results.json
BESIDE_METRICS = ("n", "ci95", "groups", "by_domain")  # what the score of a split holds beside its metrics


class _Form(BaseModel):
    """A part of results.json; more than what is named here is let through."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Score(_Form):
    __pydantic_extra__: dict[str, float | None] = Field(init=False)
    accuracy: float
    n: int
    ci95: dict[str, tuple[float | None, float | None]]
    groups: int = 0
    by_domain: dict[str, _Score] = {}

    @model_validator(mode="after")
    def _intervals(self) -> _Score:
        bare = {"accuracy", *self.__pydantic_extra__} - self.ci95.keys()
        if bare or None in self.ci95["accuracy"]:
            raise ValueError(f"no interval of {', '.join(sorted(bare)) or 'accuracy'}")
        return self


class _Objective(_Form):
    terms: dict[str, float]
    lr: float
    wd: float
    groups: dict[str, dict[str, Any]] = {}
    sources: dict[str, float] | None = None
    knobs: dict[str, Any] | None = None
    alpha: float = 1.0
    head: str | None = None
    method: str | None = None


class _Choice(_Form):
    method: str
    reason: str
    ood_val: float | None = None


class _Last(_Form):
    method: str
    alpha: float
    values: dict[str, float]


class _Search(_Form):
    last_choice: _Last | None = None


class _Weights(_Form):
    all: float | None


class _Drift(_Form):
    weights: _Weights
    features: dict[str, float | None]


class _Cost(_Form):
    step_equivalents: float
    seconds: float


class _Results(_Form):
    title: str = ""
    mode: str | None = None
    seed: int
    objective: _Objective | None = None
    search: _Search | None = None
    handed_back: _Choice | None = None
    methods: dict[str, dict[str, _Score]]
    ood_val: dict[str, float] = {}
    cost: dict[str, _Cost] = {}
    drift: dict[str, _Drift] = {}
    provenance: dict[str, Any]
    failed: dict[str, str] = {}


def read(folder: Path) -> Document:
    """A run's results.

    Raises:
        DataError: they are missing or unreadable.
    """
    path = folder / "results.json"
    try:
        text = path.read_text(encoding="utf-8")
        _Results.model_validate_json(text)
        return dict(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else error
        raise DataError(f"{path}: no readable results ({reason}); allowed: the folder of a metaft run") from error


def _first(error: ValidationError) -> str:
    """Where a document first has another form, and what is wrong there."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
