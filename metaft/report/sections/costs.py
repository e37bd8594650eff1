"""What was done when in the search, and what each method's fine-tune took."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from metaft.report import svg
from metaft.report.charts import Bar, bars
from metaft.report.markup import NONE
from metaft.report.run import Run
from metaft.search.lines import Record

KINDS = (
    ("trial", "trials", "c1"),
    ("hypergradient", "hypergradients", "c4"),
    ("final", "last choice", "c3"),
    ("check", "checks", "c5"),
)
TOP, ROW, LEFT = 8.0, 26.0, 190.0
PIXEL = 1.0  # within which evaluations are drawn as one


def body(run: Run) -> Markup:
    """The search on a line of time, and a bar a method."""
    return _search(run) + _methods(run)


def _search(run: Run) -> Markup:
    records = [r for r in run.records if r.kind != "prior" and r.clock > 0]
    if not records:
        return NONE
    kinds = [(r, "hypergradient" if r.gradient is not None and r.kind == "trial" else r.kind) for r in records]
    known = [row for row in KINDS if any(kind == row[0] for _, kind in kinds)]
    height = TOP + ROW * len(known)
    x = svg.linear([0.0, *(r.clock for r in records)], LEFT, svg.WIDTH - 20, " s")
    y = svg.Scale(0.0, 1.0, height, TOP, lambda v: v, ())
    parts = [svg.axes(x, y, "wall-clock time of the search", "")]
    for i, (kind, name, how) in enumerate(known):
        top = TOP + ROW * i + 4
        spent = sum(r.outcome.seconds for r, k in kinds if k == kind)
        parts.append(svg.text(LEFT - 8, top + 13, f"{name}, {spent:,.0f} s", "end small"))
        for few in _joined([r for r, k in kinds if k == kind], x):
            begin, end = x(max(0.0, few[0].clock - few[0].outcome.seconds)), x(few[-1].clock)
            costs = (sum(r.outcome.seconds for r in few), sum(r.outcome.step_equivalents for r in few))
            numbers = f"{few[0].number}" if len(few) == 1 else f"{few[0].number} to {few[-1].number}"
            said = f"{kind} {numbers}: {_spent(*costs)}"
            parts.append(svg.box(begin, top, max(end - begin - 0.5, 0.8), ROW - 8, how, said))
    told = "Each evaluation from its beginning to its end; what lies between is proposals, methods' fits and files."
    return svg.figure(height + 48, parts, "The search over time", told)


def _joined(records: Sequence[Record], x: svg.Scale) -> list[list[Record]]:
    """Records in their order, those together that end within a pixel."""
    found: list[list[Record]] = []
    for record in records:
        if found and x(record.clock) - x(found[-1][0].clock) < PIXEL:
            found[-1].append(record)
        else:
            found.append([record])
    return found


def _methods(run: Run) -> Markup:
    costs = run.results.get("cost") or {}
    rows = [
        Bar(name, c["seconds"], c["seconds"], c["seconds"], f"{name}: {_spent(c['seconds'], c['step_equivalents'])}")
        for name, c in costs.items()
    ]
    told = "The fit of each method, those that it builds on included, the search aside; a bar a method, in seconds."
    return bars(rows, "What methods took", told, "seconds", " s") if rows else NONE


def _spent(seconds: float, step_equivalents: float) -> str:
    return f"{seconds:,.2f} s, {step_equivalents:,.0f} step equivalents"
