"""What a search trains on and what judges it: further sources, and the folds of ood_val."""

from __future__ import annotations

from metaft.build.workspace import Workspace
from metaft.config.schema import Config
from metaft.data.folds import Fold, folds, unsplittable
from metaft.errors import DataError
from metaft.names import OOD_VAL


def may_train(cfg: Config) -> bool:
    """Whether the settings allow training on ood_val: it must not only judge, and an online search has no folds."""
    search = cfg.search
    return search.use_ood_labels != "judge" and search.outer_data == OOD_VAL and cfg.hypergrad.regime != "online"


def unsplit(work: Workspace) -> str | None:
    """Why ood_val only judges, though the settings would train on it; None where it can be split, or is not to be."""
    return unsplittable(work.splits.ood_val, work.cfg.search.folds) if may_train(work.cfg) else None


def trains(work: Workspace) -> bool:
    """Whether parts of ood_val are trained on.

    Raises:
        DataError: `search.use_ood_labels` asks for it, but ood_val cannot be split.
    """
    reason = unsplit(work)
    if reason is not None and work.cfg.search.use_ood_labels == "train":
        raise DataError(f"{reason}, or search.use_ood_labels=judge")
    return may_train(work.cfg) and reason is None


def sources(work: Workspace) -> tuple[str, ...]:
    """The further sources with a weight, by name: those that the data set has, and ood_val where it is trained on."""
    return (*((OOD_VAL,) if trains(work) else ()), *work.splits.more)


def fold_parts(work: Workspace) -> tuple[Fold, ...]:
    """The folds of ood_val, each image judging in one; one fold that only judges where it is not trained on."""
    ood_val, search = work.splits.ood_val, work.cfg.search
    if trains(work):
        return folds(ood_val, search.folds, work.cfg.seed)
    return (Fold(ood_val, ood_val),)
