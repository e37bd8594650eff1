"""What hypergradients cost and how exact they are."""

from __future__ import annotations

import math
from statistics import median, mode

from metaft.report.tables import markdown
from shared.numbers import mib, short
from shared.rows import Row, committed

TOY = "toy"
GROUPS = {False: "one group", True: "with groups"}


def hypergradients(model: str, batch: int, steps: int) -> str:
    """Time and memory of each way to a hypergradient, on one inner loop."""
    loop = [r for r in committed("hypergradient") if (r["model"], r["batch"], r["T"]) == (model, batch, steps)]
    usual, table = mode(map(_processor, loop)), []
    for r in sorted(loop, key=lambda r: float(r["ratio"])):
        budget = f", budget {mib(r['budget_bytes'])} MiB" if r["budget_bytes"] else ""
        cost = (f"{r['ratio']:.2f}", mib(r["peak_bytes"]), f"{r['slope_P']:.1f}")
        elsewhere = "" if _processor(r) == usual else " *"
        table.append([r["estimator"] + elsewhere, r["storage"] + budget, *cost])
    return markdown(["estimator", "storage", "time / plain", "peak, MiB", "growth a step, P"], table)


def _processor(row: Row) -> str:
    """What a row was measured on, where that is another processor than the file's."""
    return str(row.get("measured", {}).get("device", {}).get("name", ""))


def differences() -> str:
    """Time and error of differences and peers beside the exact derivative, by batch and K hyperparameters."""
    rows = [r for r in committed("hypergradient") if r["model"] == TOY and r["dtype"] == "float32"]
    cells = sorted({(r["batch"], r["K"]) for r in rows if r["estimator"] == "differences"})
    table = []
    for batch, count in cells:
        here = [r for r in rows if (r["batch"], r["K"]) == (batch, count)]
        for way in dict.fromkeys((r["estimator"], r["storage"]) for r in sorted(here, key=lambda r: float(r["ratio"]))):
            found = [r for r in here if (r["estimator"], r["storage"]) == way]
            times = [r["ratio"] for r in found]
            worst = (short(100 * max(r["rel_error"] for r in found)), f"{min(r['cosine'] for r in found):.5f}")
            what = [str(batch), str(count), ", ".join(way), str(len(found))]
            table.append([*what, f"{median(times):.2f}", mib(found[0]["peak_bytes"]), *worst])
    return markdown(
        ["batch", "K", "way", "seeds", "time / plain", "peak, MiB", "worst error, %", "worst cosine"], table
    )


def compiling() -> str:
    """When compiled blocks have made up for the time that their compiler takes, with central differences."""
    found = [_paying(model, batch) for model, batch in ((TOY, 32), ("vit-128", 256))]
    seconds, counts = (" and ".join(f"{x:.0f}" for x in column) for column in zip(*found, strict=True))
    return f"{seconds} seconds here, made up for by {counts} hypergradients"


def _paying(model: str, batch: int) -> tuple[float, float]:
    """The compiler's seconds, and by how many hypergradients they are made up for: the median over seeds."""
    cell = (model, batch, 11, "differences")
    rows = [r for r in committed("hypergradient") if (r["model"], r["batch"], r["K"], r["estimator"]) == cell]
    plain, quick = ({r["seed"]: r for r in rows if r["storage"] == way} for way in ("auto", "auto, compiled"))
    first = max(r["first_seconds"] for r in quick.values())
    saved = median(plain[seed]["seconds"] - r["seconds"] for seed, r in quick.items())
    return first, math.ceil(first / saved)


def conditioning() -> str:
    """Errors against float64 on the toy CLIP, and what more hyperparameters and longer loops cost."""
    return markdown(["worst of three seeds, or one run", ""], [*_errors(), *_growth()])


def _errors() -> list[list[str]]:
    toy = [r for r in committed("hypergradient") if (r["model"], r["batch"]) == (TOY, 64)]
    table = []
    for dtype, estimator in (("float32", "unroll"), ("float32", "forward"), ("bfloat16", "unroll")):
        rows = [r for r in toy if (r["dtype"], r["estimator"], r["storage"]) == (dtype, estimator, "keep")]
        what = f"toy CLIP, digits, T = {rows[0]['T']}, {estimator}, {dtype}: error against float64, cosine"
        errors = f"{100 * max(r['rel_error'] for r in rows):.2g} %, {min(r['cosine'] for r in rows):.6f}"
        table.append([what, errors])
    return table


def _growth() -> list[list[str]]:
    rows = committed("hypergradient")
    many = next(r for r in rows if (r["model"], r["estimator"]) == ("vit-128x12", "unroll"))
    table = [[f"seconds with K = {many['K']} against K = 11", f"{many['ratio_to_K_11']:.2f}"]]
    for storage in ("replay", "segments"):
        deep = [r for r in rows if (r["model"], r["batch"], r["estimator"]) == ("vit-128", 32, "unroll")]
        short, long = (r["peak_bytes"] for r in deep if r["storage"] == storage)
        table.append([f"peak of {storage} at T = 64 against T = 16", f"{long / short:.2f}"])
    return table


def exactness() -> str:
    """The worst case over seeds of each check."""
    rows = committed("exactness")
    table = []
    for grouped, kind in GROUPS.items():
        in_groups = [r for r in rows if r["grouped"] == grouped]
        for eps in (1e-8, 1e-2):
            worst = max(r["max_difference"] for r in in_groups if (r["check"], r["eps"]) == ("trajectory", eps))
            table.append([f"20 steps against torch.optim.AdamW, eps {eps:g}, {kind}", f"{worst:.1e}"])
        hypergradients = [r for r in in_groups if r["check"] == "hypergradient"]
        worst = max(r["max_rel_error"] for r in hypergradients)
        count = len(hypergradients[0]["rel_error"])
        table.append([f"{count} hypergradients against central differences, {kind}", f"{worst:.1e}"])
    return markdown(["float64, toy CLIP, all terms active, worst of three seeds", "difference"], table)
