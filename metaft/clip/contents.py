"""What lies in a checkpoint, however deep: its tensors, its settings and the classes of its objects, by dotted name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from metaft.clip.inert import Inert

MOST_ENTRIES = 1_000_000  # a small pickle can unfold to any number
SWITCHES = ("normalize",)  # attributes of modules that are no tensors and change what they give: of wise-ft's heads


class EndlessError(ValueError):
    """An object unfolds to more than any checkpoint holds."""


@dataclass(frozen=True)
class Contents:
    """The parts of a checkpoint.

    Args:
        tensors: by dotted name, as `state_dict.module.visual.proj`.
        settings: texts and numbers beside them, by dotted name.
        classes: the classes of pickled modules, as `open_clip.transformer.QuickGELU`.
        kind: what the file holds at its top, in words.
    """

    tensors: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    classes: frozenset[str] = frozenset()
    kind: str = "tensors by name"


def contents_of(found: Any) -> Contents:
    """The contents of an object that was read from a checkpoint.

    Modules count as their state dict: parameters, persistent buffers and submodules, by name.

    Raises:
        EndlessError: it unfolds to too many entries.
    """
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    classes = set()
    for number, (path, entry) in enumerate(_entries(found, (), frozenset())):
        if number == MOST_ENTRIES:
            raise EndlessError(f"one object that unfolds to more than {MOST_ENTRIES:,} entries")
        if isinstance(entry, Tensor):
            tensors[".".join(path)] = entry
        elif isinstance(entry, Inert) and entry.origin:
            classes.add(entry.origin)
        elif isinstance(entry, (str, int, float)):
            settings[".".join(path)] = entry
    arrays = any(origin.endswith("multiarray._reconstruct") for origin in classes) and not tensors
    kind = described(found) + (" with numpy arrays" if arrays else "")
    return Contents(tensors, settings, frozenset(classes), kind)


def described(found: Any) -> str:
    """An object of a checkpoint in a few words."""
    if isinstance(found, Inert) and found.origin:
        return f"an object of the class {found.origin}"
    if isinstance(found, Mapping):
        keys = ", ".join(repr(str(key)) for key in list(found)[:3])
        return (
            f"a dict of {len(found)} entries ({keys}{', ...' if len(found) > 3 else ''})" if found else "an empty dict"
        )
    if isinstance(found, (list, tuple)):
        inner = "tensors" if found and all(isinstance(item, Tensor) for item in found) else "items"
        return f"a {type(found).__name__} of {len(found)} {inner} without names"
    if isinstance(found, Tensor):
        return f"one tensor {list(found.shape)} without a name"
    return f"{found!r:.40} ({type(found).__name__})"


def _entries(found: Any, path: tuple[str, ...], within: frozenset[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """An object with its path, and all that lies in it; objects within themselves are left out."""
    if id(found) in within:
        return
    yield path, found
    within |= {id(found)}
    if isinstance(found, Inert):
        for name, value in _attributes(found).items():
            yield from _entries(value, (*path, str(name)), within)
    if isinstance(found, Mapping):
        for name, value in found.items():
            yield from _entries(value, (*path, str(name)), within)
    if isinstance(found, (list, tuple)) and not isinstance(found, torch.Size):
        for number, value in enumerate(found):
            if not isinstance(value, (str, int, float)):
                yield from _entries(value, (*path, str(number)), within)


def _attributes(found: Inert) -> dict[str, Any]:
    """What an object holds by name; of a torch module that is what its state dict holds, and switches."""
    modules = found.state.get("_modules")
    if not isinstance(modules, Mapping):
        return found.state
    passing = found.state.get("_non_persistent_buffers_set") or ()
    buffers = {name: t for name, t in found.state.get("_buffers", {}).items() if name not in passing}
    switches = {name: found.state[name] for name in SWITCHES if name in found.state}
    return {**switches, **found.state.get("_parameters", {}), **buffers, **modules}
