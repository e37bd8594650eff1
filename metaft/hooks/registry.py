"""Hooks that a search can use too, by the name of their method: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaft.config.schema import HookConfig
from metaft.hooks.knobs import Knob, settled
from metaft.lazy import Lazy
from metaft.names import Name
from metaft.space import Categorical, Float, Int

if TYPE_CHECKING:
    from metaft.hooks.hook import Hook

NORMS = Categorical("norm", ("mars", "l2"))  # of the balls in `metaft.hooks.ball`


@dataclass(frozen=True)
class HookKind:
    """A registered hook.

    Args:
        make: (names of the trained parameters, values of the knobs, settings) to the hook.
        knobs: its hyperparameters; real ones can be searched.
    """

    make: Callable[[Sequence[str], Mapping[str, Any], HookConfig], Hook]
    knobs: tuple[Knob, ...] = ()


def per_mille(default: int) -> Knob:
    """How many entries of a thousand move."""
    return Knob(Int("per_mille", 1, 1000, log=True), default)


HOOKS: dict[str, HookKind] = {
    "ftp": HookKind(
        Lazy("metaft.hooks.ftp:make"),
        (Knob(Float("kappa", 0.0, 1.0), 1.0), Knob(Float("speed", 1e-3, 1.0, log=True), 0.1), Knob(NORMS, "mars")),
    ),
    "spd": HookKind(Lazy("metaft.hooks.spd:make"), (Knob(Float("strength", 0.0, 2.0), 1.0),)),
    "digrap": HookKind(Lazy("metaft.hooks.digrap:make"), (Knob(Float("speed", 1e-3, 1.0, log=True), 0.1),)),
    "bitfit": HookKind(Lazy("metaft.hooks.bitfit:make")),
    "freeze_embed": HookKind(Lazy("metaft.hooks.freeze_embed:make")),
    "layer_decay": HookKind(Lazy("metaft.hooks.layer_decay:make"), (Knob(Float("ratio", 0.65, 1.0), 0.75),)),
    "sift": HookKind(Lazy("metaft.hooks.sift:make"), (per_mille(10),)),
    "surgical": HookKind(
        Lazy("metaft.hooks.surgical:make"), (Knob(Categorical("part", ("auto", "first", "middle", "last")), "auto"),)
    ),
    "diff_pruning": HookKind(
        Lazy("metaft.hooks.diff_pruning:make"),
        (
            Knob(Float("penalty", 1e-2, 1e4, log=True), 40.0),
            Knob(Int("gate_factor", 1, 100, log=True), 10),  # times lr_factor: at more all gates shut at once, for good
            per_mille(5),
        ),
    ),
    "r_adapter": HookKind(
        Lazy("metaft.hooks.r_adapter:make"),
        (
            Knob(Float("share", 0.0, 1.0), 0.5),
            Knob(Float("decay", 0.9, 0.9999), 0.99),
            Knob(Categorical("drop", (0.0, 0.1, 0.2, 0.3, 0.5)), 0.2),
        ),
    ),
    "ema": HookKind(Lazy("metaft.hooks.ema:make"), (Knob(Float("decay", 0.9, 0.9999), 0.99),)),
    "mixout": HookKind(Lazy("metaft.hooks.mixout:make"), (Knob(Float("probability", 0.0, 0.95), 0.9),)),
    "gmixout": HookKind(
        Lazy("metaft.hooks.gmixout:make"),
        (
            Knob(Float("probability", 0.0, 0.95), 0.9),
            Knob(Float("decay", 0.0, 1.0), 0.9),
            Knob(Int("every", 1, 1000, log=True), 5),
        ),
    ),
    "lora": HookKind(
        Lazy("metaft.hooks.lora:make"),
        (Knob(Int("rank", 1, 256, log=True), 8), Knob(Int("alpha", 1, 512, log=True), 16)),
    ),
}


def searchable_knobs(method: str) -> dict[str, Knob]:
    """The knobs of a hook that a search can have as dimensions, by their names there, METHOD.KNOB."""
    real = [knob for knob in HOOKS[method].knobs if isinstance(knob.dimension, Float)]
    return {str(Name(knob.name, method=method)): knob for knob in real}


def hook_for(name: str, names: Sequence[str], settings: HookConfig) -> tuple[Hook, dict[str, Any]]:
    """A registered hook for trained parameters of these names, and its knobs' values."""
    knobs = settled(HOOKS[name].knobs, settings.knobs.get(name, {}))
    return HOOKS[name].make(names, knobs, settings), knobs
