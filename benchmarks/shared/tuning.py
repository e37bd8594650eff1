"""Knobs of methods, tuned alike: as many points from TPE for each, short fine-tunes, validation accuracy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metaft.build.workspace import Workspace
from metaft.errors import DivergedError
from metaft.finetune.fits import Memory
from metaft.finetune.methods import METHODS, PLAIN
from metaft.hooks.knobs import Knob
from metaft.search.sampler import Failed
from metaft.search.tpe.tpe import TPE
from metaft.space import Float, Space
from shared.cells import TUNING_SEED, fits_in, score
from shared.rows import Row

TRIALS, QUICK_TRIALS = 8, 2
RATED = "ft, tuned rate"  # plain fine-tuning, its learning rate tuned like the others' knobs
RATE = Knob(Float("lr_factor", 0.1, 100.0, log=True), 1.0)  # in units of what all methods begin with
SHARE = 4  # of a fine-tune's steps and checks
Params = dict[str, Any]
Knobs = dict[str, Params]  # by method


def tunable(method: str) -> list[Knob]:
    """The knobs of a method that it does not choose by itself."""
    return [RATE] if method == RATED else [knob for knob in METHODS[method].knobs if knob.default is not None]


def trials(method: str, count: int, judge: Callable[[Params], Row]) -> list[Row]:
    """The defaults of a method's knobs, and further points from TPE: a row each, with what the judge says of it."""
    knobs = tunable(method)
    sampler = TPE(Space([knob.dimension for knob in knobs]), seed=TUNING_SEED)
    sampler.enqueue({knob.name: knob.default for knob in knobs})
    rows = list[Row]()
    for number in range(count):
        trial = sampler.ask()
        found = judge(trial.params)
        sampler.tell(trial.number, Failed(found["failed"]) if "failed" in found else -balance(found))
        rows.append({"number": number, "knobs": trial.params, **found})
    return rows


def short_fit(work: Workspace, store: Memory, method: str, params: Params) -> Row:
    """The validation accuracies of a method after a short fine-tune with these knobs, and its step equivalents.

    What it stands on is kept in the store, and is on its bill each time.
    """
    settings = fits_in(work).context.settings
    short = {"steps": settings.steps // SHARE, "checks": max(1, settings.checks // SHARE)}
    name, changes = (PLAIN, at_rate(work, params)) if method == RATED else (method, with_knobs(work, {method: params}))
    try:
        fit = fits_in(work, None, store, **changes, **short)(name)
    except DivergedError as error:
        return {"failed": str(error)}
    del store.kept[name]
    accuracies = {s.name: score(work, fit.model, s) for s in (work.splits.ood_val, work.splits.id_val)}
    return {**accuracies, "step_equivalents": round(fit.cost.step_equivalents, 1)}


def with_knobs(work: Workspace, knobs: Knobs) -> Params:
    """The change of a fit's settings that sets knobs by method."""
    return {"finetune": work.cfg.finetune.model_copy(update={"knobs": knobs})}


def at_rate(work: Workspace, params: Params) -> Params:
    """The change of a fit's settings that sets plain fine-tuning's learning rate."""
    plain = fits_in(work).context.settings.plain
    return {"plain": replace(plain, lr=plain.lr * params[RATE.name])}


def balance(row: Mapping[str, Any]) -> float:
    """What knobs are judged by: the mean of both validation accuracies."""
    return (float(row["ood_val"]) + float(row["id_val"])) / 2


def tuned(rows: Sequence[Row], suite: str = "") -> Knobs:
    """Each method's best knobs, of a suite where there are several; the first of equals."""
    done = [r for r in rows if r["tuning"] and r.get("suite", "").startswith(suite) and "failed" not in r]
    best: dict[str, Row] = {}
    for r in sorted(done, key=lambda r: (-balance(r), r["number"])):
        best.setdefault(r["method"], r)
    return {method: row["knobs"] for method, row in best.items()}
