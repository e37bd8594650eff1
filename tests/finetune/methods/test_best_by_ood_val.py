"""best_by_ood_val: the candidate that cross-fitted validation prefers."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from metaft.errors import DivergedError
from metaft.finetune.crossfit import Judged
from metaft.finetune.methods import METHODS
from tests.finetune.states import same

NAME = "best_by_ood_val"


def judged(right: int) -> Judged:
    """Right on so many of ten images."""
    labels = torch.zeros(10, dtype=torch.int64)
    return Judged(torch.nn.functional.one_hot((torch.arange(10) >= right).long(), 2), labels)


def candidates(context, models, judgements):
    """A context whose plain methods have these models and judgements by name; None diverges."""

    def fitted(name):
        if models[name] is None:
            raise DivergedError(f"{name}: diverged")
        return models[name]

    settings = replace(context.settings, plain_methods=tuple(models))
    return replace(context, settings=settings, fitted=fitted, judged=judgements.get, chosen={})


def test_the_best_by_ood_val_then_by_id_val(work, data, context, tuned):
    spoilt = copy.deepcopy(work.classifier)
    torch.nn.init.zeros_(spoilt.head.weight)
    models = {"zero_shot": work.classifier, "kd": spoilt, "ft": tuned, "dfr": tuned, "ema": None}
    given = candidates(context, models, {"zero_shot": judged(6), "ft": judged(7), "kd": judged(7), "dfr": None})
    assert METHODS[NAME].fit(work.classifier, data, given) is tuned, "it is better on id_val than kd"
    assert given.chosen == {"method": "ft"}
    given = candidates(context, models, {"zero_shot": judged(8), "ft": judged(7)})
    assert METHODS[NAME].fit(work.classifier, data, given) is work.classifier


def test_theta_0_is_left_where_all_fail(work, data, context):
    given = candidates(context, {"ema": None, "zero_shot": work.classifier}, {})
    METHODS[NAME].fit(work.classifier, data, given)
    assert given.chosen == {"method": "zero_shot"}


@pytest.mark.full
def test_it_is_judged_as_what_it_chose(fits):
    chosen = fits(NAME).chosen["method"]
    assert chosen in fits.context.settings.plain_methods
    assert {"oracle", "autoft", "autoft_wise", NAME}.isdisjoint(fits.context.settings.plain_methods)
    assert same(fits.model(NAME), fits.model(chosen))
    assert torch.equal(fits.judged(NAME).correct, fits.judged(chosen).correct)
    cost = fits(NAME).costs
    assert {"ft", "ft_ood_val", "ft_ood_val.fold0", "dfr.fold1", NAME} <= set(cost), "each once"
