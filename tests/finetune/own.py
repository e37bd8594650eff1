"""Two steps on plain fine-tuning's loss and a term of a method's own, by a trainee and by torch alone."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
import torch.nn.functional as F

from metaft.clip.classifier import picked_parameters, trainable
from metaft.config.schema import AdamWConfig
from metaft.finetune.own import Own
from metaft.finetune.trainee import Trainee
from metaft.objective import Objective
from metaft.training.batches import TrainBatches
from metaft.training.reference import Reference

ADAMW = AdamWConfig(eps=1e-2)  # beside which the rounding of gradients that are 0 is nothing


def batches_of(work, model, text: bool, size: int = 12):
    """Two batches of id_train in float64, with theta_0's outputs."""
    source = TrainBatches(
        work.splits.id_train, work.tokens if text else None, Reference(model, _Double(work), "cpu"), "cpu"
    )
    made = source.drawn(2, size, torch.Generator().manual_seed(0))
    return [b._replace(images=b.images.double()) for b in made]


class _Double:
    """id_train with images in float64."""

    def __init__(self, work) -> None:
        self._split = work.splits.id_train

    def __len__(self) -> int:
        return len(self._split)

    def batch(self, indices, device, **how):
        batch = self._split.batch(indices, device, **how)
        return replace(batch, images=batch.images.double())


def agree(work, context, function, by_hand, terms=None, weight: float = 0.7, hook=None, **how) -> None:
    """Two steps with a term of weight 0.7 come to what torch makes of it.

    Args:
        by_hand: (outputs, theta_0's outputs, batch, model, step) to the term.
    """
    model, terms = copy.deepcopy(work.classifier).double(), terms or {"ce": 1.0}
    objective = Objective(terms, 1e-3, 0.1)
    text = objective.needs_text
    batches = batches_of(work, model, text)
    settings = replace(context.settings, optimizer=ADAMW, finetune=context.settings.finetune.model_copy(update=how))
    trainee = Trainee.begin(model, objective, settings, hook, own=Own(weight, function))
    for batch in batches:
        trainee.advance(batch, objective, 1.0)

    theirs = copy.deepcopy(model)
    params = picked_parameters(theirs, trainable(theirs, text=text, freeze=settings.freeze))
    optimizer = torch.optim.AdamW(params.values(), lr=1e-3, weight_decay=0.1, eps=ADAMW.eps)
    for step, batch in enumerate(batches):
        out = theirs(batch.images, batch.tokens)
        with torch.no_grad():
            first = model(batch.images, batch.tokens)
        loss = weight * by_hand(out, first, batch, theirs, step)
        if "ce" in terms:
            loss = loss + F.cross_entropy(out.logits, batch.labels)
        if "flyp" in terms:
            similar, each = out.logit_scale * out.image_features @ out.text_features.T, torch.arange(len(batch.labels))
            loss = loss + (F.cross_entropy(similar, each) + F.cross_entropy(similar.T, each)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, p in params.items():
        torch.testing.assert_close(trainee.variables[name].detach(), p.detach(), rtol=1e-9, atol=1e-10, msg=name)
