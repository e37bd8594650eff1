"""Problems with known answers, small enough to be sent to other processes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metaft.errors import DataError
from metaft.search.outcome import MIXES, Outcome
from metaft.space import Categorical, Float, Space


class Bowl:
    """value = |u - 0.7|^2 + noise; an evaluation costs 2 step equivalents, a derivative 6."""

    def __init__(self, noise: float = 0.0, bad_seeds: bool = False) -> None:
        self.space = Space([Float("x", 0.0, 1.0), Float("y", 0.0, 1.0)])
        self.start = torch.tensor([0.2, 0.5], dtype=torch.float64)
        self.calls: list[tuple[str, dict[str, Any], int]] = []
        self._noise, self._bad_seeds = noise, bad_seeds

    def _value(self, u: torch.Tensor, seed: int) -> torch.Tensor:
        return (u - 0.7).square().sum() + self._noise * np.random.default_rng(seed).normal()

    def evaluate(self, params: Mapping[str, Any], seed: int, report=None) -> Outcome:
        self.calls.append(("evaluate", dict(params), seed))
        value = float(self._value(self.space.to_unit(params), seed))
        return Outcome(value, 0.5, value, 2, 2.0, 0.0)

    def hypergradient(self, u: torch.Tensor, seed: int) -> tuple[Outcome, torch.Tensor]:
        self.calls.append(("hypergradient", self.space.plain(u), seed))
        if self._bad_seeds and seed % 3 == 0:
            return Outcome(math.nan, 0.0, math.inf, 2, 6.0, 0.0, "diverged"), torch.full((2,), math.nan)
        leaf = u.clone().requires_grad_()
        value = self._value(leaf, seed)
        return Outcome(value.item(), 0.5, value.item(), 2, 6.0, 0.0), torch.autograd.grad(value, leaf)[0]


class Ripening(Bowl):
    """Short runs favour low rates, fine-tunes favour a rate of 0.1 and half of the way; head `b` is better by 0.1."""

    folds = 2

    def __init__(self) -> None:
        super().__init__()
        floats = (Float("x", 0.0, 1.0), Float("lr", 1e-4, 1.0, log=True), Float("alpha", 0.0, 1.0))
        self.space = Space([*floats, Categorical("head", ("a", "b"))])
        self.start = torch.tensor([0.2, 0.5, 0.9, 0.25], dtype=torch.float64)

    def suggestions(self) -> list[dict[str, Any]]:
        recipe = self.space.plain(self.start)
        return [{**recipe, "head": head, "alpha": 0.6} for head in ("a", "b")]

    def _value(self, u: torch.Tensor, seed: int) -> torch.Tensor:
        return (u[0] - 0.7).square() + 0.5 * u[1] + 0.1 * (u[3] < 0.5)

    def hypergradient(self, u, seed):
        outcome, gradient = super().hypergradient(u, seed)
        return outcome, gradient.nan_to_num()

    def price(self, share: float) -> float:
        return 40 * share

    def become(self, params: Mapping[str, Any], seed: int, share: float) -> Outcome:
        self.calls.append((f"become {share}", dict(params), seed))
        u = self.space.to_unit(params)
        base = float((u[0] - 0.7).square() + (u[1] - 0.75).abs() + 0.1 * (u[3] < 0.5)) + 0.3 * (seed % 2)
        mixes = tuple(base + (a - 0.5) ** 2 for a in MIXES)
        value = base + (params["alpha"] - 0.5) ** 2
        return Outcome(value, 0.5, value, 1, self.price(share), 0.0, mixes=mixes)


class Cliff(Bowl):
    """Every run diverges."""

    def _value(self, u, seed):
        return super()._value(u, seed) * math.nan

    def evaluate(self, params, seed, report=None):
        return Outcome(math.nan, 0.0, math.inf, 2, 2.0, 0.0, "diverged")

    def hypergradient(self, u, seed):
        return self.evaluate({}, seed), torch.full((2,), math.nan)


class Sleeper(Bowl):
    """An evaluation takes so many seconds of doing nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def evaluate(self, params, seed, report=None):
        time.sleep(self._seconds)
        return super().evaluate(params, seed)


class Mortal(Bowl):
    """Its process dies at points with x above 0.8: on the first time only, or always."""

    def __init__(self, folder: Path, always: bool) -> None:
        super().__init__()
        self._folder, self._always = folder, always

    def _value(self, u, seed):
        if u[0] > 0.8:
            mark = self._folder / f"{seed}"
            if self._always or not mark.exists():
                mark.touch()
                os._exit(1)
        return super()._value(u, seed)


class Faulty(Bowl):
    """Raises this error at points with x above 0.8."""

    def __init__(self, error: type[Exception], above: float = 0.8) -> None:
        super().__init__()
        self._error, self._above = error, above

    def evaluate(self, params, seed, report=None):
        if params["x"] > self._above:
            raise self._error("no luck")
        return super().evaluate(params, seed)


class Slow(Bowl):
    """Reports its value, made worse by what is left to do, at steps 1, 2 and 3 of 4."""

    def evaluate(self, params, seed, report=None):
        value = float(self._value(self.space.to_unit(params), seed))
        for step in (1, 2, 3):
            loss = value + 0.1 * (4 - step)
            if report is not None and report(step, loss):
                return Outcome(loss, 0.5, loss, step, float(step), 0.0, "stopped")
        return Outcome(value, 0.5, value, 4, 4.0, 0.0)


def bowl(device: str) -> Bowl:
    return Bowl(noise=0.1)


def mortal(folder: Path, always: bool, device: str) -> Bowl:
    return Mortal(folder, always)


def faulty(error: type[Exception], device: str) -> Bowl:
    return Faulty(error)


def sleeper(seconds: float, device: str) -> Bowl:
    return Sleeper(seconds)


def unmakeable(device: str) -> Bowl:
    raise DataError(f"no data for {device}")
