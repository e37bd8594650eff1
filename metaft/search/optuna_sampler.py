"""Our samplers, the Tree-structured Parzen Estimator above all, as samplers of Optuna."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from zlib import crc32

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metaft.search.optuna_space import Axis, axis, space
from metaft.search.sampler import BAD, OK, RUNNING, STOPPED, History, Sampler
from metaft.search.tpe.tpe import TPE
from metaft.space import Space

KINDS = {
    TrialState.COMPLETE: OK,
    TrialState.PRUNED: STOPPED,
    TrialState.FAIL: BAD,
    TrialState.RUNNING: RUNNING,
}


class OwnSampler(BaseSampler):
    """A sampler of ours for studies with one objective.

    Parameters that all trials with a value had are proposed together, others each by itself; a parameter that a trial
    had with another range or other choices is another one. Trials that failed count as bad, unlike with samplers of
    Optuna's own, and pruned ones rank behind those that ran to their end. A proposal is a function of the study's
    trials, the seed and the trial's number.

    Args:
        make: a sampler from a space and a seed.
        seed: of all draws; None: one by chance.
    """

    def __init__(self, make: Callable[[Space, int], Sampler], seed: int | None = None) -> None:
        self._make = make
        self._seed = secrets.randbits(32) if seed is None else seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The distributions that all trials with a value had, without those of one value."""
        common = intersection_search_space(study.get_trials(deepcopy=False), include_pruned=True)
        return {name: of for name, of in common.items() if not of.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point of these distributions.

        Raises:
            ValueError: the study has several objectives, or a range is one that `Space` cannot have.
        """
        _refuse_several(study)
        return self._proposed(study, trial, search_space, self._seed) if search_space else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of one distribution, with draws of its own.

        Raises:
            ValueError: as for `sample_relative`.
        """
        _refuse_several(study)
        seed = np.random.SeedSequence([self._seed, crc32(param_name.encode())]).generate_state(1)[0]
        return self._proposed(study, trial, {param_name: param_distribution}, int(seed))[param_name]

    def _proposed(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution], seed: int
    ) -> dict[str, Any]:
        """What the sampler proposes after the other trials of these parameters."""
        axes = {name: axis(name, of) for name, of in search_space.items()}
        others = [
            other
            for other in study.get_trials(deepcopy=False, states=tuple(KINDS))
            if other.number != trial.number and all(other.distributions.get(n) == of for n, of in search_space.items())
        ]
        sampler = self._make(space(axes), seed)
        params = sampler.propose(_history(others, axes, study.direction), trial.number)
        return {name: axes[name].outward(value) for name, value in params.items()}


class TPESampler(OwnSampler):
    """`metaft.TPE` for studies with one objective; see `OwnSampler`.

    Args:
        seed: of all draws; None: one by chance.
        options: of `TPE`: startup, candidates, multivariate, weights.

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(sampler=TPESampler(seed=0))
    >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=40)
    >>> abs(study.best_params["x"]) < 0.05
    True
    """

    def __init__(self, seed: int | None = None, **options: Any) -> None:
        super().__init__(partial(TPE, **options), seed)


def _refuse_several(study: Study) -> None:
    if len(study.directions) > 1:
        raise ValueError(f"study: {len(study.directions)} objectives; allowed: one")


def _history(trials: Sequence[FrozenTrial], axes: Mapping[str, Axis], direction: StudyDirection) -> History:
    """What trials tell of some parameters; smaller is better."""
    over, sign = space(axes), -1.0 if direction == StudyDirection.MAXIMIZE else 1.0
    points = [over.to_unit({n: it.inward(trial.params[n]) for n, it in axes.items()}).numpy() for trial in trials]
    values = np.array([sign * _value(trial) for trial in trials])
    finite = np.isfinite(values)
    kinds = np.array([KINDS[trial.state] for trial in trials], dtype=np.int64)
    return History(
        over,
        np.array(points).reshape(len(trials), len(axes)),
        np.where(finite | (kinds == RUNNING), kinds, BAD),
        np.where(finite, values, math.inf),
    )


def _value(trial: FrozenTrial) -> float:
    """A trial's value, of a pruned one the last that it reported; infinite where there is none."""
    if trial.state == TrialState.COMPLETE:
        return math.inf if trial.value is None else trial.value
    reports = trial.intermediate_values
    return reports[max(reports)] if trial.state == TrialState.PRUNED and reports else math.inf
