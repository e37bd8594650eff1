"""tpgm: projection onto balls around theta_0 whose radii are learned on validation images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier, picked_parameters, trainable
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train
from metaft.finetune.slopes import Slopes
from metaft.hooks.hook import Hook
from metaft.hooks.patterns import included
from metaft.hooks.tpgm import TPGM, Probe
from metaft.tensors import Tensors


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """Post hoc: project `ft` after `iterations` steps on the radii. In training: one such step after every update.

    Radii learn on cross-entropy over batches of `on`, by default id_val, as in the paper.

    Source: Tian et al., Trainable projected gradient method for robust fine-tuning, CVPR 2023.
    """
    knobs, settings = knobs_of("tpgm", context), context.settings

    def hook(model: Classifier, names: Sequence[str]) -> tuple[Hook, Mapping[str, Any]]:
        iterations = knobs["iterations"] if knobs["when"] == "post_hoc" else 1
        probe = _probe(model, names, data, context, knobs["on"])
        return TPGM(probe, iterations, knobs["norm"], included(names, settings.finetune.exclude)), knobs

    if knobs["when"] == "training":
        return train(classifier, settings.plain, data, context, "tpgm", hook=hook)
    model = copy.deepcopy(context.fitted("ft"))
    names = trainable(model, text=False, freeze=settings.freeze)
    projection, _ = hook(model, names)
    anchors = [p.detach() for p in picked_parameters(classifier, names).values()]
    tuned = picked_parameters(model, names)
    projected, _ = projection.after([p.detach() for p in tuned.values()], anchors, projection.initial(anchors), knobs)
    with torch.no_grad():
        for p, value in zip(tuned.values(), projected, strict=True):
            p.copy_(value)
    return model


def _probe(model: Classifier, names: Sequence[str], data: SearchData, context: FitContext, on: str) -> Probe:
    """Gradients of cross-entropy on random batches of a validation split, each fixed by its number."""
    split, slopes = getattr(data, on), Slopes.of(model, context.settings.finetune)
    size = min(context.settings.finetune.batch_size, len(split))

    def probe(values: list[Tensor], number: int) -> Tensors:
        generator = torch.Generator().manual_seed(context.settings.seed * 1_000_003 + number)
        batch = split.batch(torch.randperm(len(split), generator=generator)[:size], context.settings.device)
        context.cost.step_equivalents += size / context.settings.finetune.batch_size
        return slopes(dict(zip(names, values, strict=True)), batch)

    return probe
