"""rehearsal: fine-tuning that keeps theta_0's predictions on images like those of pretraining."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.clip.classifier import Classifier
from metaft.clip.predict import predict
from metaft.data.sources import PRETRAINING
from metaft.data.types import SearchData, Split
from metaft.finetune.context import FitContext
from metaft.finetune.knobs import knobs_of
from metaft.finetune.loop import train
from metaft.training.batches import source_size


def fit(classifier: Classifier, data: SearchData, context: FitContext) -> Classifier:
    """A share of the loss is that of theta_0's predictions p_0 on images of pretraining, whose labels do not count.

        (1 - share) mean_i CE(y_i, p(x_i)) + share mean_j CE(p_0(x_j), p(x_j))

    over images x_i of id_train and half as many x_j of the source `pretraining` in every step. That is one of
    `data.options.more` by this name, or, for an embedded suite, pictures that the toy CLIP was pretrained on: in all
    styles, those of the OOD tests included, and of objects that are no class of the suite. A data set without either
    cannot serve this method. With a share of 0 it is plain fine-tuning; the default of a half is ours.

    Source: Robins, Catastrophic forgetting, rehearsal and pseudorehearsal, Connection Science 1995; with targets by
    the model as it was: Li and Hoiem, Learning without forgetting, ECCV 2016.
    """
    share, plain = knobs_of("rehearsal", context)["share"], context.settings.plain
    terms = {name: (1 - share) * weight for name, weight in plain.terms.items()}
    objective = replace(plain, terms=terms, sources={PRETRAINING: share})
    seen = replace(data, more={**data.more, PRETRAINING: told(classifier, data.more[PRETRAINING], context)})
    return train(classifier, objective, seen, context, "rehearsal")


def told(classifier: Classifier, split: Split, context: FitContext) -> Split:
    """The split with a classifier's predictions [N, C] as labels; of more images than a training draws, some."""
    settings = context.settings
    most = settings.steps * source_size(settings.finetune.batch_size)
    if len(split) > most:
        generator = torch.Generator().manual_seed(settings.seed)
        split = split.subset(torch.randperm(len(split), generator=generator)[:most])
    context.bill_forward(len(split))
    logits = predict(classifier, split, settings.eval_batch_size, settings.device)
    return replace(split, labels=logits.softmax(dim=1))
