"""soup: the average of several fine-tuned models."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from metaft.clip.classifier import Classifier
from metaft.data.types import SearchData
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings
from metaft.finetune.validation import validate
from metaft.hooks import Knob
from metaft.objective.space import Categorical, Int

KNOBS = (Knob(Categorical("kind", ("greedy", "uniform")), "greedy"), Knob(Int("members", 2, 8), 4))
LR_FACTORS = (1.0, 0.5, 2.0, 0.25)  # of member i the (i mod 4)-th


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """The mean of models that differ in learning rate and seed; the first is `ft`.

    `greedy`: from the best by validation down, each joins if the mean with it is at least as good; `uniform`: all.

    Source: Wortsman et al., Model soups, ICML 2022, section 2, recipe 1.
    """
    knobs = settings.knobs("soup", KNOBS)
    others = [_member(i, classifier, data, settings) for i in range(1, knobs["members"])]
    models = [settings.fitted("ft"), *others]
    return mean(models) if knobs["kind"] == "uniform" else greedy(models, data, settings)


def _member(i: int, classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    lr = settings.plain.lr * LR_FACTORS[i % len(LR_FACTORS)]
    own = replace(settings, seed=settings.seed + i, plain=replace(settings.plain, lr=lr))
    return train(classifier, own.plain, data, own, f"soup.{i}")


@torch.no_grad()
def mean(models: Sequence[Classifier]) -> Classifier:
    """The mean of all weights."""
    model = copy.deepcopy(models[0])
    for p, *others in zip(*(m.parameters() for m in (model, *models[1:])), strict=True):
        p.copy_(torch.stack([p, *others]).mean(dim=0))
    return model


def greedy(models: Sequence[Classifier], data: SearchData, settings: FitSettings) -> Classifier:
    """The soup that grows from the best model as long as validation does not fall."""
    scores = [validate(model, data, settings) for model in models]
    order = sorted(range(len(models)), key=lambda i: scores[i], reverse=True)
    chosen, best = [order[0]], scores[order[0]]
    for i in order[1:]:
        score = validate(mean([models[j] for j in (*chosen, i)]), data, settings)
        if score >= best:
            chosen, best = [*chosen, i], score
    settings.log({"method": "soup", "members": chosen, "ood_val_accuracy": best[0], "id_val_accuracy": best[1]})
    return mean([models[i] for i in chosen])
