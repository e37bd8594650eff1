"""How hyperparameters move: over a descent's outer steps, over trials, or over a training that they steer."""

from __future__ import annotations

from markupsafe import Markup

from metaft.report import charts
from metaft.report.markup import NONE
from metaft.report.run import Run, spread_out
from metaft.search.lines import Record
from metaft.space import Dimension

FEW = 16  # hyperparameters that lines tell apart
CELLS = 3000  # of a map


def body(run: Run) -> Markup:
    """Lines where hyperparameters are few and follow derivatives; otherwise a map."""
    steps = [r for r in run.trials if r.gradient is not None]
    follows = len(steps) > 1
    steps = spread_out(steps if follows else run.trials, max(2, min(40, CELLS // max(len(run.space), 1))))
    if len(steps) < 2 or not run.space:
        return NONE
    ordered = sorted(run.space, key=lambda d: d.name.partition("@")[0])  # a term's groups beside each other
    what = "over the training that they steer" if _steers(run) else "over the descents" if follows else "over trials"
    title = f"Hyperparameters {what}"
    told = (
        "Every value in its range, 0 the lowest and 1 the highest on the scale of the search (of a category the place "
        "of the choice). Point at one for its natural units."
    )
    if follows and len(ordered) <= FEW:
        series = [
            charts.Series(d.name, [(float(r.number), place_in(d, r), _said(d, r)) for r in steps if d.name in r.params])
            for d in ordered
        ]
        known = [s for s in series if s.points]
        return charts.lines(known, title, told, "trial", "place in the range", shares=True)
    cells = [[(place_in(d, r), _said(d, r)) for r in steps] for d in ordered]
    return charts.heat([d.name for d in ordered], [str(r.number) for r in steps], cells, title, told)


def _steers(run: Run) -> bool:
    return bool((run.results.get("objective") or {}).get("schedule"))


def place_in(dimension: Dimension, record: Record) -> float:
    """The place in [0, 1]; 0 where the point has no such value."""
    try:
        return float(dimension.to_unit(record.params[dimension.name]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0.0


def _said(dimension: Dimension, record: Record) -> str:
    value = record.params.get(dimension.name, "none")
    return f"{dimension.name}, trial {record.number}: {f'{value:.4g}' if isinstance(value, float) else value}"
