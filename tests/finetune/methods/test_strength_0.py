"""Methods that are plain fine-tuning at strength 0."""

from __future__ import annotations

import pytest

from metaft.finetune.methods import METHODS
from tests.finetune.states import same

STRENGTHS = {
    **{"lwf_features": "weight", "car_ft": "weight", "lipsum_ft": "weight"},
    **{"mixout": "probability", "gmixout": "probability", "rehearsal": "share"},
}


@pytest.mark.parametrize(("name", "knob"), STRENGTHS.items())
def test_at_strength_0_it_is_ft(few, short, fits, name, knob):
    model = METHODS[name].fit(few.classifier, METHODS[name].sees(few.splits), short.with_knobs(name, {knob: 0.0}))
    assert same(model, fits.model("ft"))
