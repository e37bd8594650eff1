"""What the outer loss depends on: hypergradients with their noise, or ranks where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt
from statistics import fmean, stdev

from markupsafe import Markup

from metaft.report import charts
from metaft.report.markup import NONE, paragraph
from metaft.report.run import Run
from metaft.report.sections.trajectories import place_in
from metaft.search.lines import Record

SHOWN = 30  # hyperparameters, those with the largest effect
FEWEST = 8  # trials for ranks to say anything


def body(run: Run) -> Markup:
    """Bars of the strongest effects, and of what is lost without each part of what was learned."""
    return _effects(run) + _left_out(run)


def _effects(run: Run) -> Markup:
    steps = [r for r in run.trials if _sound(r)]
    ranked = [r for r in run.trials if isfinite(r.outcome.value)]
    if len(steps) > 1:
        return _slopes(run, steps[len(steps) // 2 :] if len(steps) > 3 else steps) + _checked(run)
    return _ranks(run, ranked) if len(ranked) >= FEWEST else NONE


def _sound(record: Record) -> bool:
    return record.outcome.status == "ok" and record.gradient is not None and all(map(isfinite, record.gradient))


def _slopes(run: Run, steps: Sequence[Record]) -> Markup:
    """The mean derivative over the later steps, with two standard errors sd / sqrt(n)."""
    rows = []
    for i, dimension in enumerate(run.space):
        slopes = [r.gradient[i] for r in steps if r.gradient is not None and i < len(r.gradient)]
        if len(slopes) > 1:
            mean, error = fmean(slopes), stdev(slopes) / sqrt(len(slopes))
            said = f"{dimension.name}: {mean:.3g}, standard error {error:.2g} of {len(slopes)} steps"
            sure = abs(mean) > 2 * error
            rows.append(charts.Bar(dimension.name, mean, mean - 2 * error, mean + 2 * error, said, _how(mean, sure)))
    told = (
        f"The derivative of the outer loss by each hyperparameter's place in its range, mean over the last "
        f"{len(steps)} hypergradients; lines: two standard errors over batches and points. Below zero: more of it "
        "helps. Grey: not told from noise."
    )
    return _largest(rows, "Hypergradients", told, "d outer loss / d place in the range")


def _left_out(run: Run) -> Markup:
    """What accuracy on ood_val loses without a part of the objective, with two standard errors."""
    known = run.results.get("leave_one_out") or {}
    rows = []
    for name, found in known.get("without", {}).items():
        if found is None:
            rows.append(charts.Bar(f"{name} (diverges)", 0.0, 0.0, 0.0, f"{name}: the fine-tune without it diverges"))
        else:
            lost, error = 100 * found["lost"], 100 * found["error"]
            words = f"{100 * found['accuracy']:.1f} % without it, {lost:+.1f} points lost, standard error {error:.1f}"
            how = _how(-lost, abs(lost) > 2 * error)
            rows.append(charts.Bar(name, lost, lost - 2 * error, lost + 2 * error, f"{name}: {words}", how))
    if not rows:
        return NONE
    told = (
        f"What the learned objective's {100 * known['accuracy']:.1f} % on ood_val lose where one part of it has no "
        "weight and all else stays; lines: two standard errors over images. Above zero: it helps. Grey: not told from "
        "noise. "
        "Every image is judged by models that were not trained on it; no test is."
    )
    return _largest(rows, "Without one part", told, "points of accuracy lost")


def _checked(run: Run) -> Markup:
    pairs = [r.gradient for r in run.records if r.kind == "check" and r.gradient is not None]
    if not pairs:
        return NONE
    worst = max(abs(a - b) / max(abs(a), abs(b), 1e-12) for a, b in pairs)
    many = f"{len(pairs)} of them were" if len(pairs) > 1 else "One of them was"
    return paragraph(f"{many} compared with a slope measured in another way: off by {100 * worst:.2g} % at most.")


def _ranks(run: Run, trials: Sequence[Record]) -> Markup:
    values, rows = [r.outcome.value for r in trials], []
    for dimension in run.space:
        places = [place_in(dimension, r) for r in trials]
        if len(set(places)) == 1:
            continue
        rho = spearman(places, values)
        error = 1 / sqrt(len(trials) - 1)
        how = _how(rho, abs(rho) > 2 * error)
        said = f"{dimension.name}: {rho:+.2f}"
        rows.append(charts.Bar(dimension.name, rho, rho, rho, said, how))
    told = (
        f"The rank correlation (Spearman's) of the outer loss with each hyperparameter over {len(trials)} trials. "
        "Below zero: more of it went with lower losses. Grey: what chance alone brings about. A search looks where "
        "losses are low, so that this says what went along, not what causes it."
    )
    return _largest(rows, "What the outer loss went along with", told, "rank correlation with the outer loss")


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one side has one value alone.

    >>> spearman([1, 2, 3], [10, 30, 20])
    0.5
    """
    a, b = _ranked(xs), _ranked(ys)
    mean = (len(a) - 1) / 2
    cross = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    size = sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return cross / size if size else 0.0


def _ranked(values: Sequence[float]) -> list[float]:
    """The rank of each value from 0, ties sharing their mean."""
    order = sorted(values)
    first = {value: i for i, value in reversed(list(enumerate(order)))}
    return [first[v] + (order.count(v) - 1) / 2 for v in values]


def _how(value: float, sure: bool) -> str:
    return "c7" if not sure else "c1" if value < 0 else "c2"


def _largest(rows: Sequence[charts.Bar], title: str, told: str, below: str) -> Markup:
    if not rows:
        return NONE
    shown = sorted(rows, key=lambda r: -abs(r.value))[:SHOWN]
    left = f" The {len(shown)} largest of {len(rows)}." if len(shown) < len(rows) else ""
    return charts.bars(shown, title, told + left, below)
