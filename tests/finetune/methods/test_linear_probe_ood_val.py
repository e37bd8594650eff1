"""linear_probe_ood_val: scikit-learn's weighted regression on both sets, whose knobs are chosen, or set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from metaft.clip.predict import image_features, predict
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.linear_probe_ood_val import INVERSE_PENALTIES, WEIGHTS

NAME = "linear_probe_ood_val"
SET = {"weight": 3.0, "inverse_penalty": 0.1}


@pytest.fixture
def logged(context):
    """A context that begins without choices, and the events it logs."""
    events: list[dict] = []
    return replace(context, log=events.append, chosen={}), events


def test_it_is_scikit_learns_weighted_regression(work, data, logged):
    context, events = logged
    model = METHODS[NAME].fit(work.classifier, data, context.with_knobs(NAME, SET))
    assert (context.chosen, events) == ({}, [])
    x = np.concatenate(
        [image_features(work.classifier, s, 200).double().numpy() for s in (data.id_train, data.ood_val)]
    )
    y = torch.cat([data.id_train.labels, data.ood_val.labels]).numpy()
    weights = np.repeat([1.0, 3.0], [len(data.id_train), len(data.ood_val)])
    scaler = StandardScaler().fit(x)
    theirs = LogisticRegression(C=0.1, max_iter=9000, tol=1e-8).fit(scaler.transform(x), y, weights)
    ours = predict(model, data.id_val, 64).softmax(1)
    features = scaler.transform(image_features(work.classifier, data.id_val, 64).double().numpy())
    np.testing.assert_allclose(ours.numpy(), theirs.predict_proba(features), rtol=0, atol=0.01)


def test_both_knobs_are_chosen_by_cross_validation(work, data, logged):
    context, events = logged
    METHODS[NAME].fit(work.classifier, data, context)
    (event,) = events
    assert context.chosen["weight"] in WEIGHTS
    assert context.chosen["inverse_penalty"] in INVERSE_PENALTIES
    right = 0
    for fitting, judging in context.rows_by_fold(data.ood_val):
        part = replace(data, ood_val=data.ood_val.subset(fitting))
        model = METHODS[NAME].fit(work.classifier, part, context.with_knobs(NAME, context.chosen))
        held = data.ood_val.subset(judging)
        right += int((predict(model, held, 200).argmax(1) == held.labels).sum())
    assert event["ood_val_accuracy"] == pytest.approx(right / len(data.ood_val))


def test_one_knob_may_be_set(work, data, logged):
    context, _ = logged
    METHODS[NAME].fit(work.classifier, data, context.with_knobs(NAME, {"weight": 2.0}))
    assert context.chosen["weight"] == 2.0


def test_where_ood_val_cannot_be_split(work, data, logged):
    context, _ = logged
    METHODS[NAME].fit(work.classifier, replace(data, ood_val=data.ood_val.subset(torch.arange(3))), context)
    assert context.chosen["weight"] == 1.0
    assert context.chosen["inverse_penalty"] in INVERSE_PENALTIES
