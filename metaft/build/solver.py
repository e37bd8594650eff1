"""Building the solver that settings describe, and its budget."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from metaft.build.fits import final_steps, finetune_cost
from metaft.build.problem import problem_factory
from metaft.build.workspace import Workspace, devices
from metaft.config.schema import Config
from metaft.search.bilevel import Budget, Solver
from metaft.search.executors.registry import EXECUTORS, Place
from metaft.search.executors.work import MakeExecutor
from metaft.search.journal import PLACE, Journal
from metaft.search.problem.finetune import FinetuneProblem
from metaft.search.registry import HYPERGRAD, SAMPLERS
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver, Scout
from metaft.search.solvers.online import Online


def solver(cfg: Config) -> Solver:
    """The solver of `search.mode`."""
    if cfg.search.mode != HYPERGRAD:
        assert cfg.search.mode is not None, "run.py and the API require a mode"
        return black_box(cfg, cfg.search.mode)
    scout = Scout(black_box(cfg, "tpe"), cfg.search.init_share) if cfg.search.init == "tpe" else None
    abreast = min(cfg.search.workers, cfg.hypergrad.starts)
    return HypergradSolver(cfg.seed, cfg.hypergrad, cfg.search, scout, _executor(cfg), abreast)


def black_box(cfg: Config, sampler: str) -> BlackBoxSolver:
    """The solver that evaluates what a registered sampler proposes."""
    search, kind = cfg.search, SAMPLERS[sampler]
    options = {} if kind.section is None else getattr(cfg, kind.section).model_dump()
    return BlackBoxSolver(
        partial(kind.make, **options),
        seed=cfg.seed,
        final=search,
        executor=_executor(cfg),
        stopping=search.stop_hopeless,
        warm_start=earlier_journal(cfg) if search.mode == sampler else None,
    )


def _executor(cfg: Config) -> MakeExecutor:
    """What makes the executor that runs a search's trials."""
    place = Place(problem_factory(cfg), cfg.search.workers, devices(cfg), cfg.search.gpu_share)
    return lambda problem: EXECUTORS[cfg.search.executor].make(problem, place)


def budget(cfg: Config) -> Budget:
    """The search's limits in trials, seconds and step equivalents."""
    return Budget(trials=cfg.search.trials, seconds=cfg.search.seconds, step_equivalents=cfg.search.step_equivalents)


def earlier_journal(cfg: Config) -> Path | None:
    """The path of the journal of the run that `search.warm_start` names, if any."""
    run = cfg.search.warm_start
    return None if run is None else run / PLACE


def is_online(cfg: Config) -> bool:
    """Whether the search goes along the fine-tune itself."""
    return cfg.search.mode == HYPERGRAD and cfg.hypergrad.regime == "online"


def online_budget(work: Workspace) -> float:
    """The step equivalents that an online search may add to the fine-tune."""
    return work.cfg.hypergrad.share * finetune_cost(work)


def online(work: Workspace, problem: FinetuneProblem, journal: Journal) -> Online:
    """The search along one fine-tune.

    Raises:
        ConfigError: `hypergrad.share` of the fine-tune does not hold one outer step.
    """
    cfg, extra = work.cfg, online_budget(work)
    return Online(problem, journal, cfg.seed, cfg.hypergrad, final_steps(work), cfg.finetune.warmup, extra)
