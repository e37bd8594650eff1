"""HTML from plain values: tables, lists and cards; whatever is text is escaped."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite

from markupsafe import Markup

NONE = Markup("")


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its words, smaller ones below, and the number by which rows are sorted, if there is any."""

    words: str
    small: str = ""
    number: float | None = None


def joined(parts: Iterable[Markup]) -> Markup:
    """Parts one after the other."""
    return NONE.join(parts)


def paragraph(words: str, how: str = "") -> Markup:
    """A paragraph; nothing where there are no words."""
    if not words:
        return NONE
    return Markup('<p class="{}">{}</p>').format(how, words) if how else Markup("<p>{}</p>").format(words)


def bullets(items: Sequence[str | Markup], how: str = "") -> Markup:
    """A list."""
    return Markup('<ul class="{}">{}</ul>').format(how, joined(Markup("<li>{}</li>").format(i) for i in items))


def folded(summary: str, body: Markup) -> Markup:
    """What opens where its summary is pressed; nothing where there is nothing inside."""
    return Markup("<details><summary>{}</summary>{}</details>").format(summary, body) if body else NONE


def table(
    header: Sequence[str], rows: Sequence[Sequence[Cell | str]], caption: str, *, best: Collection[int] = ()
) -> Markup:
    """A table whose rows a press on a heading sorts; `best` are the numbers of the rows that stand out."""
    head = joined(Markup('<th scope="col">{}</th>').format(name) for name in header)
    body = joined(
        Markup("<tr{}>{}</tr>").format(
            Markup(' class="kept"') if i in best else "",
            joined(_cell(cell, first=j == 0) for j, cell in enumerate(row)),
        )
        for i, row in enumerate(rows)
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="{c}"><table class="sortable"><caption>{c}</caption>'
        "<thead><tr>{h}</tr></thead><tbody>{b}</tbody></table></div>"
    ).format(c=caption, h=head, b=body)


def plain_table(rows: Sequence[Sequence[str]], caption: str) -> Markup:
    """A table of words alone, header first."""
    return table(rows[0], rows[1:], caption) if len(rows) > 1 else NONE


def _number(words: str) -> float | None:
    """The number that words begin with; None: they begin with none.

    >>> _number("1,234.5 [1,000, 2,000]"), _number("ft")
    (1234.5, None)
    """
    try:
        number = float(words.partition(" ")[0].replace(",", ""))
    except ValueError:
        return None
    return number if isfinite(number) else None


def _cell(cell: Cell | str, *, first: bool) -> Markup:
    cell = Cell(cell, number=_number(cell)) if isinstance(cell, str) else cell
    words = Markup("{}{}").format(cell.words, Markup("<small>{}</small>").format(cell.small) if cell.small else "")
    if first:
        return Markup('<th scope="row">{}</th>').format(words)
    by = "" if cell.number is None else Markup(' data-v="{}"').format(f"{cell.number:.6g}")
    return Markup("<td{}>{}</td>").format(by, words)
