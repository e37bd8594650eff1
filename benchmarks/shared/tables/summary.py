"""The results in one table, which the README shows too."""

from __future__ import annotations

from metaft.report.tables import markdown
from shared.numbers import Cells, id_, ood, with_interval
from shared.tables.methods import fitted
from shared.tables.solvers import searched

METHODS = {
    "zero_shot": "the zero-shot model",
    "ft": "plain fine-tuning, `ft`",
    "wise_ft": "weight interpolation, `wise_ft`",
    "ft_ood_val": "fine-tuning on OOD validation too, `ft_ood_val`",
    "linear_probe": "a linear probe, `linear_probe`",
}
SEARCHES = {
    ("tpe", "zero_shot"): "TPE, from the class names",
    ("tpe", "linear_probe"): "TPE, from the probe",
    ("hypergrad", "zero_shot"): "hypergradients, from the class names",
    ("hypergrad", "linear_probe"): "hypergradients, from the probe",
}


def summary() -> str:
    """Accuracies on shapes of simple methods, of searches with 71 hyperparameters, and of the ceiling."""
    methods = fitted("shapes")
    lines = {label: methods[method] for method, label in METHODS.items()}
    lines |= {label: searched(solver, head, "groups") for (solver, head), label in SEARCHES.items()}
    lines["trained on the tests' distribution, `oracle`"] = methods["oracle"]
    table = [[label, *_accuracies(cells)] for label, cells in lines.items()]
    return markdown([f"shapes, {len(methods['ft'])} cells", "ID test, %", "OOD test, %"], table)


def _accuracies(cells: Cells) -> list[str]:
    return [with_interval([value(r) for r in cells.values()]) for value in (id_, ood)]
