"""wise_probe: the last layer between class names and the regression on both sets, each at its own temperature."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

from metaft.build.fits import fits as fits_of
from metaft.clip.predict import predict
from metaft.finetune.methods.wise_ft import ALPHAS, UNJUDGED

NAME = "wise_probe"


def temperature(logits, labels):
    """exp(s) with the least cross-entropy, by scipy."""
    loss = lambda s: float(cross_entropy(logits.double() * torch.tensor(-s).exp(), labels))  # noqa: E731
    return float(torch.tensor(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x).exp())


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_logits_are_mixed_each_at_its_temperature(work, data, context, alpha):
    fits = fits_of(work, context.with_knobs(NAME, {"alpha": alpha}))
    expected = 0.0
    for name, share in (("zero_shot", 1 - alpha), ("linear_probe_ood_val", alpha)):
        held, asked = (predict(fits.model(name), split, 200) for split in (data.id_val, data.ood_val))
        expected = expected + share * asked / temperature(held, data.id_val.labels)
    torch.testing.assert_close(predict(fits.model(NAME), data.ood_val, 200), expected, atol=2e-3, rtol=1e-4)
    assert fits(NAME).chosen == {}


@pytest.mark.full
def test_the_mix_is_chosen_by_images_apart(work, context):
    fits = fits_of(work, context)
    chosen = fits(NAME).chosen["alpha"]
    assert chosen in ALPHAS
    fixed = fits_of(work, context.with_knobs(NAME, {"alpha": chosen}))
    best = fixed.judged(NAME).accuracy
    for alpha in (0.0, 0.5, 1.0):
        other = fits_of(work, context.with_knobs(NAME, {"alpha": alpha}))
        assert other.judged(NAME).accuracy <= best + 1e-9


def test_half_and_half_where_no_image_is_apart(work, context):
    one = replace(work, splits=replace(work.splits, ood_val=work.splits.ood_val.subset(torch.tensor([0]))))
    assert fits_of(one, context)(NAME).chosen["alpha"] == UNJUDGED
