"""Charts that several sections draw, each a pure function of plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from markupsafe import Markup

from metaft.report import svg

ROW, TOP = 19.0, 12.0
LETTER, LINE = 6.5, 12.0  # a letter's width and a line's height, in small print
COLOURS = 7


@dataclass(frozen=True)
class Bar:
    """A named value with the ends of its interval, and what is told of it."""

    name: str
    value: float
    low: float
    high: float
    told: str
    how: str = "c1"


def bars(rows: Sequence[Bar], title: str, told: str, below: str, unit: str = "", begin: float = 190.0) -> Markup:
    """A bar a row, from zero, with its interval."""
    height = TOP + ROW * len(rows)
    x = svg.linear([0.0, *(v for r in rows for v in (r.low, r.value, r.high))], begin, svg.WIDTH - 20, unit)
    y = svg.Scale(0.0, 1.0, height, TOP, lambda v: v, ())
    parts = [svg.axes(x, y, below, "")]
    for i, row in enumerate(rows):
        top, zero = TOP + ROW * i + 3, x(0.0)
        left, right = sorted((zero, x(row.value)))
        middle = top + (ROW - 6) / 2
        parts.append(svg.text(begin - 8, middle + 4, row.name, "end small"))
        parts.append(svg.box(left, top, right - left, ROW - 6, row.how, row.told))
        if row.high > row.low:
            parts.append(svg.line([(x(row.low), middle), (x(row.high), middle)], "ink thin"))
    return svg.figure(height + 48, parts, title, told)


@dataclass(frozen=True)
class Series:
    """A named line through (x, y, what is told there)."""

    name: str
    points: Sequence[tuple[float, float, str]]


def lines(series: Sequence[Series], title: str, told: str, below: str, beside: str, *, shares: bool = False) -> Markup:
    """A line a series, named at its end; with `shares` from 0 to 1."""
    left, right, gap = 62.0, 540.0, 15.0
    height = max(330.0, TOP + gap * len(series))
    x = svg.linear([p[0] for s in series for p in s.points], left, right)
    ys = [0.0, 1.0] if shares else [p[1] for s in series for p in s.points]
    y = svg.linear(ys, height, TOP)
    ends = svg.spread([y(s.points[-1][1]) for s in series], gap, TOP + 4, height)
    parts = [svg.axes(x, y, below, beside)]
    for i, (one, end) in enumerate(zip(series, ends, strict=True)):
        colour = f"c{i % COLOURS + 1}"
        places = [(x(a), y(b)) for a, b, _ in one.points]
        parts.append(svg.line(places, f"{colour} {'dashed' if i >= COLOURS else ''} thin"))
        parts.append(svg.line([places[-1], (right + 8, end)], f"{colour} hair pale"))
        parts.append(svg.text(right + 12, end + 4, one.name, "small"))
        parts += [svg.mark(*at, "disc", colour, p[2], 3.0) for at, p in zip(places, one.points, strict=True)]
    return svg.figure(height + 50, parts, title, told)


def heat(
    rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[tuple[float, str]]], title: str, told: str
) -> Markup:
    """A map of (share in [0, 1], what is told): the larger a share, the fuller its colour.

    Columns whose names are too long for them have them upright; those too narrow have one every few.
    """
    left, size = 190.0, 15.0 if len(rows) > 20 else 22.0
    width = min(44.0, (svg.WIDTH - left - 10) / max(len(columns), 1))
    parts = [Markup()]
    for i, (name, row) in enumerate(zip(rows, cells, strict=True)):
        parts.append(svg.text(left - 8, TOP + size * (i + 0.5) + 4, name, "end small"))
        for j, (share, words) in enumerate(row):
            parts.append(svg.box(left + width * j, TOP + size * i, width - 1, size - 1, "c1", words, share))
    bottom, longest = TOP + size * len(rows), LETTER * max(map(len, columns), default=0)
    upright = longest > width
    every = ceil(LINE / width) if upright else 1
    for j, name in enumerate(columns):
        if j % every == 0:
            middle = left + width * (j + 0.5)
            x, y, how = (middle + 4, bottom + 6, "end small") if upright else (middle, bottom + 14, "middle small")
            parts.append(svg.text(x, y, name, how, turn=upright))
    return svg.figure(bottom + 10 + (longest if upright else 14), parts, title, told)
