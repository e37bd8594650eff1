"""Fitting methods and evaluating them, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.errors import DivergedError
from metaft.evaluation.drift import Drift
from metaft.evaluation.examples import examples
from metaft.evaluation.scores import evaluate
from metaft.finetune.context import FitContext, FitSettings
from metaft.finetune.crossfit import Judged, judge_whole
from metaft.finetune.fits import Fits, Memory, Store
from metaft.finetune.handed_back import Candidate, handed_back
from metaft.finetune.methods import BEST, CEILING, LEARNED, METHODS, PLAIN
from metaft.finetune.methods.wise_ft import ALPHAS, WAY
from metaft.metrics import accuracy
from metaft.objective.heads import AUTO, HEADS, ZERO_SHOT
from metaft.objective.objective import Objective
from metaft.progress import tell
from metaft.results import HandedBack, Results
from metaft.score import Score


def final_steps(work: Workspace) -> int:
    """The number of optimizer steps of every method's fine-tune: epochs times full batches."""
    finetune, n = work.cfg.finetune, len(work.splits.id_train)
    return finetune.epochs * (n // min(n, finetune.batch_size))


def finetune_cost(work: Workspace) -> float:
    """The cost of one fine-tune in step equivalents, which are steps at the inner loop's batch size."""
    cfg, n = work.cfg, len(work.splits.id_train)
    return final_steps(work) * min(cfg.finetune.batch_size, n) / min(cfg.inner.batch_size, n)


def fit_settings(work: Workspace, learned: Objective | None = None) -> FitSettings:
    """The settings every method is fitted with."""
    cfg = work.cfg
    return FitSettings(
        plain=Objective({"ce": 1.0}, cfg.finetune.lr, cfg.finetune.weight_decay),
        learned=learned,
        finetune=cfg.finetune,
        optimizer=cfg.inner,
        steps=final_steps(work),
        checks=cfg.finetune.epochs,
        penalty_scale=cfg.objective.penalty_scale,
        freeze=cfg.model.freeze,
        tokens=work.tokens,
        eval_batch_size=cfg.evaluation.batch_size,
        seed=cfg.seed,
        device=work.device,
        folds=cfg.search.folds,
        metric=work.search.metric,
        id_drop_max=cfg.search.id_drop_max,
        plain_methods=plain_methods(work),
    )


def fits(work: Workspace, context: FitContext | None = None, store: Store | None = None) -> Fits:
    """The methods of a workspace, each fitted when it is first asked for.

    Args:
        context: by default that of the workspace's settings, without a learned objective.
        store: by default in memory.
    """

    def fit(name: str, ood_val: Split, context: FitContext) -> Classifier:
        data = METHODS[name].sees(replace(work.splits, ood_val=ood_val))
        assert data is not None, f"{name} cannot be served by this data set, as `methods` knows"
        return METHODS[name].fit(work.classifier, data, context)

    context = context or FitContext(fit_settings(work))
    return Fits(fit, context, work.splits.ood_val, Memory() if store is None else store)


def head_in_fold(fits: Fits, fold: int | None, head: str) -> Mapping[str, Tensor]:
    """The parameters of a head, by name, fitted without the judging part of a fold; theta_0's own head gives none."""
    if head == ZERO_SHOT:
        return {}
    model = replace(fits, fold=fold).model(HEADS[head].method)
    return {f"head.{name}": p.detach() for name, p in model.head.named_parameters()}


def plain_logits(fits: Fits, images: Tensor) -> Tensor:
    """The logits [B, C] of normalised images [B, 3, S, S] after plain fine-tuning; theta_0's where it diverges."""
    try:
        model = fits.model(PLAIN)
    except DivergedError:
        model = fits.model(ZERO_SHOT)
    with torch.no_grad():
        logits: Tensor = model(images).logits
    return logits


def servable(work: Workspace) -> list[str]:
    """The names of the methods that this data set can serve: those whose `sees` does not give None."""
    return [name for name, method in METHODS.items() if method.sees(work.splits) is not None]


def methods(work: Workspace) -> list[str]:
    """The names of the methods to compare and of the one whose model is kept, if the data set can serve them."""
    able, cfg = servable(work), work.cfg
    named = () if cfg.finetune.method == AUTO else (cfg.finetune.method,)
    return [name for name in dict.fromkeys((*cfg.evaluation.methods, *named)) if name in able]


def told_methods(work: Workspace) -> list[str]:
    """The names of `methods`, after a line of those that are left out."""
    able = methods(work)
    left = [name for name in dict.fromkeys(work.cfg.evaluation.methods) if name not in able]
    if left:
        tell(f"{', '.join(left)}: left out of evaluation.methods, since this data set cannot serve it")
    return able


def plain_methods(work: Workspace) -> tuple[str, ...]:
    """The methods to compare among which a careful person chooses: no ceiling, and without a search."""
    return tuple(name for name in methods(work) if name not in (BEST, CEILING, *LEARNED))


def choice(work: Workspace, fits: Fits, results: Results) -> HandedBack | None:
    """Whose model is handed back, of the methods with a result; None: no one's that may be.

    Where OOD labels may judge alone, it is none that trains on them, unless the settings name it.
    """
    cfg, settings = work.cfg, fits.context.settings
    if cfg.finetune.method != AUTO:
        named, names = cfg.finetune.method, "finetune.method names it"
        return HandedBack(named, names, results.ood_val.get(named)) if named in results.methods else None

    def said(model: Classifier, split: Split) -> Judged:
        return judge_whole(model, split, cfg.evaluation.batch_size, work.device)

    candidates = {
        name: Candidate(fits.judged(name), said(fits.model(name), work.splits.id_val))
        for name in results.methods
        if name not in (BEST, CEILING)
        and not (cfg.search.use_ood_labels == "judge" and METHODS[name].fits_ood_val(settings))
    }
    if not candidates:
        return None
    theta_0 = said(work.classifier, work.splits.ood_val)
    search, noise = work.search, cfg.finetune.noise
    return handed_back(candidates, theta_0, id_drop_max=search.id_drop_max, noise=noise, metric=search.metric)


def told_apart(work: Workspace, fits: Fits, results: Results) -> dict[str, Any] | None:
    """What the model that is handed back fixes and breaks of plain fine-tuning's, or else of theta_0, on ood_val.

    By models that were not trained on the images (see `Fits.judged`). None: there are no two such models to compare.
    """
    kept = None if results.handed_back is None else results.handed_back.method
    over = next((name for name in (PLAIN, ZERO_SHOT) if name in results.methods and name != kept), None)
    if kept is None or over is None:
        return None
    model, other = fits.judged(kept), fits.judged(over)
    if model is None or other is None:
        return None
    shown = examples(model, other, work.splits.ood_val, work.splits.classes.names)
    return {"method": kept, "over": over, **shown}


def drift(work: Workspace) -> Drift:
    """The function that measures how far a classifier is from theta_0."""
    return Drift(work.classifier, work.splits.search_data, work.cfg.evaluation.batch_size, work.device)


def curve(work: Workspace, fits: Fits) -> list[dict[str, Any]]:
    """WiSE-FT's whole way on the tests, as results.json has it: by share `alpha`, the accuracy on each split.

    It is for the eye alone. What is chosen on the way is chosen by a fit, to which no tests are given.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, figure 1.
    """
    begin, end = WAY.ends(fits.within())

    def accuracies(model: Classifier) -> dict[str, float]:
        batch, tests = work.cfg.evaluation.batch_size, work.splits.tests
        return {
            name: accuracy(predict(model, split, batch, work.device), split.labels) for name, split in tests.items()
        }

    return [{"alpha": alpha, "accuracy": accuracies(WAY.between(begin, end, alpha))} for alpha in ALPHAS]


def scored(work: Workspace, classifier: Classifier) -> dict[str, Score]:
    """A classifier's scores by test split."""
    cfg = work.cfg
    return evaluate(
        classifier,
        work.splits.tests,
        batch_size=cfg.evaluation.batch_size,
        resamples=cfg.evaluation.bootstrap,
        seed=cfg.seed,
        device=work.device,
    )
