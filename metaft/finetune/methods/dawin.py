"""dawin: weights between the zero-shot and the fine-tuned model, the mix told by their entropies."""

from __future__ import annotations

import torch
from torch import Tensor

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.types import SearchData, Split
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.methods.wise_ft import Way
from metaft.temperature import best_log_temperature


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """(1 - alpha) theta_0 + alpha theta_1, with alpha the mean over ood_val of how sure ft is beside zero_shot.

        alpha(x) = exp(-H(p_1(x))) / (exp(-H(p_0(x))) + exp(-H(p_1(x)))),  alpha = mean of alpha(x)

    with H the entropy of a model's predictions, in nats, at the temperature that suits id_val. No label of ood_val is
    looked at. This is less than the paper's method, which has no single set of weights: there every test image, or each
    of a few clusters of them (a mixture of Beta distributions over alpha(x)), has a mix of its own. A checkpoint has
    one; it is the paper's with one cluster, whose mean is that of its images, found on ood_val in place of test images.

    Source: Oh et al., DaWin, ICLR 2025, arXiv 2410.03782, section 3 (`negexp_ent_ratio` in its code).
    """
    way, alpha = Way("zero_shot", "ft"), knobs_of("dawin", context)["alpha"]
    if alpha is None:
        entropies = [entropy(model, data, context) for model in way.ends(context)]
        alpha = context.chosen["alpha"] = float(expertise(*entropies).mean())
        context.log({"method": "dawin", "alpha": alpha})
    return way.model(alpha, context)


def expertise(of_begin: Tensor, of_end: Tensor) -> Tensor:
    """The share of the end for each image, [N], from the entropies of both models' predictions [N]."""
    return torch.sigmoid(of_begin - of_end)


def entropy(model: Classifier, data: SearchData, context: FitContext) -> Tensor:
    """The entropy of a model's prediction for each image of ood_val, in nats, float64 [N]."""

    def logits(split: Split) -> Tensor:
        context.bill_forward(len(split))
        return predict(model, split, context.settings.eval_batch_size, context.settings.device).double()

    cooled = logits(data.ood_val) * (-best_log_temperature(logits(data.id_val), data.id_val.labels)).exp()
    entropies: Tensor = torch.special.entr(cooled.softmax(dim=1)).sum(dim=1)
    return entropies
