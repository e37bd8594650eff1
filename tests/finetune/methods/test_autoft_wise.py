"""autoft_wise: the way from where autoft begins, followed beyond the share that its objective stops at."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.finetune.methods import wise_ft
from metaft.finetune.methods.wise_ft import ALPHAS, interpolate
from metaft.objective import Objective
from tests.finetune.states import with_finetune


def test_it_goes_on_beyond_the_objectives_share(few, short):
    """At alpha 1 it is where an objective without a share ends, by another way."""
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, head="linear_probe")
    short = short.varied(checks=1)  # of several, the best by id_val may differ between mixes
    whole = fits_of(few, short.varied(learned=learned)).model("autoft")
    knobs = {"autoft_wise": {"alpha": 1.0}}
    fits = fits_of(few, with_finetune(short.varied(learned=replace(learned, alpha=0.5)), knobs=knobs))
    half = interpolate(fits.model("linear_probe"), whole, 0.5)
    for name, expected in (("autoft", half), ("autoft_wise", whole)):
        for p, q in zip(fits.model(name).parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-4)


def test_each_fold_begins_and_ends_apart_from_what_judges_it(few, short):
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, head="linear_probe_ood_val", sources={"ood_val": 1.0})
    events: list[dict] = []
    fits = fits_of(few, replace(short.varied(learned=learned, steps=4, checks=1), log=events.append))
    fit = fits("autoft_wise")
    mixes = [e for e in events if e["method"] == "autoft_wise"]
    (chosen,) = (e for e in mixes if e["chosen"])
    assert len(mixes) == 11
    assert fit.chosen == {"alpha": chosen["alpha"]}
    stored = set(fits.store.kept)
    assert {f"{name}.fold{i}" for name in ("autoft", "linear_probe_ood_val") for i in range(2)} < stored
    assert fits.judged("autoft_wise").accuracy == chosen["ood_val_accuracy"]


@pytest.mark.parametrize("drop", [None, 0.03])
def test_what_a_share_loses_in_distribution_counts_against_it(few, short, drop, monkeypatch):
    """Of all shares but the largest it is said that they lose too much: the largest is taken, whatever ood_val says."""
    learned = Objective({"ce": 1.0}, 0.3, 0.1)  # a rate that destroys: the nearer to where it begins, the better
    context = short.varied(learned=learned, steps=4, checks=1, id_drop_max=drop)
    asked = []

    def price(of_ft, right, limit):
        asked.append(limit)
        return 2.0 if len(asked) < len(ALPHAS) else 0.0

    monkeypatch.setattr(wise_ft, "drop_price", price)
    alpha = fits_of(few, context)("autoft_wise").chosen["alpha"]
    assert asked == ([] if drop is None else [0.03] * len(ALPHAS))
    assert alpha == 1.0 if drop is not None else alpha < 1.0
