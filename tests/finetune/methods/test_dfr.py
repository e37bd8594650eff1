"""dfr: scikit-learn's regression on the features of ood_val; classes it has not seen."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaft.clip.predict import predict
from metaft.data.types import SearchData
from metaft.finetune.methods import METHODS


@pytest.fixture
def untuned(work, context):
    """A context in which `ft` has left theta_0 as it is."""
    return replace(context, fitted=lambda _: work.classifier)


def test_it_is_scikit_learns_regression_on_the_features(work, data, untuned):
    events: list[dict] = []
    model = METHODS["dfr"].fit(work.classifier, data, replace(untuned, log=events.append))
    with torch.no_grad():
        batch = data.ood_val.batch(torch.arange(len(data.ood_val)))
        out, before = model(batch.images), work.classifier(batch.images)
    torch.testing.assert_close(out.image_features, before.image_features, rtol=0, atol=0)
    x = before.image_features.double().numpy()
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=events[0]["inverse_penalty"], max_iter=2000))
    theirs.fit(x, batch.labels.numpy())
    expected = torch.from_numpy(theirs.decision_function(x)).float()
    torch.testing.assert_close(out.logits.softmax(1), expected.softmax(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kept", [[3], [3, 7], [1, 3, 7]])
def test_it_never_predicts_a_class_it_has_not_seen(work, data, untuned, kept):
    rows = torch.isin(data.ood_val.labels, torch.tensor(kept)).nonzero().flatten()
    scarce = SearchData(data.id_train, data.id_val, data.ood_val.subset(rows), data.classes)
    model = METHODS["dfr"].fit(work.classifier, scarce, untuned)
    predicted = predict(model, scarce.ood_val, 64).argmax(1)
    assert set(predicted.tolist()) == set(kept)
