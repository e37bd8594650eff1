"""What more workers bring: to searches whose trials wait, and to a comparison of methods.

    python benchmarks/executors.py [--sleep-ms 1000] [--repeats 2] [--quick] [--out FILE]

A row is one executor and number of workers at one kind of work, with `throughput`, in pieces of it a second, and the
ratio to one worker of the same executor. Pieces are:

- `trials`: each waits for a second; counted from when all workers are at work (each has ended two).
- `hypergradients`: the same, of as many descents as there are workers.
- `methods`: nine, each fitted, judged and evaluated on digits; counted once every worker has opened model and data.
  Each worker has one thread; workers take turns over the repeats, and the median is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from shared.rows import Rows, arguments
from shared.workers import signals_leave

from metaft import config, pipeline
from metaft.build.comparison import Elsewhere, workers
from metaft.build.fits import fit_settings, fits
from metaft.build.workspace import workspace
from metaft.checkpoints import Checkpoints
from metaft.finetune.context import FitContext
from metaft.search.bilevel import Budget
from metaft.search.executors.registry import EXECUTORS, Place
from metaft.search.journal import Journal
from metaft.search.outcome import Outcome
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE
from metaft.space import Float, Space

KINDS = (
    *(("trials", *kind) for kind in (("serial", 1), ("processes", 1), ("processes", 8), ("ray", 1), ("ray", 8))),
    *(("hypergradients", "processes", count) for count in (1, 4)),
)
COUNTS = (1, 2)  # of workers that compare
METHODS = ("ft", "wise_ft", "l1_sp", "l2_sp", "kd", "lora", "ema", "ftp", "spd")
QUICK = ("finetune.epochs=1", *(f"data.options.{split}=100" for split in ("id_train", "id_val", "ood_val", "test")))


class Sleeping:
    """An evaluation does nothing for some seconds."""

    def __init__(self, seconds: float) -> None:
        self.space = Space([Float(f"x{i}", 0.0, 1.0) for i in range(11)])
        self.start = torch.full((11,), 0.5, dtype=torch.float64)
        self._seconds = seconds

    def evaluate(self, params: Mapping[str, Any], seed: int, report: object = None) -> Outcome:
        time.sleep(self._seconds)
        value = sum(x * x for x in params.values())
        return Outcome(value, 0.0, value, 1, 1.0, self._seconds)

    def hypergradient(self, u: torch.Tensor, seed: int) -> tuple[Outcome, torch.Tensor]:
        return self.evaluate(self.space.plain(u), seed), 2 * u


def sleeping(seconds: float, device: str) -> Sleeping:
    return Sleeping(seconds)


def trials(work: str, executor: str, count: int, seconds: float, rounds: int) -> float:
    """Trials a second after each worker's second."""
    place, journal = Place(partial(sleeping, seconds), count), Journal()
    make = partial(EXECUTORS[executor].make, place=place)
    tpe, descents = BlackBoxSolver(TPE, executor=make), HypergradSolver(executor=make, abreast=count)
    solver = tpe if work == "trials" else descents
    solver.solve(Sleeping(seconds), Budget(trials=(rounds + 2) * count), journal)
    clocks = sorted(r.clock for r in journal.records if r.kind == "trial")[2 * count - 1 :]
    return (len(clocks) - 1) / (clocks[-1] - clocks[0])


def methods(count: int, names: tuple[str, ...], more: tuple[str, ...] = ()) -> float:
    """Methods a second that so many processes compare."""
    where = ("evaluation.executor=processes", f"evaluation.workers={count}", "device=cpu")
    cfg = config.load(None, [*where, *more])
    work = workspace(cfg)
    with TemporaryDirectory() as folder, workers(Elsewhere(cfg, Path(folder))) as several:
        assert several is not None
        kept = Checkpoints(Path(folder), work.classifier)
        begun = fits(work, FitContext(fit_settings(work)), kept)
        several.prepare(begun, ["zero_shot", "linear_probe"][:count])
        start = time.perf_counter()
        results = pipeline.compare(work, begun, names, pipeline.blank(work), several=several)
        assert set(results.methods) == set(names)
        return len(names) / (time.perf_counter() - start)


def main() -> None:
    args = arguments("executors", __doc__, seeds=(0,), repeats=2, **{"sleep-ms": 1000})
    rows = Rows("executors", args, ("work", "executor", "workers"), more=("ray",))
    seconds = 0.2 if args.quick else args.sleep_ms / 1e3

    def add(work: str, executor: str, count: int, rate: float) -> None:
        first = {"work": work, "executor": executor, "workers": 1}
        one = next((r["throughput"] for r in rows.rows if first.items() <= r.items()), rate)
        rows.add({**first, "workers": count, "throughput": rate, "ratio": rate / one})

    for work, executor, most in KINDS:
        count = min(most, 2) if args.quick else most
        if {"work": work, "executor": executor, "workers": count} not in rows:
            with signals_leave():  # so that a stopped search closes its executor
                add(work, executor, count, trials(work, executor, count, seconds, rounds=3 if args.quick else 12))
    counts, repeats, cell = (COUNTS[:1], 1, (METHODS[:2], QUICK)) if args.quick else (COUNTS, args.repeats, (METHODS,))
    if {"work": "methods", "executor": "processes", "workers": counts[-1]} not in rows:
        torch.set_num_threads(1)
        with signals_leave():
            rates = [{n: methods(n, *cell) for n in counts} for _ in range(repeats)]
        for n in counts:
            add("methods", "processes", n, median(turn[n] for turn in rates))


if __name__ == "__main__":
    main()
