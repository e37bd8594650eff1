"""The folder of a run that nobody made, at each of its phases."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from metaft.cost import Cost
from metaft.files import append
from metaft.results import Results
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Record, Start
from metaft.search.outcome import Outcome
from tests.results import RESULTS

CONFIG = "search: {mode: tpe, trials: 10, seconds: null, step_equivalents: 400, final_share: 0.4}\n"
BLANK = Results({}, 0, {"metric": "accuracy"}, mode="tpe")


def evaluated(number: int, value: float, kind: str = "trial", clock: float = 0.0, seed: int = 7) -> Record:
    """An evaluation of 10 step equivalents; one without a value has diverged."""
    status = "ok" if math.isfinite(value) else "diverged"
    outcome = Outcome(value, 0.25, value, 5, 10.0, 2.0, status)
    return Record(kind, number, {"x": 0.1}, seed, outcome, clock=clock)


TRIALS = [evaluated(n, v, clock=6.0 * (n + 1)) for n, v in enumerate((2.0, math.inf, 1.5, 1.75))]


def opening(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG)


def opened(folder: Path) -> None:
    opening(folder)
    BLANK.write(folder)


def journal(folder: Path, finals: int = 0) -> Path:
    """Four trials, a fifth that has begun, and last evaluations of the best."""
    records = TRIALS + [evaluated(2, 1.6, "final", 30.0 + 6 * n, seed=n) for n in range(finals)]
    kept = Journal(folder / PLACE, earlier=records)
    for number in range(5):
        kept.start(Start(number, {"x": 0.1}, 7))
    for record in records:
        kept.append(record)
    return folder / PLACE


def searching(folder: Path) -> None:
    opened(folder)
    journal(folder)


def choosing(folder: Path) -> None:
    opened(folder)
    (folder / PLACE).unlink(missing_ok=True)
    journal(folder, finals=2)


def comparing(folder: Path) -> None:
    """The search has ended, two methods are done, a third is at work."""
    choosing(folder)
    done = replace(RESULTS, failed={}, handed_back=None, cost={"ft": Cost(32.0, 61.5)}, provenance=BLANK.provenance)
    done.write(folder)
    (folder / "metrics.jsonl").touch()
    append(folder / "metrics.jsonl", '{"method": "ft", "step": 31, "loss": 0.53424242}')


def ended(folder: Path) -> None:
    comparing(folder)
    RESULTS.write(folder)
    (folder / "report.html").touch()


PHASES = [opening, opened, searching, choosing, comparing, ended]
