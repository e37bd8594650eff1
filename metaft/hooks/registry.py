"""Hooks that a search can use too, by the name of their method: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metaft.hooks import ema, ftp, lora, spd
from metaft.hooks.hook import Hook
from metaft.hooks.knobs import Knob, settled
from metaft.hooks.names import except_for
from metaft.objective.space import Float


@dataclass(frozen=True)
class HookOptions:
    """What is set for hooks.

    Args:
        knobs: values by method and knob; the others keep their defaults.
        exclude: patterns of parameters that projections leave alone.
        lora_targets: patterns of the matrices that get low-rank factors; None: attention's.
    """

    knobs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    lora_targets: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Hooked:
    """A registered hook: its knobs, and how it is made for parameters of these names with these knobs' values."""

    knobs: tuple[Knob, ...]
    make: Callable[[Sequence[str], Mapping[str, Any], HookOptions], Hook]


HOOKS: dict[str, Hooked] = {
    "ftp": Hooked(ftp.KNOBS, lambda names, knobs, own: except_for(ftp.FTP(knobs["norm"]), names, own.exclude)),
    "spd": Hooked(spd.KNOBS, lambda names, knobs, own: except_for(spd.SPD(), names, own.exclude)),
    "ema": Hooked(ema.KNOBS, lambda names, knobs, own: ema.EMA()),
    "lora": Hooked(lora.KNOBS, lambda names, knobs, own: lora.LoRA(knobs["rank"], knobs["alpha"], own.lora_targets)),
}


def real_knobs(method: str) -> dict[str, Knob]:
    """The knobs of a hook that a search can have as dimensions, by their names there, METHOD.KNOB."""
    return {f"{method}.{k.name}": k for k in HOOKS[method].knobs if isinstance(k.dimension, Float)}


def hook_for(name: str, names: Sequence[str], options: HookOptions) -> tuple[Hook, dict[str, Any]]:
    """A registered hook for parameters of these names, and its knobs' values."""
    knobs = settled(HOOKS[name].knobs, options.knobs.get(name, {}))
    return HOOKS[name].make(names, knobs, options), knobs
