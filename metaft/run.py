"""python -m metaft.run: parse, build, search, fine-tune, evaluate, report."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from metaft import build, searches, spaces
from metaft import config as configuration
from metaft.build import Workspace
from metaft.clip.embedded import EMBEDDED
from metaft.clip.export import export
from metaft.clip.load import models
from metaft.data import FORMATS
from metaft.dryrun import dry_run
from metaft.errors import ConfigError, DivergedError, MetaftError, Problem
from metaft.finetune.fits import Fits
from metaft.finetune.methods import METHODS, Method
from metaft.inner import ESTIMATORS
from metaft.objective import TERMS, Objective, load_objective
from metaft.progress import be_quiet, note, warn
from metaft.report.tables import markdown, methods_table
from metaft.runfolder import Checkpoints, RunFolder, provenance
from metaft.search.executors import EXECUTORS
from metaft.search.journal import Journal
from metaft.search.outer import OUTER_LOSSES
from metaft.settings import Config

INTERRUPTED = 130
LISTS: dict[str, Callable[[], list[list[str]]]] = {
    "terms": lambda: [[name, t.description] for name, t in TERMS.items()],
    "methods": lambda: [[name, m.description, _knobs(m)] for name, m in METHODS.items()],
    "datasets": lambda: [[name, f.description] for name, f in FORMATS.items()],
    "executors": lambda: [[name, e.description] for name, e in EXECUTORS.items()],
    "estimators": lambda: [[n, f"{e.description}; storage: {', '.join(e.storages)}"] for n, e in ESTIMATORS.items()],
    "models": lambda: [[m, "embedded" if m in EMBEDDED else "open_clip"] for m in models()],
}


def _knobs(method: Method) -> str:
    """A method's own hyperparameters, their defaults and what they may be."""
    return "; ".join(f"{k.name} {k.default} ({k.allowed})" for k in method.knobs)


def listing(what: str, rows: Sequence[list[str]]) -> str:
    """What can be named, as a table."""
    head = ["name", what, *(["knobs under finetune.knobs.NAME: default (allowed)"] if what == "methods" else [])]
    return markdown(head, rows, numbers=False)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_intermixed_args(argv)
    be_quiet(args.quiet)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs to the root logger
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _dispatch(args)
    except MetaftError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted before anything was written", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metaft.run",
        description="Search for a fine-tuning objective, fine-tune a CLIP model with it, compare, report.",
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as inner.steps=7")
    parser.add_argument("--mode", metavar="MODE", help="hypergrad, tpe or random")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML settings; default: toy CLIP on digits")
    parser.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: a new one in runs/")
    parser.add_argument("--resume", type=Path, metavar="DIR", help="go on with an interrupted run")
    parser.add_argument("--objective", type=Path, metavar="FILE", help="use this objective.yaml; no search")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--validate", action="store_true", help="check the settings and stop")
    parser.add_argument("--dry-run", action="store_true", help="open everything, try one step, estimate, write nothing")
    parser.add_argument("--print-config", action="store_true", help="print the settings as YAML and stop")
    parser.add_argument("--list", choices=sorted(LISTS), help="what can be named in the settings")
    parser.add_argument("--quiet", action="store_true", help="no progress, no notes")
    return parser


def _dispatch(args: argparse.Namespace) -> int:
    if args.list:
        print(listing(args.list, LISTS[args.list]()))
        return 0
    needs_mode = not (args.objective or args.validate or args.print_config)
    cfg = _settings(args, needs_mode)
    learned = load_objective(args.objective) if args.objective else None
    if args.print_config:
        print(configuration.dump(cfg), end="")
        return 0
    if args.validate:
        print("the settings are valid")
        return 0
    if args.dry_run:
        print(dry_run(cfg))
        return 0
    work = build.workspace(cfg)  # faults of data and checkpoint come before a folder is made
    build.methods(work)
    build.check_patterns(work)
    if learned is not None:
        build.check_objective(work, learned)
    elif not args.resume:
        build.check_search(work)
    folder = RunFolder(args.resume) if args.resume else RunFolder.create(cfg)
    try:
        with folder.claimed():
            return run(work, folder, learned)
    except KeyboardInterrupt:
        command = f"python -m metaft.run --resume {shlex.quote(str(folder.path))}"
        print(f"\ninterrupted; go on with: {command}", file=sys.stderr)
        return INTERRUPTED


def _settings(args: argparse.Namespace, needs_mode: bool) -> Config:
    """The settings of the command line, checked for shape and names together.

    Raises:
        ConfigError: every fault of both kinds.
    """
    flags = {"search.mode": args.mode, "out": args.out, "device": args.device, "seed": args.seed}
    overrides = [*args.overrides, *(f"{k}={json.dumps(v, default=str)}" for k, v in flags.items() if v is not None)]
    path = args.resume / "config.yaml" if args.resume else args.config
    problems: list[Problem] = []
    try:
        cfg = configuration.load(path, overrides)
    except ConfigError as error:
        problems += error.problems
        cfg = error.partial
    try:
        build.check(cfg)
    except ConfigError as error:
        problems += error.problems
    if args.resume and not problems:
        problems += _changed(configuration.load(path), cfg)
    if needs_mode and cfg.search.mode is None and not args.resume and not problems:
        problems.append(Problem("--mode", "nothing given", "hypergrad, tpe, random"))
    if problems:
        raise ConfigError(problems)
    return cfg


