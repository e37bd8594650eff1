"""The lines of a journal, and reading them strictly: what is none goes no further than here."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from metaft.config.limits import TOTAL
from metaft.files import from_json, to_json
from metaft.search.outcome import MIXES, Outcome, Status
from metaft.space import LARGEST, WHOLE, Categorical, Dimension, Int, Space

SUM = "crc"  # of a line and all before it


@dataclass(frozen=True, slots=True)
class Start:
    """A trial that was proposed, its point in natural units."""

    number: int
    params: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, slots=True)
class Lost:
    """A job whose worker died: the kind, number and seed of the record it was to become."""

    kind: str
    number: int
    seed: int


@dataclass(frozen=True, slots=True)
class Record:
    """An evaluation that ended: a `trial`; under its number, a `final` one on a fresh seed or a derivative's `check`;
    or a trial of an earlier search (`prior`).

    `reports` are (inner step, outer loss) in the run; `clock` is the search's wall-clock time at the end, in seconds.
    """

    kind: Literal["trial", "final", "check", "prior"]
    number: int
    params: Mapping[str, Any]
    seed: int
    outcome: Outcome
    gradient: tuple[float, ...] | None = None
    reports: tuple[tuple[int, float], ...] = ()
    clock: float = field(default=0.0, compare=False)


Dimensions = list[dict[str, Any]]  # as `Space.described` gives them
Line = Start | Lost | Record | Dimensions

_Whole = Annotated[int, Field(ge=0, le=WHOLE)]
_Amount = Annotated[float, Field(ge=0, le=TOTAL)]
_Value = Annotated[float, Field(ge=-LARGEST, le=LARGEST)] | None  # null is a number that was not finite
_Point = dict[str, str | int | float | bool | None]


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Space(_Form):
    kind: Literal["space"]
    dimensions: list[dict[str, Any]]

    def made(self) -> Dimensions:
        if not all(isinstance(dimension.get("name"), str) for dimension in self.dimensions):
            raise ValueError("a dimension without a name")
        return self.dimensions


class _Start(_Form):
    kind: Literal["start"]
    number: _Whole
    params: _Point
    seed: _Whole

    def made(self) -> Start:
        return Start(self.number, self.params, self.seed)


class _Lost(_Form):
    kind: Literal["lost"]
    lost: str
    number: _Whole
    seed: _Whole

    def made(self) -> Lost:
        return Lost(self.lost, self.number, self.seed)


class _Outcome(_Form):
    loss: _Value
    metric: _Value
    value: _Value
    steps: _Whole
    step_equivalents: _Amount
    seconds: _Amount
    status: Status = "ok"
    reason: str = ""
    mixes: list[_Value] = []

    def made(self) -> Outcome:
        if len(self.mixes) not in (0, len(MIXES)):
            raise ValueError(f"{len(self.mixes)} mixes")
        loss, metric, value, *mixes = (_or(math.inf, v) for v in (self.loss, self.metric, self.value, *self.mixes))
        costs = (self.steps, self.step_equivalents, self.seconds)
        return Outcome(loss, metric, value, *costs, self.status, self.reason, tuple(mixes))


class _Record(_Form):
    kind: Literal["trial", "final", "check", "prior"]
    number: _Whole
    params: _Point
    seed: _Whole
    outcome: _Outcome
    gradient: list[_Value] | None
    reports: list[Annotated[tuple[_Whole, _Value], Field(strict=False)]]
    clock: _Amount = 0.0

    def made(self) -> Record:
        gradient = None if self.gradient is None else tuple(_or(math.nan, slope) for slope in self.gradient)
        reports = tuple((step, _or(math.nan, loss)) for step, loss in self.reports)
        return Record(
            *(self.kind, self.number, self.params, self.seed, self.outcome.made(), gradient, reports, self.clock)
        )


_FORMS: TypeAdapter[_Space | _Start | _Lost | _Record] = TypeAdapter(
    Annotated[_Space | _Start | _Lost | _Record, Field(discriminator="kind")]
)


def parsed(line: bytes) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        ValueError, RecursionError: it is none.
    """
    found = from_json(line)
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__}")
    return found


def made(raw: Mapping[str, Any]) -> Line:
    """What a line's object, without its checksum, says.

    Raises:
        ValueError: it has another form.
    """
    try:
        return _FORMS.validate_python(raw).made()
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def checksum(record: Mapping[str, Any], before: int = 0) -> int:
    """The checksum of a line's object and of what came before."""
    return zlib.crc32(to_json(record).encode(), before)


def refuse_outside(record: Start | Record, space: Space) -> None:
    """Refuse a line that is of no point of a space, or whose derivative has another length.

    Raises:
        ValueError: so it is.
    """
    odd = [d.name for d in space if d.name in record.params and not _inside(d, record.params[d.name])]
    if odd:
        raise ValueError(f"{odd[0]} is {record.params[odd[0]]!r}, outside its range")
    space.to_unit(record.params)
    if isinstance(record, Record) and record.gradient is not None and len(record.gradient) != len(space):
        raise ValueError(f"a derivative of {len(record.gradient)} numbers, not {len(space)}")


def _inside(dimension: Dimension, value: Any) -> bool:
    if isinstance(dimension, Categorical):
        return value in dimension.choices
    number = isinstance(value, int if isinstance(dimension, Int) else int | float) and not isinstance(value, bool)
    return number and dimension.low <= value <= dimension.high


def _or(otherwise: float, value: float | None) -> float:
    return otherwise if value is None else value
