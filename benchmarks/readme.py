"""Fill the README's tables from the committed results.

    python benchmarks/readme.py [--check]

Each table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; --check only says whether they are current.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

import methods_tables
import numpy as np
import solvers_tables
from common import RESULTS, read
from scipy.stats import spearmanr
from suites import RANDOM_OBJECTIVES, chosen

from metaft.report.tables import markdown

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
Row = dict[str, Any]


def rows(name: str, device: str = "cpu") -> list[Row]:
    """The rows of a committed result."""
    return read(RESULTS / device / f"{name}.json")


def quickstart() -> str:
    """Seconds of a whole run, and accuracies, by suite and mode: means over seeds with their range."""
    found = rows("quickstart")
    table = []
    for suite in dict.fromkeys(r["suite"] for r in found):
        of_suite = [r for r in found if r["suite"] == suite]
        for method in ("zero_shot", "ft", "wise_ft", "ft_ood_val", "dfr", "oracle"):  # the same in every mode
            once = [r for r in of_suite if r["mode"] == "hypergrad"]
            table.append([suite, method, *_accuracies(once, method), "", ""])
        for mode in dict.fromkeys(r["mode"] for r in of_suite):
            own = [r for r in of_suite if r["mode"] == mode]
            seconds = _span([r["seconds"] for r in own], "{:.0f}")
            trials = _span([r["trials"] for r in own], "{:.0f}")
            table.append([suite, f"autoft, {mode}", *_accuracies(own, "autoft"), trials, seconds])
    return markdown(["suite", "method", "ID test", "OOD test", "trials", "whole run, s"], table)


def exactness() -> str:
    """The worst case over seeds of each check."""
    found = rows("exactness")
    table = []
    for grouped in (False, True):
        kind = "with groups" if grouped else "one group"
        for eps in (1e-8, 1e-2):
            worst = max(r["max_difference"] for r in found if (r.get("eps"), r["grouped"]) == (eps, grouped))
            table.append([f"20 steps against torch.optim.AdamW, eps {eps:g}, {kind}", f"{worst:.1e}"])
        own = [r for r in found if r["check"] == "hypergradient" and r["grouped"] == grouped]
        worst = max(r["max_rel_error"] for r in own)
        count = len(own[0]["rel_error"])
        table.append([f"{count} hypergradients against central differences, {kind}", f"{worst:.1e}"])
    return markdown(["float64, toy CLIP, all terms active, worst of three seeds", "difference"], table)


def hypergradients() -> str:
    """Time and memory of each way to a hypergradient, on one inner loop."""
    found = [r for r in rows("hypergradient") if (r["model"], r["batch"], r["T"]) == ("vit-128", 256, 10)]
    return markdown(
        ["estimator", "storage", "time / plain", "peak, MiB", "growth a step, P"],
        [
            [
                r["estimator"],
                r["storage"] + (f", budget {_mib(r['budget_bytes'])} MiB" if r["budget_bytes"] else ""),
                f"{r['ratio']:.2f}",
                _mib(r["peak_bytes"]),
                f"{r['slope_P']:.1f}",
            ]
            for r in sorted(found, key=lambda r: float(r["ratio"]))
        ],
    )


def conditioning() -> str:
    """Errors against float64 on the toy CLIP, and what more hyperparameters and longer loops cost."""
    found = rows("hypergradient")
    toy = [r for r in found if r["model"] == "toy" and r["storage"] in ("keep", "replay")]
    table = []
    for dtype, estimator in (("float32", "unroll"), ("float32", "forward"), ("bfloat16", "unroll")):
        own = [r for r in toy if (r["dtype"], r["estimator"]) == (dtype, estimator)]
        errors = f"{100 * max(r['rel_error'] for r in own):.2g} %, {min(r['cosine'] for r in own):.6f}"
        what = f"toy CLIP, digits, T = {own[0]['T']}, {estimator}, {dtype}"
        table.append([f"{what}: error against float64, cosine", errors])
    many = next(r for r in found if r["grouped"])
    table.append([f"seconds with K = {many['K']} against K = 11", f"{many['ratio_to_K_11']:.2f}"])
    for storage in ("replay", "segments"):
        short, long = (r["peak_bytes"] for r in found if (r["batch"], r["storage"]) == (32, storage))
        table.append([f"peak of {storage} at T = 64 against T = 16", f"{long / short:.2f}"])
    return markdown(["worst of three seeds, or one run", ""], table)


def _mib(count: float) -> str:
    return f"{count / 2**20:,.0f}"


SAMPLERS = ("metaft", "optuna", "optuna univariate", "hyperopt", "random")


def samplers() -> str:
    """Regret after 200 trials by problem and sampler, median and quartiles over seeds, and diverging proposals."""
    found = [r for r in rows("tpe") if r["regret"]]
    table = []
    for problem in dict.fromkeys(r["problem"] for r in found):
        own = {s: [r["regret"]["200"] for r in found if (r["problem"], r["sampler"]) == (problem, s)] for s in SAMPLERS}
        table.append([problem, *(_quartiles(own[s]) for s in SAMPLERS)])
    late = {s: [r["diverged"] for r in found if (r["problem"], r["sampler"]) == ("cliff", s)] for s in SAMPLERS}
    table.append(["cliff: trials 21 to 100 that diverge, %", *(f"{100 * fmean(late[s]):.1f}" for s in SAMPLERS)])
    return markdown(["median regret at 200 (quartiles)", *SAMPLERS], table)


def _quartiles(values: list[float]) -> str:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return f"{_short(middle)} ({_short(low)} to {_short(high)})"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def asks() -> str:
    """Milliseconds of one proposal by sampler and history, and the ratio to Optuna's default after the longest."""
    found = [r for r in rows("tpe") if r["ask_ms"]]
    *_, longest = histories = list(found[0]["ask_ms"])
    table = [
        [
            f"{r['sampler']}, {r['history']}",
            *(f"{r['ask_ms'][n]:.1f}" for n in histories),
            f"{r['ratio_to_optuna'][longest]:.2f}",
        ]
        for r in found
    ]
    head = ["one proposal in 11 dimensions, ms, after", *(f"{int(n):,} trials" for n in histories)]
    return markdown([*head, "ratio to Optuna's default"], table)


