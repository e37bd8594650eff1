"""The values of a method's own hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metaft.finetune.context import FitContext
from metaft.finetune.methods import METHODS
from metaft.hooks.knobs import settled


def knobs_of(method: str, context: FitContext) -> Mapping[str, Any]:
    """A method's knobs by name, as set under `finetune.knobs` or by default."""
    return settled(METHODS[method].knobs, context.settings.finetune.knobs.get(method, {}))


def paced(method: str, context: FitContext) -> FitContext:
    """The same fit at `lr_factor`, a knob of the method, times plain fine-tuning's learning rate."""
    plain = context.settings.plain
    return context.varied(plain=replace(plain, lr=plain.lr * knobs_of(method, context)["lr_factor"]))
