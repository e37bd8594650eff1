"""One self-contained HTML page for one run or several: its sections in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from metaft.report.markup import NONE, joined
from metaft.report.run import Run
from metaft.report.sections import (
    costs,
    drift,
    examples,
    history,
    id_ood,
    methods,
    mistakes,
    objective,
    others,
    overview,
    parts,
    provenance,
    sensitivities,
    trajectories,
    warnings,
)

# A section more is a file in sections/ and a line here. Where nothing is known of it, it is left out.
TOGETHER: tuple[tuple[str, Callable[[Sequence[Run]], Markup]], ...] = (  # of all runs
    ("In short", overview.body),
    ("Warnings", warnings.body),
    ("Methods and splits", methods.body),
    ("ID against OOD", id_ood.body),
    ("Search history", history.body),
)
EACH: tuple[tuple[str, Callable[[Run], Markup]], ...] = (  # of each run
    ("What it fixes and breaks", examples.body),
    ("Tests and domains", parts.body),
    ("Mistakes and confidence", mistakes.body),
    ("Objective", objective.body),
    ("Hyperparameters", trajectories.body),
    ("Sensitivities", sensitivities.body),
    ("Drift", drift.body),
    ("Costs", costs.body),
    ("Other metrics", others.body),
    ("Provenance", provenance.body),
)

PAGE = Markup("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
{again}<title>{title}</title><link rel="icon" href="data:,"><style>
{style}</style></head><body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{title}</h1><p><small>{what}</small></p></header>
{standing}<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="content">{content}</main>
<script>
{script}</script></body></html>
""")
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Pace:
    """When a page is written, in words, and the seconds after which it is written anew; None: it is not."""

    written: str
    every: float | None = None


def render(runs: Sequence[Run], title: str, pace: Pace | None = None) -> str:
    """The page of some runs, at least one.

    Args:
        pace: told where a run has not ended; where the page is written anew, it loads itself anew, too.
    """
    parts = [(name, body(runs)) for name, body in TOGETHER]
    if len(runs) == 1:
        parts += [(name, body(runs[0])) for name, body in EACH]
    else:
        parts += [(run.label, _own(run)) for run in runs]
    kept = [(f"s{number}", name, body) for number, (name, body) in enumerate(parts) if body]
    style, script = (Markup((HERE / f"page.{kind}").read_text(encoding="utf-8")) for kind in ("css", "js"))
    return PAGE.format(
        title=title,
        style=style,
        script=script,
        what=_known(runs[0]) if len(runs) == 1 else f"{len(runs)} runs",
        links=joined(Markup('<li><a href="#{}">{}</a></li>').format(ident, name) for ident, name, _ in kept),
        content=joined(_section(*part, first=i == 0) for i, part in enumerate(kept)),
        standing=_standing([run for run in runs if run.standing], pace),
        again=_again(pace),
    )


def _standing(runs: Sequence[Run], pace: Pace | None) -> Markup:
    """Which runs have not ended, and of when the page is; nothing where all have, and none is to come."""
    if not runs and (pace is None or pace.every is None):
        return NONE
    told = [f"{run.name} has not ended." for run in runs] or ["More runs are to come."]
    if pace is not None:
        told.append(f"This is what was known at {pace.written}.")
        if pace.every is not None:
            told.append(f"The page is written, and loads itself, anew every {pace.every:g} s.")
    return Markup('<p class="standing" role="status">{}</p>\n').format(" ".join(told))


def _again(pace: Pace | None) -> Markup:
    if pace is None or pace.every is None:
        return NONE
    return Markup('<meta http-equiv="refresh" content="{}">\n').format(f"{pace.every:g}")


def _section(ident: str, name: str, body: Markup, *, first: bool) -> Markup:
    how = Markup(' class="first"') if first else ""
    return Markup('<section id="{i}" aria-labelledby="{i}-h"><h2 id="{i}-h"{how}>{n}</h2>{b}</section>\n').format(
        i=ident, n=name, b=body, how=how
    )


def _own(run: Run) -> Markup:
    """What is told of one run among several, a level further down."""
    bodies = ((name, body(run)) for name, body in EACH)
    return joined(Markup("<h3>{}</h3>{}").format(name, _lower(body)) for name, body in bodies if body)


def _lower(body: Markup) -> Markup:
    """The same with its headings a level down."""
    return Markup(str(body).replace("<h3>", "<h4>").replace("</h3>", "</h4>"))


def _known(run: Run) -> str:
    """What a run is told by: its name, mode, data and date."""
    source = run.results["provenance"]
    suite = (source.get("suite") or {}).get("format")
    date = source.get("date")
    parts = [run.name, run.results.get("mode"), suite, f"seed {run.results['seed']}"]
    return ", ".join(str(part) for part in [*parts, date if isinstance(date, str) else None] if part)
