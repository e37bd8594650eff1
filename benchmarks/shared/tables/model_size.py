"""What the size of a model changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from scipy.stats import spearmanr

from metaft.clip.names import TOY
from metaft.report.tables import markdown
from shared.numbers import grouped, id_, ood, recognised, with_interval
from shared.rows import Row, committed


def measured(suite: str) -> dict[str, dict[str, list[Row]]]:
    """The rows of a suite by model, the smallest first, and method, in cells that all of both have."""
    rows = [{**r, "method": _name(r)} for r in committed("model_size") if r["suite"].startswith(suite)]
    models = [model for (model,) in grouped(sorted(rows, key=lambda r: r["parameters"]), "model")]
    by_cell = grouped(rows, "seed")
    whole = {seed for (seed,), of_cell in by_cell.items() if len(of_cell) == max(map(len, by_cell.values()))}
    kept = [r for r in rows if r["seed"] in whole and "failed" not in r]
    found = grouped(kept, "model", "method")
    methods = dict.fromkeys(method for _, method in found)
    return {model: {method: found[model, method] for method in methods if (model, method) in found} for model in models}


def _name(row: Row) -> str:
    source = row["source"]
    return str(row["method"]) if source is None else f"{row['method']}, found on {source}"


def seeds() -> str:
    """How many data seeds all models have."""
    count = len(measured("shapes")[TOY]["zero_shot"])
    return "one data seed" if count == 1 else f"{count} data seeds"


def methods_of(by_model: dict[str, dict[str, list[Row]]]) -> list[str]:
    """The methods of any model, zero_shot first."""
    return list(dict.fromkeys(method for methods in by_model.values() for method in methods))


def orders(suite: str) -> str:
    """Spearman's rank correlation of methods' OOD accuracies between each model and the next larger one."""
    models = list(measured(suite).values())
    return " and ".join(f"{_alike(smaller, larger):.2f}" for smaller, larger in pairwise(models))


def _alike(smaller: dict[str, list[Row]], larger: dict[str, list[Row]]) -> float:
    common = [method for method in smaller if method in larger]
    means = [[fmean(map(ood, of[method])) for method in common] for of in (smaller, larger)]
    return float(spearmanr(*means).statistic)


def compared(suite: str) -> str:
    """ID and OOD accuracy, and what is left of pretraining, by method and model."""
    by_model = measured(suite)
    table = []
    for method in methods_of(by_model):
        cells = [_numbers(methods[method]) if method in methods else "" for methods in by_model.values()]
        table.append([method, *cells])
    names = [f"{model}, {next(iter(m.values()))[0]['parameters'] / 1e6:.1f} M" for model, m in by_model.items()]
    return markdown([f"{suite}: ID / OOD / pretraining", *names], table)


def _numbers(rows: Sequence[Row]) -> str:
    return " / ".join(with_interval([value(r) for r in rows]) for value in (id_, ood, recognised))
