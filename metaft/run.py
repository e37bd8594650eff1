"""python -m metaft.run: parse, hand over to the pipeline, print."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # a signal during what follows would show as the trace of an import
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import argparse
import json
import logging
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metaft import ranks
from metaft.errors import ConfigError, DivergedError, Fault, unknown
from metaft.listings import LISTS
from metaft.runfiles import PAGE, SETTINGS, SUMMARY
from metaft.search.registry import modes
from metaft.shell import answered, leave

PROG = "python -m metaft.run"
SEED = re.compile(r"[0-9]{1,10}")

if TYPE_CHECKING:  # imported where needed, so that help, lists and bad settings answer at once
    from metaft.config import Config
    from metaft.runs import Run, Source


@dataclass
class GoingOn:
    """The command that goes on with what this process is at work on; empty without a folder, or if it was deleted.

    Args:
        earlier: the run that is made again, if one is.
    """

    earlier: Path | None = None
    folder: Path | None = None

    def __call__(self) -> str:
        """The command."""
        if self.folder is None or not self.folder.is_dir():
            return ""
        words = [] if self.earlier is None else ["--reproduce", str(self.earlier)]
        return shlex.join(["python", "-m", "metaft.run", *words, "--resume", str(self.folder)])

    def begun(self, folder: Path) -> None:
        """Learn of the folder."""
        self.folder = folder


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line; returns the exit code."""
    words = parser(prog)
    args, odd = words.parse_known_intermixed_args(argv)
    if odd:
        words.error(_odd(odd[0], [flag for action in words._actions for flag in action.option_strings]))
    args.overrides += [word for word in args.seeds or () if "=" in word]  # --seeds 0 1 key=value
    args.seeds = args.seeds and [word for word in args.seeds if "=" not in word]
    logging.getLogger().setLevel(logging.ERROR)  # open_clip logs to the root logger
    going_on = GoingOn(args.reproduce)
    return answered(lambda: _together(args, going_on), going_on)


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Search for a fine-tuning objective, fine-tune a CLIP model with it, compare, report.",
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, such as inner.steps=7")
    parser.add_argument("--mode", metavar="MODE", help="hypergrad, or a sampler: tpe, random or one of Optuna's")
    parser.add_argument("--config", type=_place, metavar="FILE", help="YAML settings; default: toy CLIP on digits")
    parser.add_argument("--out", type=_place, metavar="DIR", help="run folder; default: a new one in runs/")
    parser.add_argument("--resume", type=_place, metavar="DIR", help="go on with an interrupted run")
    parser.add_argument("--reproduce", type=_place, metavar="RUN", help="make a finished run again and compare the two")
    parser.add_argument("--objective", type=_place, metavar="PATH", help="use this file, or that of a run; no search")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--seed", type=int, metavar="N")
    parser.add_argument("--seeds", nargs="+", metavar="N", help="a run for each, and their mean and interval")
    parser.add_argument("--validate", action="store_true", help="check the settings and stop")
    parser.add_argument("--dry-run", action="store_true", help="open everything, try one step, estimate, write nothing")
    parser.add_argument("--print-config", action="store_true", help="print the settings as YAML and stop")
    parser.add_argument("--list", choices=sorted(LISTS), help="what can be named in the settings")
    parser.add_argument("--quiet", action="store_true", help="no progress, no notes")
    return parser


def _odd(word: str, flags: Sequence[str]) -> str:
    """What is wrong with a word that begins with a dash and is none of the flags."""
    name, equals, value = word.lstrip("-").partition("=")
    if "." in name:
        return (
            f"{word}: a setting; allowed: without dashes and with its value, as {name}={value if equals else 'VALUE'}"
        )
    return str(unknown("flag", word, flags))


def _place(text: str) -> Path:
    """The path that a word means."""
    from metaft.config.paths import place

    return place(text)


