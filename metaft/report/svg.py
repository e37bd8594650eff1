"""Figures as SVG from plain numbers: scales, axes and marks; colours are those of the page's classes.

A figure is drawn in a plane of its own pixels, y downwards, which the page stretches. So one serves light, dark and
print. Whatever is text is escaped; numbers that are not finite are never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH = 720.0  # of a figure, in its pixels
FEWEST = 34.0  # pixels between two numbers on an axis
TINY = 1e-12
SHARES = (0.001, 0.005, 0.01, 0.02, 0.05, *(i / 10 for i in range(1, 10)), 0.95, 0.98, 0.99, 0.995, 0.999)
MARKS = ("disc", "square", "diamond", "up", "down", "cross")


@dataclass(frozen=True)
class Scale:
    """From values in [low, high] to pixels in [begin, end]; values outside land on an edge.

    Args:
        bend: a rising function, along which the scale is linear.
        ticks: the values that stand on the axis, with what is written there.
    """

    low: float
    high: float
    begin: float
    end: float
    bend: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.bend(self.low), self.bend(self.high)
        share = (self.bend(min(max(value, self.low), self.high)) - low) / (high - low or 1.0)
        return self.begin + share * (self.end - self.begin)


def linear(values: Iterable[float], begin: float, end: float, unit: str = "") -> Scale:
    """A linear scale that holds the finite ones of some values, with round numbers on it."""
    low, high = _range(values)
    step = _step(high - low, abs(end - begin) / (2 * FEWEST))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    every = [i * step for i in range(first, max(last, first + 1) + 1)]
    return Scale(every[0], every[-1], begin, end, lambda v: v, [(v, f"{_plain(v)}{unit}") for v in every])


def logarithmic(values: Iterable[float], begin: float, end: float) -> Scale:
    """A logarithmic scale that holds the positive ones of some values, with powers of ten on it."""
    known = [v for v in values if TINY < v < math.inf] or [1.0]
    low, high = math.floor(math.log10(min(known)) + 1e-9), math.ceil(math.log10(max(known)) - 1e-9)
    high = max(high, low + 1)
    every = math.ceil((high - low) * FEWEST / abs(end - begin))
    ticks = [(10.0**p, _plain(10.0**p)) for p in range(low, high + 1, every)]
    return Scale(10.0**low, 10.0**high, begin, end, lambda v: math.log10(max(v, TINY)), ticks)


def logit(values: Iterable[float], begin: float, end: float) -> Scale:
    """A scale of shares, linear in log p / (1 - p), in per cent; it ends a little beyond the values.

    Source: Taori et al., Measuring robustness to natural distribution shifts, NeurIPS 2020, who draw accuracies so.
    """
    edge = SHARES[0]
    inside = [_bend(min(max(v, edge), 1 - edge)) for v in values if math.isfinite(v)] or [_bend(0.3), _bend(0.7)]
    room = 0.08 * (max(inside) - min(inside)) or 0.3
    low, high = (1 / (1 + math.exp(-z)) for z in (min(inside) - room, max(inside) + room))
    scale = Scale(low, high, begin, end, _bend, ())
    known = [p for p in SHARES if low <= p <= high]
    if len(known) < 3:
        known = [p for p, _ in linear([low, high], begin, end).ticks if low <= p <= high]
    return Scale(low, high, begin, end, _bend, _apart([(p, f"{100 * p:.4g}") for p in known], scale))


def _bend(p: float) -> float:
    return math.log(p / (1 - p))


def _apart(ticks: Sequence[tuple[float, str]], scale: Scale) -> list[tuple[float, str]]:
    """Those ticks that keep off the ones before them."""
    kept: list[tuple[float, str]] = []
    for value, text in ticks:
        if not kept or abs(scale(value) - scale(kept[-1][0])) >= FEWEST:
            kept.append((value, text))
    return kept


def _range(values: Iterable[float]) -> tuple[float, float]:
    known = [v for v in values if abs(v) < 1e100] or [0.0, 1.0]
    low, high = min(known), max(known)
    room = abs(low) * 0.1 or 1.0
    return (low, high) if high - low > 1e-9 * abs(low) else (low - room, high + room)


def _step(width: float, most: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten of which at most so many make a width."""
    least = width / max(most, 1.0)
    power = 10.0 ** math.floor(math.log10(least))
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= least * (1 - 1e-9))


def _plain(value: float) -> str:
    """A number in few letters.

    >>> _plain(0.30000000000000004), _plain(2000000.0), _plain(0.0)
    ('0.3', '2e6', '0')
    """
    text = f"{value:.4g}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.2g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("e+", "e").replace("-", "\N{MINUS SIGN}", value < 0)


def at(x: float) -> str:
    """A pixel as it is written."""
    return f"{x:.1f}".removesuffix(".0")


