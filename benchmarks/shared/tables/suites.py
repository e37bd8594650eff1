"""What the embedded suites show."""

from __future__ import annotations

import json
from collections.abc import Callable
from statistics import fmean
from typing import Any

from scipy.stats import spearmanr

from metaft.report.tables import markdown
from shared.choices import chosen
from shared.numbers import grouped, id_, ood, spanned
from shared.rows import RESULTS, Row, committed

METHODS = ("zero_shot", "ft", "l2_sp", "kd", "wise_ft", "ft_ood_val", "dfr", "oracle")
ROBUST = ("l2_sp", "kd", "wise_ft")
KINDS = ("shapes", "digits")
Fits = dict[str, Row]  # a cell's, by method, each chosen on validation


def versions() -> str:
    """The versions of the suites that the committed rows are of."""
    files = (RESULTS / "cpu").glob("*.json")
    return " and ".join(map(str, sorted({json.loads(f.read_text())["meta"]["suite_version"] for f in files})))


def suites() -> str:
    """ID and OOD test accuracy of each method by suite and ID style: means over cells."""
    table = []
    cells = _cells()
    for suite in dict.fromkeys(key[0] for key in cells):
        in_suite = [cell for key, cell in cells.items() if key[0] == suite]
        table.append([suite, *(_id_and_ood([cell[method] for cell in in_suite]) for method in METHODS)])
    return markdown(["ID / OOD test", *METHODS], table)


def _id_and_ood(rows: list[Row]) -> str:
    return f"{fmean(map(id_, rows)):.0f} / {fmean(map(ood, rows)):.0f}"


def instrument() -> str:
    """What a suite must show, and what it shows: means over cells with their range."""
    return markdown(["over ID styles, pretraining and data seeds", "asked", *KINDS], [*_trade(), *_ranks(), *_speed()])


def _trade() -> list[list[str]]:
    cells = _cells()
    kinds = [[cell for key, cell in cells.items() if key[0].startswith(kind)] for kind in KINDS]

    def line(what: str, asked: str, value: Callable[[Fits], float]) -> list[str]:
        return [what, asked, *(spanned([value(cell) for cell in of_kind]) for of_kind in kinds)]

    return [
        line("zero-shot OOD accuracy, %", "35 to 70", lambda c: ood(c["zero_shot"])),
        line("ID gain of ft", "15 or more", lambda c: id_(c["ft"]) - id_(c["zero_shot"])),
        line("OOD: best of L2-SP, KD, WiSE-FT above ft", "3 or more", lambda c: ood(_best(c)) - ood(c["ft"])),
        line("OOD: oracle above that best", "8 or more", lambda c: ood(c["oracle"]) - ood(_best(c))),
    ]


def _ranks() -> list[list[str]]:
    by_suite = grouped((r for r in committed("suites") if r["method"] == "random"), "suite")
    count = max(map(len, by_suite.values()))
    drawn = {s: [r for r in rows if "failed" not in r] for (s,), rows in by_suite.items() if len(rows) == count}
    better = [sorted(rows, key=lambda r: r["ood_val"])[len(rows) // 2 :] for rows in drawn.values()]
    styles = ", ".join(suite.split("/")[1] for suite in drawn)
    what = f"Spearman of OOD validation and test, {count} random objectives on {styles}"
    return [
        [what, "0.6 or more", spanned(list(map(_rank, drawn.values())), "{:.2f}"), ""],
        ["the same among the better half by validation", "", spanned(list(map(_rank, better)), "{:.2f}"), ""],
    ]


def _rank(rows: list[Row]) -> float:
    return float(spearmanr([r["ood_val"] for r in rows], [ood(r) for r in rows]).statistic)


def _speed() -> list[list[str]]:
    timed = {r["method"]: r for r in committed("suites") if r["suite"] == "timing"}
    drawn = [f"{timed[f'draw_{kind}']['images_per_second']:,}" for kind in KINDS]
    return [
        ["300 steps at batch 64 on 2 cores, s", "10 or less", f"{timed['ft']['seconds']:.1f}", ""],
        ["images drawn a second on 2 cores", "5,000 or more", *drawn],
    ]


def _cells() -> dict[tuple[Any, ...], Fits]:
    """By suite, pretraining and data seed."""
    fitted = (r for r in committed("suites") if r["method"] != "random" and r["suite"] != "timing")
    groups = grouped(fitted, "suite", "pretrain", "seed")
    return {key: {m: chosen(rows, m) for m in METHODS} for key, rows in sorted(groups.items(), reverse=True)}


def _best(cell: Fits) -> Row:
    return max((cell[m] for m in ROBUST), key=lambda r: float(r["ood_val"]))
