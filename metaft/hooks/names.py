"""Parameters chosen by patterns of their names."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from torch import Tensor

from metaft.errors import ConfigError, Problem
from metaft.hooks.hook import Hook, Knobs, State
from metaft.objective.vectors import Tensors

WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before a name


def bare(name: str) -> str:
    """A parameter's name without what wrappers put before it."""
    while name.startswith(WRAPPERS):
        name = name.partition(".")[2]
    return name


def matching(names: Sequence[str], patterns: Sequence[str], field: str = "", what: str = "parameter") -> list[str]:
    """The names that a pattern (with `*`) matches; with a `field` to blame every pattern must match one.

    Raises:
        ConfigError: every pattern that matches nothing.
    """
    idle = [p for p in patterns if not any(fnmatch(bare(name), p) for name in names)]
    if field and idle:
        examples = f"patterns of names like {', '.join(map(bare, names[:3]))}"
        raise ConfigError([Problem(field, f"{p!r} matches no {what}", examples) for p in idle])
    return [name for name in names if any(fnmatch(bare(name), p) for p in patterns)]


class Only(Hook):
    """A hook on some of the variables; the others take plain steps.

    Args:
        hook: one that moves the parameters themselves.
        chosen: for each variable whether it takes part.
    """

    def __init__(self, hook: Hook, chosen: Sequence[bool]) -> None:
        self._hook, self._rows = hook, [i for i, c in enumerate(chosen) if c]

    def initial(self, anchors: Tensors) -> State:
        """The hook's own, for the chosen variables."""
        return self._hook.initial(self._of(anchors))

    def before(
        self, grads: Tensors, values: Tensors, anchors: Tensors, state: State, knobs: Knobs
    ) -> tuple[Tensors, State]:
        """The hook's own in its place."""
        own, state = self._hook.before(self._of(grads), self._of(values), self._of(anchors), state, knobs)
        return self._placed(grads, own), state

    def after(self, values: Tensors, anchors: Tensors, state: State, knobs: Knobs) -> tuple[Tensors, State]:
        """The hook's own in its place."""
        own, state = self._hook.after(self._of(values), self._of(anchors), state, knobs)
        return self._placed(values, own), state

    def result(self, values: Tensors, state: State) -> Tensors:
        """The hook's own in its place."""
        return self._placed(values, self._hook.result(self._of(values), state))

    def _of(self, tensors: Tensors) -> list[Tensor]:
        return [tensors[i] for i in self._rows]

    def _placed(self, tensors: Tensors, own: Tensors) -> list[Tensor]:
        whole = list(tensors)
        for i, t in zip(self._rows, own, strict=True):
            whole[i] = t
        return whole


def except_for(hook: Hook, names: Sequence[str], exclude: Sequence[str], field: str = "finetune.exclude") -> Hook:
    """The hook on all variables but those whose names match a pattern.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left.
    """
    if not exclude:
        return hook
    out = set(matching(names, exclude, field))
    if len(out) == len(names):
        raise ConfigError([Problem(field, "every parameter is excluded", "patterns that leave some")])
    return Only(hook, [name not in out for name in names])
