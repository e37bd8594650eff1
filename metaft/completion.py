"""Words that a shell completes: options, commands, files, names of the registries, and keys of the settings."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from metaft.errors import ConfigError, Fault

FILES = {"FILE": "file", "PATH": "file", "IMAGES": "file", "DIR": "directory", "RUN": "directory"}
NO_SPACE = """
_metaft() { # no blank follows a key, whose value is to be typed
  _shtab_metaft
  if [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o bashdefault -F _metaft metaft"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script by which a shell completes the words of a command.

    Raises:
        ConfigError: the package that writes it is not installed.
    """
    try:
        import shtab
    except ImportError:
        fault = Fault("--print-completion", "no package shtab", 'pip install "metaft[completion]"')
        raise ConfigError([fault]) from None
    _mark(parser)
    text: str = shtab.complete(parser, shell)
    return text + NO_SPACE if shell == "bash" else text


def _mark(parser: argparse.ArgumentParser) -> None:
    """Say of every word, by what it is called, what it may be."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark(command)
        elif action.metavar in FILES:
            action.complete = FILES[action.metavar]  # type: ignore[attr-defined] # where shtab looks for it
        elif action.dest in NAMES:
            action.choices = NAMES[action.dest]()


def _modes() -> Sequence[str]:
    from metaft.search.registry import modes

    return modes()


def _sets() -> Sequence[str]:
    from metaft.data.registry import FORMATS
    from metaft.data.wilds import SETS

    return [*FORMATS, *SETS]


def _keys() -> Sequence[str]:
    from metaft.config.read import flatten
    from metaft.config.schema import Config

    return [f"{key}=" for key in flatten(Config())]


NAMES: dict[str, Callable[[], Sequence[str]]] = {"mode": _modes, "name": _sets, "overrides": _keys}
