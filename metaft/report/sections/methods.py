"""Every method on every split, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from metaft.report.breakdown import groups_note
from metaft.report.markup import Cell, joined, paragraph, table
from metaft.report.run import Run
from metaft.report.tables import CEILING, OOD_VAL_NOTE
from metaft.report.values import ood_mean, ood_splits, splits_of
from metaft.report.verdict import kept

CAPTION = "Accuracy in per cent, with 95 % bootstrap intervals over the test images; marked: the model handed back."


def body(runs: Sequence[Run]) -> Markup:
    """A table a run, and what its columns mean."""
    return joined(_of(run, CAPTION if len(runs) == 1 else f"{run.name}: {CAPTION}") for run in runs)


def _of(run: Run, caption: str) -> Markup:
    results, splits = run.results, splits_of(run.results)
    if not splits:
        return Markup()
    judged, several = results.get("ood_val") or {}, len(ood_splits(splits)) > 1
    header = ["method", *(["OOD mean"] if several else []), *splits, *(["ood_val"] if judged else [])]
    rows = [
        [
            name,
            *([_share(ood_mean(method))] if several else []),
            *(_score(method.get(split)) for split in splits),
            *([_share(judged.get(name))] if judged else []),
        ]
        for name, method in results["methods"].items()
    ]
    names = list(results["methods"])
    best = names.index(str(kept(run))) if kept(run) in names else -1
    notes = [groups_note(results), OOD_VAL_NOTE if judged else "", CEILING if "oracle" in names else ""]
    return table(header, rows, caption, best=best) + paragraph(" ".join(filter(None, notes)))


def _share(value: float | None) -> Cell:
    return Cell("-") if value is None else Cell(f"{100 * value:.1f}", number=value)


def _score(score: Mapping[str, Any] | None) -> Cell:
    if score is None:
        return Cell("-")
    low, high = score["ci95"]["accuracy"]
    return Cell(f"{100 * score['accuracy']:.1f}", f"[{100 * low:.1f}, {100 * high:.1f}]", score["accuracy"])
