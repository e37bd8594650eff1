"""Search, fine-tune, evaluate, report: what the command line, the API and the benchmarks build on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from metaft.build import fits as fitting
from metaft.build.carried import Carried
from metaft.build.comparison import Comparison, Workers, workers
from metaft.build.last_choice import settled
from metaft.build.left_out import left_out
from metaft.build.opened import faults_in
from metaft.build.problem import problem_in
from metaft.build.solver import budget, earlier_journal, is_online, online, online_budget, solver
from metaft.build.sources import unsplit, worst_of_one
from metaft.build.space import objective_of
from metaft.build.workspace import Workspace, workspace
from metaft.config.schema import Config
from metaft.cost import Cost
from metaft.errors import ConfigError, DataError, DivergedError, Fault
from metaft.files import to_json
from metaft.finetune.context import FitContext
from metaft.finetune.fits import Fits
from metaft.finetune.methods import LEARNED
from metaft.objective.file import load_objective
from metaft.objective.objective import Objective
from metaft.progress import note, warn
from metaft.provenance import provenance
from metaft.results import Results, SearchResult
from metaft.runfiles import RESULTS
from metaft.runfolder import RunFolder
from metaft.search.bilevel import Budget, Solver
from metaft.search.journal import Journal
from metaft.search.problem.finetune import FinetuneProblem
from metaft.search.problem.judging import named_loss
from metaft.search.registry import HYPERGRAD, OUTER_LOSSES, modes
from metaft.search.solvers.blackbox import earlier
from metaft.search.solvers.online import window_faults


@dataclass(frozen=True)
class Search:
    """A solver and a budget: a search that can begin."""

    solver: Solver
    budget: Budget


def opened(cfg: Config) -> Workspace:
    """Open the data and the model.

    Raises:
        CheckpointError, DataError: weights or data that cannot be opened.
        ConfigError: settings that they cannot serve.
    """
    return checked(workspace(cfg))


def checked(work: Workspace, learned: Objective | None = None) -> Workspace:
    """The workspace, if it can serve its settings and the given objective.

    Raises:
        ConfigError: it cannot.
    """
    faults = faults_in(work, learned)
    if faults:
        raise ConfigError(faults)
    return work


def received(work: Workspace, source: Objective | Carried | None) -> Objective | None:
    """The objective that a run is given, for its model; None: none is given.

    Raises:
        ConfigError: the workspace cannot serve it.
    """
    learned = source.to(work) if isinstance(source, Carried) else source
    if learned is not None:
        checked(work, learned)
    return learned


def prepared(work: Workspace) -> Search:
    """The search that the settings describe, if it can begin.

    Raises:
        DataError: the outer set has one class; the earlier run of `search.warm_start` does not exist or has
            searched another space.
        ConfigError: the budget does not hold one outer step, or there is no mode.
    """
    cfg, reason = work.cfg, unsplit(work)
    if cfg.search.mode is None:
        raise ConfigError([Fault("search.mode", "nothing given, and no objective is there", ", ".join(modes()))])
    if reason is not None and cfg.search.use_ood_labels == "auto":
        note(f"{reason}; its labels judge, and are not trained on")
    if worst_of_one(work):
        found = "domains judge in turn, and one alone is the worst, so that the search seeks their mean"
        note(f"{found}; with search.use_ood_labels=judge all judge at once")
    search, problem = Search(solver(cfg), budget(cfg)), problem_in(work)
    if is_online(cfg):
        faults = window_faults(problem, cfg.hypergrad, online_budget(work))
    else:
        faults = search.solver.faults(problem, search.budget)
    if cfg.search.mode == HYPERGRAD:
        faults += problem.forecasts.faults()
    if faults:
        raise ConfigError(faults)
    journal = earlier_journal(cfg)
    if journal is not None:
        earlier(journal, problem.space)
    return search


def run(work: Workspace, folder: RunFolder, search: Search | None, learned: Objective | None = None) -> Results:
    """Search (unless an objective is given or has been found), fit every method, evaluate, report.

    A method that diverges is reported and left out; the others go on. What the folder holds is not computed again.
    """
    torch.manual_seed(work.cfg.seed)
    results = folder.results() or blank(work, work.cfg.search.mode if learned is None else None)
    folder.write(results)
    methods = fitting.told_methods(work)
    with workers(folder.elsewhere(work)) as several:
        try:
            learned, results = _learned(work, folder, search, learned, results, several)
        except DivergedError as error:
            for name in [name for name in LEARNED if name in methods] or LEARNED[:1]:
                results = results.with_failure(name, str(error))
        folder.write(results)
        fits = _fits(work, folder, learned, several)
        results = compare(work, fits, methods, results, folder.write, folder.log, several)
        if work.cfg.evaluation.leave_one_out and learned is not None and not results.leave_one_out:
            results = replace(results, leave_one_out=left_out(fits, learned))
    folder.show(fitting.told_apart(work, fits, results))
    folder.finish(work, results, None if results.handed_back is None else fits.model(results.handed_back.method))
    return results


def blank(work: Workspace, mode: str | None = None) -> Results:
    """Results without any method yet."""
    return Results({}, work.cfg.seed, provenance(work), work.cfg.report.title, mode)


def with_objective(results: Results, learned: Objective | None) -> Results:
    """The results with the objective that `autoft` is trained with."""
    return replace(results, objective=None if learned is None else json.loads(to_json(asdict(learned))))


def _learned(
    work: Workspace,
    folder: RunFolder,
    search: Search | None,
    learned: Objective | None,
    results: Results,
    several: Workers | None,
) -> tuple[Objective, Results]:
    """The objective: given, found earlier in this run, or searched for now."""
    if learned is None and folder.objective.exists():
        if results.objective is None:
            found = f"{folder.path / RESULTS}: without the objective that {folder.objective.name} says is found"
            raise DataError(f"{found}; allowed: as the run wrote it, or neither of the two files")
        return _kept(load_objective(folder.objective), folder, results), results
    if learned is not None and results.objective is not None:
        return _kept(learned, folder, results), results
    if learned is None and results.mode is None:
        raise DataError(f"{folder.objective}: no such file; allowed: the objective that the run was given")
    if learned is None:
        assert search is not None, "without an objective there is a search"
        result = find(work, search, folder.journal(), _fits(work, folder, None, several))
        if results.objective is not None:
            _kept(result.objective, folder, results)
        results, learned = replace(results, search=result.to_dict()), result.objective
    results = with_objective(results, learned)
    folder.write(results)  # before objective.yaml, whose presence says that it is settled
    folder.settle(learned)
    return learned, results


def _kept(kept: Objective, folder: RunFolder, results: Results) -> Objective:
    """The objective, if it is the one that a run has settled on before.

    Raises:
        ConfigError: it is another one now.
    """
    old, new = ({} if r.objective is None else dict(r.objective) for r in (results, with_objective(results, kept)))
    odd = [name for name in new if old.get(name) != new[name]]
    if odd:
        found = ", ".join(f"{name} {new[name]}, which the run had as {old.get(name)}" for name in odd)
        raise ConfigError([Fault(str(folder.objective), found, "as it was; a new run with --objective takes another")])
    return kept


def _fits(work: Workspace, folder: RunFolder, learned: Objective | None, several: Workers | None) -> Fits:
    """The methods' fits, kept in a run folder, some made there by workers if there are any."""
    kept = folder.checkpoints(work)
    context = FitContext(fitting.fit_settings(work, learned), keeper=kept, log=folder.log)
    fits = fitting.fits(work, context, kept)
    return fits if several is None else replace(fits, helpers=several.prepare)