def choices() -> str:
    """Regret of what a noisy search settles on, by the share of evaluations for the last choice."""
    found = rows("choice")
    shares = sorted({r["share"] for r in found})
    table = []
    for noise, total in sorted({(r["noise"], r["evaluations"]) for r in found}):
        own = [r for r in found if (r["noise"], r["evaluations"]) == (noise, total) and r["candidates"] in (1, 16)]
        means = [fmean(r["regret"] for r in own if r["share"] == share) for share in shares]
        table.append([f"noise {noise:g}, {total} evaluations", *(f"{m:.3f}" for m in means)])
    return markdown(["mean regret of the choice", *(f"{100 * s:.0f} %" if s else "least value" for s in shares)], table)


def workers() -> str:
    """Trials a second by executor."""
    return markdown(
        ["executor", "workers", "trials a second", "ratio to one"],
        [[r["executor"], str(r["workers"]), f"{r['throughput']:.2f}", f"{r['ratio']:.2f}"] for r in rows("executors")],
    )


METHODS = ("zero_shot", "ft", "l2_sp", "kd", "wise_ft", "ft_ood_val", "dfr", "oracle")
ROBUST = ("l2_sp", "kd", "wise_ft")


def suites() -> str:
    """ID and OOD test accuracy of each method by suite and ID style, each chosen on validation: means over cells."""
    cells = _cells()
    table = []
    for suite in dict.fromkeys(key[0] for key in cells):
        own = [cell for key, cell in cells.items() if key[0] == suite]
        pairs = [[(100 * c[m]["id_test"], _ood(c[m])) for c in own] for m in METHODS]
        table.append([suite, *(f"{fmean(i for i, _ in p):.0f} / {fmean(o for _, o in p):.0f}" for p in pairs)])
    return markdown(["ID / OOD test", *METHODS], table)


