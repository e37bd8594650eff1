"""Optuna's TPE as one of our samplers, so that it searches the same problem in the same way."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import torch
from optuna.trial import TrialState

from metaft.search.optuna_space import coordinate, searched, value_at
from metaft.search.sampler import BAD, OK, RUNNING, STOPPED, AskTell, History
from metaft.space import Space

STATES = {OK: TrialState.COMPLETE, STOPPED: TrialState.COMPLETE, BAD: TrialState.FAIL, RUNNING: TrialState.RUNNING}


class OptunaTPE(AskTell):
    """Optuna's default TPE; real dimensions are searched in the unit interval, whatever their scale.

    Each proposal comes from a study of its own, so that it is a function of (history, seed, number).
    """

    def __init__(self, space: Space, seed: int = 0) -> None:
        super().__init__(space)
        self._seed = seed
        self._distributions = {d.name: searched(d) for d in space}

    def propose(self, history: History, number: int) -> dict[str, Any]:
        """What Optuna suggests after these trials, of which those without a value have failed."""
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
        study.add_trials([self._trial(*row) for row in zip(history.x, history.kind, history.y, strict=True)])
        params = study.ask(self._distributions).params
        u = [coordinate(d, params[d.name]) for d in self.space]
        return self.space.plain(torch.tensor(u, dtype=torch.float64))

    def _trial(self, u: np.ndarray, kind: int, y: float) -> optuna.trial.FrozenTrial:
        state = STATES[kind]
        return optuna.create_trial(
            params={d.name: value_at(d, float(x)) for d, x in zip(self.space, u, strict=True)},
            distributions=self._distributions,
            value=float(y) if math.isfinite(y) else None,
            state=state,
        )
