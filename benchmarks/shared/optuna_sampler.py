"""Optuna's TPE as one of our samplers, so that it searches the same problem in the same way."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import optuna
import torch

from metaft.space import Categorical, Float, Int, Space
from metaft.search.sampler import Failed, Stopped, Told, Trial


def distribution(dimension: Float | Int | Categorical) -> optuna.distributions.BaseDistribution:
    """A dimension in Optuna's terms; bent scales are searched as the unit interval."""
    if isinstance(dimension, Categorical):
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if isinstance(dimension, Int):
        return optuna.distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return optuna.distributions.FloatDistribution(0.0, 1.0)


class OptunaTPE:
    """Optuna's default TPE; real dimensions are told in the unit interval, whatever their scale."""

    def __init__(self, space: Space, seed: int = 0) -> None:
        self.space = space
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        self._open: dict[int, optuna.Trial] = {}

    def enqueue(self, params: Mapping[str, Any]) -> None:
        """Propose this point first."""
        self._study.enqueue_trial(self._inside(params))

    def observe(self, params: Mapping[str, Any], value: Told) -> None:
        """Take in a value from elsewhere."""
        distributions = {d.name: distribution(d) for d in self.space}
        self._study.add_trial(
            optuna.create_trial(params=self._inside(params), distributions=distributions, value=_number(value))
        )

    def ask(self) -> Trial:
        """The next point."""
        trial = self._study.ask({d.name: distribution(d) for d in self.space})
        self._open[trial.number] = trial
        params = {d.name: self._outside(d, trial.params[d.name]) for d in self.space}
        return Trial(trial.number, params)

    def tell(self, number: int, value: Told) -> None:
        """Optuna takes a run without a value as failed."""
        number_or_none = _number(value)
        trial = self._open.pop(number)
        if number_or_none is None:
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, number_or_none)

    def _inside(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {d.name: d.to_unit(params[d.name]) if isinstance(d, Float) else params[d.name] for d in self.space}

    def _outside(self, dimension: Float | Int | Categorical, value: Any) -> Any:
        if not isinstance(dimension, Float):
            return value
        return float(dimension.from_unit(torch.tensor(value, dtype=torch.float64)))


def _number(value: Told) -> float | None:
    if isinstance(value, Failed):
        return None
    number = value.value if isinstance(value, Stopped) else value
    return number if math.isfinite(number) else None
