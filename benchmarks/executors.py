"""What more workers bring where trials wait: trials that sleep, on every executor.

    python benchmarks/executors.py [--sleep-ms 1000] [--quick] [--out FILE]

A row is one executor and number of workers: trials that end in a second, once all workers are at work (each has ended
two), and the ratio to one worker of the same executor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from shared.rows import Rows, arguments
from shared.workers import signals_leave

from metaft.search.bilevel import Budget
from metaft.search.executors.registry import EXECUTORS, Place
from metaft.search.journal import Journal
from metaft.search.outcome import Outcome
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.tpe.tpe import TPE
from metaft.space import Float, Space

KINDS = (("serial", 1), ("processes", 1), ("processes", 8), ("ray", 1), ("ray", 8))


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
        raise NotImplementedError


def sleeping(seconds: float, device: str) -> Sleeping:
    return Sleeping(seconds)


def throughput(executor: str, workers: int, seconds: float, rounds: int) -> float:
    """Trials a second after each worker's second."""
    place, journal = Place(partial(sleeping, seconds), workers), Journal()
    solver = BlackBoxSolver(TPE, executor=lambda problem: EXECUTORS[executor].make(problem, place))
    solver.solve(Sleeping(seconds), Budget(trials=(rounds + 2) * workers), journal)
    clocks = sorted(r.clock for r in journal.records if r.kind == "trial")[2 * workers - 1 :]
    return (len(clocks) - 1) / (clocks[-1] - clocks[0])


def main() -> None:
    args = arguments("executors", __doc__, seeds=(0,), **{"sleep-ms": 1000})
    rows = Rows("executors", args, ("executor", "workers"), more=("ray",))
    seconds = 0.2 if args.quick else args.sleep_ms / 1e3
    for executor, most in KINDS:
        workers = min(most, 2) if args.quick else most
        if {"executor": executor, "workers": workers} not in rows:
            with signals_leave():  # so that a stopped search closes its executor
                rate = throughput(executor, workers, seconds, rounds=3 if args.quick else 12)
            one = next((r["throughput"] for r in rows.rows if (r["executor"], r["workers"]) == (executor, 1)), rate)
            speed = {"seconds": seconds, "throughput": rate, "ratio": rate / one}
            rows.add({"executor": executor, "workers": workers, **speed})


if __name__ == "__main__":
    main()
