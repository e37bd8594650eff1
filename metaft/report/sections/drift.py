"""How far each method's model is from the pretrained one: weights by parameter group, features by split."""

from __future__ import annotations

from math import isfinite

from markupsafe import Markup

from metaft.report.charts import heat
from metaft.report.markup import NONE, plain_table
from metaft.report.run import Run
from metaft.report.tables import DRIFT, DRIFT_NOTE, drift_rows


def body(run: Run) -> Markup:
    """A map of groups and methods, and the table with costs."""
    drifts = run.results.get("drift") or {}
    if not drifts:
        return NONE
    weights = {name: {g: v for g, v in d["weights"].items() if g != "all" and _known(v)} for name, d in drifts.items()}
    groups = list(dict.fromkeys(group for of_method in weights.values() for group in of_method))
    most = {group: max(of.get(group, 0.0) for of in weights.values()) for group in groups}
    rows = plain_table([DRIFT, *drift_rows(run.results)], DRIFT_NOTE)
    if not any(most.values()):
        return rows
    cells = [
        [(of.get(g, 0.0) / (most[g] or 1.0), f"{name}, {g}: {of.get(g, 0.0):.3g}") for g in groups]
        for name, of in weights.items()
    ]
    told = (
        "The L2 distance of the weights of each parameter group to theta_0, the fullest colour the farthest in its "
        "column; point at a field for the number."
    )
    return heat(list(weights), groups, cells, "Drift of weights by parameter group", told) + rows


def _known(value: object) -> bool:
    return isinstance(value, float) and isfinite(value) and value >= 0
