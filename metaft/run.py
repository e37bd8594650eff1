"""python -m metaft.run: parse, hand over to the pipeline, print."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # a signal during what follows would show as the trace of an import
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaft.errors import ConfigError, DivergedError, Fault
from metaft.shell import answered, leave

if TYPE_CHECKING:  # imported where needed, so that help, lists and bad settings answer at once
    from metaft.build.carried import Carried
    from metaft.build.workspace import Workspace
    from metaft.config import Config
    from metaft.objective.objective import Objective
    from metaft.results import Results
    from metaft.runfolder import RunFolder


@dataclass
class GoingOn:
    """The command that goes on with what this process is at work on; empty without a folder, or if it was deleted."""

    folder: RunFolder | None = None

    def __call__(self) -> str:
        """The command."""
        if self.folder is None or not self.folder.path.is_dir():
            return ""
        return f"python -m metaft.run --resume {shlex.quote(str(self.folder.path))}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    args = _parser().parse_intermixed_args(argv)
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs to the root logger
    going_on = GoingOn()
    return answered(lambda: _dispatch(args, going_on), going_on)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m metaft.run",
        description="Search for a fine-tuning objective, fine-tune a CLIP model with it, compare, report.",
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as inner.steps=7")
    parser.add_argument("--mode", metavar="MODE", help="hypergrad, tpe or random")
    parser.add_argument("--config", type=_place, metavar="FILE", help="YAML settings; default: toy CLIP on digits")
    parser.add_argument("--out", type=_place, metavar="DIR", help="run folder; default: a new one in runs/")
    parser.add_argument("--resume", type=_place, metavar="DIR", help="go on with an interrupted run")
    parser.add_argument("--objective", type=_place, metavar="PATH", help="use this file, or that of a run; no search")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--validate", action="store_true", help="check the settings and stop")
    parser.add_argument("--dry-run", action="store_true", help="open everything, try one step, estimate, write nothing")
    parser.add_argument("--print-config", action="store_true", help="print the settings as YAML and stop")
    parser.add_argument("--list", choices=sorted(LISTS), help="what can be named in the settings")
    parser.add_argument("--quiet", action="store_true", help="no progress, no notes")
    return parser


def _place(text: str) -> Path:
    """The path that a word means."""
    from metaft.config.paths import place

    return place(text)


def _dispatch(args: argparse.Namespace, going_on: GoingOn) -> int:
    if args.list:
        print(LISTS[args.list]())
        return 0
    cfg, source = _settings(args)
    if args.print_config:
        from metaft.config import dump

        print(dump(cfg), end="")
        return 0
    if args.validate:
        print("the settings are valid")
        return 0
    from metaft.progress import be_quiet

    be_quiet(args.quiet)
    if args.dry_run:
        from metaft.dryrun import dry_run

        print(dry_run(cfg))
        return 0
    return _run(cfg, source, args.resume, going_on)


def _run(cfg: Config, source: Objective | Carried | None, resumed: Path | None, going_on: GoingOn) -> int:
    """Open everything, then run in a new folder or a resumed one."""
    from metaft import pipeline
    from metaft.provenance import identity
    from metaft.runfolder import RunFolder, refuse_other_settings, refuse_unusable

    if resumed is None:
        refuse_unusable(cfg.out)
    else:
        refuse_other_settings(resumed, cfg)
    work = pipeline.opened(cfg)
    learned = pipeline.received(work, source)
    folder = None if resumed is None else RunFolder.reopened(resumed, identity(work))
    searching = learned is None and not (folder is not None and folder.objective.exists())
    search = pipeline.prepared(work) if searching else None
    folder = folder or RunFolder.create(cfg, identity(work))
    going_on.folder = folder
    with folder.claimed():
        results = pipeline.run(work, folder, search, learned)
    _tell(work, folder, results)
    return DivergedError.exit_code if results.failed else 0


def _tell(work: Workspace, folder: RunFolder, results: Results) -> None:
    """Print a run's table, the search's cost, failures, and where the report and the model are."""
    from metaft.build.fits import finetune_cost
    from metaft.metrics import METRICS
    from metaft.report.tables import handed_back

    metric = work.search.metric
    if metric != "accuracy" and any(metric in score.metrics for by in results.scores.values() for score in by.values()):
        print(f"{METRICS[metric].title}:\n\n{results.table(metric)}\n\naccuracy:\n")
    print(results.table())
    if results.handed_back is not None:
        print(f"\n{handed_back(results.to_dict())}")
    if results.search is not None:
        cost, tuning = results.search["step_equivalents"], finetune_cost(work)
        print(f"\nsearch: {cost:,.0f} step equivalents, {cost / tuning:.1%} of a fine-tune of {tuning:,.0f}")
    for name, reason in results.failed.items():
        print(f"\n{name} gave no result: {reason}", file=sys.stderr)
    print(f"\nreport: {folder.path / 'report.html'}")
    if results.handed_back is not None:
        print(f"model:  {folder.model} ({results.handed_back.method}; load.py there opens it with open_clip)")


def _settings(args: argparse.Namespace) -> tuple[Config, Objective | Carried | None]:
    """The settings of the command line, checked for form and names together, and the objective that it names.

    Raises:
        ConfigError: every fault of both kinds.
    """
    from metaft.build.carried import given
    from metaft.build.check import faults_of
    from metaft.config import load

    flags = {"search.mode": args.mode, "out": args.out, "device": args.device, "seed": args.seed}
    overrides = [*args.overrides, *(f"{k}={json.dumps(v, default=str)}" for k, v in flags.items() if v is not None)]
    path = args.resume / "config.yaml" if args.resume else args.config
    if args.resume and not path.is_file():
        raise ConfigError([Fault("--resume", f"{args.resume} holds no run", "the folder of a run that was begun")])
    faults = _beside_resume(args) if args.resume else []
    try:
        cfg = load(path, overrides)
    except ConfigError as error:
        faults += error.faults
        cfg = error.partial
    faults += faults_of(cfg)
    if args.resume and not faults:
        faults += _changed(load(path), cfg)
    needs_mode = not (args.objective or args.validate or args.print_config or args.resume)
    if needs_mode and cfg.search.mode is None and not faults:
        faults.append(Fault("--mode", "nothing given", "hypergrad, tpe, random"))
    if faults:
        raise ConfigError(faults)
    return cfg, given(args.objective) if args.objective else None


def _beside_resume(args: argparse.Namespace) -> list[Fault]:
    """Faults of flags that a resumed run has no use for, since it has its own settings, folder and objective."""
    given = {"--config": args.config, "--out": args.out, "--objective": args.objective}
    allowed = "none, as a resumed run has its own"
    return [Fault(flag, f"{value} beside --resume", allowed) for flag, value in given.items() if value is not None]


def _changed(before: Config, after: Config) -> list[Fault]:
    """Faults of settings that a resumed run would change; only the device may."""
    from metaft.config import flatten

    old, new = flatten(before), flatten(after)
    return [
        Fault(key, f"{new[key]!r} in a resumed run", f"{old[key]!r}, as the run began")
        for key in old
        if old[key] != new[key] and key != "device"
    ]


def _listing(registry: str, cells: Callable[[Any], list[str]], *more: str) -> Callable[[], str]:
    """A function that imports a registry and gives its names as a table."""

    def table() -> str:
        from metaft.lazy import Lazy
        from metaft.report.tables import markdown

        rows = [[name, *cells(kind)] for name, kind in Lazy(registry).target.items()]
        return markdown(["name", "what", *more], rows, numbers=False)

    return table


def _described(kind: Any) -> list[str]:
    return [kind.description]


def _with_knobs(method: Any) -> list[str]:
    """A method's description, and its hyperparameters with their defaults and allowed values."""
    defaults = [(knob, "null" if knob.default is None else knob.default) for knob in method.knobs]
    return [method.description, "; ".join(f"{knob.name} {default} ({knob.allowed})" for knob, default in defaults)]


def _with_storages(kind: Any) -> list[str]:
    return [f"{kind.description}; storage: {', '.join(kind.storages)}"]


def _models() -> str:
    from metaft.clip.names import EMBEDDED, architectures
    from metaft.report.tables import markdown

    rows = [[name, "embedded" if name in EMBEDDED else "open_clip"] for name in architectures()]
    return markdown(["name", "what"], rows, numbers=False)


LISTS: dict[str, Callable[[], str]] = {
    "terms": _listing("metaft.objective.registry:TERMS", _described),
    "methods": _listing(
        "metaft.finetune.methods:METHODS", _with_knobs, "knobs under finetune.knobs.NAME: default (allowed)"
    ),
    "datasets": _listing("metaft.data.registry:FORMATS", _described),
    "executors": _listing("metaft.search.executors.registry:EXECUTORS", _described),
    "estimators": _listing("metaft.inner.registry:ESTIMATORS", _with_storages),
    "models": _models,
}

if __name__ == "__main__":
    leave(main())
