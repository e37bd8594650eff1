"""soup: the average of several fine-tuned models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from metaft.clip.classifier import Classifier, holding
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train
from metaft.finetune.validation import named, validate

LR_FACTORS = (1.0, 0.5, 2.0, 0.25)  # member i takes the (i mod 4)-th


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The mean of models that differ in learning rate and seed; the first is `ft`.

    `greedy`: from the best by validation down, each joins if the mean with it is at least as good; `uniform`: all.
    Validation is by ood_val, then id_val; the paper's is by held-out images in distribution.

    Source: Wortsman et al., Model soups, ICML 2022, section 2, recipe 1.
    """
    knobs = knobs_of("soup", context)
    others = [_member(i, classifier, data, context) for i in range(1, knobs["members"])]
    models = [context.fitted("ft"), *others]
    return mean(models) if knobs["kind"] == "uniform" else greedy(models, data, context)


def _member(i: int, classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    settings = context.settings
    plain = replace(settings.plain, lr=settings.plain.lr * LR_FACTORS[i % len(LR_FACTORS)])
    return train(classifier, plain, data, context.varied(seed=settings.seed + i, plain=plain), f"soup.{i}")


@torch.no_grad()
def mean(models: Sequence[Classifier]) -> Classifier:
    """A model whose every weight is the mean over the models."""
    every = zip(*(model.named_parameters() for model in models), strict=True)
    return holding(models[0], {ps[0][0]: torch.stack([p for _, p in ps]).mean(dim=0) for ps in every})


def greedy(models: Sequence[Classifier], data: SearchData, context: FitContext) -> Classifier:
    """The mean of the best model and of each further one with which validation does not fall."""
    scores = [validate(model, data, context) for model in models]
    order = sorted(range(len(models)), key=lambda i: scores[i], reverse=True)
    chosen, best = [order[0]], scores[order[0]]
    for i in order[1:]:
        score = validate(mean([models[j] for j in (*chosen, i)]), data, context)
        if score >= best:
            chosen, best = [*chosen, i], score
    context.log({"method": "soup", "members": chosen, **named(*best, context)})
    return mean([models[i] for i in chosen])
