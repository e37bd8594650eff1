"""`python -m tests.dying PLACE RANK WORDS`: metaft.run, one rank of which is killed at a place and leaves a file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from metaft.clip import predict
from metaft.evaluation import scores
from metaft.run import main


def die() -> None:
    Path("died").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number: int, function: Callable[..., Any], instead: Callable[..., Any]) -> Callable[..., Any]:
    """A function, instead of which another is called the so-many-th time."""
    calls = count(1)
    return lambda *args, **how: (instead if next(calls) == number else function)(*args, **how)


def half_a_file(state: Any, file: Any) -> None:
    file.write(b"half a file")
    file.flush()
    die()


def in_evaluation(*args: Any, **how: Any) -> Any:
    """Within the second test split: after its first batch, and before the last exchange of outputs."""
    with patch.object(predict, "outputs", at_call(2, predict.outputs, lambda *_: die())):
        return predict.predict(*args, **how)


PLACES: dict[str, tuple[Any, str, int, Callable[..., Any]]] = {
    "checkpoint": (torch, "save", 3, half_a_file),
    "evaluation": (scores, "predict", 2, in_evaluation),
}

if __name__ == "__main__":
    place, rank, *words = sys.argv[1:]
    module, name, number, instead = PLACES[place]
    if os.environ["RANK"] == rank:
        setattr(module, name, at_call(number, getattr(module, name), instead))
    sys.exit(main(words))
