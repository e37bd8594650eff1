"""Methods that are plain fine-tuning at strength 0."""

from __future__ import annotations

import pytest

from metaft.finetune.methods import METHODS
from tests.conftest import by_default
from tests.finetune.states import same

STRENGTHS = {
    **dict.fromkeys(("l1_sp", "l2_sp", "kd", "lwf_features", "car_ft", "lipsum_ft"), "weight"),
    **{"spd": "strength", "digrap": "speed"},
    **{"mixout": "probability", "gmixout": "probability", "rehearsal": "share"},
}


@pytest.mark.parametrize("name", by_default(("car_ft", "mixout", "rehearsal"), STRENGTHS))
def test_at_strength_0_it_is_ft(few, short, fits, name):
    method, context = METHODS[name], short.with_knobs(name, {STRENGTHS[name]: 0.0})
    (knob,) = (knob for knob in method.knobs if knob.name == STRENGTHS[name])
    assert knob.admits(0.0)
    model = method.fit(few.classifier, method.sees(few.splits), context)
    assert same(model, fits.model("ft"))