def instrument() -> str:
    """What a suite must show, and what it shows: means over cells with their range."""
    kinds: dict[str, list[dict[str, Row]]] = {"shapes": [], "digits": []}
    for (suite, *_), cell in _cells().items():
        kinds[suite.split("/")[0]].append(cell)

    def line(what: str, asked: str, value: Callable[[dict[str, Row]], float]) -> list[str]:
        return [what, asked, *(_span([value(c) for c in cells], "{:.1f}") for cells in kinds.values())]

    table = [
        line("zero-shot OOD accuracy, %", "35 to 70", lambda c: _ood(c["zero_shot"])),
        line("ID gain of ft", "15 or more", lambda c: 100 * (c["ft"]["id_test"] - c["zero_shot"]["id_test"])),
        line("OOD: best of L2-SP, KD, WiSE-FT above ft", "3 or more", lambda c: _ood(_best(c)) - _ood(c["ft"])),
        line("OOD: oracle above that best", "8 or more", lambda c: _ood(c["oracle"]) - _ood(_best(c))),
    ]
    found = rows("suites")
    drawn: dict[str, list[Row]] = {}
    for r in found:
        if r["method"] == "random":
            drawn.setdefault(r["suite"], []).append(r)
    whole = {suite: own for suite, own in drawn.items() if len(own) == RANDOM_OBJECTIVES}
    by_style = {suite: [r for r in own if "failed" not in r] for suite, own in whole.items()}
    named = ", ".join(suite.split("/")[1] for suite in by_style)
    table.append(
        [
            f"Spearman of OOD validation and test, 40 random objectives on {named}",
            "0.6 or more",
            _ranks(by_style.values()),
            "",
        ]
    )
    better = [sorted(own, key=lambda r: r["ood_val"])[len(own) // 2 :] for own in by_style.values()]
    table.append(["the same among the better half by validation", "", _ranks(better), ""])
    timed = {r["method"]: r for r in found if r["suite"] == "timing"}
    table.append(["300 steps at batch 64 on 2 cores, s", "10 or less", f"{timed['ft']['seconds']:.1f}", ""])
    speeds = [f"{timed[f'draw_{suite}']['images_per_second']:,}" for suite in kinds]
    table.append(["images drawn a second on 2 cores", "5,000 or more", *speeds])
    return markdown(["over ID styles, pretraining and data seeds", "asked", *kinds], table)


def _cells() -> dict[tuple[Any, ...], dict[str, Row]]:
    """By suite, pretraining and data seed: each method's row, chosen on validation."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for r in rows("suites"):
        if r["method"] != "random" and r["suite"] != "timing":
            groups.setdefault((r["suite"], r["pretrain"], r["seed"]), []).append(r)
    return {key: {m: chosen(own, m) for m in METHODS} for key, own in sorted(groups.items(), reverse=True)}


def _best(cell: dict[str, Row]) -> Row:
    return max((cell[m] for m in ROBUST), key=lambda r: float(r["ood_val"]))


def _ood(row: Row) -> float:
    return 100 * fmean(row["ood_test"].values())


def _ranks(groups: Iterable[list[Row]]) -> str:
    return _span([spearmanr([r["ood_val"] for r in g], [_ood(r) for r in g]).statistic for g in groups], "{:.2f}")


def _accuracies(found: list[Row], method: str) -> list[str]:
    return [_span([100 * r[split][method] for r in found], "{:.1f}") for split in ("id_test", "ood_test")]


def _span(values: list[float], style: str) -> str:
    low, high = style.format(min(values)), style.format(max(values))
    mean = style.format(fmean(values))
    return mean if low == high else f"{mean} ({low} to {high})"


TABLES: dict[str, Callable[[], str]] = {
    "quickstart": quickstart,
    "exactness": exactness,
    "hypergradients": hypergradients,
    "conditioning": conditioning,
    "samplers": samplers,
    "asks": asks,
    "choices": choices,
    "workers": workers,
    "suites": suites,
    "instrument": instrument,
    "methods_shapes": methods_tables.shapes,
    "methods_digits": methods_tables.digits,
    "methods_styles": methods_tables.styles,
    "low_labels": methods_tables.low_labels,
    "ftp_cost": methods_tables.ftp_cost,
    "solvers": solvers_tables.solvers,
    "solvers_compared": solvers_tables.compared,
    "solvers_early": solvers_tables.early,
    "solvers_online": solvers_tables.online,
    "solvers_ablations": solvers_tables.ablations,
    "solvers_horizons": solvers_tables.horizons,
}


def filled(text: str) -> str:
    """The README's text with current tables."""
    for name, table in TABLES.items():
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for {name}")
        replacement = f"{begin}\n{table()}\n{end}"
        text = pattern.sub(lambda _, r=replacement: r, text)
    return text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if args.check:
        print("current" if before == after else "out of date: run python benchmarks/readme.py")
        return int(before != after)
    README.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
