"""model_stock: the centre of fine-tunes of several seeds, told from the angle between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor

from metaft.clip.classifier import Classifier, holding
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Between theta_0 and the mean of k fine-tunes that differ in their seed; the first is `ft`.

        theta_0 + t (mean_i theta_i - theta_0),  t = k cos / (1 + (k - 1) cos)

    tensor by tensor, with cos that of the angle between theta_i - theta_0 and theta_j - theta_0. Fine-tunes lie about a
    centre, at right angles to each other and to theta_0 as seen from there; this is the point nearest to the centre
    among all that theta_0 and they span. No validation data is used.

    The paper leaves open which angle is meant for k > 2: here, as in mergekit's code, it is the mean cosine over pairs.
    A cosine below 0, which that geometry does not know, counts as 0: the tensor stays at theta_0. The paper also merges
    once an epoch, as the training goes on; here models are merged once, at its end.

    Source: Jang, Yun and Han, Model Stock, ECCV 2024, arXiv 2403.19522 (k = 2 there, as by default here).
    """
    plain, seed = context.settings.plain, context.settings.seed
    others = [
        train(classifier, plain, data, context.varied(seed=seed + i), f"model_stock.{i}")
        for i in range(1, knobs_of("model_stock", context)["members"])
    ]
    return stock(classifier, [context.fitted("ft"), *others])


@torch.no_grad()
def stock(start: Classifier, models: Sequence[Classifier]) -> Classifier:
    """The model at the centre of models that were all fine-tuned from the same start."""
    first = dict(start.named_parameters())
    every = [dict(model.named_parameters()) for model in models]
    moved = [name for name in first if any(not torch.equal(params[name], first[name]) for params in every)]
    return holding(models[0], {name: centre(first[name], [params[name] for params in every]) for name in moved})


def centre(anchor: Tensor, values: Sequence[Tensor]) -> Tensor:
    """The point between an anchor and the mean of k values, all of one shape."""
    drifts = [(value - anchor).flatten() for value in values]
    cosines = [F.cosine_similarity(a, b, dim=0) for a, b in combinations(drifts, 2)]
    return torch.lerp(anchor, torch.stack(list(values)).mean(dim=0), ratio(torch.stack(cosines).mean(), len(values)))


def ratio(cosine: Tensor, k: int) -> Tensor:
    """t = k cos / (1 + (k - 1) cos), in [0, 1]."""
    cos = cosine.clamp(0.0, 1.0)
    return k * cos / (1 + (k - 1) * cos)
