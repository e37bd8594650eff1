"""Reading objective.yaml, with all its faults reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaft.config.limits import admits, allowed
from metaft.config.plain import plain
from metaft.config.yamlfile import SIZE, parse_yaml
from metaft.errors import ConfigError, Fault, all_unknown, first_line, unknown
from metaft.names import ALPHA
from metaft.objective.heads import HEADS, ZERO_SHOT
from metaft.objective.objective import VERSION, Objective
from metaft.objective.registry import TERMS
from metaft.texts import read_text

OPTIMIZER = ("lr", "wd")
STAGE = ("terms", "sources", *OPTIMIZER, "groups")
FIELDS = ("version", *STAGE, "schedule", "head", "alpha", "method")


def load_objective(path: str | Path) -> Objective:
    """Read objective.yaml.

    Raises:
        ConfigError: every fault of the file.

    >>> Objective({"ce": 1.0}, lr=1e-3, wd=0.1).save("objective.yaml")
    >>> load_objective("objective.yaml").lr
    0.001
    """
    path, faults = Path(path), list[Fault]()
    try:
        read = parse_yaml(read_text(path, SIZE), str(path), faults)
    except (OSError, ValueError) as error:
        found, form = f"cannot read {path}: {error}", f"an objective.yaml of at most {SIZE:,} bytes"
        raise ConfigError([Fault("--objective", found, form)]) from error
    if read is None or not isinstance(read.value, dict):
        raise ConfigError(faults or [Fault(str(path), "no mapping", ", ".join(FIELDS))])
    return _made(str(path), read.value, faults)


def refuse_faults(objective: Objective) -> None:
    """Refuse an objective that no file could hold.

    Raises:
        ConfigError: every fault of it.
    """
    try:
        document = plain(objective.document())
    except (AttributeError, TypeError, ValueError) as error:
        found = f"a value that is none of an objective's ({first_line(error)})"
        raise ConfigError([Fault("objective", found, "what an objective.yaml can hold")]) from error
    _made("objective", document, [])


def _made(where: str, document: Mapping[str, Any], faults: list[Fault]) -> Objective:
    """The objective that a document holds.

    Raises:
        ConfigError: every fault of it, after those that were found before.
    """
    faults += all_unknown(where, document, FIELDS)
    if document.get("version") != VERSION:
        faults.append(Fault(f"{where}: version", repr(document.get("version")), str(VERSION)))
    head = document.get("head", ZERO_SHOT)
    if not isinstance(head, str) or head not in HEADS:
        faults.append(unknown(f"{where}: head", str(head), HEADS))
    alpha = document.get(ALPHA, 1.0)
    if not admits(ALPHA, alpha):
        faults.append(Fault(f"{where}: alpha", repr(alpha), "a number from 0 to 1"))
    first = _stage(where, document, faults)
    later = _schedule(f"{where}: schedule", document.get("schedule") or [], faults)
    knobs = dict(_mapping(f"{where}: method", document.get("method"), faults))
    method = knobs.pop("name", None)
    if not isinstance(method, str | None) or (knobs and method is None):
        faults.append(Fault(f"{where}: method", f"{method!r} for a name", "null, or a mapping with a name"))
    if faults:
        raise ConfigError(faults)
    schedule = tuple((stage["start"], _objective(stage)) for stage in later)
    return replace(_objective(first), method=method, knobs=knobs, schedule=schedule, head=head, alpha=alpha)


def _objective(stage: Mapping[str, Any]) -> Objective:
    groups, sources = stage["groups"], stage["sources"]
    return Objective(stage["terms"], float(stage["lr"]), float(stage["wd"]), groups, sources=sources)


def _schedule(where: str, value: Any, faults: list[Fault]) -> list[dict[str, Any]]:
    """The stages of a schedule, by rising start."""
    fields = ("start", *STAGE)
    if not isinstance(value, list) or not all(isinstance(stage, dict) for stage in value):
        faults.append(Fault(where, f"{value!r}", f"null, or a list of mappings with {', '.join(fields)}"))
        return []
    stages = []
    for number, stage in enumerate(value):
        place = f"{where}.{number}"
        faults += all_unknown(place, stage, fields)
        _numbers(place, {"start": stage.get("start")}, faults)
        stages.append({"start": stage.get("start"), **_stage(place, stage, faults)})
    starts = [stage["start"] for stage in stages if isinstance(stage["start"], int | float)]
    if starts != sorted(set(starts)) or any(start >= 1 for start in starts):
        faults.append(Fault(where, f"starts {starts}", "shares of all steps, rising, below 1"))
    return stages


def _stage(where: str, document: Mapping[str, Any], faults: list[Fault]) -> dict[str, Any]:
    """Terms, sources, lr, wd and groups of an objective or of a stage of its schedule."""
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
    return {"terms": terms, "sources": sources, "groups": groups, **optimizer}


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
