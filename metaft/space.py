"""Search spaces: the map between natural units and the unit cube [0, 1]^K."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from metaft.scales import SCALES as SCALES
from metaft.scales import Scale as Scale

if TYPE_CHECKING:  # torch is imported where a tensor is made: settings describe spaces without it
    from torch import Tensor

LARGEST = 1e300  # an end of a range, far enough from what a float can hold for the length to be one too
WHOLE = 2**53  # the largest whole number up to which a float can tell each from the next
MAX_CELLS = 1000  # whole numbers with more values are treated as real where a density is fitted

When = tuple[str, tuple[Any, ...]]  # a parent's name, and those of its values for which a dimension exists


@dataclass(frozen=True)
class Float:
    """A real hyperparameter in [low, high].

    Scales, with u in [0, 1]: linear, low + (high - low) u; log, low (high / low)^u; softplus,
    low + (high - low) (g(u) - g(0)) / (g(1) - g(0)) with g(u) = softplus(12 (u - 0.75)), which grows exponentially
    up to its knee, can represent low = 0 and has a gradient there; asinh,
    low + (high - low) a sinh(u asinh(1 / a)) with a = 0.001, which is linear up to a share a of the range and
    exponential above: small values have a gradient that does not vanish with them. `log=True` means `scale="log"`.

    Raises:
        ValueError: low is not below high, an end is no number or beyond 1e300, a log scale does not start above 0, or
            `log=True` beside another scale.

    >>> Float("lr", 1e-5, 1e-1, log=True).to_unit(1e-3)
    0.5
    """

    name: str
    low: float
    high: float
    _: KW_ONLY
    log: bool = False
    scale: str = "linear"
    when: When | None = None

    def __post_init__(self) -> None:
        if self.log:
            if self.scale not in ("linear", "log"):
                raise ValueError(f"{self.name}: log=True and scale {self.scale!r}; allowed: one of the two")
            object.__setattr__(self, "scale", "log")
        object.__setattr__(self, "log", self.scale == "log")
        if not isinstance(self.scale, str) or self.scale not in SCALES:
            raise ValueError(f"{self.name}: scale {self.scale!r}; allowed: {', '.join(SCALES)}")
        if (
            not (isinstance(self.low, Real) and isinstance(self.high, Real))
            or not -LARGEST <= self.low < self.high <= LARGEST
        ):
            allowed = f"low below high, from {-LARGEST:g} to {LARGEST:g}"
            raise ValueError(f"{self.name}: range [{self.low}, {self.high}]; allowed: {allowed}")
        if SCALES[self.scale].positive and self.low <= 0:
            raise ValueError(f"{self.name}: {self.scale} scale from {self.low}; allowed: a low end above 0")

    def from_unit(self, u: Tensor) -> Tensor:
        """u in [0, 1] to natural units within the range; differentiable."""
        value = SCALES[self.scale].forward(u, self.low, self.high)
        rounding = (value.clamp(self.low, self.high) - value).detach() * ((u >= 0) & (u <= 1))
        return value + rounding

    def to_unit(self, value: float) -> float:
        """Natural units to u; values outside the range land on its edge."""
        if value is None or isinstance(value, str) or math.isnan(value):
            raise ValueError(f"{self.name}: not a number; allowed: {self.low} to {self.high}")
        inside = min(max(float(value), self.low), self.high)
        return min(max(SCALES[self.scale].inverse(inside, self.low, self.high), 0.0), 1.0)


@dataclass(frozen=True)
class Int:
    """A whole number in [low, high], each an equal share of [0, 1] (log: in proportion to log((v + 1) / v)).

    Raises:
        ValueError: low is not below high, either is no whole number or none that a float can tell from the next, or a
            log scale does not start at 1 or above.

    >>> Int("rank", 1, 4).to_unit(1)
    0.125
    """

    name: str
    low: int
    high: int
    _: KW_ONLY
    log: bool = False
    when: When | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        if not whole or not -WHOLE <= self.low < self.high <= WHOLE or (self.log and self.low < 1):
            allowed = "whole numbers low < high between -2^53 and 2^53, log from 1 up"
            raise ValueError(f"{self.name}: range [{self.low}, {self.high}]; allowed: {allowed}")

    def edges(self) -> list[float]:
        """Where the shares of [0, 1] begin and end, one more than there are numbers."""
        return [self._edge(value) for value in range(self.low, self.high + 2)]

    def _edge(self, value: int) -> float:
        if self.log:
            return math.log(value / self.low) / math.log((self.high + 1) / self.low)
        return (value - self.low) / (self.high + 1 - self.low)

    def from_unit(self, u: Tensor) -> int:
        """The whole number whose share holds u."""
        x = min(max(u.item(), 0.0), 1.0)
        if self.log:
            value: float = self.low * math.exp(x * math.log((self.high + 1) / self.low))
        else:
            value = self.low + x * (self.high + 1 - self.low)
        return min(max(math.floor(value), self.low), self.high)

    def to_unit(self, value: int) -> float:
        """The middle of the number's share; values outside the range land on its edge.

        Raises:
            ValueError: it is no whole number.
        """
        if not isinstance(value, Real) or value % 1 != 0:
            raise ValueError(f"{self.name}: {value!r}; allowed: whole numbers from {self.low} to {self.high}")
        value = min(max(int(value), self.low), self.high)
        return (self._edge(value) + self._edge(value + 1)) / 2


@dataclass(frozen=True)
class Categorical:
    """One of some choices, each an equal share of [0, 1].

    Raises:
        ValueError: fewer than two choices, one of them twice, or one that is no text, number, truth value or None.

    >>> Categorical("norm", ("mars", "l2")).to_unit("l2")
    0.75
    """

    name: str
    choices: tuple[Any, ...]
    _: KW_ONLY
    when: When | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        scalars = all(c is None or isinstance(c, str | int | float) for c in self.choices)
        scalars = scalars and all(math.isfinite(c) for c in self.choices if isinstance(c, float))
        if len(self.choices) < 2 or not scalars or len(set(self.choices)) < len(self.choices):
            allowed = "at least two, each once, of text, numbers, true, false, null"
            raise ValueError(f"{self.name}: choices {list(self.choices)}; allowed: {allowed}")

    def edges(self) -> list[float]:
        """Where the shares of [0, 1] begin and end, one more than there are choices."""
        return [i / len(self.choices) for i in range(len(self.choices) + 1)]

    def from_unit(self, u: Tensor) -> Any:
        """The choice whose share holds u."""
        index = math.floor(min(max(u.item(), 0.0), 1.0) * len(self.choices))
        return self.choices[min(index, len(self.choices) - 1)]

    def to_unit(self, value: Any) -> float:
        """The middle of the choice's share."""
        if value not in self.choices:
            raise ValueError(f"{self.name}: {value!r}; allowed: {', '.join(map(repr, self.choices))}")
        return (self.choices.index(value) + 0.5) / len(self.choices)