def _together(args: argparse.Namespace, going_on: GoingOn) -> int:
    """Dispatch on all ranks that were started together, of which the first prints."""
    if not ranks.launched():
        return _dispatch(args, going_on)
    from metaft.progress import be_mute

    with ranks.joined(), redirect_stdout(sys.stdout if ranks.leads() else None):
        be_mute(not ranks.leads())
        return _dispatch(args, going_on)


def _dispatch(args: argparse.Namespace, going_on: GoingOn) -> int:
    if args.list:
        print(LISTS[args.list]())
        return 0
    cfg, source = ranks.agreed(lambda: _settings(args))
    if ranks.count() > 1:
        ranks.refuse_others(_asked(args, cfg, source))
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

        print(dry_run(cfg, source))
        return 0
    return _run(cfg, source, args, going_on)


def _asked(args: argparse.Namespace, cfg: Config, source: Source) -> dict[str, dict[str, object]]:
    """What all ranks must be asked for alike before anything is opened; each may have a GPU of another number."""
    from metaft.build.carried import digest
    from metaft.config import flatten

    flags = ("validate", "print_config", "dry_run", "seeds")
    given = {f"--{flag}": getattr(args, flag) is not None for flag in ("resume", "reproduce")}
    settings = {name: value for name, value in flatten(cfg).items() if name != "device"}
    return {
        "command line": {**{f"--{flag.replace('_', '-')}": getattr(args, flag) for flag in flags}, **given},
        "settings": settings,
        "objective": {"digest": digest(source)},
    }


def _run(cfg: Config, source: Source, args: argparse.Namespace, going_on: GoingOn) -> int:
    """Run as the command line says: once, once more, or for several seeds; print what came of it."""
    from metaft import runs, seeds
    from metaft.files import nearest_existing
    from metaft.runfolder import RUNS

    if args.resume:
        ranks.refuse_unshared("--resume", args.resume)
    else:
        ranks.refuse_unshared("out", nearest_existing((cfg.out or RUNS).absolute()))
    if args.reproduce:
        ranks.refuse_unshared("--reproduce", args.reproduce)
        run, found = runs.again(cfg, args.reproduce, args.resume, going_on.begun)
        code = _told(run)
        print(f"\n{args.reproduce}, made again in {run.folder.path}:\n\n{found.table()}")
        return code if found.same else DivergedError.exit_code
    if args.seeds or (args.resume and seeds.is_begun(args.resume)):
        folder = args.resume or seeds.begin(cfg, source, [int(seed) for seed in args.seeds])
        going_on.begun(folder)
        codes = [_told(run) for run in runs.of_seeds(cfg, folder)]
        summary = seeds.Summary.of(folder)
        summary.write(folder)
        print(f"\n{summary.table()}\n\nhanded back: {summary.choices()}\nsummary: {folder / SUMMARY}")
        return max(codes)
    return _told(runs.in_folder(cfg, source, args.resume, going_on.begun))


def _told(run: Run) -> int:
    """Print a run's table, the search's cost, failures, and where report and model are; gives the exit code."""
    from metaft.build.fits import finetune_cost
    from metaft.metrics import METRICS
    from metaft.report.tables import handed_back

    work, folder, results = run.work, run.folder, run.results
    metric = work.search.metric
    if metric != "accuracy" and any(metric in score.metrics for by in results.scores.values() for score in by.values()):
        print(f"{METRICS[metric].title}:\n\n{results.table(metric)}\n\naccuracy:\n")
    print(results.table())
    if results.handed_back is not None:
        print(f"\n{handed_back(results.to_dict())}")
    if results.search is not None:
        cost, tuning = results.search["step_equivalents"], finetune_cost(work)
        print(f"\nsearch: {cost:,.0f} step equivalents, {cost / tuning:,.2f} fine-tunes of {tuning:,.0f}")
    for name, reason in results.failed.items():
        print(f"\n{name} gave no result: {reason}", file=sys.stderr)
    print(f"\nreport: {folder.path / PAGE}")
    if results.handed_back is not None:
        print(f"model:  {folder.model} ({results.handed_back.method}; load.py there opens it with open_clip)")
    return DivergedError.exit_code if results.failed else 0


