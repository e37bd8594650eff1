"""What a search trains on and what judges it: further sources, and the folds of ood_val."""

from __future__ import annotations

from metaft.build.workspace import Workspace
from metaft.config.schema import Config
from metaft.data.folds import Fold, folds, unsplittable
from metaft.errors import DataError
from metaft.names import OOD_VAL
from metaft.progress import note


def may_train(cfg: Config) -> bool:
    """Whether the settings allow training on ood_val: it must not only judge, and an online search has no folds."""
    search = cfg.search
    return search.use_ood_labels != "judge" and search.outer_data == OOD_VAL and cfg.hypergrad.regime != "online"


def trains(work: Workspace) -> bool:
    """Whether parts of ood_val are trained on; where it is too small for `auto`, the user is told that it only judges.

    Raises:
        DataError: `search.use_ood_labels` asks for it, but ood_val cannot be split.
    """
    search = work.cfg.search
    if not may_train(work.cfg):
        return False
    reason = unsplittable(work.splits.ood_val, search.folds)
    if reason is not None and search.use_ood_labels == "train":
        raise DataError(f"{reason}, or search.use_ood_labels=judge")
    if reason is not None:
        note(f"{reason}; its labels judge, and are not trained on")
    return reason is None


def sources(work: Workspace) -> tuple[str, ...]:
    """The further sources with a weight, by name: those that the data set has, and ood_val where it is trained on."""
    return (*((OOD_VAL,) if trains(work) else ()), *work.splits.more)


def fold_parts(work: Workspace) -> tuple[Fold, ...]:
    """The folds of ood_val, each image judging in one; one fold that only judges where it is not trained on."""
    ood_val, search = work.splits.ood_val, work.cfg.search
    if trains(work):
        return folds(ood_val, search.folds, work.cfg.seed)
    return (Fold(ood_val, ood_val),)
