"""Our TPE against Optuna (its default, and univariate), hyperopt and random search.

    python benchmarks/tpe.py [--seeds 0 1 ...] [--problems ...] [--samplers ...] [--workers 2] [--quick] [--out FILE]

A row is one problem of blackbox.py, one sampler, one seed: the true regret of what was observed to be best after every
10th trial up to 200, and the share of trials 21 to 100 that diverged. Every sampler is told what a user would tell it:
a run that diverges gives NaN. Rows of the problem `log11` hold the milliseconds of processor time that a proposal in 11
dimensions takes after 10, 100, 500 and 1,000 trials at uniform points, whose values are chance (`history`: random) or
best about one point (concentrated), and the ratio to Optuna's default, which takes turns with the sampler in one
process; medians, on one thread.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from statistics import median
from typing import Any, TypeVar

import hyperopt
import numpy as np
import optuna
import torch
from shared.blackbox import PROBLEMS
from shared.rows import Rows, arguments
from shared.workers import pool

from metaft.search.tpe.tpe import TPE
from metaft.space import Categorical, Dimension, Float, Int, Space

TRIALS = 200
MARKS = range(10, TRIALS + 1, 10)
HISTORIES = (10, 100, 500, 1000)
LOG11 = Space([Float(f"x{i}", 1e-4, 10, log=True) for i in range(11)])

T = TypeVar("T")
Params = Mapping[str, Any]
Objective = Callable[[Params], float]
Past = list[tuple[Params, float]]  # points and their values


def ours(space: Space, objective: Objective, trials: int, seed: int, **options: Any) -> None:
    sampler = TPE(space, seed, **options)
    for _ in range(trials):
        trial = sampler.ask()
        sampler.tell(trial.number, objective(trial.params))


def uniform(space: Space, objective: Objective, trials: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        objective(space.plain(torch.from_numpy(rng.random(len(space)))))


def with_optuna(space: Space, objective: Objective, trials: int, seed: int, **options: Any) -> None:
    study = _study(seed, **options)
    study.optimize(lambda trial: objective(_suggested(space, trial)), trials)


def _study(seed: int, **options: Any) -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, **options))


def _suggested(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for d in space:
        if d.when is None or params.get(d.when[0]) in d.when[1]:
            if isinstance(d, Categorical):
                params[d.name] = trial.suggest_categorical(d.name, d.choices)
            elif isinstance(d, Int):
                params[d.name] = trial.suggest_int(d.name, d.low, d.high, log=d.log)
            else:
                params[d.name] = trial.suggest_float(d.name, d.low, d.high, log=d.scale == "log")
    return params


def with_hyperopt(space: Space, objective: Objective, trials: int, seed: int) -> None:
    hyperopt.fmin(
        lambda point: objective(_flat(point)),
        _tree(space),
        algo=hyperopt.tpe.suggest,
        max_evals=trials,
        rstate=np.random.default_rng(seed),
        show_progressbar=False,
        verbose=False,
        allow_trials_fmin=False,
        return_argmin=False,
    )


def _tree(space: Space) -> dict[str, Any]:
    """hyperopt's way: a choice holds the hyperparameters that hang on it."""
    return {d.name: _expression(d, space) for d in space if d.when is None}


def _expression(d: Dimension, space: Space) -> Any:
    if isinstance(d, Categorical):
        children = {
            c: [k for k in space if k.when is not None and k.when[0] == d.name and c in k.when[1]] for c in d.choices
        }
        options = [{d.name: c, **{k.name: _expression(k, space) for k in children[c]}} for c in d.choices]
        return hyperopt.hp.choice(d.name, options)
    if isinstance(d, Int):
        return hyperopt.hp.uniformint(d.name, d.low, d.high)
    if d.scale == "log":
        return hyperopt.hp.loguniform(d.name, math.log(d.low), math.log(d.high))
    return hyperopt.hp.uniform(d.name, d.low, d.high)


def _flat(point: Mapping[str, Any]) -> dict[str, Any]:
    """The point without the choices' own levels."""
    flat: dict[str, Any] = {}
    for name, value in point.items():
        flat.update(_flat(value) if isinstance(value, dict) else {name: value})
    return flat


SAMPLERS: dict[str, Callable[[Space, Objective, int, int], None]] = {
    "metaft": ours,
    "metaft univariate": partial(ours, multivariate=False),
    "optuna": with_optuna,
    "optuna univariate": partial(with_optuna, multivariate=False),
    "hyperopt": with_hyperopt,
    "random": uniform,
}


def cell(problem: str, sampler: str, seed: int, trials: int = TRIALS) -> dict[str, Any]:
    """One search from its first trial to its last."""
    made = PROBLEMS[problem](seed)
    told: list[float] = []
    true: list[float] = []

    def objective(params: Mapping[str, Any]) -> float:
        true.append(made.regret(params))
        told.append(made.observed(params, len(told) + 100_000 * seed))
        return told[-1]

    SAMPLERS[sampler](made.space, objective, trials, seed)
    assert len(told) == trials
    late = [math.isnan(x) for x in true[20:100]]
    regret = {str(n): _best(told[:n], true) for n in MARKS if n <= trials}
    row = {"problem": problem, "sampler": sampler, "seed": seed, "regret": regret, "ask_ms": None}
    return {**row, "diverged": sum(late) / len(late)}


