"""Black-box problems with known optima: what a sampler is measured on. Every optimum is 0; most move with the seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaft.space import Categorical, Float, Int, Space

Params = Mapping[str, Any]


@dataclass(frozen=True)
class BlackBox:
    """`regret` of a point (NaN where a run would diverge); what is observed has noise of this deviation on it."""

    space: Space
    regret: Callable[[Params], float]
    noise: float = 0.0

    def observed(self, params: Params, seed: int) -> float:
        """What a sampler is told; the same seed means the same noise."""
        noise = self.noise * np.random.default_rng([7, seed]).normal() if self.noise else 0.0
        return self.regret(params) + float(noise)


def _cube(d: int, low: float, high: float) -> Space:
    return Space([Float(f"x{i}", low, high) for i in range(d)])


def _vector(params: Params) -> np.ndarray:
    return np.array(list(params.values()))


def sphere10(seed: int) -> BlackBox:
    """|x - c|^2 on [-5, 5]^10."""
    centre = np.random.default_rng([99, seed]).uniform(-2.5, 2.5, 10)
    return BlackBox(_cube(10, -5, 5), lambda p: float(((_vector(p) - centre) ** 2).sum()))


def rosenbrock10(seed: int) -> BlackBox:
    """sum 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 on [-5, 5]^10; does not move."""

    def regret(p: Params) -> float:
        x = _vector(p)
        return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())

    return BlackBox(_cube(10, -5, 5), regret)


def ackley10(seed: int) -> BlackBox:
    """Ackley's function on [-32.768, 32.768]^10, its optimum within half of that."""
    centre = np.random.default_rng([99, seed]).uniform(-16, 16, 10)

    def regret(p: Params) -> float:
        z = _vector(p) - centre
        bowl = -20 * math.exp(-0.2 * math.sqrt((z**2).mean()))
        return bowl - math.exp(np.cos(2 * math.pi * z).mean()) + 20 + math.e

    return BlackBox(_cube(10, -32.768, 32.768), regret)


_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)
_HARTMANN_MINIMUM = -3.322368011415512  # at (0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573)


def hartmann6(seed: int) -> BlackBox:
    """Hartmann's function of six variables on [0, 1]^6 above its minimum; does not move."""

    def regret(p: Params) -> float:
        wells = np.exp(-(_A * (_vector(p) - _P) ** 2).sum(axis=1))
        return float(-np.array([1.0, 1.2, 3.0, 3.2]) @ wells - _HARTMANN_MINIMUM)

    return BlackBox(_cube(6, 0, 1), regret)


def mixed11(seed: int) -> BlackBox:
    """What tuning a fine-tune is like: see `_mixed`."""
    return _mixed(seed, noise=0.0)


def mixed11_noisy(seed: int) -> BlackBox:
    """The same with noise of deviation 0.1, as much as lies between good points."""
    return _mixed(seed, noise=0.1)


def _mixed(seed: int, noise: float) -> BlackBox:
    """A learning rate whose best value hangs on the schedule, with a cliff above it; two weights that trade against
    each other, one that matters little, three that do no harm while small; weight decay, depth, optimizer, schedule.
    """
    rng = np.random.default_rng([99, seed])
    best_lr, trade, decay, depth = (
        rng.uniform(-4, -2.5),
        rng.uniform(-2, 0),
        rng.uniform(-4, -1),
        int(rng.integers(3, 11)),
    )
    optimizers = dict(zip("abcd", rng.permutation([0.0, 0.15, 0.3, 0.6]), strict=True))
    schedules = dict(zip("xyz", rng.permutation([0.0, 0.05, 0.1]), strict=True))
    shifts = dict(zip("xyz", rng.permutation([0.0, 0.4, -0.4]), strict=True))
    weights = [Float(f"w{i}", 1e-4, 10, log=True) for i in range(6)]
    space = Space(
        [
            *(Float("lr", 1e-6, 1e-1, log=True), *weights, Float("wd", 1e-6, 1, log=True), Int("depth", 1, 12)),
            *(Categorical("optimizer", tuple("abcd")), Categorical("schedule", tuple("xyz"))),
        ]
    )

    def regret(p: Params) -> float:
        lr = math.log10(p["lr"]) - best_lr - shifts[p["schedule"]]
        w = [math.log10(p[f"w{i}"]) for i in range(6)]
        value = 0.4 * lr**2 + 0.15 * (w[0] + w[1] - 2 * trade) ** 2 + 0.05 * (w[0] - w[1]) ** 2
        value += 0.01 * (w[2] + 1) ** 2 + sum(0.1 * max(0.0, x) ** 2 for x in w[3:])
        value += 0.01 * (math.log10(p["wd"]) - decay) ** 2 + 0.01 * (p["depth"] - depth) ** 2
        value += optimizers[p["optimizer"]] + schedules[p["schedule"]]
        return float(value + 3.0 * (lr > 1.0))

    return BlackBox(space, regret, noise)


def conditional(seed: int) -> BlackBox:
    """Three optimizers with hyperparameters of their own, one of them right; two hyperparameters are shared."""
    rng = np.random.default_rng([99, seed])
    kinds = tuple("abc")
    penalty = dict(zip(kinds, rng.permutation([0.0, 0.2, 0.5]), strict=True))
    best = {kind: rng.uniform(0.2, 0.8, 3) for kind in kinds}
    shared = rng.uniform(0.2, 0.8, 2)
    optional = [Float(f"{kind}{i}", 1e-5, 1, log=True, when=("kind", (kind,))) for kind in kinds for i in range(3)]
    space = Space([Categorical("kind", kinds), Float("s0", 0, 1), Float("s1", 1e-4, 10, log=True), *optional])

    def regret(p: Params) -> float:
        kind = p["kind"]
        at = np.array([1 + math.log10(p[f"{kind}{i}"]) / 5 for i in range(3)])
        common = np.array([p["s0"], 0.8 + math.log10(p["s1"]) / 5])
        return float(penalty[kind] + 4 * ((at - best[kind]) ** 2).sum() + 2 * ((common - shared) ** 2).sum())

    return BlackBox(space, regret)


def cliff(seed: int) -> BlackBox:
    """A learning rate that diverges (NaN) in the upper 37.5 % of its decades and is best half a decade below that."""
    rng = np.random.default_rng([99, seed])
    centre = rng.uniform(0.2, 0.8, 4)
    space = Space([Float("lr", 1e-7, 10, log=True), *(Float(f"w{i}", 1e-4, 10, log=True) for i in range(4))])

    def regret(p: Params) -> float:
        lr = math.log10(p["lr"])
        if lr > -2:
            return math.nan
        at = np.array([0.8 + math.log10(p[f"w{i}"]) / 5 for i in range(4)])
        return 0.2 * (lr + 2.5) ** 2 + float(((at - centre) ** 2).sum())

    return BlackBox(space, regret)


PROBLEMS: dict[str, Callable[[int], BlackBox]] = {
    "sphere10": sphere10,
    "rosenbrock10": rosenbrock10,
    "ackley10": ackley10,
    "hartmann6": hartmann6,
    "mixed11": mixed11,
    "mixed11_noisy": mixed11_noisy,
    "conditional": conditional,
    "cliff": cliff,
}
