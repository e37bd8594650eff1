"""What fine-tunes cost at full size."""

from __future__ import annotations

from collections.abc import Mapping

from metaft.report.tables import markdown
from shared.rows import Row, committed

KINDS = ("step", "memory", "check", "ranks", "hypergradient")
HEAD = (
    *(
        "model, batch",
        "precision",
        "images / s",
        "step / bare",
        "of matmul rate",
        "peak, MiB",
        "bare, MiB",
        "peak / bare",
        "bare in place",
        "whole process / bare in place",
    ),
    *(
        "check on disk, MiB",
        "/ weights and moments",
        "a check, steps",
        "two ranks / one",
        "hypergradient / T steps",
        "one-sided",
    ),
)


def costs() -> str:
    """Every model and precision with what has been measured of it."""
    rows = committed("scale")
    cells = dict.fromkeys((r["model"], r["batch"], r["precision"]) for r in rows)
    found = {(*cell, r["what"]): r for cell in cells for r in rows if (r["model"], r["batch"], r["precision"]) == cell}
    return markdown(
        list(HEAD), [_line(*cell, {kind: found.get((*cell, kind), {}) for kind in KINDS}) for cell in cells]
    )


def _line(model: str, batch: int, precision: str, by_kind: Mapping[str, Row]) -> list[str]:
    step, memory, check, ranks, hypergradient = (by_kind[kind] for kind in KINDS)
    return [
        f"{model}, {batch}",
        precision,
        *_told(step, ("images_per_second", "{:,.1f}"), ("ratio", "{:.2f}"), ("share", "{:.0%}")),
        *_told(memory, ("ours", "{:,.0f}"), ("bare", "{:,.0f}"), ("ratio", "{:.2f}"), ("in_place", "{:,.0f}")),
        *_told(memory, ("process", "{:.2f}")),
        *_told(memory, ("disk", "{:,.0f}"), ("disk_share", "{:.2f}")),
        *_told(check, ("steps", "{:.2f}")),
        *_told(ranks, ("ratio", "{:.2f}")),
        *_hypergradient(hypergradient),
    ]


def _hypergradient(row: Row) -> list[str]:
    """The two ratios, or what memory it takes that is not there."""
    if "least_gib" in row:
        return [f"needs {row['least_gib']:.0f} GiB", ""]
    return _told(row, ("ratio", "{:.1f}"), ("one_sided_ratio", "{:.1f}"))


def _told(row: Row, *columns: tuple[str, str]) -> list[str]:
    """Numbers of a row in their styles; nothing where it has not been measured."""
    return [style.format(row[name]) if name in row else "" for name, style in columns]