def _changed(before: Config, after: Config) -> list[Problem]:
    """Settings that a resumed run would change; only the device may."""
    old, new = configuration.flatten(before), configuration.flatten(after)
    return [
        Problem(key, f"{new[key]!r} in a resumed run", f"{old[key]!r}, as the run began")
        for key in old
        if old[key] != new[key] and key not in ("device", "out")
    ]


def run(work: Workspace, folder: RunFolder, learned: Objective | None = None) -> int:
    """Search (unless an objective is given or found), fit every method, evaluate, report.

    A method that diverges is reported and left out; the others go on.

    Returns:
        0, or 4 where something diverged.
    """
    cfg = work.cfg
    torch.manual_seed(cfg.seed)
    results = {
        "title": cfg.report.title,
        "mode": cfg.search.mode if learned is None else None,
        "seed": cfg.seed,
        "objective": None,
        "search": None,
        "methods": {},
        "cost": {},
        "drift": {},
        "provenance": provenance(cfg, work.splits, work.device),
        **folder.results(),
        "failed": {},
    }
    folder.write(results)
    try:
        results["objective"] = asdict(learned := _learn(work, folder, results, learned))
    except DivergedError as error:
        results["failed"]["autoft"] = str(error)
    folder.write(results)
    _fit_all(work, folder, results, learned)
    folder.report(results)
    print(methods_table(results))
    if results["search"] is not None:
        cost, whole = results["search"]["step_equivalents"], build.finetune_cost(work)
        print(f"\nsearch: {cost:,.0f} step equivalents, {cost / whole:.1%} of a fine-tune of {whole:,.0f}")
    for name, reason in results["failed"].items():
        print(f"\n{name} gave no result: {reason}", file=sys.stderr)
    print(f"\nreport: {folder.path / 'report.html'}")
    if (folder.model / "load.py").exists():
        print(f"model:  {folder.model} ({work.cfg.finetune.method}; load.py there opens it with open_clip)")
    return DivergedError.exit_code if results["failed"] else 0


def _learn(work: Workspace, folder: RunFolder, results: dict[str, Any], learned: Objective | None) -> Objective:
    """The objective: given, found earlier in this run, or searched for now."""
    if learned is None and folder.objective.exists():
        return load_objective(folder.objective)
    stand_in = OUTER_LOSSES[work.cfg.search.outer_loss].stand_in
    if learned is None and work.cfg.search.mode == "hypergrad" and stand_in is not None:
        warn(f"search: {work.cfg.search.outer_loss} has no gradient; hypergradients are those of {stand_in}")
    if learned is None and searches.online(work.cfg):
        learned = _learn_online(work, folder, results)
    elif learned is None:
        problem = build.problem_in(work)
        found = build.solver(work.cfg).solve(problem, build.budget(work.cfg), Journal(folder.journal))
        results["search"] = {
            "trials": found.trials,
            "best_value": found.value,
            "inner_steps": work.cfg.inner.steps,
            "step_equivalents": found.step_equivalents,
            "seconds": found.seconds,
            "space_size": len(problem.space),
            "finalists": found.finalists,
        }
        folder.write(results)  # before objective.yaml, whose presence says that the search is done
        learned = spaces.objective_of(work.cfg, found.params)
        note(f"search: {found.trials} trials in {found.seconds:.0f} s, outer loss {found.value:.4f}")
    learned.save(folder.objective)
    return learned


def _learn_online(work: Workspace, folder: RunFolder, results: dict[str, Any]) -> Objective:
    """The objective with the schedule that one steered fine-tune found; its model is that of autoft."""
    cfg = work.cfg
    online = build.online(work, Journal(folder.journal))
    begin = spaces.objective_of(cfg, online.problem.space.plain(online.problem.start))
    kept = _kept(work, folder)
    settings = replace(
        build.fit_settings(work, begin, folder.log),
        keeper=kept,
        steer=lambda step, steps, state: spaces.objective_of(cfg, online(step, state)),
    )
    Fits(partial(build.fit, work), settings, kept)("autoft")
    records = online.journal.records
    results["search"] = {
        "trials": len(records),
        "best_value": records[-1].outcome.value,
        "inner_steps": cfg.inner.steps,
        "step_equivalents": online.step_equivalents,
        "seconds": sum(r.outcome.seconds for r in records),
        "space_size": len(online.problem.space),
        "finalists": [],
    }
    folder.write(results)
    stages = tuple((start, spaces.objective_of(cfg, params)) for start, params in online.schedule)
    return replace(begin, schedule=stages[1:])


def _kept(work: Workspace, folder: RunFolder) -> Checkpoints:
    return Checkpoints(folder.checkpoints, partial(build.fresh, work), work.device)


def _fit_all(work: Workspace, folder: RunFolder, results: dict[str, Any], learned: Objective | None) -> None:
    """Fit, evaluate and measure each method once; a method that others need is shared through its checkpoint."""
    kept = _kept(work, folder)
    settings = replace(build.fit_settings(work, learned, folder.log), keeper=kept)
    drift = build.drift(work)
    fits = Fits(partial(build.fit, work), settings, kept)
    for name in build.methods(work):
        if name in results["methods"] or name in results["failed"]:
            continue
        try:
            model, cost = fits(name)
            results["cost"][name] = asdict(cost)
            results["drift"][name] = drift(model)
            folder.log({"method": name, "drift": results["drift"][name]})
            results["methods"][name] = build.evaluated(work, model)
        except DivergedError as error:
            results["failed"][name] = str(error)
        folder.write(results)
    chosen = work.cfg.finetune.method
    if chosen not in results["failed"]:
        export(fits.model(chosen), work.clip, work.splits.classes.names, folder.model)


if __name__ == "__main__":
    sys.exit(main())
