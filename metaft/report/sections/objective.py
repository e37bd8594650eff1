"""The objective that the search settled on, and how it was chosen."""

from __future__ import annotations

from markupsafe import Markup

from metaft.report.markup import joined, paragraph, plain_table
from metaft.report.run import Run
from metaft.report.tables import group_rows, last_choice, objective_rows, search_rows


def body(run: Run) -> Markup:
    """Its values, those of parameter groups, and the search's numbers."""
    tables = [
        plain_table(objective_rows(run.results), "Weights of terms, learning rate and weight decay (objective.yaml)"),
        plain_table([["search", str(run.results.get("mode"))], *search_rows(run.results)], "The search in numbers"),
    ]
    groups = plain_table(group_rows(run.results), "Values that parameter groups have of their own")
    return Markup('<div class="pair">{}</div>').format(joined(tables)) + groups + paragraph(last_choice(run.results))