def text(x: float, y: float, words: str, how: str = "", *, turn: bool = False) -> Markup:
    """Words at a place; `how` is of the classes `end`, `middle`, `strong`, `small`."""
    around = Markup(' transform="rotate(-90 {} {})"').format(at(x), at(y)) if turn else ""
    return Markup('<text x="{}" y="{}" class="{}"{}>{}</text>').format(at(x), at(y), how, around, words)


def line(points: Sequence[tuple[float, float]], how: str) -> Markup:
    """A line through points."""
    places = " ".join(f"{at(x)},{at(y)}" for x, y in points)
    return Markup('<polyline points="{}" class="line {}"/>').format(places, how)


def box(
    x: float, y: float, width: float, height: float, how: str, told: str = "", share: float | None = None
) -> Markup:
    """A rectangle that tells something where it is pointed at; `share` is its opacity."""
    drawn = Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"{}').format(
        *map(at, (x, y, max(width, 0.0), max(height, 0.0))),
        how,
        "" if share is None else Markup(' fill-opacity="{}"').format(f"{min(max(share, 0), 1):.2f}"),
    )
    return drawn + (Markup("><title>{}</title></rect>").format(told) if told else Markup("/>"))


def mark(x: float, y: float, kind: str, how: str, told: str, size: float = 5.5) -> Markup:
    """A mark of one of `MARKS` that tells something where it is pointed at."""
    x0, x1, y0, y1 = (at(v) for v in (x - size, x + size, y - size, y + size))
    shapes = {
        "disc": f"M{x0},{at(y)}a{size},{size} 0 1,0 {2 * size},0a{size},{size} 0 1,0 {-2 * size},0z",
        "square": f"M{x0},{y0}H{x1}V{y1}H{x0}z",
        "diamond": f"M{at(x)},{at(y - 1.3 * size)}L{at(x + 1.3 * size)},{at(y)} {at(x)},{at(y + 1.3 * size)} "
        f"{at(x - 1.3 * size)},{at(y)}z",
        "up": f"M{at(x)},{y0}L{x1},{y1} {x0},{y1}z",
        "down": f"M{at(x)},{y1}L{x1},{y0} {x0},{y0}z",
        "cross": f"M{x0},{y0}L{x1},{y1}M{x0},{y1}L{x1},{y0}",
    }
    return Markup('<path d="{}" class="mark {}"><title>{}</title></path>').format(shapes[kind], how, told)


def axes(x: Scale, y: Scale, below: str, beside: str) -> Markup:
    """The lines and numbers of two scales, and what each is of."""
    parts = [Markup()]
    for value, words in x.ticks:
        parts += [line([(x(value), y.begin), (x(value), y.end)], "grid"), text(x(value), y.begin + 18, words, "middle")]
    for value, words in y.ticks:
        parts += [line([(x.begin, y(value)), (x.end, y(value))], "grid"), text(x.begin - 8, y(value) + 4, words, "end")]
    parts.append(text((x.begin + x.end) / 2, y.begin + 38, below, "middle"))
    parts.append(text(14, (y.begin + y.end) / 2, beside, "middle", turn=True))
    return Markup("").join(parts)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, at least a gap apart and in their order, within [low, high] where that is wide.

    >>> spread([5, 6, 40], 10, 0, 100)
    [0.5, 10.5, 40]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[list[int], float]] = []  # indices of neighbours that touch, and the middle of what they want
    for i in order:
        groups.append(([i], wanted[i]))
        while len(groups) > 1 and _touch(groups[-2], groups[-1], gap):
            (left, a), (right, b) = groups[-2:]
            middle = (a * len(left) + b * len(right)) / (len(left) + len(right))
            groups[-2:] = [(left + right, middle)]
    places = [0.0] * len(wanted)
    for members, middle in groups:
        for k, i in enumerate(members):
            places[i] = middle + (k - (len(members) - 1) / 2) * gap
    for k, i in enumerate(order):
        places[i] = max(places[i], low + k * gap)
    for k, i in enumerate(reversed(order)):
        places[i] = min(places[i], high - k * gap)
    return places


def _touch(left: tuple[list[int], float], right: tuple[list[int], float], gap: float) -> bool:
    return right[1] - left[1] < gap * (len(left[0]) + len(right[0])) / 2


def figure(height: float, parts: Iterable[Markup], title: str, told: str, width: float = WIDTH) -> Markup:
    """A figure with its title and what it shows, in words, below it."""
    return Markup(
        '<figure><div class="scroll" tabindex="0" role="group" aria-label="{title}">'
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" style="max-width:{width}px">'
        "<desc>{told}</desc>{parts}</svg></div><figcaption><b>{title}.</b> {told}</figcaption></figure>"
    ).format(title=title, told=told, width=at(width), height=at(height), parts=Markup("").join(parts))
