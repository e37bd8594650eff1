"""oracle: plain fine-tuning, on the images of the labelled half."""

from __future__ import annotations

from metaft.build.fits import fits as fits_of
from metaft.finetune.methods import METHODS
from tests.finetune.states import same


def test_it_is_ft_on_other_images(work, context, tuned):
    again = METHODS["ft"].fit(work.classifier, work.splits.oracle_data, context)
    fits = fits_of(work, context)
    assert same(fits.model("oracle"), again)
    assert same(fits.model("ft"), tuned)
    assert not same(again, tuned)
