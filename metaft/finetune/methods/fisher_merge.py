"""fisher_merge: the zero-shot and the fine-tuned model, averaged by how sure each is of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metaft.clip.classifier import Classifier, holding, picked_parameters
from metaft.data.types import SearchData
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.methods.wise_ft import Way, unlike
from metaft.finetune.slopes import unscaled
from metaft.tensors import with_zeros

FLOOR = 1e-8  # of the Fisher information: where both models have none, the mean is that of wise_ft
Fisher = Mapping[str, Tensor]  # by parameter name, in its shape


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """The mean of zero_shot and ft, each weight of it weighed by their Fisher information.

        theta = ((1 - alpha) F_0 theta_0 + alpha F_1 theta_1) / ((1 - alpha) F_0 + alpha F_1)

    for each number of the weights, with alpha chosen as wise_ft's is, and F the diagonal of the Fisher information of
    each model on the same `images` images of id_train: the mean of (d log p(y | x) / d theta)^2, with one y drawn from
    what the model says of x. The paper takes the expectation over y; one draw for each image has the same mean. F is at
    least 1e-8, so that no weight is left without a share.

    Source: Matena and Raffel, Merging models with Fisher-weighted averaging, NeurIPS 2022, arXiv 2111.09832 (of a
    pretrained and a fine-tuned model in its experiments on robust fine-tuning); the floor is that of WiSE-FT's code.
    """
    begin, end = context.fitted("zero_shot"), context.fitted("ft")
    names = list(unlike(begin, end))
    of_begin, of_end = (fisher(model, names, data, context) for model in (begin, end))
    return Way("zero_shot", "ft", between=partial(merged, of_begin, of_end)).mixed("fisher_merge", data, context)


@torch.no_grad()
def merged(of_begin: Fisher, of_end: Fisher, begin: Classifier, end: Classifier, alpha: float) -> Classifier:
    """The mean at a mix alpha; exact at 0 and 1."""
    first, last = picked_parameters(begin, of_begin), picked_parameters(end, of_end)
    shares = {name: _share(of_begin[name], of_end[name], alpha) for name in first}
    return holding(end, {name: torch.lerp(first[name], last[name], share) for name, share in shares.items()})


def _share(of_begin: Tensor, of_end: Tensor, alpha: float) -> Tensor:
    """The weight of the end in each number of a mean."""
    begin, end = (1 - alpha) * of_begin.clamp(min=FLOOR), alpha * of_end.clamp(min=FLOOR)
    return end / (begin + end)


def fisher(model: Classifier, names: Sequence[str], data: SearchData, context: FitContext) -> Fisher:
    """The diagonal of a model's Fisher information by the named parameters, one image after the other."""
    settings, split, model = context.settings, data.id_train, unscaled(model)
    generator = torch.Generator().manual_seed(settings.seed)
    rows = torch.randperm(len(split), generator=generator)[: knobs_of("fisher_merge", context)["images"]]
    leaves = [p.detach().requires_grad_() for p in picked_parameters(model, names).values()]
    total = [torch.zeros_like(p) for p in leaves]
    for row in rows:
        image = split.batch(row[None], settings.device).images
        logits = functional_call(model, dict(zip(names, leaves, strict=True)), (image,)).logits
        found = torch.autograd.grad(drawn_log_likelihood(logits, generator), leaves, allow_unused=True)
        slopes = with_zeros(found, leaves)
        torch._foreach_addcmul_(total, slopes, slopes)
    context.cost.step_equivalents += len(rows) / settings.finetune.batch_size
    return {name: t / len(rows) for name, t in zip(names, total, strict=True)}


def drawn_log_likelihood(logits: Tensor, generator: torch.Generator) -> Tensor:
    """log p(y), [], of a class y that is drawn from p = softmax of logits [1, C]."""
    log_p = F.log_softmax(logits[0], dim=0)
    return log_p[int(torch.multinomial(log_p.detach().exp().cpu(), 1, generator=generator))]
