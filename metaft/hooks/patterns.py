"""Parameters chosen by patterns of their names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from torch import Tensor

from metaft.errors import ConfigError, Fault
from metaft.hooks.hook import Hook, Knobs, State
from metaft.tensors import Tensors

WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DataParallel and torch.compile add to a name


def bare(name: str) -> str:
    """A parameter's name without the prefixes of wrappers."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def is_of_head(name: str) -> bool:
    """Whether a parameter is the last layer's."""
    return bare(name).startswith("head.")


def matching(names: Sequence[str], patterns: Sequence[str], field: str = "", what: str = "parameter") -> list[str]:
    """The names that a pattern (with `*`) matches; with a `field` to blame, every pattern must match one.

    Raises:
        ConfigError: names every pattern that matches nothing.
    """
    idle = [p for p in patterns if not any(fnmatch(bare(name), p) for name in names)]
    if field and idle:
        examples = f"patterns of names like {', '.join(map(bare, names[:3]))}"
        raise ConfigError([Fault(field, f"{p!r} matches no {what}", examples) for p in idle])
    return [name for name in names if any(fnmatch(bare(name), p) for p in patterns)]


def included(names: Sequence[str], exclude: Sequence[str], field: str = "finetune.exclude") -> list[int]:
    """The numbers of the names that match no pattern.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left.
    """
    excluded = set(matching(names, exclude, field))
    if len(excluded) == len(names):
        raise ConfigError([Fault(field, "every parameter is excluded", "patterns that leave some")])
    return [i for i, name in enumerate(names) if name not in excluded]


def picked(tensors: Tensors, numbers: Sequence[int]) -> list[Tensor]:
    """The tensors at these numbers."""
    return [tensors[i] for i in numbers]


def placed(tensors: Tensors, numbers: Sequence[int], others: Tensors) -> list[Tensor]:
    """A copy of the list, with `others` in place of the tensors at these numbers."""
    replaced = list(tensors)
    for i, t in zip(numbers, others, strict=True):
        replaced[i] = t
    return replaced


class Only(Hook):
    """A hook on some of the variables; the others take plain steps.

    Args:
        hook: one that moves the parameters themselves.
        numbers: of the variables that take part.
    """

    def __init__(self, hook: Hook, numbers: Sequence[int]) -> None:
        self._hook, self._numbers = hook, numbers

    def initial(self, anchors: Tensors) -> State:
        """The hook's first state, for the chosen variables."""
        return self._hook.initial(self._of(anchors))

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The hook's gradients for the chosen variables; the others unchanged."""
        changed, state = self._hook.before(self._of(grads), self._of(values), self._of(anchors), state, knobs)
        return placed(grads, self._numbers, changed), state

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The hook's values for the chosen variables; the others unchanged."""
        changed, state = self._hook.after(self._of(values), self._of(anchors), state, knobs)
        return placed(values, self._numbers, changed), state

    def result(self, values: Tensors, state: State) -> Tensors:
        """The hook's results for the chosen variables; the others unchanged."""
        return placed(values, self._numbers, self._hook.result(self._of(values), state))

    def _of(self, tensors: Tensors) -> list[Tensor]:
        return picked(tensors, self._numbers)


def except_for(hook: Hook, names: Sequence[str], exclude: Sequence[str]) -> Hook:
    """The hook on all variables but those whose names match a pattern; raises what `included` raises."""
    return Only(hook, included(names, exclude)) if exclude else hook
