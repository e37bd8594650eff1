"""Cells of the embedded suites: their data and models, what is scored in them, and the pretrainings they need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from metaft import config, pipeline
from metaft.build import fits as fitting
from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.clip.embedded import checkpoint
from metaft.clip.names import TOY
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.finetune.context import FitContext
from metaft.finetune.fits import Fits, Store
from metaft.metrics import accuracy
from metaft.objective import Objective
from shared.rows import Row, Rows
from shared.workers import in_workers

PRETRAIN = Path(__file__).parent.parent / "pretrain.py"
CONFIGS = PRETRAIN.parent.parent / "configs"
QUICK = ("data.options.id_train=320", "data.options.id_val=120", "data.options.test=60", "finetune.epochs=1")
ID_STYLES = {"shapes": ("photo", "poster", "watercolour"), "digits": ("photo",)}
SETTINGS = {"shapes": ("data.options.val_styles=validation", "data.options.test_styles=test"), "digits": ()}
# AutoFT's: ood_val judges, and no more; with the length of loops and of the last choice that its rows were measured at
PROTOCOL = (
    *("search.use_ood_labels=judge", "search.id_drop_max=null", "search.final_share=0.1"),
    *("objective.head=zero_shot", "objective.mix=false", "inner.steps=20"),
)
PER_GROUP = "objective.per_group=[lr, wd, l1init, l1zero, l2init, l2zero]"  # 71 hyperparameters on the toy CLIP
CLASSES = {"shapes": 12, "digits": 10}
LENGTH = {"steps": 248, "checks": 8}  # eight epochs of the suites' 2,000 training images at batch 64
PRETRAININGS = 3
TUNING_SEED = 1000
HYPERGRAD = ("search.mode=hypergrad", "search.seconds=null")  # 2,000 step equivalents, whatever the clock says
QUICK_SEARCH = (
    *("search.mode=hypergrad", "search.step_equivalents=40", "search.candidates=1"),
    *("inner.steps=2", "search.outer_batch_size=64"),
)
one_thread = partial(torch.set_num_threads, 1)  # what a worker does first


@dataclass(frozen=True)
class Cell:
    """A suite with its ID style, a pretraining seed, a data seed, and where and how it is measured."""

    suite: str  # "shapes/STYLE"
    pretrain: int
    seed: int
    device: str
    quick: bool
    settings: tuple[str, ...] = ()  # key=value on top

    def row(self, **values: Any) -> Row:
        """A row of this cell."""
        return {"suite": self.suite, "pretrain": self.pretrain, "seed": self.seed, "number": 0, **values}


def cell_of(suite: str, seed: int, device: str, quick: bool, labels: int | None = None) -> Cell:
    """The cell of a suite and a seed; with so many images a class."""
    styles = ID_STYLES[suite]
    search = QUICK_SEARCH if quick else HYPERGRAD
    few = () if labels is None else (f"data.options.id_train={labels * CLASSES[suite]}",)
    where = 0 if quick else TUNING_SEED if seed == TUNING_SEED else seed % PRETRAININGS
    settings = (*SETTINGS[suite], *PROTOCOL, *search, *few)
    return Cell(f"{suite}/{styles[seed % len(styles)]}", where, seed, device, quick, settings)


@lru_cache(maxsize=1)
def opened(cell: Cell) -> Workspace:
    """The cell's data and model."""
    suite, style = cell.suite.split("/")
    drawn = [f"data.options.style={style}"] if suite == "shapes" else []
    where = [f"model.pretrained=seed-{cell.pretrain}", f"seed={cell.seed}", f"device={cell.device}"]
    more = [*cell.settings, *(QUICK if cell.quick else ())]
    return pipeline.opened(config.load(CONFIGS / f"{suite}.yaml", [*drawn, *where, *more]))


def fits_in(work: Workspace, learned: Objective | None = None, store: Store | None = None, **changes: Any) -> Fits:
    """The methods of a workspace, fitted with settings that are changed in these fields of `FitSettings`."""
    return fitting.fits(work, FitContext(fitting.fit_settings(work, learned)).varied(**changes), store)


def score(work: Workspace, model: Classifier, split: Split) -> float:
    """Accuracy on a split."""
    return round(accuracy(predict(model, split, work.cfg.evaluation.batch_size, work.device), split.labels), 4)


def tests(work: Workspace, model: Classifier) -> Row:
    """Accuracy on every test."""
    return by_test({name: score(work, model, split) for name, split in work.splits.tests.items()})


def by_test(accuracies: Mapping[str, float]) -> Row:
    """Accuracies by test, those out of distribution together."""
    shares = {name.removeprefix("ood_test/"): round(share, 4) for name, share in accuracies.items()}
    return {"id_test": shares.pop("id_test"), "ood_test": shares}


def scores(work: Workspace, model: Classifier) -> Row:
    """Accuracy on both validation sets and every test."""
    splits = work.splits
    validation = {"id_val": score(work, model, splits.id_val), "ood_val": score(work, model, splits.ood_val)}
    return {**validation, **tests(work, model)}


def pretrain(seeds: Iterable[int], device: str, model: str = TOY) -> None:
    """Make a model's pretrainings that are missing, one after the other."""
    script = [sys.executable, str(PRETRAIN), "--model", model, "--device", device, "--seed"]
    jobs = [(subprocess.check_call, [*script, str(s)]) for s in sorted(set(seeds)) if not checkpoint(model, s).exists()]
    for _ in in_workers(jobs, 1):
        pass


def collect(rows: Rows, jobs: Iterable[tuple[Any, ...]], workers: int) -> None:
    """Keep the rows of each job, a function and its arguments, as it ends; every worker has one thread."""
    for done in in_workers(jobs, workers, one_thread):
        for row in done:
            rows.add(row)
