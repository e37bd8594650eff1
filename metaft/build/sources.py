"""What a search trains on and what judges it: further sources, and the folds of ood_val."""

from __future__ import annotations

from metaft.build.workspace import Workspace
from metaft.config.schema import Config
from metaft.data.folds import Fold, folds, unsplittable
from metaft.errors import DataError
from metaft.metrics import METRICS
from metaft.names import OOD_VAL, source_name
from metaft.objective.heads import HEADS


def unsplit(work: Workspace) -> str | None:
    """Why ood_val only judges, though the settings would train on it; None where it can be split, or is not to be."""
    return unsplittable(work.splits.ood_val, work.cfg.search.folds) if work.cfg.trains_on_ood_val else None


def trains(work: Workspace) -> bool:
    """Whether parts of ood_val are trained on.

    Raises:
        DataError: the settings ask for it, but ood_val cannot be split.
    """
    reason, instead = unsplit(work), _instead(work.cfg)
    if reason is not None and instead is not None:
        raise DataError(f"{reason}, or {instead}")
    return work.cfg.trains_on_ood_val and reason is None


def _instead(cfg: Config) -> str | None:
    """What the setting that asks to train on ood_val is to be where that cannot be; None: none asks for it."""
    objective, weight = cfg.objective, source_name(OOD_VAL)
    if cfg.search.use_ood_labels == "train":
        return "search.use_ood_labels=judge"
    if objective.head in HEADS and HEADS[objective.head].fits_ood_val:
        return f"another objective.head than {objective.head}"
    return f"objective.fixed without {weight}" if weight in objective.fixed else None


def sources(work: Workspace) -> tuple[str, ...]:
    """The further sources with a weight, by name: those that the data set has, and ood_val where it is trained on."""
    return (*((OOD_VAL,) if trains(work) else ()), *work.splits.more)


def worst_of_one(work: Workspace) -> bool:
    """Whether the worst of several domains, or groups, is sought where a fold has images of one alone."""
    sought = work.search.outer_domains == "worst" or METRICS[work.search.metric].by_group
    parts = [fold.judging.told_apart for fold in fold_parts(work)]
    return sought and any(domains is not None and len(domains.present) == 1 for domains in parts)


def fold_parts(work: Workspace) -> tuple[Fold, ...]:
    """The folds of ood_val, each image judging in one; one fold that only judges where it is not trained on."""
    ood_val, search = work.splits.ood_val, work.cfg.search
    if trains(work):
        return folds(ood_val, search.folds, work.cfg.seed)
    return (Fold(ood_val, ood_val),)
