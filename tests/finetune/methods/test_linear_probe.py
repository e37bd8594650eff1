"""linear_probe: its penalty is a choice, or set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metaft.finetune.crossfit import Judged
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.linear_probe import INVERSE_PENALTIES
from metaft.finetune.regression import regression
from tests.finetune.states import same


def test_it_chooses_c_on_validation(work, data, short):
    events = []
    context = replace(short, log=events.append, chosen={})
    model = METHODS["linear_probe"].fit(work.classifier, data, context)
    (event,) = events
    assert event["inverse_penalty"] in INVERSE_PENALTIES
    assert context.chosen == {"inverse_penalty": event["inverse_penalty"]}
    fixed = replace(context.with_knobs("linear_probe", context.chosen), chosen={})
    assert same(METHODS["linear_probe"].fit(work.classifier, data, fixed), model)
    assert fixed.chosen == {}
    assert len(events) == 1, "nothing is chosen again"


def test_few_images_a_class_are_no_reason_to_warn():
    x, y = np.eye(6), np.arange(6)
    weight, bias = regression(x, y, 10.0, 6)
    assert ((x @ weight.T + bias).argmax(1) == y).all()


@pytest.mark.parametrize("present", [[2], [1, 3], [0, 1, 3]])
def test_a_class_without_an_image_is_not_named_and_costs_a_bounded_loss(present):
    rng = np.random.default_rng(0)
    y = np.repeat(present, 20)
    x = rng.normal(size=(len(y), 3)) + 3 * np.eye(4, 3)[y]
    weight, bias = regression(x, y, 1.0, 4)
    z = x @ weight.T + bias
    absent = [c for c in range(4) if c not in present]
    assert set(z.argmax(1)) <= set(present)
    assert (weight[absent] == 0).all()
    np.testing.assert_allclose(bias[absent], z[:, present].max(1).min() - np.log(len(y) + 1))


def test_one_image_of_a_class_that_was_not_fitted_does_not_spoil_what_a_model_is_worth():
    """Of 200 images one is of the absent class: the loss of the others is nearly what it is without that image."""
    rng = np.random.default_rng(1)
    y = rng.integers(3, size=200)
    x = rng.normal(size=(200, 3)) + 4 * np.eye(3)[y]
    weight, bias = regression(x, y, 1.0, 4)
    logits, labels = torch.from_numpy(x @ weight.T + bias), torch.from_numpy(y)
    without = Judged(logits, labels)
    labels = labels.index_fill(0, torch.tensor(0), 3)
    assert float(Judged(logits, labels).losses.mean()) < float(without.losses.mean()) + 0.1
