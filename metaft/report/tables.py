"""Markdown tables from results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metaft.errors import DataError, Fault, nearest
from metaft.report.breakdown import OTHERS_NOTE, by_domain, groups_note, other_rows
from metaft.report.document import Document
from metaft.report.values import metrics_of, ood_mean, ood_splits, splits_of, with_interval, written

DRIFT = ["method", "step equivalents", "seconds", "drift of weights", "of features, id_val", "ood_val"]
DRIFT_NOTE = (
    "Drift: L2 distance of all weights to theta_0, and mean squared distance of unit image features. Costs include "
    "those of methods that a method builds on, but not a search's."
)
OOD_VAL_NOTE = "ood_val: the OOD validation images; none of them judges a model that was trained on it."
CEILING = "oracle was trained on labelled images of the OOD tests' own distribution: a ceiling, not a competitor."


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """A Markdown table whose columns are aligned as plain text too: the first left, the others right if numbers."""
    header, *rows = ([cell.replace("|", "\\|") for cell in row] for row in (header, *rows))  # a name may have one
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        others = (c.rjust(w) if numbers else c.ljust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
        padded = [cells[0].ljust(widths[0]), *others]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 or not numbers else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])


def methods_table(results: Document, metric: str = "accuracy") -> str:
    """One row a method: the metric on every split with its 95 % interval, and accuracy on ood_val, in per cent or nats.

    Raises:
        DataError: no split has that metric.
    """
    header, *rows = methods_rows(results, metric)
    return markdown(header, rows)


def methods_rows(results: Document, metric: str) -> list[list[str]]:
    """The cells of `methods_table`, header first."""
    known = metrics_of(results)
    if known and metric not in known:
        raise DataError(str(Fault("metric", repr(metric), ", ".join(known), nearest(metric, known))))
    splits = splits_of(results)
    several = len(ood_splits(splits)) > 1
    judged = results.get("ood_val") or {} if metric == "accuracy" else {}
    rows = [["method", *splits, *(["OOD mean"] if several else []), *(["ood_val"] if judged else [])]]
    for name, method in results["methods"].items():
        cells = [with_interval(method.get(split), metric) for split in splits]
        mean = [written(ood_mean(method, metric), metric)] if several else []
        rows.append([name, *cells, *mean, *([written(judged.get(name))] if judged else [])])
    return rows


def handed_back(results: Document) -> str:
    """Whose model was handed back and why, in one sentence; empty where none was."""
    kept = results.get("handed_back")
    return f"{kept['method']} is handed back: {kept['reason']}." if kept else ""


def others_table(results: Document) -> str:
    """The other metrics and what they are; empty where accuracy is the only one."""
    rows = other_rows(results)
    return f"{OTHERS_NOTE}\n\n{markdown(rows[0], rows[1:])}" if rows else ""


def drift_table(results: Document) -> str:
    """What each method cost, and how far it went from theta_0."""
    rows = drift_rows(results)
    return markdown(DRIFT, rows) if rows else ""


def drift_rows(results: Document) -> list[list[str]]:
    """The cells of `drift_table`."""
    drifts, costs = results.get("drift") or {}, results.get("cost") or {}
    rows = []
    for name, drift in drifts.items():
        cost = costs.get(name, {})
        cost_cells = [f"{cost[key]:,.0f}" if key in cost else "-" for key in ("step_equivalents", "seconds")]
        features = [(drift["features"].get(split), ".3f") for split in ("id_val", "ood_val")]
        moved = [(drift["weights"]["all"], ".3g"), *features]
        rows.append([name, *cost_cells, *("-" if value is None else format(value, form) for value, form in moved)])
    return rows


def search_table(results: Document) -> str:
    """The search's size, result and cost."""
    rows = search_rows(results)
    table = markdown(["search", results.get("mode") or "none (objective given)"], rows) if rows else ""
    return "\n\n".join(part for part in (table, last_choice(results)) if part)


def search_rows(results: Document) -> list[list[str]]:
    """The cells of the search's numbers."""
    search = results.get("search") or {}
    return [[key.replace("_", " "), _number(search[key])] for key in search if key not in ("finalists", "last_choice")]


def last_choice(results: Document) -> str:
    """Whose fine-tune the search took at full length, in one sentence; empty where it had no choice."""
    kept = (results.get("search") or {}).get("last_choice")
    if not kept:
        return ""
    values = ", ".join(f"{100 * value:.1f} % with that {_whose(name)}" for name, value in kept["values"].items())
    return (
        f"At full length what ood_val tells of accuracy, less what is lost on id_val, is {values}; "
        f"the learned objective is that {_whose(kept['method'])}, at {kept['alpha']:g} of the way."
    )


def _whose(method: str) -> str:
    return "of the search" if method == "autoft" else f"of {method}"


def objective_table(results: Document) -> str:
    """The objective that `autoft` was trained with, and below it the values that parameter groups have of their own."""
    tables = (objective_rows(results), group_rows(results))
    return "\n\n".join(markdown(header, rows) for header, *rows in tables if rows)


def objective_rows(results: Document) -> list[list[str]]:
    """The cells of the objective, header first."""
    objective = results.get("objective")
    if not objective:
        return [["objective", "value"]]
    knobs = {f"{objective['method']} {name}": value for name, value in (objective.get("knobs") or {}).items()}
    sources = {f"ce on {name}": weight for name, weight in (objective.get("sources") or {}).items()}
    values = {**objective["terms"], **sources, "lr": objective["lr"], "wd": objective["wd"], **knobs}
    rows = [[name, _number(value)] for name, value in values.items()]
    if objective.get("alpha", 1.0) != 1:
        rows.append(["share of the way", _number(objective["alpha"])])
    if objective.get("head"):
        rows.append(["head", objective["head"].replace("_", " ")])
    if objective.get("schedule"):
        rows.append(["changes on the way", f"{len(objective['schedule'])}, see objective.yaml"])
    return [["objective", "value"], *rows]


def group_rows(results: Document) -> list[list[str]]:
    """The cells of the values that parameter groups have of their own, header first."""
    groups = (results.get("objective") or {}).get("groups") or {}
    flat = {group: {**values, **values.get("terms", {})} for group, values in groups.items()}
    names = [name for name in dict.fromkeys(name for values in flat.values() for name in values) if name != "terms"]
    rows = [[group, *(_number(values.get(name, "")) for name in names)] for group, values in flat.items()]
    return [["group", *names], *rows]


def page(results: Document) -> str:
    """The contents of results.md."""
    failed = results.get("failed") or {}
    parts = [
        f"# {results.get('title', 'metaft')}",
        handed_back(results),
        f"Accuracy in per cent, with 95 % bootstrap intervals over the test images. {groups_note(results)}".strip(),
        methods_table(results),
        OOD_VAL_NOTE if results.get("ood_val") else "",
        CEILING if "oracle" in results["methods"] else "",
        "\n".join(f"- **{name}** gave no result: {reason}" for name, reason in failed.items()),
        *(f"{caption}\n\n{markdown(rows[0], rows[1:])}" for caption, rows in by_domain(results).items()),
        others_table(results),
        drift_table(results),
        DRIFT_NOTE if results.get("drift") else "",
        objective_table(results),
        search_table(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
