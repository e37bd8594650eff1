"""Whether a search of 2,000 trials keeps its pace and its memory.

    python benchmarks/soak.py [--seeds 0] [--trials 2000] [--quick] [--out FILE]

A row is one search in a process of its own, with a real journal on the disk: TPE on a black box of eleven dimensions
(`mixed11`), and both solvers on the smallest fine-tuning problem (`finetune`: one inner step, K = 11, frozen blocks).
`growth` is the slope of resident memory in bytes a trial, by least squares over all trials and over the second half,
measured after collections of garbage; `kept` is what the journal in memory holds of a trial, in bytes. `ask_ms` is the
median processor time of the last 20 proposals before so many trials, `trial_ms` the wall-clock time of a trial around
there. Linux. --quick: 60 trials of TPE on the black box.
"""

from __future__ import annotations

import time
from array import array
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from shared.blackbox import mixed11
from shared.resident import handles, resident, weight
from shared.rows import Row, Rows, arguments
from shared.workers import in_workers

from metaft.build import bilevel_problem
from metaft.config import load
from metaft.config.schema import FinalChoice, HypergradConfig
from metaft.progress import be_quiet
from metaft.search.bilevel import BilevelProblem, Budget, Solver
from metaft.search.journal import Journal
from metaft.search.lines import Record
from metaft.search.outcome import Outcome
from metaft.search.sampler import History
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE
from metaft.space import Space

KINDS = (("tpe", "mixed11"), ("tpe", "finetune"), ("hypergrad", "finetune"))
KEYS = ("solver", "problem", "seed")
MARKS = (100, 500, 1000, 2000)
EVERY = 20  # trials from one measurement to the next, and the last proposals of which the median is taken
FINAL = FinalChoice(candidates=1, final_share=0.001)  # hardly any, as it is trials that are counted
SMALL = (
    *("data.options.id_train=40", "data.options.id_val=10", "data.options.ood_val=20", "data.options.test=10"),
    *("inner.steps=1", "inner.batch_size=4", "finetune.epochs=1", "finetune.batch_size=20"),
    *("search.use_ood_labels=judge", "search.id_drop_max=null", "objective.head=zero_shot", "objective.mix=false"),
    *("search.outer_batch_size=8", "model.freeze=['*transformer*', '*token_embedding*']"),
)


class Timed(TPE):
    """TPE that notes the processor time of its proposals, in milliseconds."""

    def __init__(self, space: Space, seed: int, asked: array[float]) -> None:
        super().__init__(space, seed)
        self._asked = asked

    def propose(self, history: History, number: int) -> dict[str, Any]:
        begin = time.process_time_ns()
        params = super().propose(history, number)
        self._asked.append(1e-6 * (time.process_time_ns() - begin))
        return params


class Observed(Journal):
    """A journal that notes when trials end, and every so often what the process holds by then."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.ends, self.memory = array("d"), array("d")

    def append(self, record: Record) -> None:
        super().append(record)
        if record.kind == "trial":
            self.ends.append(time.perf_counter())
            if len(self.ends) % EVERY == 0:
                self.memory.append(resident())


class BlackBoxProblem:
    """A black box as a problem of one fold whose evaluations take no time."""

    def __init__(self, seed: int) -> None:
        self._box = mixed11(seed)
        self.space = self._box.space
        self.start = torch.full((len(self.space),), 0.5, dtype=torch.float64)

    def evaluate(self, params: Any, seed: int, report: object = None) -> Outcome:
        value = self._box.regret(params)
        return Outcome(value, 0.0, value, 1, 1.0, 0.0)

    def hypergradient(self, u: torch.Tensor, seed: int) -> tuple[Outcome, torch.Tensor]:
        raise NotImplementedError


def problem_of(name: str, seed: int, device: str) -> BilevelProblem:
    """A problem by its name."""
    return BlackBoxProblem(seed) if name == "mixed11" else bilevel_problem(load(None, (*SMALL, f"device={device}")))


def solver_of(name: str, seed: int, asked: array[float]) -> Solver:
    """A solver by its name, and where it notes what its proposals take."""
    if name == "tpe":
        return BlackBoxSolver(lambda space, seed: Timed(space, seed, asked), seed, FINAL)
    return HypergradSolver(seed, HypergradConfig(starts=1000), FINAL)  # more descents than there is time to settle


def soak(solver: str, problem: str, seed: int, device: str, trials: int) -> Row:
    """The row of one search."""
    torch.set_num_threads(1)
    be_quiet(True)
    asked = array("d")
    made, how = problem_of(problem, seed, device), solver_of(solver, seed, asked)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trials.jsonl"
        journal, before = Observed(path), handles()
        how.solve(made, Budget(trials=trials), journal)
        bytes_on_disk, after = path.stat().st_size, handles()
    ends, memory = np.array(journal.ends), np.array(journal.memory)
    marks = [mark for mark in MARKS if mark <= len(ends)]
    first, half = len(ends) - len(asked), len(memory) // 2  # some trials are no proposals
    return {
        **dict(zip(KEYS, (solver, problem, seed), strict=True)),
        "trials": len(ends),
        "seconds": round(float(ends[-1] - ends[0]), 1),
        "growth": {"all": slope(memory), "second half": slope(memory[half:])},
        "resident": {"first": int(memory[0]), "last": int(memory[-1])},
        "kept": round(weight([*journal.starts, *journal.records], set()) / len(ends), 1),
        "ask_ms": {str(m): _middle(asked[m - EVERY - first : m - first]) for m in marks if asked},
        "trial_ms": {str(m): _middle(1e3 * np.diff(ends[m - EVERY - 1 : m])) for m in marks},
        "handles": {"begin": before, "end": after},
        "journal_bytes": bytes_on_disk,
    }


def _middle(values: Any) -> float:
    return round(median(values), 2)


def slope(memory: np.ndarray) -> float:
    """Bytes a trial, by least squares over measurements that are `EVERY` trials apart."""
    return round(float(np.polyfit(EVERY * np.arange(len(memory)), memory, 1)[0]), 1)


def main() -> None:
    args = arguments("soak", __doc__, seeds=(0,), trials=2000)
    rows = Rows("soak", args, KEYS)
    kinds, trials = (KINDS[:1], 60) if args.quick else (KINDS, args.trials)
    cells = [(*kind, seed) for kind, seed in product(kinds, args.seeds)]
    todo = [cell for cell in cells if dict(zip(KEYS, cell, strict=True)) not in rows]
    for row in in_workers([(soak, *cell, args.device, trials) for cell in todo], 1):
        rows.add(row)


if __name__ == "__main__":
    main()