def find(work: Workspace, search: Search, journal: Journal, fits: Fits) -> SearchResult:
    """Search from the heads of some fits; one along the fine-tune itself leaves the model of `autoft` among them.

    Raises:
        DivergedError: no trial, or no finalist, gave a finite value.
    """
    cfg = work.cfg
    loss = named_loss(work.search)
    stand_in = OUTER_LOSSES[loss].stand_in
    if cfg.search.mode == HYPERGRAD and stand_in is not None:
        warn(f"search: {loss} has no gradient; hypergradients are those of {stand_in}")
    problem = problem_in(work, fits)
    if is_online(cfg):
        return _along(work, problem, journal, fits)
    choice = search.solver.solve(problem, search.budget, journal)
    note(f"search: {choice.trials} trials in {choice.seconds:.0f} s, outer loss {choice.value:.4f}")
    objective, last_choice = settled(work, objective_of(cfg, choice.params), fits)
    return SearchResult(
        objective=objective,
        value=choice.value,
        trials=tuple(journal.trials),
        cost=Cost(choice.step_equivalents, choice.seconds),
        inner_steps=cfg.inner.steps,
        space_size=len(problem.space),
        finalists=tuple(choice.finalists),
        last_choice=last_choice,
    )


def _along(work: Workspace, problem: FinetuneProblem, journal: Journal, fits: Fits) -> SearchResult:
    """The objective with the schedule that one steered fine-tune finds."""
    cfg = work.cfg
    steering = online(work, problem, journal)
    begin = objective_of(cfg, problem.space.plain(problem.start))
    context = replace(
        fits.context.varied(learned=begin),
        steer=lambda step, steps, state: objective_of(cfg, steering(step, state)),
    )
    replace(fits, context=context)("autoft")
    stages = tuple((start, objective_of(cfg, params)) for start, params in steering.schedule)
    return SearchResult(
        objective=replace(begin, schedule=stages[1:]),
        value=journal.records[-1].outcome.value,
        trials=tuple(journal.trials),
        cost=Cost(steering.step_equivalents, sum(record.outcome.seconds for record in journal.records)),
        inner_steps=cfg.inner.steps,
        space_size=len(problem.space),
    )


def compare(
    work: Workspace,
    fits: Fits,
    methods: Sequence[str],
    results: Results,
    keep: Callable[[Results], None] = lambda results: None,
    log: Callable[[dict[str, Any]], None] = lambda event: None,
    several: Workers | None = None,
) -> Results:
    """Fit, evaluate, judge and measure each method once, and choose whose model is handed back.

    Args:
        results: the results so far; their methods are not fitted again.
        keep: is given the results after each method.
        log: takes each method's drift.
        several: make what results say of each method; by default this process does, one after the other.
    """
    todo = [name for name in methods if name not in results.methods and name not in results.failed]
    here = Comparison.of(work, fits, log)
    for name, row in here.rows(todo) if several is None else several.rows(fits, todo):
        if isinstance(row, str):
            results = results.with_failure(name, row)
        else:
            results = results.with_method(name, row.scores, row.cost, row.drift, row.ood_val).in_order(methods)
            results = results.with_curve(name, row.curve)
        keep(results)
    return replace(results, handed_back=results.handed_back or fitting.choice(work, fits, results))
