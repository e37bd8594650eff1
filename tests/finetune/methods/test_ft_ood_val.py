"""ft_ood_val: the labels of ood_val are used, in no more steps."""

from __future__ import annotations

from dataclasses import replace

import torch

from metaft.clip.predict import predict
from metaft.finetune.methods import METHODS


def test_it_trains_on_both_in_as_many_steps(work, data, context):
    """With the ID images taken away but for a few, most of what it sees is ood_val."""
    few = replace(data, id_train=data.id_train.subset(torch.arange(4)))
    model = METHODS["ft_ood_val"].fit(work.fresh(), few, context.varied(steps=40))

    def score(classifier):
        return float((predict(classifier, data.ood_val, 200).argmax(1) == data.ood_val.labels).double().mean())

    assert score(model) > score(work.classifier) + 0.2
    events: list[dict] = []
    for name in ("ft", "ft_ood_val"):
        METHODS[name].fit(work.fresh(), data, replace(context, log=events.append))
    assert len({e["step"] for e in events}) == 1
