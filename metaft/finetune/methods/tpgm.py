"""tpgm: projection onto balls around theta_0 whose radii are learned on validation images."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from metaft.clip.classifier import Classifier, train_only
from metaft.data.types import SearchData
from metaft.finetune.loop import train
from metaft.finetune.settings import FitSettings
from metaft.hooks import Hook, Knob
from metaft.hooks.ball import NORMS
from metaft.hooks.names import included
from metaft.hooks.tpgm import TPGM, Probe
from metaft.objective.space import Categorical, Float, Int
from metaft.objective.vectors import Tensors, whole

KNOBS = (
    Knob(Categorical("when", ("post_hoc", "training")), "post_hoc"),
    Knob(Categorical("norm", NORMS), "l2"),
    Knob(Categorical("on", ("id_val", "ood_val")), "id_val"),
    Knob(Int("iterations", 10, 400, log=True), 100),
    Knob(Float("speed", 1e-3, 1.0, log=True), 0.03),
)


def fit(classifier: Classifier, data: SearchData, settings: FitSettings) -> Classifier:
    """Post hoc: `iterations` steps on the radii, from ft. In training: one such step after every update.

    Radii learn on cross-entropy over batches of `on`, by default id_val, as in the paper.

    Source: Tian et al., Trainable projected gradient method for robust fine-tuning, CVPR 2023.
    """
    knobs = settings.knobs("tpgm", KNOBS)

    def hook(model: Classifier, names: Sequence[str]) -> tuple[Hook, Mapping[str, Any]]:
        iterations = knobs["iterations"] if knobs["when"] == "post_hoc" else 1
        probe = _probe(model, names, data, settings, knobs["on"])
        return TPGM(probe, iterations, knobs["norm"], included(names, settings.options.exclude)), knobs

    if knobs["when"] == "training":
        return train(classifier, settings.plain, data, settings, "tpgm", hook=hook)
    model = train_only(copy.deepcopy(settings.fitted("ft")), text=False, freeze=settings.freeze)
    anchors = [dict(classifier.named_parameters())[name].detach() for name in model.trained()]
    own, _ = hook(model, list(model.trained()))
    values = [p.detach() for p in model.trained().values()]
    projected, _ = own.after(values, anchors, own.initial(anchors), knobs)
    with torch.no_grad():
        for p, value in zip(model.trained().values(), projected, strict=True):
            p.copy_(value)
    return model


def _probe(model: Classifier, names: Sequence[str], data: SearchData, settings: FitSettings, on: str) -> Probe:
    """Gradients of cross-entropy on random batches of a validation split, each fixed by its number."""
    split = getattr(data, on)
    size = min(settings.batch_size, len(split))

    def probe(values: list[Tensor], number: int) -> Tensors:
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        batch = split.batch(torch.randperm(len(split), generator=generator)[:size], settings.device)
        settings.cost.step_equivalents += size / settings.batch_size
        with torch.enable_grad():
            leaves = [v.detach().requires_grad_() for v in values]
            out = functional_call(model, dict(zip(names, leaves, strict=True)), (batch.images,))
            grads = torch.autograd.grad(F.cross_entropy(out.logits, batch.labels), leaves, allow_unused=True)
        return whole(grads, leaves)

    return probe
