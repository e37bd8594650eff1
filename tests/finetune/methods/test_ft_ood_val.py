"""ft_ood_val: the labels of ood_val are used, in no more steps."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch

from metaft.clip.predict import predict
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.ft_ood_val import GRID
from tests.finetune.states import with_finetune


def test_it_trains_on_both_in_as_many_steps(work, data, context):
    heavy = with_finetune(context.varied(steps=40), knobs={"ft_ood_val": {"weight": 3.0, "lr_factor": 1.0}})
    model = METHODS["ft_ood_val"].fit(work.fresh(), data, heavy)

    def score(classifier):
        return float((predict(classifier, data.ood_val, 200).argmax(1) == data.ood_val.labels).double().mean())

    assert score(model) > score(work.classifier) + 0.2
    events: list[dict] = []
    for name in ("ft", "ft_ood_val"):
        METHODS[name].fit(work.fresh(), data, replace(context, log=events.append))
    assert len({e["step"] for e in events if "step" in e}) == 1


def test_weight_and_rate_are_chosen_on_images_left_out(work, data, context):
    events: list[dict] = []
    short = replace(context.varied(steps=8, checks=1), log=events.append, chosen={})
    part = replace(data, ood_val=data.ood_val.subset(torch.arange(60)))
    METHODS["ft_ood_val"].fit(work.fresh(), part, short)
    tried = [e for e in events if "weight" in e]
    assert {(e["weight"], e["lr_factor"]) for e in tried} == set(product(GRID["weight"], GRID["lr_factor"]))
    best = max(tried, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    assert short.chosen == {name: best[name] for name in GRID}
    tiny = replace(data, ood_val=data.ood_val.subset(torch.arange(3)))
    judged = replace(short, chosen={})
    METHODS["ft_ood_val"].fit(work.fresh(), tiny, judged)
    assert judged.chosen == {"weight": 1.0, "lr_factor": 1.0}, "nothing can be left out"
