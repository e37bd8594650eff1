"""What a search tries beside the recipe: a careful point from every head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaft.names import ALPHA, HEAD, OOD_VAL, source_name
from metaft.search.rates import at_rates
from metaft.space import Space

# Trains on ood_val as much as on id_train, keeps to theta_0's predictions as to labels, goes a fifth of the way.
CAREFUL = {source_name(OOD_VAL): 1.0, "kd": 1.0, ALPHA: 0.2}
SLOWER = 1 / 3  # times the recipe's learning rates, which a short inner loop raises (see `inner.stretch`)


def careful(space: Space, recipe: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The recipe from every head, slower and with what of `CAREFUL` is searched; none where there is no choice.

    Args:
        recipe: in natural units.
    """
    searched = {name: value for name, value in CAREFUL.items() if name in recipe}
    heads = [choice for d in space if d.name == HEAD for choice in getattr(d, "choices", ())]
    if source_name(OOD_VAL) not in recipe and not heads:
        return []
    point = {**recipe, **searched}
    slower = (at_rates(space, point, [SLOWER]) or [point])[0]
    points = [{**slower, **({HEAD: head} if heads else {})} for head in heads or [None]]
    return [space.plain(space.to_unit(point)) for point in points]