def _best(told: list[float], true: list[float]) -> float | None:
    """The true regret of what was observed to be best; None where everything diverged."""
    return None if np.isnan(told).all() else true[int(np.nanargmin(told))]


def asks(sampler: str, kind: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of one whole proposal (all parameters, in natural units) by length of history, and Optuna's ratio.

    The sampler and Optuna's default take turns on a history each of the same beginning; each is told one value between
    two proposals. The first of each is left out: it also builds what later ones find.
    """
    found: dict[str, list[float]] = {"ask_ms": [], "ratio_to_optuna": []}
    for count in HISTORIES:
        value, history = VALUES[kind], _history(kind, count)
        turns = zip(ASKS[sampler](history, value), _optuna_asks(history, value), strict=False)
        ours, theirs = zip(*islice(turns, 1, 1 + repeats), strict=True)
        found["ask_ms"].append(median(ours))
        found["ratio_to_optuna"].append(median(ours) / median(theirs))
    return {name: dict(zip(map(str, HISTORIES), numbers, strict=True)) for name, numbers in found.items()}


VALUES: dict[str, Objective] = {
    "random": lambda params: float(np.random.default_rng([round(1e9 * x) for x in params.values()]).random()),
    "concentrated": lambda params: float(((LOG11.to_unit(params).numpy() - 0.4) ** 2).sum()),
}


def _history(kind: str, count: int) -> Past:
    """Uniform points whose values are drawn by chance (`random`), or are best about one point (`concentrated`)."""
    points = [LOG11.plain(torch.from_numpy(u)) for u in np.random.default_rng(0).random((count, len(LOG11)))]
    return [(params, VALUES[kind](params)) for params in points]


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    """What a call gives, and the milliseconds of processor time that it takes."""
    begin = time.process_time_ns()
    result = call()
    return result, 1e-6 * (time.process_time_ns() - begin)


def _our_asks(history: Past, value: Objective, **options: Any) -> Iterator[float]:
    sampler = TPE(LOG11, 0, **options)
    for params, told in history:
        sampler.observe(params, told)
    while True:
        trial, ms = _timed(sampler.ask)
        yield ms
        sampler.tell(trial.number, value(trial.params))


def _optuna_asks(history: Past, value: Objective, **options: Any) -> Iterator[float]:
    def ask() -> tuple[optuna.Trial, dict[str, Any]]:
        trial = study.ask()
        return trial, _suggested(LOG11, trial)

    study = _study(0, **options)
    kinds = {d.name: optuna.distributions.FloatDistribution(d.low, d.high, log=True) for d in LOG11}
    study.add_trials([optuna.create_trial(params=p, distributions=kinds, value=v) for p, v in history])
    while True:
        (trial, params), ms = _timed(ask)
        yield ms
        study.tell(trial, value(params))


def _hyperopt_asks(history: Past, value: Objective) -> Iterator[float]:
    """Its history is as long, of points that it has drawn itself."""
    trials, domain = hyperopt.Trials(), hyperopt.Domain(lambda point: value(_flat(point)), _tree(LOG11))
    rounds = hyperopt.FMinIter(
        hyperopt.rand.suggest, domain, trials, np.random.default_rng(0), max_evals=len(history), show_progressbar=False
    )
    rounds.exhaust()
    while True:
        new, ms = _timed(lambda: hyperopt.tpe.suggest(trials.new_trial_ids(1), domain, trials, 0))
        yield ms
        trials.insert_trial_docs(new)
        trials.refresh()
        rounds.serial_evaluate()


ASKS: dict[str, Callable[[Past, Objective], Iterator[float]]] = {
    "metaft": _our_asks,
    "metaft univariate": partial(_our_asks, multivariate=False),
    "optuna": _optuna_asks,
    "optuna univariate": partial(_optuna_asks, multivariate=False),
    "hyperopt": _hyperopt_asks,
}


def _quiet() -> None:
    """One thread a process, and no talk from the peers."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("hyperopt").setLevel(logging.ERROR)


def main() -> None:
    args = arguments(
        "tpe", __doc__, seeds=tuple(range(30)), problems=tuple(PROBLEMS), samplers=tuple(SAMPLERS), workers=2
    )
    rows = Rows("tpe", args, ("problem", "sampler", "seed", "history"), more=("optuna", "hyperopt", "scipy"))
    trials = 50 if args.quick else TRIALS
    seeds = args.seeds[:2] if args.quick else args.seeds
    cells = [(p, s, seed) for p in args.problems for s in args.samplers for seed in seeds]
    todo = [c for c in cells if dict(zip(("problem", "sampler", "seed"), c, strict=True)) not in rows]
    _quiet()
    with pool(args.workers, _quiet) as made:
        for row in made.map(partial(_cell, trials=trials), todo):
            rows.add(row)
    for sampler, kind in ((s, k) for s in args.samplers if s in ASKS for k in VALUES):
        row = {"problem": "log11", "sampler": sampler, "seed": 0, "history": kind}
        if row not in rows:
            rows.add({**row, "regret": None, **asks(sampler, kind, repeats=3 if args.quick else 15)})


def _cell(which: tuple[str, str, int], trials: int) -> dict[str, Any]:
    return cell(*which, trials=trials)


if __name__ == "__main__":
    main()
