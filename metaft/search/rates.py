"""A point with other learning rates: what an inner loop of a few steps cannot tell by its derivative."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaft.names import Name
from metaft.space import Space


def at_rates(space: Space, params: Mapping[str, Any], factors: Sequence[float]) -> list[dict[str, Any]]:
    """A point with all its learning rates times each factor, within their ranges; none where no rate is searched."""
    rates = [name for name in params if Name.parse(name).base == "lr"]
    scaled = [{**params, **{name: factor * params[name] for name in rates}} for factor in factors if rates]
    return [space.plain(space.to_unit(point)) for point in scaled]
