"""tpgm: each of its kinds stays nearer to theta_0 than ft, and goes on after an interruption."""

from __future__ import annotations

from dataclasses import replace

import pytest

from metaft.build.fits import drift
from metaft.finetune.methods import METHODS
from tests.conftest import by_default
from tests.finetune.states import goes_on_to_the_same_end, same, with_finetune


@pytest.mark.parametrize(
    "changes", by_default(({"when": "training"},), [{"on": "ood_val"}, {"when": "training"}, {"norm": "mars"}]), ids=str
)
def test_its_kinds(work, data, short, fits, changes):
    varied = with_finetune(replace(short, fitted=fits.model), knobs={"tpgm": {"iterations": 10, **changes}})
    model = METHODS["tpgm"].fit(work.classifier, data, varied)
    assert not same(model, fits.model("tpgm"))
    distance = drift(work)(model)["weights"]["all"]
    assert 0 < distance < drift(work)(fits.model("ft"))["weights"]["all"]


@pytest.mark.full
def test_in_training_it_goes_on_to_the_same_end(work, data, short):
    context = with_finetune(short, knobs={"tpgm": {"when": "training"}})
    assert goes_on_to_the_same_end("tpgm", work, data, context)
