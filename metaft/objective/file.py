"""Reading objective.yaml, with all its faults reported at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaft.config.yamlfile import SIZE, parse_yaml
from metaft.errors import ConfigError, Fault, why
from metaft.names import ALPHA
from metaft.objective.form import FIELDS, faults_of
from metaft.objective.heads import ZERO_SHOT
from metaft.objective.objective import Objective
from metaft.texts import read_text


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
        found, form = f"cannot read {path}: {why(error)}", f"an objective.yaml of at most {SIZE:,} bytes"
        raise ConfigError([Fault("--objective", found, form)]) from error
    if read is None or not isinstance(read.value, dict):
        raise ConfigError(faults or [Fault(str(path), "no mapping", ", ".join(FIELDS))])
    faults += faults_of(str(path), read.value)
    if faults:
        raise ConfigError(faults)
    document, knobs = read.value, dict(read.value.get("method") or {})
    return replace(
        _stage(document),
        method=knobs.pop("name", None),
        knobs=knobs,
        schedule=tuple((stage["start"], _stage(stage)) for stage in document.get("schedule") or []),
        head=document.get("head", ZERO_SHOT),
        alpha=document.get(ALPHA, 1.0),
    )


def _stage(document: Mapping[str, Any]) -> Objective:
    terms, groups, sources = (document.get(name) or {} for name in ("terms", "groups", "sources"))
    return Objective(terms, float(document["lr"]), float(document["wd"]), groups, sources=sources)
