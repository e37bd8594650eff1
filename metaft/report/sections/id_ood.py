"""Accuracy out of distribution against that in distribution: on the tests, and in validation, of all that was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from markupsafe import Markup

from metaft.report import svg
from metaft.report.estimates import ID, Estimate, at, ood
from metaft.report.markup import NONE, joined
from metaft.report.run import Run
from metaft.report.values import ood_splits
from metaft.report.verdict import CEILING, PLAIN, ZERO_SHOT, kept

LEFT, RIGHT, TOP, GAP = 62.0, 500.0, 14.0, 16.0  # of the plane with the points; beside it are their names
WAY = (ZERO_SHOT, "wise_ft", PLAIN)  # what WiSE-FT's curve on the tests is known at
COLOURS = 7


@dataclass(frozen=True)
class Point:
    """A named point with its intervals, in shares; `how`, `kind` and `size` are those of its mark."""

    name: str
    x: Estimate
    y: Estimate
    how: str
    kind: str = "disc"
    size: float = 5.5


def body(runs: Sequence[Run]) -> Markup:
    """Both figures beside each other."""
    drawn = [*_tests(runs), *_tried(runs)]
    return Markup('<div class="pair">{}</div>').format(joined(drawn)) if drawn else NONE


def _tests(runs: Sequence[Run]) -> Iterator[Markup]:
    found = [_points(run, i, len(runs) > 1) for i, run in enumerate(runs)]
    points = [point for of_run in found for point in of_run.values()]
    if not points:
        return
    mixes = [_curve(run, len(runs) > 1) for run in runs]
    ways = [mix or [of_run[name] for name in WAY if name in of_run] for mix, of_run in zip(mixes, found, strict=True)]
    front = pareto([p for p, name in _named(found) if name != CEILING])
    told = (
        "Means over the OOD tests, on logit axes; whiskers: 95 % intervals; filled: the model handed back. Dashed: the "
        "Pareto front, beyond which no method is better in both (the ceiling aside). Dotted: WiSE-FT's way from "
        "zero_shot to ft, its points at shares alpha; wise_ft is what validation chose there."
    )
    yield _chart(
        [*(point for mix in mixes for point in mix), *points],
        lambda x, y: [
            _through(front, x, y, "dashed c7 thin"),
            *(_through(w, x, y, "dotted c5 thin") for w in ways),
        ],
        "Accuracy on the tests",
        told,
        ("ID test accuracy, %", "OOD test accuracy, %"),
        points,
    )


def _named(found: Sequence[Mapping[str, Point]]) -> Iterator[tuple[Point, str]]:
    return ((point, name) for of_run in found for name, point in of_run.items())


def _points(run: Run, number: int, several: bool) -> dict[str, Point]:
    """A run's methods; a colour a method, and a mark a run or, of one run, a mark where colours come again."""
    points = {}
    for i, (name, method) in enumerate(run.results["methods"].items()):
        x, y = at(method), ood(method)
        if x is not None and y is not None:
            kind = svg.MARKS[(number if several else i // COLOURS) % len(svg.MARKS)]
            how = f"c{i % COLOURS + 1}{' full' if name == kept(run) else ''}"
            points[name] = Point(f"{name}, {run.label}" if several else name, x, y, how, kind)
    return points


def _curve(run: Run, several: bool) -> list[Point]:
    """The points of WiSE-FT's whole way; none where results of before lack it, or there are no OOD tests."""
    points = []
    for name, way in (run.results.get("curve") or {}).items():
        for mix in way:
            inside, tests = mix["accuracy"].get(ID), ood_splits(list(mix["accuracy"]))
            if inside is not None and tests:
                outside = fmean(mix["accuracy"][test] for test in tests)
                x, y = (Estimate(value, 0.0, 0.0) for value in (inside, outside))
                label = f"{name}, {run.label}" if several else name
                points.append(Point(f"{label}, alpha {mix['alpha']:g}", x, y, "c5", size=2.5))
    return points


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those than which none is better in one way and as good in the other, by rising ID accuracy."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (-p.x.value, -p.y.value)):
        if not front or point.y.value > front[-1].y.value:
            front.append(point)
    return front[::-1]


def _tried(runs: Sequence[Run]) -> Iterator[Markup]:
    """What validation said: a line a method that was tried along a way, a point each of the others."""
    ways: dict[str, list[Point]] = {}
    for run in runs:
        names = [n for n in dict.fromkeys(str(e.get("method")) for e in run.events) if _rated(run, n)]
        for i, name in enumerate(names):
            label = f"{name}, {run.label}" if len(runs) > 1 else name
            ways[label] = [
                Point(told, x, y, f"c{i % COLOURS + 1}{' full' if chosen else ''}")
                for told, x, y, chosen in _rated(run, name)
            ]
    if not ways:
        return
    told = (
        "What validation images said of everything that was tried: lines are ways between two models (WiSE-FT's and "
        "those like it), their points shares alpha; filled: chosen. No test image is in it."
    )
    firsts = [Point(label, points[-1].x, points[-1].y, points[-1].how) for label, points in ways.items()]
    points = [p for of_way in ways.values() for p in of_way]
    along = [of_way for of_way in ways.values() if any("alpha" in p.name for p in of_way)]
    yield _chart(
        points,
        lambda x, y: [_through(w, x, y, f"{w[0].how.split()[0]} thin") for w in along],
        "Accuracy on validation images",
        told,
        ("id_val, %", "ood_val, %"),
        firsts,
    )


def _rated(run: Run, name: str) -> list[tuple[str, Estimate, Estimate, bool]]:
    """What was tried of a method: its values in words, both accuracies, and whether it was chosen."""
    found = []
    for event in run.events:
        if event.get("method") == name:
            inside, outside = (_value(event, f"{split}_") for split in ("id_val", "ood_val"))
            if inside is not None and outside is not None:
                knobs = {k: v for k, v in event.items() if not k.startswith(("method", "id_val", "ood_val", "chosen"))}
                words = ", ".join(f"{k} {v}" for k, v in knobs.items() if isinstance(v, int | float | str))
                x, y = (Estimate(v, 0.0, 0.0) for v in (inside, outside))
                found.append((f"{name}: {words}", x, y, event.get("chosen") is True))
    return found


def _value(event: Mapping[str, object], prefix: str) -> float | None:
    known = (v for k, v in event.items() if k.startswith(prefix) and isinstance(v, float) and 0 <= v <= 1)
    return next(known, None)


def _through(points: Sequence[Point], x: svg.Scale, y: svg.Scale, how: str) -> Markup:
    return svg.line([(x(p.x.value), y(p.y.value)) for p in points], how) if len(points) > 1 else NONE


Lines = Callable[[svg.Scale, svg.Scale], Sequence[Markup]]


def _chart(
    points: Sequence[Point],
    lines: Lines,
    title: str,
    told: str,
    names: tuple[str, str],
    labelled: Sequence[Point] | None = None,
) -> Markup:
    """Points on logit axes, lines beneath them, and beside them the name of each that is to be labelled."""
    labelled = points if labelled is None else labelled
    bottom = max(400.0, TOP + GAP * len(labelled))
    x = svg.logit([v for p in points for v in (p.x.low, p.x.value, p.x.high)], LEFT, RIGHT)
    y = svg.logit([v for p in points for v in (p.y.low, p.y.value, p.y.high)], bottom, TOP)
    heights = svg.spread([y(p.y.value) for p in labelled], GAP, TOP + 4, bottom)
    parts = [svg.axes(x, y, *names), *lines(x, y)]
    for p, height in zip(labelled, heights, strict=True):
        colour = p.how.split()[0]
        parts.append(svg.line([(x(p.x.value), y(p.y.value)), (RIGHT + 8, height)], f"{colour} hair pale"))
        parts.append(svg.text(RIGHT + 12, height + 4, p.name, "strong small" if "full" in p.how else "small"))
    for p in points:
        parts.append(svg.line([(x(p.x.low), y(p.y.value)), (x(p.x.high), y(p.y.value))], f"{p.how} thin pale"))
        parts.append(svg.line([(x(p.x.value), y(p.y.low)), (x(p.x.value), y(p.y.high))], f"{p.how} thin pale"))
    for p in sorted(points, key=lambda p: "full" in p.how):  # what is handed back, or chosen, lies on top
        said = f"{p.name}\nID {_written(p.x)}\nOOD {_written(p.y)}"
        parts.append(svg.mark(x(p.x.value), y(p.y.value), p.kind, p.how, said, p.size))
    return svg.figure(bottom + 50, parts, title, told)


def _written(e: Estimate) -> str:
    around = f" [{100 * e.low:.1f}, {100 * e.high:.1f}]" if e.down or e.up else ""
    return f"{100 * e.value:.1f} %{around}"
