"""What each part of a learned objective brings: accuracy on ood_val without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from metaft.errors import DivergedError
from metaft.finetune.crossfit import Judged
from metaft.finetune.fits import Fits
from metaft.metrics import Gap
from metaft.names import source_name
from metaft.objective.objective import Objective

MADE = ("autoft_end", "autoft")  # what is fitted with a learned objective, the second from the first


def left_out(fits: Fits, learned: Objective) -> dict[str, Any]:
    """The accuracy on ood_val of the learned objective's model, and of the models of it without one part each.

    Of a part `without` has the accuracy, what is `lost` in it and the standard error of that, over images that both
    judge; null where the fine-tune diverges. Each image is judged by models that were not trained on it (see
    `metaft.finetune.fits.Fits.judged`), and no test is. lr, wd and share of the way stay as they are, though without
    the part others may be better: it tells what this objective hangs on, not what the best one without it would lose.
    Empty where ood_val cannot judge.
    """
    whole = _judged(fits)
    if whole is None:
        return {}
    without: dict[str, Any] = {}
    for name, rest in parts(learned):
        judged = _judged(_variant(fits, name, rest))
        if judged is None:
            without[name] = None
        else:
            gap = Gap.between(whole.correct, judged.correct)
            without[name] = {"accuracy": judged.accuracy, "lost": gap.mean, "error": gap.error}
    return {"accuracy": whole.accuracy, "without": without}


def parts(learned: Objective) -> Iterator[tuple[str, Objective]]:
    """The names of what an objective weighs, terms and further sources, each with the objective without it.

    A part on which all training hangs, since it is the only one, is left in.
    """
    stages = [learned, *(stage for _, stage in learned.schedule)]
    own = [terms for stage in stages for terms in (stage.terms, *(g.get("terms", {}) for g in stage.groups.values()))]
    terms = list(dict.fromkeys(name for weights in own for name, weight in weights.items() if weight != 0))
    if len(terms) + len(learned.trained_sources) < 2:
        return
    yield from ((name, _without(learned, name)) for name in terms)
    yield from ((source_name(name), _without_source(learned, name)) for name in learned.trained_sources)


def _without(learned: Objective, term: str) -> Objective:
    """The objective with the weight 0 of a term, in groups and later stages, too."""

    def rid(weights: dict[str, float]) -> dict[str, float]:
        return {**weights, term: 0.0} if term in weights else weights

    groups = {g: {**o, "terms": rid(dict(o["terms"]))} if "terms" in o else o for g, o in learned.groups.items()}
    schedule = tuple((start, _without(stage, term)) for start, stage in learned.schedule)
    return replace(learned, terms=rid(dict(learned.terms)), groups=groups, schedule=schedule)


def _without_source(learned: Objective, source: str) -> Objective:
    """The objective with the weight 0 of a further source, in later stages, too."""
    sources = {name: 0.0 if name == source else weight for name, weight in learned.sources.items()}
    schedule = tuple((start, _without_source(stage, source)) for start, stage in learned.schedule)
    return replace(learned, sources=sources, schedule=schedule)


def _variant(fits: Fits, name: str, rest: Objective) -> Fits:
    """Fits with another learned objective, kept beside the others."""
    variant = replace(fits, context=fits.context.varied(learned=rest))
    for method in MADE:
        variant = variant.aside(method, f"{method}_without_{name.replace(':', '_')}")  # a file's name
    variant.helpers(variant, MADE)
    return variant


def _judged(fits: Fits) -> Judged | None:
    """What the learned objective's models say of ood_val; None: they diverge, or it cannot judge."""
    try:
        return fits.judged("autoft")
    except DivergedError:
        return None
