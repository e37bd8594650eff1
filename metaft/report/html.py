"""One self-contained HTML page for one run or several."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from metaft.report.breakdown import OTHERS_NOTE, by_domain, groups_note, other_metrics, other_rows
from metaft.report.document import Document
from metaft.report.tables import (
    CEILING,
    DRIFT,
    DRIFT_NOTE,
    OOD_VAL_NOTE,
    drift_rows,
    group_rows,
    handed_back,
    last_choice,
    methods_rows,
    objective_rows,
    search_rows,
)
from metaft.report.values import ood_mean, ood_splits, splits_of, title

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd }
th { text-align: right } td { text-align: right; font-variant-numeric: tabular-nums }
th:first-child, td:first-child { text-align: left }
small { color: #777; display: block; white-space: nowrap } img { max-width: 36rem; width: 100% } .note { color: #a33 }
</style></head><body>
{% macro table(rows) %}<table><tr>{% for h in rows[0] %}<th>{{ h }}</th>{% endfor %}</tr>
{% for row in rows[1:] %}<tr>{% for c in row %}<td>{{ c }}</td>{% endfor %}</tr>{% endfor %}</table>{% endmacro %}
<h1>{{ title }}</h1>
<img src="data:image/png;base64,{{ figure }}" alt="OOD accuracy against ID accuracy by method">
{% for run in runs %}
<h2>{{ run.name }}</h2>
{% if run.handed_back %}<p><b>{{ run.handed_back }}</b></p>{% endif %}
<p>Accuracy in per cent; small: 95&nbsp;% bootstrap interval over the test images. {{ run.groups }}</p>
<table><tr><th>method</th>{% for s in run.splits %}<th>{{ s }}</th>{% endfor %}<th>OOD mean</th>
{% if run.ood_val %}<th>ood_val</th>{% endif %}</tr>
{% for m in run.methods %}<tr><td>{{ m.name }}</td>
{% for c in m.cells %}<td>{% if c %}{{ "%.1f"|format(c.value) }}
<small>[{{ "%.1f"|format(c.low) }}, {{ "%.1f"|format(c.high) }}]</small>{% endif %}</td>{% endfor %}
<td>{{ "%.1f"|format(m.ood) if m.ood is not none else "" }}</td>
{% if run.ood_val %}<td>{{ "%.1f"|format(100 * run.ood_val[m.name]) if m.name in run.ood_val else "" }}</td>{% endif %}
</tr>{% endfor %}</table>
{% if run.ood_val %}<p>{{ run.ood_val_note }}</p>{% endif %}
{% if run.ceiling %}<p>{{ run.ceiling }}</p>{% endif %}
{% for name, reason in run.failed.items() %}<p class="note">{{ name }} gave no result: {{ reason }}</p>{% endfor %}
{% for caption, rows in run.by_domain.items() %}<p>{{ caption }}</p>{{ table(rows) }}{% endfor %}
{% if run.others %}<p>{{ run.others_note }}</p>{{ table(run.others) }}{% endif %}
{% for name, rows in run.by_metric.items() %}
<details><summary>{{ name }} on every test, with intervals</summary>{{ table(rows) }}</details>{% endfor %}
{% if run.drift %}{{ table([run.drift_head] + run.drift) }}<p>{{ run.drift_note }}</p>{% endif %}
{% for rows in run.objective if rows|length > 1 %}{{ table(rows) }}{% endfor %}
{% if run.search %}{{ table([["search", run.mode]] + run.search) }}
{% if run.last_choice %}<p>{{ run.last_choice }}</p>{% endif %}{% endif %}
{% endfor %}
</body></html>
"""


def render(runs: Mapping[str, Document], figure: Path, title: str) -> str:
    """The page; `runs` by name, `figure` a PNG that is put inside."""
    template = Environment(autoescape=True, trim_blocks=True).from_string(PAGE)
    image = base64.b64encode(figure.read_bytes()).decode()
    return template.render(title=title, figure=image, runs=[_view(name, run) for name, run in runs.items()])


def _view(name: str, run: Document) -> dict[str, Any]:
    splits = splits_of(run)
    return {
        "name": name,
        "splits": splits,
        "methods": [
            {"name": m, "cells": [_cell(v.get(s)) for s in splits], "ood": _ood(v, splits)}
            for m, v in run["methods"].items()
        ],
        "handed_back": handed_back(run),
        "ood_val": run.get("ood_val") or {},
        "ood_val_note": OOD_VAL_NOTE,
        "ceiling": CEILING if "oracle" in run["methods"] else None,
        "failed": run.get("failed") or {},
        "groups": groups_note(run),
        "by_domain": by_domain(run),
        "others": other_rows(run),
        "others_note": OTHERS_NOTE,
        "by_metric": {title(metric): methods_rows(run, metric) for metric in other_metrics(run)},
        "drift": drift_rows(run),
        "drift_head": DRIFT,
        "drift_note": DRIFT_NOTE,
        "objective": [objective_rows(run), group_rows(run)],
        "mode": run.get("mode") or "none",
        "search": search_rows(run),
        "last_choice": last_choice(run),
    }


def _ood(method: Mapping[str, Any], splits: Sequence[str]) -> float | None:
    mean = ood_mean(method) if ood_splits(splits) else None
    return None if mean is None else 100 * mean


def _cell(split: Mapping[str, Any] | None) -> dict[str, float] | None:
    if split is None:
        return None
    low, high = split["ci95"]["accuracy"]
    return {"value": 100 * split["accuracy"], "low": 100 * low, "high": 100 * high}
