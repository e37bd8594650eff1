"""Early stopping: of trials, by the outer losses of others at the same inner step, and of searches that only fail."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from metaft.errors import DivergedError, MetaftError, OutOfMemoryError
from metaft.search.lines import Record
from metaft.search.outcome import Outcome

FAILURES = 10  # trials in a row that an error ended, after which a search gives up
ENOUGH = 5  # reports of other trials at a step, from which a median is believed


@dataclass
class MedianRule:
    """A `report` for `evaluate`: asks to stop above the median of other trials at the same step, or where not finite.

    Source: Golovin et al., Google Vizier, KDD 2017, section 3.5.2.

    Args:
        medians: by inner step.
        reports: (step, outer loss) in the order of the calls.
    """

    medians: Mapping[int, float]
    reports: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, step: int, loss: float) -> bool:
        """Whether to stop here."""
        self.reports.append((step, loss))
        return not loss <= self.medians.get(step, math.inf) or math.isinf(loss)


def medians(trials: Sequence[Record]) -> dict[int, float]:
    """The median outer loss at every step that enough trials have reported on, stopped ones included."""
    losses_at: dict[int, list[float]] = defaultdict(list)
    for trial in trials:
        for step, loss in trial.reports:
            losses_at[step].append(loss if math.isfinite(loss) else math.inf)
    return {step: median(losses) for step, losses in losses_at.items() if len(losses) >= ENOUGH}


def refuse_hopeless(outcomes: Iterable[Outcome]) -> None:
    """Give up after many trials in a row that an error ended.

    Raises:
        OutOfMemoryError: the last one's was want of memory.
        DivergedError: it was another.
    """
    last = list(outcomes)[-FAILURES:]
    if len(last) < FAILURES or any(outcome.status not in ("failed", "lost", "oom") for outcome in last):
        return
    said = f"search: {FAILURES} trials in a row failed (the last: {last[-1].reason})"
    if last[-1].status == "oom":
        raise OutOfMemoryError(f"{said}; allowed: smaller inner.batch_size or inner.steps, larger inner.accumulate")
    raise DivergedError(said)


def last_reason(trials: Iterable[Record]) -> str:
    """In brackets the last reason that a trial gave; empty where none did."""
    reasons = [r.outcome.reason for r in trials if r.outcome.reason]
    return f" (the last: {reasons[-1]})" if reasons else ""


def none_left(trials: Sequence[Record]) -> MetaftError:
    """The error of a search that has no trial to choose from."""
    last = last_reason(trials)
    if all(r.outcome.status == "oom" for r in trials):
        less = "more memory, or a smaller inner.batch_size or model, in a new run"
        return OutOfMemoryError(f"search: memory ran out in all {len(trials)} trials{last}; allowed: {less}")
    return DivergedError(f"search: all {len(trials)} trials diverged{last}; narrow objective.bounds")
