"""wise_ft: exact at its ends, chosen by validation or set, and on cross-fitted models where autoft needs them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fits as fits_of
from metaft.finetune.crossfit import Apart
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.wise_ft import ALPHAS, UNJUDGED, interpolate
from metaft.finetune.validation import accuracy_apart
from metaft.objective import Objective
from tests.finetune.states import same


@pytest.fixture
def tuned_there(data, context, tuned):
    """A context in which other methods have the model of `ft`, judged by all of ood_val."""
    whole = [Apart(tuned, data.ood_val, torch.arange(len(data.ood_val)))]
    return replace(context, fitted=lambda _: tuned, apart=lambda _: whole, chosen={})


def test_it_is_exact_at_its_ends(work, tuned):
    for alpha, end in ((0.0, work.classifier), (1.0, tuned)):
        assert same(interpolate(work.classifier, tuned, alpha), end)
    middle = interpolate(work.classifier, tuned, 0.5)
    torch.testing.assert_close(middle.head.weight, (work.classifier.head.weight + tuned.head.weight) / 2)


def test_it_chooses_by_validation(work, data, tuned, tuned_there):
    events: list[dict] = []
    context = replace(tuned_there, log=events.append)
    model = METHODS["wise_ft"].fit(work.classifier, data, context)
    assert [e["alpha"] for e in events] == list(ALPHAS)
    best = max(events, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    assert context.chosen == {"alpha": best["alpha"]}
    assert same(model, interpolate(work.classifier, tuned, best["alpha"]))


@pytest.mark.parametrize("name", ["wise_ft", "autoft_wise"])
def test_a_set_mix_is_not_chosen(work, data, tuned, tuned_there, name):
    model = METHODS[name].fit(work.classifier, data, tuned_there.with_knobs(name, {"alpha": 0.25}))
    assert same(model, interpolate(work.classifier, tuned, 0.25))
    assert tuned_there.chosen == {}


def test_without_images_to_judge_by_it_goes_half_way(work, data, tuned, tuned_there):
    context = replace(tuned_there, apart=lambda _: None)
    assert same(METHODS["autoft_wise"].fit(work.classifier, data, context), interpolate(work.classifier, tuned, 0.5))
    assert context.chosen == {"alpha": UNJUDGED}


def test_autofts_mix_is_chosen_on_its_models_of_folds(few, short):
    events: list[dict] = []
    learned = Objective({"ce": 1.0}, 1e-3, 0.1, sources={"ood_val": 3.0})
    fits = fits_of(few, replace(short.varied(learned=learned), log=events.append))
    fit, parts = fits("autoft_wise"), fits.apart("autoft")
    assert {"autoft", "autoft.fold0", "autoft.fold1", "autoft_wise"} == set(fit.costs)
    for event in (e for e in events if e["method"] == "autoft_wise"):
        mixes = [p._replace(model=interpolate(few.classifier, p.model, event["alpha"])) for p in parts]
        assert event["ood_val_accuracy"] == accuracy_apart(mixes, short)
    assert same(fit.model, interpolate(few.classifier, fits.model("autoft"), fit.chosen["alpha"]))
    whole = interpolate(few.classifier, parts[0].model, fit.chosen["alpha"])
    assert same(fits.apart("autoft_wise")[0].model, whole), "its own models on folds have the same mix"
