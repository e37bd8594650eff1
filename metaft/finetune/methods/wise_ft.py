"""wise_ft: weights between the zero-shot and the fine-tuned model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, holding
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.crossfit import Apart
from metaft.finetune.knobs import knobs_of
from metaft.finetune.validation import judged_apart, judged_on, named, weighing

ALPHAS = tuple(round(0.1 * i, 1) for i in range(11))
UNJUDGED = 0.5  # where no image is left to judge by; Wortsman et al., section 4: close to the best on most data


@torch.no_grad()
def interpolate(start: Classifier, end: Classifier, alpha: float) -> Classifier:
    """theta = (1 - alpha) theta_0 + alpha theta_1 over every weight; exact at 0 and 1.

    What is the same at both ends, such as a text tower that did not train, is shared with the end.
    """
    return holding(end, {name: torch.lerp(p, q, alpha) for name, (p, q) in unlike(start, end).items()})


def unlike(start: Classifier, end: Classifier) -> dict[str, tuple[Tensor, Tensor]]:
    """The parameters in which two models differ, in the one and the other, by name."""
    first = dict(start.named_parameters())
    return {name: (first[name], q) for name, q in end.named_parameters() if not torch.equal(first[name], q)}


class Rated(NamedTuple):
    """What validation says of a mix: what it is worth, and its metric on id_val and ood_val, the higher the better."""

    worth: float
    id_val: float
    ood_val: float


@dataclass(frozen=True)
class Way:
    """The way between the models of two methods, by their names.

    Args:
        prepared: what is done to a model of either before it is mixed.
        weighed: whether a mix's worth has to do with its loss on ood_val and with what it loses on id_val (see
            `metaft.finetune.validation.weighing`); otherwise it is its metric on ood_val.
        between: (begin, end, alpha) to the mix.
    """

    begin: str
    end: str
    prepared: Callable[[Classifier], Classifier] = lambda model: model
    weighed: bool = False
    between: Callable[[Classifier, Classifier, float], Classifier] = interpolate

    def model(self, alpha: float, context: FitContext) -> Classifier:
        """The mix at a share alpha in [0, 1] of the way."""
        return self.between(*self.ends(context), alpha)

    def apart(self, context: FitContext) -> Callable[[float], list[Apart]] | None:
        """From a share of the way to its mixes, each apart from the images of ood_val that judge it.

        There is one beginning for all of them, or one for each. None: ood_val cannot be split.
        """
        ends, begins = self._apart(self.end, context), self._apart(self.begin, context)
        if ends is None or begins is None:
            return None
        pairs = list(zip(cycle(begins), ends, strict=False))
        return lambda alpha: [e._replace(model=self.between(b.model, e.model, alpha)) for b, e in pairs]

    def mixed(self, name: str, data: SearchData, context: FitContext) -> Classifier:
        """The mix that the knob `alpha` of a method sets, or the best by validation."""
        alpha = knobs_of(name, context)["alpha"]
        if alpha is None:
            alpha = context.chosen["alpha"] = self._chosen(name, data, context)
        return self.model(alpha, context)

    def ends(self, context: FitContext) -> tuple[Classifier, Classifier]:
        """What the way begins and ends with; a store may read them anew at every call."""
        return self.prepared(context.fitted(self.begin)), self.prepared(context.fitted(self.end))

    def _apart(self, name: str, context: FitContext) -> list[Apart] | None:
        parts = context.apart(name)
        return None if parts is None else [part._replace(model=self.prepared(part.model)) for part in parts]

    def _chosen(self, name: str, data: SearchData, context: FitContext) -> float:
        """The alpha with the best worth, ties going to id_val."""
        rated = self.rated(data, context)
        if not rated:
            return UNJUDGED
        best = max(rated, key=lambda alpha: rated[alpha])
        for alpha, mix in rated.items():
            event = {"alpha": alpha, **named(mix.ood_val, mix.id_val, context), "chosen": alpha == best}
            context.log({"method": name, **event})
        return best

    def rated(self, data: SearchData, context: FitContext) -> dict[float, Rated]:
        """What validation says of the mix at each of `ALPHAS`; none where ood_val cannot be split.

        Images of ood_val judge mixes of models that were not trained on them, where the methods train on ood_val.
        """
        apart = self.apart(context)
        if apart is None:
            return {}
        (begin, end), metric = self.ends(context), context.settings.metric
        worth = weighing(data, context) if self.weighed else lambda judged, right: judged.score(metric)

        def mix(alpha: float) -> Rated:
            inside = judged_on(data.id_val, self.between(begin, end, alpha), context)
            outside = judged_apart(apart(alpha), context)
            return Rated(worth(outside, inside.correct), inside.score(metric), outside.score(metric))

        return {alpha: mix(alpha) for alpha in ALPHAS}


WAY = Way("zero_shot", "ft")


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The chosen mix of zero_shot and ft.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 4.
    """
    return WAY.mixed("wise_ft", data, context)
