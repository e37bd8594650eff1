"""What `--list` shows: each registry as a table, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def _listing(registry: str, cells: Callable[[Any], list[str]], *more: str) -> Callable[[], str]:
    """A function that imports a registry and gives its names as a table."""

    def table() -> str:
        from metaft.lazy import Lazy
        from metaft.report.tables import markdown

        rows = [[name, *cells(kind)] for name, kind in Lazy(registry).target.items()]
        return markdown(["name", "what", *more], rows, numbers=False)

    return table


def _described(kind: Any) -> list[str]:
    return [kind.description]


def _with_knobs(method: Any) -> list[str]:
    """A method's description, its source, and its hyperparameters with their defaults and allowed values."""
    defaults = [(knob, "null" if knob.default is None else knob.default) for knob in method.knobs]
    knobs = "; ".join(f"{knob.name} {default} ({knob.allowed})" for knob, default in defaults)
    return [method.description, method.source, knobs]


def _with_storages(kind: Any) -> list[str]:
    return [f"{kind.description}; storage: {', '.join(kind.storages)}"]


def _models() -> str:
    from metaft.clip.names import EMBEDDED, architectures
    from metaft.report.tables import markdown

    rows = [[name, "embedded" if name in EMBEDDED else "open_clip"] for name in architectures()]
    return markdown(["name", "what"], rows, numbers=False)


LISTS: dict[str, Callable[[], str]] = {
    "terms": _listing("metaft.objective.registry:TERMS", _described),
    "methods": _listing(
        "metaft.finetune.methods:METHODS", _with_knobs, "source", "knobs under finetune.knobs.NAME: default (allowed)"
    ),
    "datasets": _listing("metaft.data.registry:FORMATS", _described),
    "executors": _listing("metaft.search.executors.registry:EXECUTORS", _described),
    "estimators": _listing("metaft.inner.registry:ESTIMATORS", _with_storages),
    "models": _models,
    "trackers": _listing("metaft.trackers.registry:TRACKERS", _described),
}
