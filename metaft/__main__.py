"""metaft COMMAND ...: the command that is installed; each of its commands is a module of the package, too."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

from metaft import __version__
from metaft.errors import unknown
from metaft.shell import answered, leave

SHELLS = ("bash", "zsh")  # whose words can be completed


@dataclass(frozen=True)
class Command:
    """A command: a module, imported when it is asked for, with `main(argv, prog)` and `parser(prog)`."""

    description: str
    module: str

    @property
    def main(self) -> Callable[[Sequence[str], str], int]:
        """Its command line."""
        main: Callable[[Sequence[str], str], int] = import_module(self.module).main
        return main

    @property
    def parser(self) -> Callable[[str], argparse.ArgumentParser]:
        """What makes the parser of its words."""
        parser: Callable[[str], argparse.ArgumentParser] = import_module(self.module).parser
        return parser


COMMANDS = {
    "run": Command("search, fine-tune, compare, report", "metaft.run"),
    "report": Command("one page that compares runs", "metaft.report.__main__"),
    "data": Command("what of a data set lies in a folder, and a few of its pictures", "metaft.data.__main__"),
    "predict": Command("the class of each image and its probability", "metaft.predict"),
    "watch": Command("how far a run is, until it has ended", "metaft.watch.__main__"),
    "optuna": Command("the trials of a search as a study of Optuna", "metaft.search.optuna_export"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]].main(words[1:], f"metaft {words[0]}")
    return answered(lambda: _answer(words))


def _answer(words: Sequence[str]) -> int:
    """What is said where no command is given, or none that there is."""
    top = parser()
    if words and not words[0].startswith("-"):
        top.error(str(unknown("COMMAND", words[0], COMMANDS)))
    args = top.parse_args(words)
    if args.print_completion is None:
        top.print_help()
        return 0
    from metaft.completion import script

    print(script(parser(whole=True), args.print_completion))
    return 0


def parser(*, whole: bool = False) -> argparse.ArgumentParser:
    """The parser of the first word, or the whole one, which knows the words of every command, too."""
    top = argparse.ArgumentParser(
        prog="metaft", description="Robust fine-tuning of CLIP models by learning the fine-tuning objective."
    )
    top.add_argument("--version", action="version", version=f"metaft {__version__}")
    top.add_argument("--print-completion", choices=SHELLS, help="print what lets a shell complete words, and stop")
    commands = top.add_subparsers(metavar="COMMAND", title="commands, each with a --help of its own")
    for name, command in COMMANDS.items():
        own = [command.parser(f"metaft {name}")] if whole else []
        commands.add_parser(name, help=command.description, parents=own, add_help=not whole)
    return top


def command() -> NoReturn:
    """The entry point: the command line in a process of its own."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # in an import a signal would show as a trace
    leave(main())


if __name__ == "__main__":
    command()
