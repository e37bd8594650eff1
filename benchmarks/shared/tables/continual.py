"""What is left of earlier styles, and of pretraining, after several fine-tunes in a row."""

from __future__ import annotations

from collections.abc import Sequence

from metaft.report.tables import markdown
from shared.numbers import grouped, recognised, with_interval
from shared.rows import Row, committed


def transfer() -> str:
    """By method: the average accuracy after the last style, the backward transfer, and what is left of pretraining."""
    table = []
    for method, of_method in sequences().items():
        cells = ([value(sequence) for sequence in of_method] for value in (learned, average, backward, kept))
        table.append([method, str(len(of_method)), *map(with_interval, cells)])
    head = ["after five styles", "seeds", "each style as it was learned", "average", "backward transfer"]
    return markdown([*head, "pictures of pretraining"], table)


def sequences() -> dict[str, list[list[Row]]]:
    """By method, and its share, the rows in the order of the styles, of each seed that all methods have."""
    rows = sorted(
        (r for r in committed("continual") if "failed" not in r), key=lambda r: (r["method"], r["share"] or 0)
    )
    found: dict[str, dict[int, list[Row]]] = {}
    for (method, share, seed), of_seed in grouped(rows, "method", "share", "seed").items():
        if len(of_seed) == len(of_seed[0]["accuracy"]):
            name = method if share is None else f"{method}, {100 * share:g} %"
            found.setdefault(name, {})[seed] = sorted(of_seed, key=lambda r: r["number"])
    seeds = sorted(set.intersection(*map(set, found.values())))
    return {name: [by_seed[seed] for seed in seeds] for name, by_seed in found.items()}


def learned(sequence: Sequence[Row]) -> float:
    """The mean over styles of the accuracy on each as soon as it was trained on, in points."""
    return 100 * sum(r["accuracy"][r["style"]] for r in sequence) / len(sequence)


def average(sequence: Sequence[Row]) -> float:
    """The mean accuracy over styles after the last one, in points."""
    last = sequence[-1]["accuracy"]
    return 100 * sum(last[r["style"]] for r in sequence) / len(sequence)


def backward(sequence: Sequence[Row]) -> float:
    """The mean over styles but the last of what accuracy has changed since they were trained on, in points."""
    last = sequence[-1]["accuracy"]
    return 100 * sum(last[r["style"]] - r["accuracy"][r["style"]] for r in sequence[:-1]) / (len(sequence) - 1)


def kept(sequence: Sequence[Row]) -> float:
    """The accuracy on pictures of pretraining after the last style, in points."""
    return recognised(sequence[-1])
