"""What methods of one term, one hook or one learning rate train, beside a loss and a step by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metaft.clip.classifier import trainable
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.car_ft import context_directions
from metaft.hooks.digrap import DiGraP
from metaft.hooks.knobs import settled
from metaft.hooks.registry import HOOKS
from metaft.hooks.spd import SPD
from tests.conftest import by_default
from tests.finetune.states import brief, by_hand, close, descended, same

PACED = ("lora", "bitfit", "sift", "saft", "diff_pruning", "prompt", "r_adapter")


def drifts(work, model) -> list[torch.Tensor]:
    """theta - theta_0 of what trains."""
    names = trainable(model, text=False, freeze=work.cfg.model.freeze)
    return [model.get_parameter(name) - work.classifier.get_parameter(name).detach() for name in names]


def l1(work, out, first, batch, model) -> torch.Tensor:
    moved = drifts(work, model)
    return sum(d.abs().sum() for d in moved) / math.sqrt(sum(d.numel() for d in moved))


def l2(work, out, first, batch, model) -> torch.Tensor:
    return sum((d * d).sum() for d in drifts(work, model))


def kept_predictions(work, out, first, batch, model) -> torch.Tensor:
    return -(first.logits.softmax(1) * out.logits.log_softmax(1)).sum(1).mean()


def kept_features(work, out, first, batch, model) -> torch.Tensor:
    return (out.image_features - first.image_features).square().sum(1).mean()


def kept_contexts(work, out, first, batch, model) -> torch.Tensor:
    directions = context_directions(work.classifier, work.tokens)
    q0, q = ((first.logit_scale * o.image_features @ directions.T).softmax(1) for o in (first, out))
    return (q0 * (q0 / q).log()).sum(1).mean()


TERMS = {
    "l1_sp": (l1, 5.0),
    "l2_sp": (l2, 5.0),
    "kd": (kept_predictions, 3.0),
    "lwf_features": (kept_features, 30.0),
    "car_ft": (kept_contexts, 30.0),
}


@pytest.mark.parametrize("name", by_default(("l2_sp", "kd"), TERMS))
def test_a_term_of_its_weight_joins_cross_entropy(work, data, context, name):
    term, weight = TERMS[name]
    few = brief(context)

    def loss(out, first, batch, model, step):
        return F.cross_entropy(out.logits, batch.labels) + weight * term(work, out, first, batch, model)

    fitted = METHODS[name].fit(work.classifier, data, few.with_knobs(name, {"weight": weight}))
    close(fitted, descended(loss, work.classifier, data, few))


@pytest.mark.parametrize(("name", "hook"), [("spd", SPD()), ("digrap", DiGraP())])
def test_a_hook_is_its_own(work, data, context, name, hook):
    rates = dict.fromkeys(trainable(work.classifier, text=False, freeze=()), 1e-3)
    knobs = settled(HOOKS[name].knobs, {})
    close(
        METHODS[name].fit(work.classifier, data, context),
        by_hand(work.classifier, rates, data, context, hook=hook, knobs=knobs),
    )


@pytest.mark.parametrize("name", by_default(("lora",), PACED))
def test_a_method_has_lr_factor_times_the_learning_rate_of_ft(work, data, context, name):
    few, method = brief(context), METHODS[name]
    plain = few.settings.plain
    faster = few.varied(plain=replace(plain, lr=3 * plain.lr)).with_knobs(name, {"lr_factor": 1.0})
    fitted = [method.fit(work.classifier, data, c) for c in (few.with_knobs(name, {"lr_factor": 3.0}), faster)]
    assert same(*fitted)
    if name in HOOKS:
        assert same(fitted[0], train(work.classifier, replace(faster.settings.plain, method=name), data, faster, "x"))
