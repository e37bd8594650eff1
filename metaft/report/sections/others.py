"""Other metrics than accuracy, folded."""

from __future__ import annotations

from markupsafe import Markup

from metaft.report.breakdown import OTHERS_NOTE, other_metrics, other_rows
from metaft.report.markup import folded, joined, plain_table
from metaft.report.run import Run
from metaft.report.tables import methods_rows
from metaft.report.values import title


def body(run: Run) -> Markup:
    """Means over the OOD tests, and each metric on every test."""
    means = plain_table(other_rows(run.results), OTHERS_NOTE)
    every = {title(metric): methods_rows(run.results, metric) for metric in other_metrics(run.results)}
    told = "on every test, with intervals"
    return means + joined(folded(f"{name} {told}", plain_table(rows, f"{name} {told}")) for name, rows in every.items())
