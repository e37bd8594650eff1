"""Reading a results.json: its form is checked as a whole, so that nothing that takes it apart meets a surprise."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from metaft.errors import DataError, on_a_line, why
from metaft.files import from_json
from metaft.runfiles import RESULTS
from metaft.space import LARGEST, WHOLE
from metaft.texts import read_text

SUM = "sha256"  # of all else in a results.json that a run or `Results.save` wrote
RUN = "run"  # what tells the run apart whose results they are
Document = Mapping[str, Any]  # the contents of a results.json
# What the score of a split holds beside its metrics.
BESIDE_METRICS = ("n", "ci95", "groups", "by_domain", "calibration", "confusion", "right", "sizes")


class _Form(BaseModel):
    """A part of results.json; more than what is named here is let through."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


_Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]  # of which means and percentages are finite too
_Share = Annotated[float, Field(ge=0, le=1)]
_Count = Annotated[int, Field(ge=0, le=WHOLE)]


class _Score(_Form):
    __pydantic_extra__: dict[str, _Number | None] = Field(init=False)
    accuracy: _Share
    n: int
    ci95: dict[str, tuple[_Number | None, _Number | None]]
    groups: int = 0
    by_domain: dict[str, _Score] = {}
    calibration: list[tuple[_Count, _Share, _Share]] = []
    confusion: list[tuple[_Count, _Count, _Count]] = []
    right: str = ""
    sizes: list[Annotated[int, Field(ge=1)]] = []

    @model_validator(mode="after")
    def _intervals(self) -> _Score:
        bare = {"accuracy", *self.__pydantic_extra__} - self.ci95.keys()
        if bare or None in self.ci95["accuracy"]:
            raise ValueError(f"no interval of {', '.join(sorted(bare)) or 'accuracy'}")
        return self

    @model_validator(mode="after")
    def _images(self) -> _Score:
        if self.right and len(b64decode(self.right, validate=True)) != -(-self.n // 8):
            raise ValueError(f"right is not of n = {self.n} images")
        if self.sizes and sum(self.sizes) != self.n:
            raise ValueError(f"sizes of groups have the sum {sum(self.sizes)}, not n = {self.n}")
        return self


class _Group(_Form):
    terms: dict[str, float] = {}


class _Objective(_Form):
    terms: dict[str, float]
    lr: float
    wd: float
    groups: dict[str, _Group] = {}
    schedule: list[Any] = []
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


class _Mix(_Form):
    alpha: _Share
    accuracy: dict[str, _Share]


class _Without(_Form):
    accuracy: _Share
    lost: _Number
    error: _Number


class _LeftOut(_Form):
    accuracy: _Share = 0.0
    without: dict[str, _Without | None] = {}


class _Suite(_Form):
    format: str = ""
    version: int | None = None


class _Images(_Form):
    n: int = 0


class _Provenance(_Form):
    suite: _Suite | None = None
    command: list[str] = []
    versions: dict[str, str | None] = {}
    commit: str | None = None
    date: str = ""
    metric: str = "accuracy"
    device: dict[str, str | int | None] = {}
    data: dict[str, _Images] = {}
    classes: list[str] = []


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
    curve: dict[str, list[_Mix]] = {}
    leave_one_out: _LeftOut = _LeftOut()
    provenance: _Provenance
    failed: dict[str, str] = {}

    @model_validator(mode="after")
    def _handed_back(self) -> _Results:
        if self.handed_back is not None and self.handed_back.method not in self.methods:
            raise ValueError(f"{self.handed_back.method!r} is handed back, and is none of its methods")
        return self


def sealed(document: Document) -> Document:
    """A document with its checksum."""
    return {**document, SUM: _sum(document)}


def _sum(document: Document) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def read(folder: Path, *, unsealed: bool = True, run: str | None = None) -> Document:
    """A run's results, as they were written.

    Args:
        unsealed: whether they may be without a checksum, as those of earlier versions are.
        run: what tells the run apart whose results they have to be; then they need a checksum.

    Raises:
        DataError: they are missing or unreadable, their checksum is that of others, or they are of another run.
    """
    path = folder / RESULTS
    try:
        document = from_json(read_text(path))
        claimed = document.pop(SUM, None) if isinstance(document, dict) else None
        _Results.model_validate_json(json.dumps(document))
        if claimed != _sum(document) and not (unsealed and run is None and claimed is None):
            raise ValueError(f"its {SUM} is {claimed!r}, not that of its contents")
        if run is not None and document.pop(RUN, None) != run:
            raise ValueError("they are of another run")
        return dict(document)
    except (OSError, ValueError, RecursionError) as error:
        reason = _first(error) if isinstance(error, ValidationError) else on_a_line(why(error))
        raise DataError(f"{path}: no readable results ({reason}); allowed: the folder of a metaft run") from error


def _first(error: ValidationError) -> str:
    """Where a document first has another form, and what is wrong there."""
    first = error.errors()[0]
    return on_a_line(f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}")