def _settings(args: argparse.Namespace) -> tuple[Config, Source]:
    """The settings of the command line, checked for form and names together, and the objective that it names.

    Raises:
        ConfigError: every fault of both kinds.
    """
    from metaft.build.carried import given
    from metaft.build.check import faults_of
    from metaft.config import load

    flags = {"search.mode": args.mode, "out": args.out, "device": args.device, "seed": args.seed}
    overrides = [*args.overrides, *(f"{k}={json.dumps(v, default=str)}" for k, v in flags.items() if v is not None)]
    begun = _begun(args)
    path = begun / SETTINGS if begun else args.config
    faults = _beside(args)
    try:
        cfg = load(path, overrides)
    except ConfigError as error:
        faults += error.faults
        cfg = error.partial
    faults += faults_of(cfg)
    if begun and not faults:
        faults += _changed(load(path), cfg)
    needs_mode = not (args.objective or args.validate or args.print_config or begun)
    if needs_mode and cfg.search.mode is None and not faults:
        faults.append(Fault("--mode", "nothing given", ", ".join(modes())))
    if faults:
        raise ConfigError(faults)
    if begun:
        cfg = cfg.model_copy(update={"out": args.out})  # the folder that it began in is no place for another run
    return cfg, given(args.objective) if args.objective else None


def _begun(args: argparse.Namespace) -> Path | None:
    """The folder whose settings this run has, where it goes on or is made again.

    Raises:
        ConfigError: it holds none.
    """
    for flag, folder in (("--resume", args.resume), ("--reproduce", args.reproduce)):
        if folder is not None:
            from metaft.config.paths import no_folder

            if not (folder / SETTINGS).is_file():
                found = f"{folder} holds no run" if folder.is_dir() else no_folder(folder)
                raise ConfigError([Fault(flag, found, "the folder of a run that was begun")])
            return Path(folder)
    return None


def _beside(args: argparse.Namespace) -> list[Fault]:
    """Faults of flags beside others that leave them no meaning, and of seeds that no run can have."""
    apart = {
        "--resume": ("--config", "--out", "--objective", "--seeds"),
        "--reproduce": ("--config", "--objective", "--seeds"),
        "--seeds": ("--seed",),
    }
    value = {flag: getattr(args, flag.strip("-")) for flag in (*apart, *apart["--resume"], "--seed")}
    faults = [
        Fault(
            other,
            f"{_words(value[other])} beside {flag}",
            "one of the two" if flag == "--seeds" else "none, as the run has its own",
        )
        for flag, others in apart.items()
        for other in others
        if None not in (value[flag], value[other])
    ]
    known = [str(int(seed)) if SEED.fullmatch(seed) else seed for seed in args.seeds or ()]
    if args.reproduce and args.resume and args.resume.resolve() == args.reproduce.resolve():
        faults.append(Fault("--resume", f"{args.resume}, the run that is made again", "the folder that it is made in"))
    if args.seeds == []:
        faults.append(Fault("--seeds", "nothing given", "whole numbers, each once"))
    odd = [seed for seed in known if not SEED.fullmatch(seed) or int(seed) >= 2**31 or known.count(seed) > 1]
    return faults + ([Fault("--seeds", _words(odd), "whole numbers from 0 to 2147483647, each once")] if odd else [])


def _words(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _changed(before: Config, after: Config) -> list[Fault]:
    """Faults of settings that a run would change that goes on or is made again; only the device and `out` may."""
    from metaft.config import flatten
    from metaft.config.schema import MOVABLE

    old, new = flatten(before), flatten(after)
    return [
        Fault(key, f"{new[key]!r} in a run that was begun", f"{old[key]!r}, as it began")
        for key in old
        if old[key] != new[key] and key not in MOVABLE
    ]


if __name__ == "__main__":
    leave(main())
