"""What the benchmarks on the embedded suites share: cells, their data and models, scores, and worker processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from metaft import build, config
from metaft.build import Workspace
from metaft.clip.classifier import Classifier
from metaft.clip.embedded import TOY, checkpoint
from metaft.clip.predict import predict
from metaft.data.types import Split
from metaft.metrics import accuracy

CONFIGS = Path(__file__).parent.parent / "configs"
PRETRAIN = Path(__file__).parent / "pretrain.py"
QUICK = ("data.options.id_train=320", "data.options.test=60", "finetune.epochs=1")
Row = dict[str, Any]


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


@lru_cache(maxsize=1)
def opened(cell: Cell) -> Workspace:
    """The cell's data and model."""
    suite, style = cell.suite.split("/")
    own = [f"data.options.style={style}"] if suite == "shapes" else []
    where = [f"model.pretrained=seed-{cell.pretrain}", f"seed={cell.seed}", f"device={cell.device}"]
    more = [*cell.settings, *(QUICK if cell.quick else ())]
    return build.workspace(config.load(CONFIGS / f"{suite}.yaml", [*own, *where, *more]))


def score(work: Workspace, model: Classifier, split: Split) -> float:
    """Accuracy on a split."""
    return round(accuracy(predict(model, split, work.cfg.evaluation.batch_size, work.device), split.labels), 4)


def tests(work: Workspace, model: Classifier) -> Row:
    """Accuracy on every test."""
    found = {name.removeprefix("ood_test/"): score(work, model, split) for name, split in work.splits.tests.items()}
    return {"id_test": found.pop("id_test"), "ood_test": found}


def scores(work: Workspace, model: Classifier) -> Row:
    """Accuracy on both validation sets and every test."""
    splits = work.splits
    own = {"id_val": score(work, model, splits.id_val), "ood_val": score(work, model, splits.ood_val)}
    return {**own, **tests(work, model)}


def pretrain(seeds: Iterable[int], device: str) -> None:
    """Make the toy's pretrainings that are missing."""
    for seed in sorted(set(seeds)):
        if not checkpoint(TOY, seed).exists():
            command = [sys.executable, str(PRETRAIN), "--model", TOY, "--seed", str(seed), "--device", device]
            subprocess.run(command, check=True)


def in_workers(jobs: Iterable[tuple[Any, ...]], workers: int) -> Iterator[list[Row]]:
    """The rows of each job, a function and its arguments, as they are done in processes of one thread each."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, torch.set_num_threads, (1,)) as pool:
        for done in as_completed([pool.submit(*job) for job in jobs]):
            yield done.result()
