"""A state as a person reads it: lines of a name and a text, and a table; plain, or for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metaft.errors import on_a_line
from metaft.metrics import METRICS
from metaft.report.document import Document
from metaft.report.tables import handed_back, markdown
from metaft.report.values import ood_mean, title, written
from metaft.search.lines import Record
from metaft.watch.state import State

if TYPE_CHECKING:
    from rich.console import Group

QUIET = 300.0  # seconds after which a run that writes nothing may be none that goes on
SHOWN = 10  # trials, the last ones
COLOURS = {"ok": "green", "stopped": "yellow"}  # of a status; others are red


PHASE = "phase"  # the line that every frame has


@dataclass(frozen=True)
class Frame:
    """One view of a run: texts by name, and a table, header first."""

    lines: Mapping[str, str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """As plain text."""
        width = max(map(len, self.lines))
        lines = "\n".join(f"{name.ljust(width)}  {text}" for name, text in self.lines.items())
        return f"{lines}\n\n{markdown(self.rows[0], self.rows[1:])}" if len(self.rows) > 1 else lines

    def rendered(self) -> Group:
        """For a terminal, by rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        lines, table = Table.grid(padding=(0, 2)), Table(header_style="bold")
        for name, text in self.lines.items():
            lines.add_row(Text(name, style="bold"), Text(text))
        for number, name in enumerate(self.rows[0]):
            table.add_column(Text(name), justify="right" if number else "left")
        for row in self.rows[1:]:
            table.add_row(*(Text(cell, style=_style(name, cell)) for name, cell in zip(self.rows[0], row, strict=True)))
        return Group(lines, table) if len(self.rows) > 1 else Group(lines)


def _style(column: str, cell: str) -> str:
    return COLOURS.get(cell, "red") if column == "status" else ""


def frame(state: State, now: float) -> Frame:
    """The view of a state at a time in seconds since 1970."""
    cfg, metric = state.cfg, _metric(state.results)
    lines = {
        "run": on_a_line(f"{state.folder}: {cfg.search.mode or 'an objective'} on {cfg.data.format}, seed {cfg.seed}"),
        PHASE: _phase(state),
    }
    if (best := _best(state, metric)) is not None:
        lines["best value"] = best
    if state.records:
        lines["search"] = f"{state.step_equivalents:,.0f} step equivalents, {duration(state.seconds)}"
    if state.results is not None and state.results.get("cost"):
        costs = state.results["cost"].values()
        lines["methods"] = (
            f"{sum(c['step_equivalents'] for c in costs):,.0f} step equivalents, "
            f"{duration(sum(c['seconds'] for c in costs))}"
        )
    if state.event is not None and not state.ended:
        lines["last event"] = on_a_line(", ".join(f"{k} {_value(v)}" for k, v in state.event.items() if _short(v)))
    for name, reason in (state.results or {}).get("failed", {}).items():
        lines[f"{name} failed"] = on_a_line(reason)
    lines["last written"] = _since(state, max(0.0, now - state.written))
    done = {} if state.results is None else state.results["methods"]
    return Frame(lines, _methods(done, metric) if done else _trials(state.trials[-SHOWN:], title(metric), metric))


def _since(state: State, seconds: float) -> str:
    """When a run last wrote, and, where that is long ago, what to do if nobody works at it any more."""
    ago = f"{duration(seconds)} ago"
    if state.ended or seconds < QUIET:
        return ago
    return on_a_line(f"{ago}; if nothing works at it any more, python -m metaft.run --resume {state.folder} goes on")


def _phase(state: State) -> str:
    """What a run is at."""
    if state.ended:
        return on_a_line(f"ended. {handed_back(state.results or {})}".strip())
    if state.results is None:
        return "opening data and model"
    if not state.searching:
        done = len(state.results["methods"]) + len(state.results.get("failed") or {})
        return f"methods: {done} of at most {len(state.cfg.evaluation.methods)} are fitted and evaluated"
    if not state.begun:
        return "what the search begins with"
    finals = sum(r.kind == "final" for r in state.records)
    what = f"search: last choice, {finals} evaluations" if finals else f"search: {len(state.trials)} trials"
    if state.spent is None or state.left is None:
        return what
    return f"{what}; {100 * state.spent:.0f} % of its budget, at most about {duration(state.left)} left"


def _best(state: State, metric: str) -> str | None:
    """The value that the search has settled on, or the lowest of a trial so far."""
    found = (state.results or {}).get("search")
    if found:
        return f"{_value(found['best_value'])}, what the search has settled on"
    if state.best is None:
        return None
    outcome, unit = state.best.outcome, " %" if metric in METRICS and METRICS[metric].share else ""
    reached = f"{title(metric)} {_reached(outcome.metric, metric)}{unit}"
    return f"{_value(outcome.value)} in trial {state.best.number}, {reached}"


def _metric(results: Document | None) -> str:
    """The metric of a run."""
    found = (results or {}).get("provenance", {}).get("metric")
    return found if isinstance(found, str) else "accuracy"


def _trials(trials: Sequence[Record], name: str, metric: str) -> list[list[str]]:
    """Trials, header first."""
    rows = [["trial", "value", name, "step equivalents", "seconds", "status"]]
    for record in trials:
        outcome = record.outcome
        costs = (f"{outcome.step_equivalents:,.0f}", f"{outcome.seconds:.1f}")
        rows.append(
            [str(record.number), _value(outcome.value), _reached(outcome.metric, metric), *costs, outcome.status]
        )
    return rows


def _methods(methods: Mapping[str, Any], metric: str) -> list[list[str]]:
    """Methods with their values on the tests, header first."""
    rows = [["method", "id_test", "OOD mean"]]
    for name, scores in methods.items():
        rows.append(
            [name, written(scores.get("id_test", {}).get(metric), metric), written(ood_mean(scores, metric), metric)]
        )
    return rows


def _reached(value: float, metric: str) -> str:
    return written(value, metric) if math.isfinite(value) else "-"


def _value(value: Any) -> str:
    """A value with four significant digits if it is a real number; a dash for one that is not finite."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if math.isfinite(value) else "-"


def _short(value: Any) -> bool:
    return isinstance(value, str | int | float)


def duration(seconds: float) -> str:
    """A time in its two largest units.

    >>> duration(4.2), duration(61), duration(7325)
    ('4 s', '1 min 1 s', '2 h 2 min')
    """
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
