"""Accuracy by test, domain and group, of the model handed back beside what one would have without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from metaft.report import svg
from metaft.report.breakdown import by_domain
from metaft.report.markup import NONE, folded, joined, plain_table
from metaft.report.run import Run
from metaft.report.values import splits_of
from metaft.report.verdict import PLAIN, ZERO_SHOT, kept

ROW, TOP, LEFT, RIGHT = 20.0, 30.0, 230.0, 700.0
MOST = 16  # domains of a split, the hardest
HOW = ("c7", "c2", "c1 full")  # of the zero-shot model, of plain fine-tuning, of the model handed back


def body(run: Run) -> Markup:
    """A row a test and a domain of it, a mark a method, with intervals; every method's domains in tables."""
    methods = run.results["methods"]
    names = [n for n in dict.fromkeys((ZERO_SHOT, PLAIN, kept(run))) if n in methods]
    rows = _rows({name: methods[str(name)] for name in names if name is not None}, splits_of(run.results))
    if not rows or not names:
        return NONE
    hows = dict(zip(names, HOW[-len(names) :] if kept(run) in names else HOW, strict=False))
    height = TOP + ROW * len(rows)
    ends = [v for _, scores in rows for s in scores.values() for v in s["ci95"]["accuracy"]]
    x = svg.linear([100 * v for v in ends], LEFT, RIGHT, " %")
    y = svg.Scale(0.0, 1.0, height, TOP - 6, lambda v: v, ())
    parts = [svg.axes(x, y, "accuracy", "")]
    for i, name in enumerate(names):
        parts += [svg.mark(LEFT + 150 * i, 12, "disc", hows[name], str(name), 4.5)]
        parts += [svg.text(LEFT + 150 * i + 10, 16, str(name), "small")]
    for i, (label, scores) in enumerate(rows):
        middle = TOP + ROW * (i + 0.5)
        whole = not label.startswith(" ")
        parts.append(svg.text(LEFT - 10, middle + 4, label.strip(), "end small strong" if whole else "end small"))
        for name, score in scores.items():
            low, high = (100 * v for v in score["ci95"]["accuracy"])
            value, n = 100 * score["accuracy"], score["n"]
            said = f"{name} on {label.strip()}: {value:.1f} % [{low:.1f}, {high:.1f}], {n} images"
            parts.append(svg.line([(x(low), middle), (x(high), middle)], f"{hows[name].split()[0]} thin pale"))
            parts.append(svg.mark(x(value), middle, "disc", hows[name], said, 4.5))
    told = (
        "Each test, and below it its domains, the hardest first; lines: 95 % intervals. Tests of a data set are drawn "
        "from other domains than the validation images, so the lowest tell what to expect of a new one."
    )
    tables = joined(folded(caption, plain_table(t, caption)) for caption, t in by_domain(run.results).items())
    return svg.figure(height + 48, parts, "Accuracy by test and domain", told) + tables


Scores = Mapping[str, Mapping[str, Any]]


def _rows(methods: Mapping[str, Mapping[str, Any]], splits: list[str]) -> list[tuple[str, Scores]]:
    """By label, indented for a domain, the score of each method."""
    rows: list[tuple[str, Scores]] = []
    for split in splits:
        scores = {name: method[split] for name, method in methods.items() if split in method}
        if not scores:
            continue
        rows.append((split, scores))
        inside = {name: score.get("by_domain") or {} for name, score in scores.items()}
        domains = dict.fromkeys(domain for of_method in inside.values() for domain in of_method)

        def hardest(domain: str, inside: Mapping[str, Scores] = inside) -> float:
            return min(float(of_method[domain]["accuracy"]) for of_method in inside.values() if domain in of_method)

        for domain in sorted(domains, key=hardest)[:MOST]:
            rows.append((f"  {domain}", {n: of[domain] for n, of in inside.items() if domain in of}))
    return rows
