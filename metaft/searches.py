"""The solver that settings mean, and its limits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from metaft.inner import Options
from metaft.search.bilevel import Budget, ProblemFactory, Solver
from metaft.search.blackbox import BlackBoxSolver
from metaft.search.descent import Steps
from metaft.search.executors import EXECUTORS, Place
from metaft.search.hypergrad import HypergradSolver, Scout
from metaft.search.problem import Differentiation
from metaft.search.random import Uniform
from metaft.search.session import FinalChoice
from metaft.search.tpe import TPE
from metaft.settings import Config


def solver(cfg: Config, factory: ProblemFactory) -> Solver:
    """The solver of `search.mode`; the factory makes the problem in other processes."""
    own, final = cfg.search, FinalChoice(cfg.search.candidates, cfg.search.final_share)
    place = Place(factory, own.workers, devices(cfg))
    everywhere = partial(
        BlackBoxSolver,
        seed=cfg.seed,
        final=final,
        executor=lambda problem: EXECUTORS[own.executor].make(problem, place),
        stopping=own.stop_hopeless,
    )
    if own.mode == "random":
        return everywhere(Uniform)
    tpe = partial(TPE, **cfg.tpe.model_dump())
    if own.mode == "tpe":
        return everywhere(tpe, warm_start=earlier_journal(cfg))
    scout = Scout(everywhere(tpe), own.init_share) if own.init == "tpe" else None
    return HypergradSolver(cfg.seed, final, steps(cfg), cfg.hypergrad.starts, scout, cfg.hypergrad.check_every)


def steps(cfg: Config) -> Steps:
    """How descents move."""
    own = cfg.hypergrad
    return Steps(own.lr, own.decay, own.momentum, own.average, own.clip, own.explosion)


def differentiation(cfg: Config) -> Differentiation:
    """How the settings want hypergradients computed."""
    own = cfg.hypergrad
    options = Options(
        memory=None if own.memory is None else own.memory * 2**30,
        offload=own.offload,
        last=own.last,
        solver=own.solver,
        iterations=own.iterations,
        damping=own.damping,
        scale=own.scale,
    )
    return Differentiation(own.estimator, own.storage, options, own.explosion)


def online(cfg: Config) -> bool:
    """Whether the search goes along the fine-tune itself."""
    return cfg.search.mode == "hypergrad" and cfg.hypergrad.regime == "online"


def budget(cfg: Config) -> Budget:
    """The search's limits."""
    return Budget(cfg.search.trials, cfg.search.seconds, cfg.search.step_equivalents)


def earlier_journal(cfg: Config) -> Path | None:
    """The journal of the run that `search.warm_start` names."""
    run = cfg.search.warm_start
    return None if run is None else run / "search" / "trials.jsonl"


def device(cfg: Config) -> torch.device:
    """The configured device; `auto` is a GPU where there is one."""
    if cfg.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(cfg.device)


def devices(cfg: Config) -> list[str]:
    """The devices of workers, in turn: all GPUs where `auto` finds any, else the configured device alone."""
    if cfg.device == "auto" and torch.cuda.is_available():
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [str(device(cfg))]
