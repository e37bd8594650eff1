"""Which of several models is handed back: the best by ood_val, or one as good within noise and closer to theta_0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaft.finetune.crossfit import Judged
from metaft.finetune.methods import PLAIN
from metaft.finetune.validation import drop_price
from metaft.metrics import ROUNDING, Gap
from metaft.results import HandedBack


@dataclass(frozen=True)
class Candidate:
    """What a method's cross-fitted models say of ood_val, if there are any, and what its model says of id_val."""

    judged: Judged | None
    id_val: Judged


def handed_back(
    candidates: Mapping[str, Candidate], theta_0: Judged, *, id_drop_max: float | None, noise: float
) -> HandedBack:
    """The method whose model is handed back, and why.

    It is the one with the best worth, or of those within `noise` standard errors of it the one that names the fewest
    images of ood_val otherwise than theta_0 does. Of equals it is the first by worth, accuracy on id_val, and order.

        worth = accuracy on ood_val - 2 max(0, accuracy of ft - its own on id_val - 2 standard errors - id_drop_max)

    So the limit on what may be lost in distribution gives way where each point beyond it brings two out of it: id_val
    is too small for a sharp one.

    Args:
        candidates: by name, at least one; those that ood_val cannot judge are left aside, unless all are: then id_val
            alone decides. Without `ft` nothing is missing in distribution.
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
    rated = {name: _rated(candidates, name, theta_0, id_drop_max) for name in judged}
    best = max(rated, key=lambda name: (rated[name].worth, rated[name].id_val))
    errors = {name: Gap.between(judged[best].correct, j.correct).error for name, j in judged.items()}
    gaps = {name: rated[best].worth - r.worth for name, r in rated.items()}
    alike = [name for name, gap in gaps.items() if gap <= noise * errors[name] + ROUNDING]
    method = min(alike, key=lambda name: (rated[name].moved, -rated[name].worth, -rated[name].id_val))
    reason = _best(method, rated) if method == best else _closer(method, best, rated, noise, errors[method])
    return HandedBack(method, reason + _marked_down(rated, id_drop_max), rated[method].ood_val)


@dataclass(frozen=True)
class _Rated:
    """A candidate's accuracies, the price of its loss in distribution, and how much it names otherwise than theta_0."""

    ood_val: float
    id_val: float
    price: float
    moved: float

    @property
    def worth(self) -> float:
        return self.ood_val - self.price


def _rated(candidates: Mapping[str, Candidate], name: str, theta_0: Judged, limit: float | None) -> _Rated:
    candidate, ft = candidates[name], candidates.get(PLAIN)
    assert candidate.judged is not None, "the others are left aside"
    price = 0.0 if ft is None else drop_price(ft.id_val.correct, candidate.id_val.correct, limit)
    moved = float((candidate.judged.predictions != theta_0.predictions).double().mean())
    return _Rated(candidate.judged.accuracy, candidate.id_val.accuracy, price, moved)


def _best(method: str, rated: Mapping[str, _Rated]) -> str:
    """Why the best is taken, in words."""
    accuracy = rated[method].ood_val
    if accuracy == max(r.ood_val for r in rated.values()):
        return f"it has the best accuracy on ood_val, {100 * accuracy:.1f} %"
    return f"it has {100 * accuracy:.1f} % on ood_val, the best of those that keep accuracy in distribution"


def _closer(method: str, best: str, rated: Mapping[str, _Rated], noise: float, error: float) -> str:
    """Why one that is closer to theta_0 is taken, in words."""
    this, other = rated[method], rated[best]
    below = f"{100 * (other.worth - this.worth):.1f} points below {best}"
    within = f"within {noise:g} standard errors of {100 * error:.1f}"
    named = f"it names {100 * this.moved:.1f} % of the images, not {100 * other.moved:.1f} %, otherwise than zero_shot"
    return f"it has {100 * this.ood_val:.1f} % on ood_val, {below}, {within}, and is closer to theta_0: {named}"


def _marked_down(rated: Mapping[str, _Rated], limit: float | None) -> str:
    """What counts against methods, in words."""
    down = [f"{name} by {100 * r.price:.1f}" for name, r in rated.items() if r.price > ROUNDING]
    if not down or limit is None:
        return ""
    return f"; marked down for being more than {100 * limit:.1f} points below ft on id_val: {', '.join(down)}"
