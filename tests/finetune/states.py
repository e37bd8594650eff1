"""What tests of fits share: comparing models, changing settings, keeping and interrupting trainings."""

from __future__ import annotations

import io
from typing import Any

import torch

from metaft.finetune.context import FitContext


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether all parameters are equal, bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def with_finetune(context: FitContext, **changes: Any) -> FitContext:
    """The context with other settings of the section `finetune`."""
    return context.varied(finetune=context.settings.finetune.model_copy(update=changes))


class Keeper:
    """Keeps states as files would; stops a training like Ctrl-C after its first check."""

    keeps = True

    def __init__(self, stop: bool) -> None:
        self.states: dict[str, bytes] = {}
        self.stop = stop

    def load(self, name):
        if name not in self.states:
            return None
        return torch.load(io.BytesIO(self.states[name]), weights_only=True)

    def save(self, name, state):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.states[name] = buffer.getvalue()
        if self.stop and state.get("step") == 10:
            raise KeyboardInterrupt

    def drop(self, name):
        del self.states[name]
