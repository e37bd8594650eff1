"""What a search tried, and the lowest outer loss so far, by what it had cost; several runs on one axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import isfinite

from markupsafe import Markup

from metaft.report import svg
from metaft.report.markup import NONE
from metaft.report.run import Run, spread_out
from metaft.search.lines import Record

LEFT, RIGHT, TOP, BOTTOM = 62.0, 560.0, 14.0, 330.0
MARKS = 1500  # of all runs together, at most; there are more trials than one can see
SHOWN = 0.9  # of the losses; higher ones lie on the upper edge


def body(runs: Sequence[Run]) -> Markup:
    """One figure; nothing where no run has searched."""
    searched = [run for run in runs if any(isfinite(r.outcome.value) for r in run.trials)]
    if not searched:
        return NONE
    costs = {run.name: _costs(run) for run in searched}
    finite = sorted(r.outcome.value for run in searched for r in _told(run) if isfinite(r.outcome.value))
    x = svg.linear([0.0, *(cost for of_run in costs.values() for cost in of_run)], LEFT, RIGHT)
    y = svg.linear([finite[0], finite[min(len(finite) - 1, int(SHOWN * len(finite)))]], BOTTOM, TOP)
    parts = [svg.axes(x, y, "cost, step equivalents", "outer loss")]
    ends = []
    for i, run in enumerate(searched):
        best = list(accumulate((r.outcome.value for r in _told(run) if r.kind == "trial"), min))
        along = [c for c, r in zip(costs[run.name], _told(run), strict=True) if r.kind == "trial"]
        parts.append(svg.line(list(_stairs([x(c) for c in along], [y(b) for b in best])), f"c{i % 7 + 1}"))
        ends.append(y(best[-1]))
    for i, run in enumerate(searched):
        shown = spread_out(list(zip(costs[run.name], _told(run), strict=True)), MARKS // len(searched))
        parts += [_mark(r, x(c), y, f"c{i % 7 + 1}") for c, r in shown]
    for run, end in zip(searched, svg.spread(ends, 15.0, TOP, BOTTOM), strict=True):
        name = run.label if len(runs) > 1 else "lowest so far"
        parts.append(svg.text(RIGHT + 10, end + 4, name, "small"))
    told = (
        "Every trial by what the search had cost when it ended: discs are evaluations, squares such with a "
        "hypergradient, diamonds the last choice on fresh seeds or longer fine-tunes, crosses what came to nothing. "
        "Lines: the lowest so far. Losses of one point differ by seed and by the part of ood_val that judges, so the "
        f"lowest is partly luck. The highest {100 * (1 - SHOWN):.0f} % lie on the upper edge."
    )
    return svg.figure(BOTTOM + 50, parts, "Outer loss over the cost of the search", told)


def _told(run: Run) -> list[Record]:
    return [r for r in run.records if r.kind in ("trial", "final")]


def _costs(run: Run) -> list[float]:
    return list(accumulate(r.outcome.step_equivalents for r in _told(run)))


def _stairs(xs: Sequence[float], ys: Sequence[float]) -> Iterator[tuple[float, float]]:
    """A line that keeps its height until the next point."""
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        if i:
            yield x, ys[i - 1]
        yield x, y


def _mark(record: Record, x: float, y: svg.Scale, how: str) -> Markup:
    outcome = record.outcome
    kind = "diamond" if record.kind == "final" else "square" if record.gradient is not None else "disc"
    if not isfinite(outcome.value):
        kind = "cross"
    accuracy = f", accuracy {100 * outcome.metric:.1f} %" if isfinite(outcome.metric) else ""
    said = f"{record.kind} {record.number}: loss {outcome.value:.4g}{accuracy}\n{outcome.status} {outcome.reason}"
    return svg.mark(x, y(outcome.value), kind, how, said, 3.5)
