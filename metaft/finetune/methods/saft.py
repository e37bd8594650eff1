"""saft: fine-tuning of the entries with the largest gradients over the whole training set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, picked_parameters
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of, paced
from metaft.finetune.loop import train
from metaft.finetune.slopes import Slopes
from metaft.hooks.hook import Hook
from metaft.hooks.patterns import Only, included
from metaft.hooks.sparse import Sparse, largest_of_all
from metaft.tensors import Tensors


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Of all tensors together the share with the largest |d L / d p| at theta_0 moves, L over all of id_train.

    It differs from `sift` in three ways: one threshold serves all tensors, so that some move much and others not at
    all; it is of the mean gradient over the training set, not of a batch's; and the head, which is pretrained here, is
    chosen from like any other tensor. `per_mille` entries of a thousand move, at `lr_factor` times plain fine-tuning's
    learning rate. The choice costs one pass over id_train. The paper trains both towers; here the text tower is the
    head that was made of it.

    Source: Nguyen et al., SAFT: Towards out-of-distribution generalization in fine-tuning, ECCV 2024.
    """
    context = paced("saft", context)
    per_mille = knobs_of("saft", context)["per_mille"]

    def hook(model: Classifier, names: Sequence[str]) -> tuple[Hook, Mapping[str, Any]]:
        numbers = included(names, context.settings.finetune.exclude)

        def pick(_: Tensors) -> list[Tensor]:
            return largest_of_all(mean_slope(model, [names[i] for i in numbers], data, context), per_mille)

        return Only(Sparse(pick), numbers), {}

    return train(classifier, context.settings.plain, data, context, "saft", hook=hook)


def mean_slope(model: Classifier, names: Sequence[str], data: SearchData, context: FitContext) -> Tensors:
    """The gradient of the mean cross-entropy over id_train by each named parameter."""
    size, images = context.settings.finetune.batch_size, len(data.id_train)
    values, slopes = picked_parameters(model, names), Slopes.of(model, context.settings.finetune)
    total: Tensors = [torch.zeros_like(p) for p in values.values()]
    for batch in data.id_train.batches(size, context.settings.device):
        count = len(batch.labels)
        total = torch._foreach_add(total, slopes(values, batch), alpha=count / images)
        context.cost.step_equivalents += count / size
    return total
