"""One self-contained HTML page for one run or several: its sections in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

from metaft.report.markup import joined
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
<title>{title}</title><link rel="icon" href="data:,"><style>
{style}</style></head><body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{title}</h1><p><small>{what}</small></p></header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="content">{content}</main>
<script>
{script}</script></body></html>
""")
HERE = Path(__file__).parent


def render(runs: Sequence[Run], title: str) -> str:
    """The page of some runs, at least one."""
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
    )


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
