"""wise_probe: the last layer between that of class names and that fitted to ID and OOD validation images."""

from __future__ import annotations

from functools import partial

import torch

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.methods.wise_ft import Way
from metaft.finetune.regression import with_head
from metaft.temperature import best_log_temperature


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The chosen mix of zero_shot and linear_probe_ood_val, whose trunks are the same.

    (1 - alpha) (w_0, b_0) / exp(s_0) + alpha (w_1, b_1) / exp(s_1) for the weight and the bias of each last layer, with
    the temperature exp(s) that fits its logits to the labels of id_val, so that neither drowns the other.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models, CVPR 2022, section 4 (linear classifiers).
    """
    return Way("zero_shot", "linear_probe_ood_val", prepared=partial(_tempered, data, context)).mixed(
        "wise_probe", data, context
    )


@torch.no_grad()
def _tempered(data: SearchData, context: FitContext, model: Classifier) -> Classifier:
    """A copy of a model whose last layer is divided by the temperature that suits id_val."""
    context.bill_forward(len(data.id_val))
    settings = context.settings
    logits = predict(model, data.id_val, settings.eval_batch_size, settings.device)
    factor = (-best_log_temperature(logits, data.id_val.labels)).exp().double().numpy()
    weight, bias = (p.detach().cpu().double().numpy() for p in model.head.parameters())
    return with_head(model, (weight * factor, bias * factor))
