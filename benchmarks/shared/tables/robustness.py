"""Runs that were disturbed, and searches that went on for long."""

from __future__ import annotations

from metaft.report.tables import markdown
from shared.numbers import grouped
from shared.rows import Row, committed

FORMS = ("undisturbed", "random", "before", "torn", "after", "full")
MARKS = ("100", "500", "1000", "2000")


def chaos() -> str:
    """By kind of run and form of disturbance, in how many cases the run ended as the undisturbed one did."""
    cases = grouped(committed("chaos"), "kind", "form")
    kinds = list(dict.fromkeys(kind for kind, _ in cases))
    table = [[kind, *(_identical(cases.get((kind, form), [])) for form in FORMS)] for kind in kinds]
    return markdown(["identical / cases", *FORMS], table)


def _identical(rows: list[Row]) -> str:
    return f"{sum(row['identical'] for row in rows)} / {len(rows)}" if rows else ""


def kills() -> str:
    """How many SIGKILLs there were at random moments, and how many in all."""
    rows = committed("chaos")
    return f"{sum(row['kills'] for row in rows if row['form'] == 'random')} and {sum(row['kills'] for row in rows)}"


def growth() -> str:
    """By search how memory, proposals and trials grew."""
    head = ["search of 2,000 trials", "growth", "second half", "kept", "open files", "journal"]
    table = [
        [
            f"{row['solver']}, {row['problem']}",
            *(f"{row['growth'][part]:,.0f}" for part in ("all", "second half")),
            f"{row['kept']:,.0f}",
            f"{row['handles']['begin']} to {row['handles']['end']}",
            f"{row['journal_bytes'] / 2**20:.1f} MiB",
        ]
        for row in committed("soak")
    ]
    return markdown(head, table)


def slowed(solver: str, problem: str) -> str:
    """How many times as long a trial takes at a search's end as near its beginning, and how much of it is proposals."""
    (row,) = (r for r in committed("soak") if (r["solver"], r["problem"]) == (solver, problem))
    first, last = MARKS[0], MARKS[-1]
    trial, proposal = (row[what][last] - row[what][first] for what in ("trial_ms", "ask_ms"))
    times = row["trial_ms"][last] / row["trial_ms"][first]
    return (
        f"{times:.1f} times as long after {int(last):,} trials as after {first}; "
        f"of the {trial:.0f} ms more, the proposal is {proposal:.0f}"
    )


def pace() -> str:
    """By search the milliseconds of a proposal, and of a whole trial, after so many."""
    table = []
    for row in committed("soak"):
        for what, times in (("proposal", row["ask_ms"]), ("trial", row["trial_ms"])):
            if times:
                table.append([f"{row['solver']}, {row['problem']}: a {what}", *(f"{times[n]:.1f}" for n in MARKS)])
    return markdown(["ms, after so many trials", *(f"{int(n):,}" for n in MARKS)], table)
