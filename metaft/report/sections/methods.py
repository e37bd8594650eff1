"""Every method on every split, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from metaft.report.breakdown import groups_note
from metaft.report.markup import NONE, Cell, paragraph, table
from metaft.report.run import Run
from metaft.report.tables import CEILING, OOD_VAL_NOTE
from metaft.report.values import ood_mean, ood_splits, splits_of
from metaft.report.verdict import kept

CAPTION = "Accuracy in per cent, with 95 % bootstrap intervals over the test images; marked: the models handed back."


def body(runs: Sequence[Run]) -> Markup:
    """A row a method of each run, and what the columns mean."""
    splits = list(dict.fromkeys(split for run in runs for split in splits_of(run.results)))
    if not splits:
        return NONE
    several, mean = len(runs) > 1, len(ood_splits(splits)) > 1
    judged = any(run.results.get("ood_val") for run in runs)
    header = ["method", *(["run"] if several else []), *(["OOD mean"] if mean else []), *splits]
    rows: list[list[Cell | str]] = []
    best = set[int]()
    for run in runs:
        for name, method in run.results["methods"].items():
            if name == kept(run):
                best.add(len(rows))
            told = (run.results.get("ood_val") or {}).get(name)
            cells = [_share(ood_mean(method))] if mean else []
            cells += [_score(method.get(split)) for split in splits] + ([_share(told)] if judged else [])
            rows.append([Cell(name), *([Cell(run.label)] if several else []), *cells])
    notes = dict.fromkeys(groups_note(run.results) for run in runs)
    ceiling = any("oracle" in run.results["methods"] for run in runs)
    said = [*notes, OOD_VAL_NOTE if judged else "", CEILING if ceiling else ""]
    drawn = table([*header, *(["ood_val"] if judged else [])], rows, CAPTION, best=best)
    return drawn + paragraph(" ".join(filter(None, said)))


def _share(value: float | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{100 * value:.1f}", number=value)


def _score(score: Mapping[str, Any] | None) -> Cell:
    if score is None:
        return Cell("-")
    low, high = score["ci95"]["accuracy"]
    return Cell(f"{100 * score['accuracy']:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]", score["accuracy"])
