"""linear_probe: its penalty is a choice, or set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metaft.finetune.methods import METHODS
from metaft.finetune.methods.linear_probe import INVERSE_PENALTIES
from metaft.finetune.regression import regression
from tests.finetune.states import same


def test_it_chooses_c_on_validation(work, data, short):
    events = []
    context = replace(short, log=events.append, chosen={})
    model = METHODS["linear_probe"].fit(work.fresh(), data, context)
    (event,) = events
    assert event["inverse_penalty"] in INVERSE_PENALTIES
    assert context.chosen == {"inverse_penalty": event["inverse_penalty"]}
    fixed = replace(context.with_knobs("linear_probe", context.chosen), chosen={})
    assert same(METHODS["linear_probe"].fit(work.fresh(), data, fixed), model)
    assert fixed.chosen == {}
    assert len(events) == 1, "nothing is chosen again"


def test_few_images_a_class_are_no_reason_to_warn():
    x, y = np.eye(6), np.arange(6)
    weight, bias = regression(x, y, 10.0, 6)
    assert ((x @ weight.T + bias).argmax(1) == y).all()
