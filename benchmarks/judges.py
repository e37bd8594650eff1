"""By what to choose among fitted models where few labels judge: how often they are right, their loss, or both.

    python benchmarks/judges.py [--device cpu] [--seeds 1000 1001] [--workers 2] [--quick] [--out FILE]

A cell is a world of tuning with a data seed. The methods of worlds.py and a search with hypergradients are fitted once,
on all of `ood_val`, and judged by models on folds, as a run does. Then so many of the labels are drawn, thirty times,
and each rule chooses one model by what was said of these images. A row is a rule: the share of the loss in what a model
gains over the zero-shot one, and how many standard errors of the gain are taken off; without a share it is that of
`metaft.finetune.handed_back`. Regret is against the best of the models on the OOD tests, in points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean, quantiles

import torch
from shared.cells import collect
from shared.handed import BUDGET, METHODS, QUICK, QUICK_BUDGET, SEARCHED, fits_of, found, measured
from shared.rows import Row, Rows, arguments
from shared.worlds import TUNING
from torch import Tensor

from metaft import config, pipeline
from metaft.finetune.crossfit import Judged, judge_whole
from metaft.finetune.fits import Memory
from metaft.finetune.handed_back import Candidate, handed_back
from metaft.finetune.methods import BEST, PLAIN
from metaft.finetune.validation import drop_price
from metaft.metrics import CE_SLOPE, ROUNDING, Gap

Rule = tuple[float | None, float]  # the share of the loss, and how many standard errors are taken off
KEYS = ("world", "seed", "labels", "share", "errors")
LABELS = (10, 20, 50, 0)  # 0: all
FIXED = ((0.0, 1.0), (0.5, 0.0), (0.5, 1.0), (0.5, 2.0), (0.75, 1.0), (1.0, 1.0))
OWN = (None, 1.0)  # metaft's
RULES = (*FIXED, OWN)
DRAWS = 30
LIMIT = 0.03  # of what may be lost in distribution: the default of search.id_drop_max


@dataclass(frozen=True)
class Fitted:
    """What a method's models say of ood_val and id_val, and its accuracy over the OOD tests, in points."""

    judged: Judged
    id_val: Judged
    ood_test: float

    def on(self, rows: Tensor) -> Fitted:
        """The same, judged by some images of ood_val."""
        return replace(self, judged=self.judged.at(rows))


def main() -> None:
    args = arguments("judges", __doc__, seeds=(1000, 1001), workers=2)
    rows = Rows("judges", args, KEYS)
    worlds, seeds = (TUNING[-1:], args.seeds[:1]) if args.quick else (TUNING, args.seeds)
    last = {"labels": LABELS[-1], "share": RULES[-1][0], "errors": RULES[-1][1]}
    jobs = [
        (cell, world.name, world.settings, seed, args.device, args.quick)
        for world, seed in product(worlds, seeds)
        if {"world": world.name, "seed": seed, **last} not in rows
    ]
    collect(rows, jobs, args.workers)


def cell(world: str, settings: tuple[str, ...], seed: int, device: str, quick: bool) -> list[Row]:
    """All rows of a cell."""
    theta_0, models = fitted(settings, seed, device, quick)
    rows = []
    for labels in LABELS:
        names = [choices(models, theta_0, images) for images in draws(len(theta_0.labels), labels, seed)]
        for share, errors in RULES:
            where = {"world": world, "seed": seed, "labels": labels, "share": share, "errors": errors}
            rows.append({**where, **told([by_rule[share, errors] for by_rule in names], models)})
    return rows


def choices(models: Mapping[str, Fitted], theta_0: Judged, images: Tensor) -> dict[Rule, str]:
    """What each rule chooses by some images of ood_val."""
    start, seen = theta_0.at(images), {name: model.on(images) for name, model in models.items()}
    candidates = {name: Candidate(model.judged, model.id_val) for name, model in seen.items()}
    own = {OWN: handed_back(candidates, start, id_drop_max=LIMIT, noise=OWN[1]).method}
    return {rule: best(seen, start, *rule) for rule in FIXED} | own


def fitted(settings: tuple[str, ...], seed: int, device: str, quick: bool) -> tuple[Judged, dict[str, Fitted]]:
    """What theta_0 says of ood_val, and every method that can be judged."""
    names = (*METHODS, *SEARCHED)
    words = [f"evaluation.methods=[{', '.join(names)}]", f"seed={seed}", f"device={device}", "search.mode=hypergrad"]
    small = (*QUICK, *QUICK_BUDGET) if quick else BUDGET
    work = pipeline.opened(config.load(None, [*words, *settings, *small]))
    store, size, models = Memory(), work.cfg.evaluation.batch_size, {}
    fits_of(work, store)(BEST)  # the plain methods, as a run keeps them for a search
    _, fits = found(work, store)
    for name in names:
        row = measured(work, fits, name)
        if name == BEST or "failed" in row or (judged := fits.judged(name)) is None:
            continue
        id_val = judge_whole(fits.model(name), work.splits.id_val, size, device)
        models[name] = Fitted(judged, id_val, 100 * fmean(row["ood_test"].values()))
    return judge_whole(work.classifier, work.splits.ood_val, size, device), models


def draws(count: int, labels: int, seed: int) -> list[Tensor]:
    """So many images of `count`, drawn again and again; all of them once for 0."""
    if labels == 0:
        return [torch.arange(count)]
    generator = torch.Generator().manual_seed(1000 * labels + seed)
    return [torch.randperm(count, generator=generator)[:labels] for _ in range(DRAWS)]


def best(models: Mapping[str, Fitted], theta_0: Judged, share: float, errors: float) -> str:
    """The name of the model that a rule chooses.

    gain = (1 - share) (right - right') + share (loss' - loss) / CE_SLOPE, of a model and theta_0 (')
    """

    def rank(name: str) -> tuple[float, float, float]:
        judged, id_val = models[name].judged, models[name].id_val
        rights = judged.correct.double() - theta_0.correct.double()
        gap = Gap.of((1 - share) * rights + share * (theta_0.losses - judged.losses) / CE_SLOPE)
        worth = gap.mean - errors * gap.error - drop_price(models[PLAIN].id_val.correct, id_val.correct, LIMIT)
        moved = float((judged.predictions != theta_0.predictions).double().mean())
        return round(worth / ROUNDING) * ROUNDING, -moved, id_val.accuracy

    return max(models, key=rank)


def told(names: list[str], models: Mapping[str, Fitted]) -> Row:
    """The regret of choices, and how many of them are more than a point below the zero-shot model."""
    top = max(model.ood_test for model in models.values())
    regrets = [top - models[name].ood_test for name in names]
    below = [models[name].ood_test < models["zero_shot"].ood_test - 1 for name in names]
    high = max(regrets) if len(regrets) == 1 else quantiles(regrets, n=20)[-1]
    return {"regret": round(fmean(regrets), 2), "regret_95": round(high, 2), "below_zero_shot": round(fmean(below), 3)}


if __name__ == "__main__":
    main()
