"""Trying values of knobs one after another, so that an interrupted choice is resumed."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metaft.cost import Cost
from metaft.finetune.context import FitContext
from metaft.finetune.validation import Score, named

Values = Mapping[str, float]  # of knobs, by name


def tried(method: str, grid: Sequence[Values], score: Callable[[Values], Score], context: FitContext) -> list[Score]:
    """The score of each of a method's values, which are kept at the keeper, with what they cost, as they come."""
    name, start, before = f"{method}.tried", time.perf_counter(), copy.copy(context.cost)
    kept: Mapping[str, Any] = context.keeper.load(name) or {"scores": [], "step_equivalents": 0.0, "seconds": 0.0}
    context.cost.add(Cost(kept["step_equivalents"], kept["seconds"]))
    scores: list[Score] = list(kept["scores"])
    for values in grid[len(scores) :]:
        scores.append(score(values))
        context.log({"method": method, **values, **named(*scores[-1], context)})
        spent, elapsed = context.cost, time.perf_counter() - start
        state = {
            "scores": scores,
            "step_equivalents": spent.step_equivalents - before.step_equivalents,
            "seconds": spent.seconds - before.seconds + elapsed,
        }
        context.keeper.save(name, state)
    return scores
