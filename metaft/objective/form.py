"""The form of objective.yaml: the faults of a document that is to be an objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaft.config.limits import admits, allowed
from metaft.errors import Fault, all_unknown, unknown
from metaft.names import ALPHA
from metaft.objective.heads import HEADS, ZERO_SHOT
from metaft.objective.registry import TERMS

VERSION = 1
OPTIMIZER = ("lr", "wd")
STAGE = ("terms", "sources", *OPTIMIZER, "groups")
FIELDS = ("version", *STAGE, "schedule", "head", "alpha", "method")


def faults_of(where: str, document: Mapping[str, Any]) -> list[Fault]:
    """Every fault of a document of plain values."""
    faults = list(all_unknown(where, document, FIELDS))
    if document.get("version") != VERSION:
        faults.append(Fault(f"{where}: version", repr(document.get("version")), str(VERSION)))
    head = document.get("head", ZERO_SHOT)
    if not isinstance(head, str) or head not in HEADS:
        faults.append(unknown(f"{where}: head", str(head), HEADS))
    alpha = document.get(ALPHA, 1.0)
    if not admits(ALPHA, alpha):
        faults.append(Fault(f"{where}: alpha", repr(alpha), "a number from 0 to 1"))
    _stage(where, document, faults)
    _schedule(f"{where}: schedule", document.get("schedule") or [], faults)
    knobs = dict(_mapping(f"{where}: method", document.get("method"), faults))
    method = knobs.pop("name", None)
    if not isinstance(method, str | None) or (knobs and method is None):
        faults.append(Fault(f"{where}: method", f"{method!r} for a name", "null, or a mapping with a name"))
    return faults


def _schedule(where: str, value: Any, faults: list[Fault]) -> None:
    """Check the stages of a schedule, which go by rising start."""
    fields = ("start", *STAGE)
    if not isinstance(value, list) or not all(isinstance(stage, dict) for stage in value):
        faults.append(Fault(where, f"{value!r}", f"null, or a list of mappings with {', '.join(fields)}"))
        return
    for number, stage in enumerate(value):
        place = f"{where}.{number}"
        faults += all_unknown(place, stage, fields)
        _numbers(place, {"start": stage.get("start")}, faults)
        _stage(place, stage, faults)
    starts = [stage["start"] for stage in value if isinstance(stage.get("start"), int | float)]
    if starts != sorted(set(starts)) or any(start >= 1 for start in starts):
        faults.append(Fault(where, f"starts {starts}", "shares of all steps, rising, below 1"))


def _stage(where: str, document: Mapping[str, Any], faults: list[Fault]) -> None:
    """Check the terms, sources, lr, wd and groups of an objective or of a stage of its schedule."""
    terms = _mapping(f"{where}: terms", document.get("terms"), faults)
    sources = _mapping(f"{where}: sources", document.get("sources"), faults)
    groups = _mapping(f"{where}: groups", document.get("groups"), faults)
    optimizer = {key: document.get(key) for key in OPTIMIZER}
    _numbers(f"{where}: terms", terms, faults)
    _numbers(f"{where}: sources", sources, faults)
    faults += all_unknown(f"{where}: terms", terms, TERMS)
    _numbers(where, optimizer, faults)
    for group, overrides in groups.items():
        _group(f"{where}: groups.{group}", overrides, faults)


def _group(where: str, overrides: Any, faults: list[Fault]) -> None:
    """Check the values that a parameter group has of its own."""
    fields = (*OPTIMIZER, "terms")
    overrides = overrides if isinstance(overrides, dict) else {"(value)": overrides}
    faults += all_unknown(where, overrides, fields)
    _numbers(where, {key: overrides[key] for key in OPTIMIZER if key in overrides}, faults)
    penalties = _mapping(f"{where}.terms", overrides.get("terms"), faults)
    _numbers(f"{where}.terms", penalties, faults)
    faults += all_unknown(f"{where}.terms", penalties, [name for name, term in TERMS.items() if term.penalty])


def _mapping(where: str, value: Any, faults: list[Fault]) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        faults.append(Fault(where, f"{value!r}", "a mapping"))
        return {}
    return value or {}


def _numbers(where: str, values: Mapping[str, Any], faults: list[Fault]) -> None:
    for key, value in values.items():
        if not admits(key, value):
            faults.append(Fault(f"{where}.{key}", repr(value), f"a number, {allowed(key)}"))
