"""Samplers, the last choice of a noisy search, and executors."""

from __future__ import annotations

from statistics import fmean

from metaft.report.tables import markdown
from shared.numbers import grouped, with_quartiles
from shared.rows import committed

SAMPLERS = ("metaft", "optuna", "optuna univariate", "hyperopt", "random")


def samplers() -> str:
    """Regret after 200 trials by problem and sampler, median and quartiles over seeds, and diverging proposals."""
    searches = grouped((r for r in committed("tpe") if r["regret"]), "problem", "sampler")
    table = []
    for problem in dict.fromkeys(problem for problem, _ in searches):
        regrets = ([r["regret"]["200"] for r in searches[problem, s]] for s in SAMPLERS)
        table.append([problem, *map(with_quartiles, regrets)])
    diverged = (fmean(r["diverged"] for r in searches["cliff", s]) for s in SAMPLERS)
    table.append(["cliff: trials 21 to 100 that diverge, %", *(f"{100 * share:.1f}" for share in diverged)])
    return markdown(["median regret at 200 (quartiles)", *SAMPLERS], table)


def asks() -> str:
    """Milliseconds of one proposal by sampler and history, and the ratio to Optuna's default after the longest."""
    timed = [r for r in committed("tpe") if r["ask_ms"]]
    *_, longest = lengths = list(timed[0]["ask_ms"])
    table = [
        [
            f"{r['sampler']}, {r['history']}",
            *(f"{r['ask_ms'][n]:.1f}" for n in lengths),
            f"{r['ratio_to_optuna'][longest]:.2f}",
        ]
        for r in timed
    ]
    head = ["one proposal in 11 dimensions, ms, after", *(f"{int(n):,} trials" for n in lengths)]
    return markdown([*head, "ratio to Optuna's default"], table)


def worse_than_least(share: float) -> str:
    """In how many rows of the choices a share of evaluations for the last one is worse than none, the least value."""
    rows = [r for r in committed("choice") if r["candidates"] in (1, 16) and r["share"] in (0, share)]
    by_row = [grouped(searches, "share") for searches in grouped(rows, "noise", "evaluations").values()]
    means = [[fmean(r["regret"] for r in by_share[part,]) for part in (0, share)] for by_share in by_row]
    return f"{sum(kept > least for least, kept in means)} of {len(means)} rows"


def choices() -> str:
    """Regret of what a noisy search settles on, by the share of evaluations for the last choice."""
    rows = [r for r in committed("choice") if r["candidates"] in (1, 16)]
    shares = sorted({r["share"] for r in rows})
    table = []
    for (noise, total), searches in sorted(grouped(rows, "noise", "evaluations").items()):
        by_share = grouped(searches, "share")
        regrets = (fmean(r["regret"] for r in by_share[share,]) for share in shares)
        table.append([f"noise {noise:g}, {total} evaluations", *(f"{regret:.3f}" for regret in regrets)])
    return markdown(["mean regret of the choice", *(f"{100 * s:.0f} %" if s else "least value" for s in shares)], table)


def workers() -> str:
    """Pieces of work by executor, a second or a minute."""
    units = {"trials": (1, "a second"), "hypergradients": (1, "a second"), "methods": (60, "a minute")}
    rows = []
    for r in committed("executors"):
        seconds, unit = units[r["work"]]
        rate = f"{seconds * r['throughput']:.2f} {r['work']} {unit}"
        rows.append([r["executor"], str(r["workers"]), rate, f"{r['ratio']:.2f}"])
    return markdown(["executor", "workers", "done", "ratio to one"], rows)
