"""Optuna's samplers as ours: each proposal comes from a study that is made anew from the history."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
import torch
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from metaft.search.optuna_space import coordinate, searched, value_at
from metaft.search.sampler import OK, RUNNING, STOPPED, AskTell, History
from metaft.space import Space

LARGE = 1e100  # a Gaussian process squares values


class FromOptuna(AskTell):
    """A sampler of Optuna's whose state is the trials of its study; smaller is better.

    For each proposal a new sampler, seeded by (seed, number), is asked in a study that holds the history's trials, so
    that it is a function of (history, seed, number) alone. Samplers that keep more than trials, as CmaEsSampler and the
    NSGA ones do in attributes that they set as a trial begins, would begin anew each time: they have no place here.
    Trials under way are running ones. Failed trials, which Optuna's samplers forget, are told as the worst value that
    is known. A dimension whose condition does not hold is proposed and left out.

    Args:
        space: what is searched; real dimensions in the unit interval, whatever their scale.
        seed: of all draws.
        make: a sampler from a seed.

    >>> from optuna.samplers import RandomSampler
    >>> from metaft.space import Float
    >>> sampler = FromOptuna(Space([Float("x", -1.0, 1.0)]), seed=0, make=RandomSampler)
    >>> -1 <= sampler.ask().params["x"] <= 1
    True
    """

    def __init__(self, space: Space, seed: int = 0, *, make: Callable[[int], BaseSampler]) -> None:
        super().__init__(space, seed)
        self._make = make
        self._distributions = {d.name: searched(d) for d in space}

    def propose(self, history: History, number: int) -> dict[str, Any]:
        """What a new sampler suggests after these trials."""
        rows = zip(history.x, history.kind, values(history), strict=True)
        trials = [self._trial(u, kind == RUNNING, float(value)) for u, kind, value in rows]
        with _quiet():
            study = optuna.create_study(sampler=self._make(seed_for(self._seed, number)))
            study.add_trials(trials)
            params = study.ask(self._distributions).params
        return self.space.plain(torch.tensor([coordinate(d, params[d.name]) for d in self.space], dtype=torch.float64))

    def _trial(self, u: NDArray[np.float64], running: bool, value: float) -> FrozenTrial:
        """A point of the unit cube, with NaN where a dimension is absent, as a trial of Optuna's."""
        params = {d.name: value_at(d, float(x)) for d, x in zip(self.space, u, strict=True) if not np.isnan(x)}
        return create_trial(
            params=params,
            distributions={name: self._distributions[name] for name in params},
            state=TrialState.RUNNING if running else TrialState.COMPLETE,
            value=None if running else value,
        )


def tpe(space: Space, seed: int = 0) -> FromOptuna:
    """Optuna's Tree-structured Parzen Estimator, which keeps away from trials under way."""
    return FromOptuna(space, seed, make=lambda seed: TPESampler(seed=seed, constant_liar=True))


def gp(space: Space, seed: int = 0) -> FromOptuna:
    """Optuna's Gaussian process, of which each is fitted from the beginning: no kernel is kept from the last one."""
    return FromOptuna(space, seed, make=lambda seed: GPSampler(seed=seed, warn_independent_sampling=False))


class Sobol(AskTell):
    """Optuna's quasi-Monte Carlo sampler, whatever the history: trial k has the k-th point of a scrambled sequence.

    Optuna counts in a study which points were drawn; here a study begins at point 0 and is asked up to point k. All
    dimensions are those of the unit cube.
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(space, seed)
        with _quiet():
            self._sampler = QMCSampler(scramble=True, seed=seed)
            self._study = optuna.create_study()
        self._points: list[list[float]] = []

    def propose(self, history: History, number: int) -> dict[str, Any]:
        """The point of this number, in natural units."""
        cube: dict[str, BaseDistribution] = dict.fromkeys(self.space.names, FloatDistribution(0.0, 1.0))
        while len(self._points) <= number:
            trial = create_trial(params={}, distributions={}, state=TrialState.RUNNING)
            point = self._sampler.sample_relative(self._study, trial, cube)
            self._points.append([point[name] for name in self.space.names])
        return self.space.plain(torch.tensor(self._points[number], dtype=torch.float64))


def seed_for(seed: int, number: int) -> int:
    """The seed of the sampler that proposes trial `number`."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def values(history: History) -> NDArray[np.float64]:
    """The values that Optuna is told, all of a size that can be squared, [n].

    Trials that were stopped have at least the worst value of those that ran to their end; those that failed have the
    worst of all that are known, or 0 where none is.
    """
    ended = history.y[history.kind == OK]
    worst = ended.max() if len(ended) else -np.inf
    known = np.where(history.kind == STOPPED, np.maximum(history.y, worst), history.y)
    finite = np.isfinite(known)
    told = np.where(finite, known, known[finite].max() if finite.any() else 0.0)
    return told.clip(-LARGE, LARGE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log of new studies and fallbacks, nor its warning that a sampler may change."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
