"""Fitting methods and evaluating them, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.data.folds import Fold
from metaft.evaluation.drift import Drift
from metaft.evaluation.scores import evaluate
from metaft.finetune.context import FitContext, FitSettings
from metaft.finetune.fits import Fits, Memory, Store
from metaft.finetune.methods import METHODS
from metaft.objective.heads import HEADS, ZERO_SHOT
from metaft.objective.objective import Objective
from metaft.results import Score


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
    )


def fits(work: Workspace, context: FitContext, store: Store | None = None) -> Fits:
    """The methods of a workspace, each fitted when it is first asked for."""

    def fit(name: str, context: FitContext) -> Classifier:
        data = METHODS[name].sees(work.splits)
        assert data is not None, f"{name} cannot be served by this data set, as `methods` knows"
        return METHODS[name].fit(work.fresh(), data, context)

    return Fits(fit, context, Memory() if store is None else store)


def head_in_fold(work: Workspace, number: int, fold: Fold, head: str) -> Mapping[str, Tensor]:
    """The last layer of a head, fitted without a fold's judging part, by parameter name; theta_0's own gives none."""
    if head == ZERO_SHOT:
        return {}
    data = replace(work.splits.search_data, ood_val=fold.fitting)

    def fit(name: str, context: FitContext) -> Classifier:
        return METHODS[HEADS[head].method].fit(work.fresh(), data, context)

    model = Fits(fit, FitContext(fit_settings(work)), work.begun).model(f"{head}.fold{number}")
    return {f"head.{name}": p.detach() for name, p in model.head.named_parameters()}


def servable(work: Workspace) -> list[str]:
    """The names of the methods that this data set can serve: those whose `sees` does not give None."""
    return [name for name, method in METHODS.items() if method.sees(work.splits) is not None]


def methods(work: Workspace) -> list[str]:
    """The names of the methods to compare and of the one whose model is kept, if the data set can serve them."""
    able, cfg = servable(work), work.cfg
    return [name for name in dict.fromkeys((*cfg.evaluation.methods, cfg.finetune.method)) if name in able]


def drift(work: Workspace) -> Drift:
    """The function that measures how far a classifier is from theta_0."""
    return Drift(work.classifier, work.splits.search_data, work.cfg.evaluation.batch_size, work.device)


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
