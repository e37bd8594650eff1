"""autoft_wise: the way of autoft, its share chosen by what validation says of accuracy."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.finetune import validation
from metaft.finetune.methods.wise_ft import ALPHAS
from metaft.objective import Objective
from tests.finetune.states import same, with_finetune


def test_a_share_is_of_the_way_of_autoft(few, short):
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, head="linear_probe", alpha=0.5)
    fits = fits_of(few, with_finetune(short.varied(learned=learned), knobs={"autoft_wise": {"alpha": 0.25}}))
    begin, end = fits.model("linear_probe"), fits.model("autoft_end")
    for name, share in (("autoft", 0.5), ("autoft_wise", 0.25)):
        for p, first, last in zip(
            *(fits.model(n).parameters() for n in (name, "linear_probe", "autoft_end")), strict=True
        ):
            torch.testing.assert_close(p, (1 - share) * first + share * last)
    assert not same(begin, end)


def test_autoft_end_is_a_training_whose_objective_has_no_share(few, short):
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, alpha=0.3)
    halfway, whole = (fits_of(few, short.varied(learned=o)) for o in (learned, replace(learned, alpha=1.0)))
    assert same(halfway.model("autoft_end"), whole.model("autoft_end"))
    assert same(whole.model("autoft_end"), whole.model("autoft"))


@pytest.mark.full
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
    assert {f"{name}.fold{i}" for name in ("autoft_end", "linear_probe_ood_val") for i in range(2)} < stored
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

    monkeypatch.setattr(validation, "drop_price", price)
    alpha = fits_of(few, context)("autoft_wise").chosen["alpha"]
    assert asked == ([] if drop is None else [0.03] * len(ALPHAS))
    assert alpha == 1.0 if drop is not None else alpha < 1.0
