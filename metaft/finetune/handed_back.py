"""Which of several models is handed back: the best by ood_val, or one as good within noise and closer to theta_0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaft.finetune.crossfit import Judged
from metaft.finetune.methods import PLAIN
from metaft.metrics import ROUNDING, paired, surely_below
from metaft.results import HandedBack


@dataclass(frozen=True)
class Candidate:
    """What a method's cross-fitted models say of ood_val, if there are any, and what its model says of id_val."""

    judged: Judged | None
    id_val: Judged


@dataclass(frozen=True)
class Gap:
    """How far a method is below another on the same images: the mean paired difference, and its standard error."""

    mean: float
    error: float

    @classmethod
    def between(cls, best: Judged, other: Judged) -> Gap:
        """The gap from `best` down to `other` (see `metaft.metrics.paired`)."""
        return cls(*paired(best.correct, other.correct))


def handed_back(
    candidates: Mapping[str, Candidate], theta_0: Judged, *, id_drop_max: float | None, noise: float
) -> HandedBack:
    """The method whose model is handed back, and why.

    Left out is what id_val shows to be more than `id_drop_max` below `ft`: by more than that and two standard errors,
    since ft's best check was chosen by the same images. Of the others (of all, if none is left or ft is no candidate)
    it is the one with the best accuracy on ood_val, or of those within `noise` standard errors of it the one that names
    the fewest images of ood_val otherwise than theta_0 does. Of equals it is the first by accuracy on ood_val, that on
    id_val, and order.

    Args:
        candidates: by name, at least one; those that ood_val cannot judge are left aside, unless all are: then id_val
            alone decides.
        theta_0: what the zero-shot model says of ood_val.
        id_drop_max: a share in [0, 1]; None: any drop.
        noise: standard errors sd(d) / sqrt(N) of the paired difference d over N images.

    Source: the one-standard-error rule of Breiman et al., Classification and regression trees, 1984, section 3.4.3,
    with closeness to theta_0 in the place of simplicity.
    """
    judged = {name: c.judged for name, c in candidates.items() if c.judged is not None}
    if not judged:
        method = max(candidates, key=lambda name: candidates[name].id_val.accuracy)
        return HandedBack(method, "it has the best accuracy on id_val, and no image of ood_val is left to judge by")
    dropped = _dropped(candidates, id_drop_max)
    allowed = {name: j for name, j in judged.items() if name not in dropped} or judged
    best = max(allowed, key=lambda name: (allowed[name].accuracy, candidates[name].id_val.accuracy))
    gaps = {name: Gap.between(allowed[best], j) for name, j in allowed.items()}
    moved = {name: _moved(j, theta_0) for name, j in allowed.items()}
    alike = [name for name, gap in gaps.items() if gap.mean <= noise * gap.error + ROUNDING]
    method = min(alike, key=lambda name: (moved[name], -allowed[name].accuracy, -candidates[name].id_val.accuracy))
    reason = _reason(method, best, allowed, gaps[method], moved, noise)
    left_out = sorted(set(judged) - set(allowed))
    if left_out:
        reason += f"; {', '.join(left_out)} lost more than {100 * (id_drop_max or 0):.1f} points of ft's on id_val"
    return HandedBack(method, reason, allowed[method].accuracy)


def _dropped(candidates: Mapping[str, Candidate], limit: float | None) -> set[str]:
    """The methods that id_val shows to be further below `ft` than a limit."""
    if PLAIN not in candidates or limit is None:
        return set()
    of_ft = candidates[PLAIN].id_val
    return {name for name, c in candidates.items() if surely_below(of_ft.correct, c.id_val.correct, limit)}


def _moved(judged: Judged, theta_0: Judged) -> float:
    """The share of images that are named otherwise than by theta_0."""
    return float((judged.predictions != theta_0.predictions).double().mean())


def _reason(
    method: str, best: str, allowed: Mapping[str, Judged], gap: Gap, moved: Mapping[str, float], noise: float
) -> str:
    accuracy = f"{100 * allowed[method].accuracy:.1f} %"
    if method == best:
        return f"it has the best accuracy on ood_val, {accuracy}"
    below = f"{100 * gap.mean:.1f} points below {best}, within {noise:g} standard errors of {100 * gap.error:.1f}"
    closer = f"{100 * moved[method]:.1f} % of the images, not {100 * moved[best]:.1f} %, otherwise than zero_shot"
    return f"it has {accuracy} on ood_val, {below}, and is closer to theta_0: it names {closer}"