Dimension = Float | Int | Categorical


@dataclass(frozen=True)
class Space:
    """Named dimensions in a fixed order.

    A dimension with `when=(parent, values)` exists only where its parent, a whole number or a category further up,
    exists and has one of these values; elsewhere its name is missing from a point, and its coordinate is NaN.

    Raises:
        ValueError: two dimensions of one name, or none at all; a condition of another form, on no possible parent, or
            that never holds.

    >>> space = Space([Float("lr", 1e-5, 1e-1, log=True), Int("rank", 1, 4)])
    >>> space.to_unit({"lr": 1e-3, "rank": 1}).tolist()
    [0.5, 0.125]
    """

    dimensions: Sequence[Dimension]

    def __post_init__(self) -> None:
        object.__setattr__(self, "dimensions", tuple(self.dimensions))
        odd = [d for d in self.dimensions if not isinstance(d, Dimension) or not isinstance(d.name, str)]
        if odd:
            raise ValueError(f"space: {odd[0]!r}; allowed: a Float, an Int or a Categorical with a name")
        if not self.dimensions or len(set(self.names)) != len(self.names):
            raise ValueError(f"space: names {list(self.names)}; allowed: at least one dimension, each name once")
        parents: dict[str, Int | Categorical] = {}
        for d in self.dimensions:
            if d.when is not None:
                _check_condition(d, d.when, parents)
            if not isinstance(d, Float):
                parents[d.name] = d

    def __len__(self) -> int:
        return len(self.dimensions)

    def __iter__(self) -> Iterator[Dimension]:
        return iter(self.dimensions)

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions' names in order."""
        return tuple(d.name for d in self.dimensions)

    def from_unit(self, u: Tensor) -> dict[str, Any]:
        """u [K] to natural units by name; Floats are 0-d tensors through which gradients flow."""
        if u.shape != (len(self),):
            raise ValueError(f"u: shape {list(u.shape)}; allowed: [{len(self)}]")
        params: dict[str, Any] = {}
        for d, x in zip(self.dimensions, u, strict=True):
            if _holds(d.when, params):
                params[d.name] = d.from_unit(x)
        return params

    def to_unit(self, params: Mapping[str, Any]) -> Tensor:
        """Natural units by name to u, float64 [K].

        Raises:
            ValueError: a name is missing or unknown, or a value is none of the choices.
        """
        if not isinstance(params, Mapping):
            raise ValueError(f"params: a {type(params).__name__}; allowed: values by name")
        present = [d.name for d in self.dimensions if _holds(d.when, params)]
        if set(params) != set(present):
            odd = sorted(set(params) ^ set(present))
            raise ValueError(f"params: missing or unknown {odd}; allowed: exactly {present}")
        import torch

        u = [d.to_unit(params[d.name]) if d.name in params else math.nan for d in self.dimensions]
        return torch.tensor(u, dtype=torch.float64)

    def plain(self, u: Tensor) -> dict[str, Any]:
        """u [K] to natural units as plain numbers."""
        values = self.from_unit(u.detach())
        real = {d.name for d in self if isinstance(d, Float)}
        return {name: float(value) if name in real else value for name, value in values.items()}

    def described(self) -> list[dict[str, Any]]:
        """Every dimension in JSON's types, to tell whether two spaces are the same."""
        return [{"kind": type(d).__name__, **json.loads(json.dumps(vars(d), default=str))} for d in self.dimensions]


def _holds(when: When | None, params: Mapping[str, Any]) -> bool:
    return when is None or (when[0] in params and params[when[0]] in when[1])


def _check_condition(dimension: Dimension, when: When, parents: Mapping[str, Int | Categorical]) -> None:
    if not isinstance(when, tuple | list) or len(when) != 2 or not isinstance(when[1], tuple | list):
        raise ValueError(f"{dimension.name}: when {when!r}; allowed: (a parent's name, a tuple of its values)")
    name, values = when
    if name not in parents:
        allowed = f"an Int or Categorical above it: {list(parents)}"
        raise ValueError(f"{dimension.name}: depends on {name!r}; allowed: {allowed}")
    parent = parents[name]
    if isinstance(parent, Int) and parent.high - parent.low >= MAX_CELLS:
        raise ValueError(f"{dimension.name}: depends on {name}; allowed: a parent of at most {MAX_CELLS} values")
    known = parent.choices if isinstance(parent, Categorical) else range(parent.low, parent.high + 1)
    if not values or any(v not in known for v in values):
        raise ValueError(f"{dimension.name}: when {name} is one of {list(values)}; allowed: some of {list(known)}")
