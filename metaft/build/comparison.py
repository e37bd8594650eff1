"""Methods side by side: each fitted, judged, measured and evaluated, one after the other or by several workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from metaft.build.fits import curve, drift, fit_settings, fits, scored
from metaft.build.workspace import Workspace, devices, workspace
from metaft.checkpoints import LOCK, Checkpoints
from metaft.config.schema import Config
from metaft.cost import Cost
from metaft.errors import DivergedError
from metaft.evaluation.drift import Drift
from metaft.events import Events
from metaft.finetune.context import FitContext, Log
from metaft.finetune.fits import BusyFitError, Fits
from metaft.finetune.methods import CURVED
from metaft.objective.objective import Objective
from metaft.progress import be_quiet, warn
from metaft.score import Score
from metaft.search.executors.pool import TRIES, Pool
from metaft.search.executors.registry import EXECUTORS, SERIAL, Place
from metaft.search.executors.work import Executor


@dataclass(frozen=True)
class Row:
    """What results say of a method (see `metaft.results.Results.with_method`)."""

    scores: Mapping[str, Score]
    cost: Cost
    drift: Mapping[str, Any]
    ood_val: float | None
    curve: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Comparison:
    """Methods of a workspace, each fitted when its row is asked for.

    Args:
        log: takes each method's drift.
        drift: measures that; what it knows of theta_0 is shared with other variants.
    """

    work: Workspace
    fits: Fits
    log: Log
    drift: Drift

    @classmethod
    def of(cls, work: Workspace, fits: Fits, log: Log) -> Comparison:
        """Of these fits, by a workspace's settings."""
        return cls(work, fits, log, drift(work))

    def row(self, name: str) -> Row | str:
        """What a method comes to; where it diverges, why."""
        try:
            fit = self.fits(name)
            moved = self.drift(fit.model)
            self.log({"method": name, "drift": moved})
            judged = self.fits.judged(name)
            told = None if judged is None else judged.accuracy
            way = curve(self.work, self.fits) if name == CURVED and self.work.cfg.evaluation.curve else None
            return Row(scored(self.work, fit.model), fit.cost, moved, told, way)
        except DivergedError as error:
            return str(error)

    def rows(self, names: Sequence[str]) -> Iterator[tuple[str, Row | str]]:
        """The rows of several methods, one after the other."""
        for name in names:
            yield name, self.row(name)


@dataclass(frozen=True)
class Elsewhere:
    """The comparison of a run as its workers make it.

    Args:
        folder: where fits are kept; all workers see it.
        run: what tells the run from others.
        events: where they are written, if anywhere.
    """

    cfg: Config
    folder: Path
    run: str = ""
    events: Path | None = None

    def __call__(self, device: str) -> Comparison:
        """The comparison on a device, in this process."""
        be_quiet()
        torch.manual_seed(self.cfg.seed)
        work = workspace(self.cfg.model_copy(update={"device": device}))
        kept = Checkpoints(self.folder, work.classifier, self.run, shared=True)
        log = (lambda event: None) if self.events is None else Events(self.events).add
        context = FitContext(fit_settings(work), keeper=kept, log=log)
        return Comparison.of(work, fits(work, context, kept), log)


@dataclass(frozen=True)
class Variant:
    """What fits of a run differ in: the learned objective, and under which other names they are kept."""

    learned: Objective | None
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, fits: Fits) -> Variant:
        """That of some fits."""
        return cls(fits.context.settings.learned, tuple(fits.labels.items()))

    def among(self, comparison: Comparison) -> Comparison:
        """The comparison with fits of this kind."""
        fits = comparison.fits
        own = replace(fits, context=fits.context.varied(learned=self.learned), labels=dict(self.labels))
        return replace(comparison, fits=own)


@dataclass(frozen=True)
class Fitting:
    """A fit to make and keep, whole or on a fold: a job of a worker."""

    name: str
    variant: Variant
    fold: int | None = None
    patient: bool = False

    def perform(self, comparison: Comparison) -> bool:
        """Whether there was nothing to wait for: what it builds on is no other worker's just now."""
        fits = self.variant.among(comparison).fits
        try:
            replace(fits, fold=self.fold, patient=self.patient)(self.name)
        except BusyFitError:
            return False
        except DivergedError:  # which whoever needs the fit will find
            pass
        return True


@dataclass(frozen=True)
class Rating:
    """A row to make of fits that are there: a job of a worker."""

    name: str
    variant: Variant

    def perform(self, comparison: Comparison) -> Row | str:
        """The row, or why there is none."""
        return self.variant.among(comparison).row(self.name)


class Workers:
    """Those that the settings ask for, each with a model and data of its own; they begin when they are first needed.

    Fits come first, whole, then on folds; one that builds on another worker's is put off, and waits for it the second
    time. A job whose worker dies twice, and others of its method, are given up.

    Args:
        elsewhere: what each makes.
    """

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere

    @cached_property
    def _executor(self) -> Executor:
        how = self._elsewhere.cfg.evaluation
        place = Place(self._elsewhere, how.workers, devices(self._elsewhere.cfg), how.gpu_share)
        made: Executor = EXECUTORS[how.executor].make(None, place)
        return made

    def close(self) -> None:
        """Stop them."""
        if "_executor" in vars(self):
            self._executor.close()
        for lock in self._elsewhere.folder.glob(f".*{LOCK}"):
            lock.unlink(missing_ok=True)

    def prepare(self, fits: Fits, names: Sequence[str]) -> None:
        """Make and keep the fits of methods, on folds too, that `fits` would make when asked."""
        for _ in self._done(self._fittings(fits, names)):
            pass

    def rows(self, fits: Fits, names: Sequence[str]) -> Iterator[tuple[str, Row | str]]:
        """The rows of methods, in the order in which they are done."""
        ratings = [Rating(name, Variant.of(fits)) for name in names]
        for job, answer in self._done([*self._fittings(fits, names), *ratings]):
            if answer is None:
                yield job.name, f"its worker died {TRIES} times"
            elif isinstance(job, Rating):
                yield job.name, answer

    @staticmethod
    def _fittings(fits: Fits, names: Sequence[str]) -> list[Fitting]:
        whole, folds = Variant.of(fits), fits.folds_of
        return [*(Fitting(n, whole) for n in names), *(Fitting(n, whole, fold) for n in names for fold in folds(n))]

    def _done(self, jobs: Sequence[Fitting | Rating]) -> Iterator[tuple[Fitting | Rating, Any]]:
        """Jobs with what came of them; of a method whose worker died, none but the one without an answer."""
        dead, lost, waiting = list[Fitting | Rating](), set[str](), deque(jobs)

        def died(job: Fitting | Rating) -> int:
            warn(f"the worker of {job.name} died")
            dead.append(job)
            return dead.count(job)

        pool = Pool(self._executor, died)
        while waiting or pool.busy:
            while waiting and pool.idle:
                pool.submit(waiting.popleft())
            done = pool.next()
            if done.answer is False:
                waiting.append(replace(done.job, patient=True))
            elif done.job.name not in lost:
                yield done.job, done.answer
            if done.answer is None:
                lost.add(done.job.name)
                waiting = deque(job for job in waiting if job.name != done.job.name)


@contextmanager
def workers(elsewhere: Elsewhere) -> Iterator[Workers | None]:
    """The workers that settings ask for, for as long as the context lasts; None: they ask for none."""
    if elsewhere.cfg.evaluation.executor == SERIAL:
        yield None
        return
    with closing(Workers(elsewhere)) as several:
        yield several
