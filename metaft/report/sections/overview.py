"""Did it help, by how much, may I trust it, what now: the first screen."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from markupsafe import Markup

from metaft.report.document import Document
from metaft.report.estimates import Estimate, at, ood
from metaft.report.markup import Cell, bullets, joined, paragraph, table
from metaft.report.run import Run
from metaft.report.tables import handed_back
from metaft.report.verdict import (
    LEARNED,
    PLAIN,
    WORDS,
    ZERO_SHOT,
    Gain,
    gain,
    gains,
    helped,
    judges,
    kept,
    points,
    share,
    warnings,
)

TO_SEARCH = Markup(
    "The learned objective was not the best choice here: give it more <code>search.trials</code>, or values by "
    "parameter group (configs/groups.yaml)."
)


def body(runs: Sequence[Run]) -> Markup:
    """Of one run a sentence and four answers, or how far it is; of several a sentence and a row each."""
    return _one(runs[0]) if len(runs) == 1 else _several(runs)


def _one(run: Run) -> Markup:
    if run.standing:
        return _so_far(run)
    cards = [
        ("Did it help?", _answer(run)),
        ("By how much?", _much(run)),
        ("May I trust it?", _trust(run)),
        ("What now?", bullets(_advice(run), "plain")),
    ]
    drawn = joined(Markup('<div class="card"><h3>{}</h3>{}</div>').format(name, text) for name, text in cards)
    return paragraph(headline(run), "lead") + Markup('<div class="cards">{}</div>').format(drawn)


def _so_far(run: Run) -> Markup:
    """How far a run is, and what to do where nobody works at it."""
    lines = [Markup("<b>{}</b>: {}").format(name, text) for name, text in run.standing.items() if name != "run"]
    go_on = Markup("<p>Was it interrupted? <code>python -m metaft.run --resume {}</code> goes on.</p>")
    return bullets(lines) + go_on.format(shlex.quote(run.name))


def headline(run: Run) -> str:
    """Whose model is handed back, what was gained out of distribution and what it cost in distribution."""
    name = kept(run)
    if name is None:
        return "No model is handed back: see which methods gave no result."
    method = run.results["methods"][name]
    first = f"{name} is handed back: {share(ood(method))} out of distribution, {share(at(method))} in distribution"
    against = next((g for g in (gain(run, PLAIN), gain(run, ZERO_SHOT)) if g is not None), None)
    if against is None:
        return f"{first}."
    over = WORDS[against.over]
    return (
        f"{first}. Against {over} that is {points(against.ood)} points out of distribution, and "
        f"{points(against.id)} in distribution (95 % intervals)."
    )


def _answer(run: Run) -> Markup:
    found = gains(run)
    if not found:
        return paragraph("There is nothing to compare it with: neither plain fine-tuning nor the zero-shot model.")
    first = found[0]
    verdict = helped(first.ood)
    words, how = {True: ("Yes", "yes"), False: ("No", "no"), None: ("Not for sure", "unsure")}[verdict]
    against = f" against {WORDS[first.over]}, out of distribution"
    lost = " It costs accuracy in distribution." if helped(first.id) is False else ""
    return Markup('<p><span class="big {}">{}</span>{}.{}</p>').format(how, words, against, lost) + paragraph(
        handed_back(run.results)
    )


def _much(run: Run) -> Markup:
    def line(g: Gain) -> Markup:
        return Markup("<p><b>{}</b> OOD, {} ID<br><small>points above {}</small></p>").format(
            points(g.ood), points(g.id), WORDS[g.over]
        )

    return joined(line(g) for g in gains(run)) or paragraph("Nothing to compare with.")


def _trust(run: Run) -> Markup:
    n, found = judges(run), warnings(run)
    said = [
        f"{len(found)} warning{'s' if len(found) > 1 else ''} below." if found else "Nothing speaks against it.",
        "" if n is None else f"{n} labelled OOD images chose; each judged models that were not trained on it.",
        "Tests judge finished models alone: nothing was chosen by them.",
    ]
    how = "unsure" if found else "yes"
    first = Markup('<p class="big {}">{}</p>').format(how, said[0])
    return first + joined(paragraph(text) for text in said[1:])


def _advice(run: Run) -> list[str | Markup]:
    """What to do next, by what the run came to."""
    name = kept(run)
    if name is None:
        return ["Mend what the warnings name, and run again."]
    first = next(iter(gains(run)), None)
    sure = first is not None and helped(first.ood)
    use = Markup("Use it: <code>model/</code> in the run's folder; <code>python -m metaft.predict {} IMAGES</code>.")
    advice: list[str | Markup] = [use.format(run.name)]
    if sure is None:
        seeds = Markup("Not sure? <code>--seeds 0 1 2</code> says what chance does; more labelled OOD images help.")
        advice.append(seeds)
    if sure is False:
        advice[0] = "Keep the model that you have: this one is worse out of distribution."
    if name != LEARNED and LEARNED in run.results["methods"]:
        advice.append(TO_SEARCH)
    if first is not None and helped(first.id) is False:
        advice.append(Markup("Too much lost in distribution? <code>search.id_drop_max</code> is the limit."))
    again = Markup("Data or a model like these? <code>python -m metaft.run --objective {}</code> skips the search.")
    return [*advice, again.format(run.name)]


def _several(runs: Sequence[Run]) -> Markup:
    header = ["run", "mode", "seed", "handed back", "OOD mean", "ID", "OOD against ft", "ID against ft", "search, s"]
    rows = [_row(run) for run in runs]
    best = max(range(len(runs)), key=lambda i: -1.0 if (e := _of_kept(runs[i].results)) is None else e.value)
    caption = "Models that runs hand back, in per cent"
    if kept(runs[best]) is None:
        return paragraph(f"{len(runs)} runs, of which none has handed a model back.", "lead") + table(
            header, rows, caption
        )
    lead = (
        f"{len(runs)} runs; the model that {runs[best].name} hands back has the highest accuracy out of distribution, "
        "which is read off the tests, and so a winner's."
    )
    return paragraph(lead, "lead") + table(header, rows, caption, best={best})


def _of_kept(results: Document) -> Estimate | None:
    choice = results.get("handed_back")
    return ood(results["methods"][choice["method"]]) if choice else None


def _row(run: Run) -> list[Cell | str]:
    name, against, search = kept(run), gain(run, PLAIN), run.results.get("search") or {}
    method = run.results["methods"].get(name or "", {})
    seconds = search.get("seconds")
    return [
        run.name,
        run.results.get("mode") or "none",
        Cell(str(run.results["seed"]), number=float(run.results["seed"])),
        name or "-",
        _cell(ood(method)),
        _cell(at(method)),
        Cell("-") if against is None else _difference(against.ood),
        Cell("-") if against is None else _difference(against.id),
        Cell(f"{seconds:,.0f}", number=float(seconds)) if isinstance(seconds, int | float) else "-",
    ]


def _cell(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell("-")
    low, high = f"{100 * estimate.low:.1f}", f"{100 * estimate.high:.1f}"
    return Cell(f"{100 * estimate.value:.1f}", f"[{low}, {high}]", estimate.value)


def _difference(estimate: Estimate | None) -> Cell:
    words, _, interval = points(estimate).partition(" ")
    return Cell(words, interval, None if estimate is None else estimate.value)
