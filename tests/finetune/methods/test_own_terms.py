"""Methods with a term of their own: without its weight they are plain fine-tuning."""

from __future__ import annotations

import pytest

from metaft.finetune.methods import METHODS
from tests.finetune.states import same

PLAIN_AT_0 = ("lwf_features", "car_ft", "lipsum_ft")


@pytest.mark.parametrize("name", PLAIN_AT_0)
def test_without_weight_it_is_ft(few, short, fits, name):
    model = METHODS[name].fit(few.fresh(), few.splits.search_data, short.with_knobs(name, {"weight": 0.0}))
    assert same(model, fits.model("ft"))
