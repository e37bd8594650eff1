"""Which of several models is handed back: the best by what ood_val shows for sure, and id_val lets pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from metaft.finetune.crossfit import Judged, gains, told
from metaft.finetune.methods import PLAIN
from metaft.finetune.validation import drop_price
from metaft.metrics import METRICS, ROUNDING, Gap, Metric
from metaft.results import HandedBack


@dataclass(frozen=True)
class Candidate:
    """What a method's cross-fitted models say of ood_val, if there are any, and what its model says of id_val."""

    judged: Judged | None
    id_val: Judged


def handed_back(
    candidates: Mapping[str, Candidate],
    theta_0: Judged,
    *,
    id_drop_max: float | None,
    noise: float,
    metric: str = "accuracy",
) -> HandedBack:
    """The method with the best worth, and why.

        worth = metric of theta_0 on ood_val + mean of its gains over it - noise * their standard error
                - 2 max(0, accuracy of ft - its own on id_val - 2 standard errors - id_drop_max)

    with a gain told by the metric and, the more the fewer images, by the loss (see `gains`). So what a model gains
    counts as far as ood_val shows it for sure: one closer to theta_0 differs from it less and has a smaller error,
    which decides where images are few, and nothing where they are many. The limit on what may be lost in distribution
    gives way where each point beyond it brings two out of it: id_val is too small for a sharp one. Of equals it is the
    one that names the fewest images of ood_val otherwise than theta_0, then the first by the metric on id_val, and
    order.

    Args:
        candidates: by name, at least one; those that ood_val cannot judge are left aside, unless all are: then id_val
            alone decides. Without `ft` nothing is missing in distribution.
        theta_0: what the zero-shot model says of ood_val.
        id_drop_max: a share in [0, 1]; None: any drop.
        noise: how many standard errors sd(gain) / sqrt(N) of the mean over N images.
        metric: by name (see `metaft.metrics`).

    Source: the pessimism of offline policy selection, which takes the best lower bound (Jin et al., Is pessimism
    provably efficient for offline RL?, ICML 2021).
    """
    judged = {name: c.judged for name, c in candidates.items() if c.judged is not None}
    if not judged:
        method = max(candidates, key=lambda name: candidates[name].id_val.score(metric))
        reason = f"it has the best {METRICS[metric].title} on id_val, and no image of ood_val is left to judge by"
        return HandedBack(method, reason)
    rated = {name: _rated(candidates, name, theta_0, id_drop_max, noise, metric) for name in judged}
    method = max(rated, key=lambda name: rated[name].rank)
    reason = _why(method, rated, noise, METRICS[metric]) + _marked_down(rated, id_drop_max)
    return HandedBack(method, reason, judged[method].accuracy)


@dataclass(frozen=True)
class _Rated:
    """A candidate's scores, what that on ood_val is worth, and the price of its loss in distribution.

    Args:
        ood_val, id_val: the metric, the higher the better.
        told: what score and loss tell of the metric on ood_val, a share; `unsure` the standard errors taken off.
        moved: the share of images of ood_val that it names otherwise than theta_0.
    """

    ood_val: float
    id_val: float
    told: float
    unsure: float
    price: float
    moved: float

    @property
    def worth(self) -> float:
        return self.told - self.unsure - self.price

    @property
    def rank(self) -> tuple[float, float, float]:
        return round(self.worth / ROUNDING) * ROUNDING, -self.moved, self.id_val


def _rated(
    candidates: Mapping[str, Candidate], name: str, theta_0: Judged, limit: float | None, noise: float, metric: str
) -> _Rated:
    candidate, ft = candidates[name], candidates.get(PLAIN)
    judged = candidate.judged
    assert judged is not None, "the others are left aside"
    price = 0.0 if ft is None else drop_price(ft.id_val.correct, candidate.id_val.correct, limit)
    return _Rated(
        ood_val=judged.score(metric),
        id_val=candidate.id_val.score(metric),
        told=told(judged, theta_0, metric),
        unsure=noise * Gap.of(gains(judged, theta_0, metric)).error,
        price=price,
        moved=float((judged.predictions != theta_0.predictions).double().mean()),
    )


def _why(method: str, rated: Mapping[str, _Rated], noise: float, metric: Metric) -> str:
    """Why a method is taken, in words."""
    this, top = rated[method], max(rated, key=lambda name: rated[name].ood_val)
    other = rated[top]
    if this.ood_val == other.ood_val:
        return f"it has the best {metric.title} on ood_val, {_shown(this.ood_val, metric)}"
    if this.ood_val / metric.unit - this.price >= other.ood_val / metric.unit - other.price:
        kept = "the best of those that keep accuracy in distribution"
        return f"it has {_shown(this.ood_val, metric)} on ood_val, {kept}"
    ours, theirs = (
        f"{_shown(r.ood_val, metric)}, with its loss {_shown(metric.unit * r.told, metric)}, "
        f"for sure {_shown(metric.unit * (r.told - r.unsure), metric)}"
        for r in (this, other)
    )
    return f"of {metric.title} on ood_val it has {ours}; {top} has {theirs} ({noise:g} standard errors are taken off)"


def _shown(score: float, metric: Metric) -> str:
    """A score as the metric that it is."""
    return f"{100 * score:.1f} %" if metric.share else f"{-score:.3f} nats"


def _marked_down(rated: Mapping[str, _Rated], limit: float | None) -> str:
    """What counts against methods, in words."""
    down = [f"{name} by {100 * r.price:.1f}" for name, r in rated.items() if r.price > ROUNDING]
    if not down or limit is None:
        return ""
    return f"; marked down for being more than {100 * limit:.1f} points below ft on id_val: {', '.join(down)}"
