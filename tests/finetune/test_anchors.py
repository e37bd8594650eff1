"""The anchors: what the labels of ood_val, or of the tests' distribution, give without any search."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metaft import build, config
from metaft.clip.predict import predict
from metaft.data.types import SearchData
from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from metaft.finetune.regression import ABSENT


@pytest.fixture(scope="module")
def settings(work):
    return replace(build.fit_settings(work, None), fitted=lambda _: work.classifier)


def parameters_equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_only_the_oracle_sees_more_than_a_search(work):
    for name, method in METHODS.items():
        seen = method.sees(work.splits)
        if name == "oracle":
            assert seen.id_train.name == "labelled_half"
        else:
            assert seen == work.splits.search_data


def test_oracle_is_ft_on_other_images(work, settings):
    seen = work.splits.oracle_data
    again = METHODS["ft"].fit(build.fresh(work), seen, settings)
    assert parameters_equal(build.fit(work, "oracle", settings), again)
    assert not parameters_equal(again, build.fit(work, "ft", settings))


def test_ft_ood_val_trains_on_both_in_as_many_steps(work, settings):
    """With the ID images taken away but for a few, most of what it sees is ood_val."""
    data = work.splits.search_data
    few = replace(data, id_train=data.id_train.subset(torch.arange(4)))
    longer = replace(settings, steps=40)
    model = METHODS["ft_ood_val"].fit(build.fresh(work), few, longer)

    def score(classifier):
        return float((predict(classifier, data.ood_val, 200).argmax(1) == data.ood_val.labels).double().mean())

    assert score(model) > score(work.classifier) + 0.2
    events: list[dict] = []
    for name in ("ft", "ft_ood_val"):
        METHODS[name].fit(build.fresh(work), data, replace(settings, log=events.append))
    assert len({e["step"] for e in events}) == 1


def test_dfr_is_scikit_learns_regression_on_the_features(work, settings):
    events: list[dict] = []
    model = METHODS["dfr"].fit(work.classifier, work.splits.search_data, replace(settings, log=events.append))
    with torch.no_grad():
        batch = work.splits.ood_val.batch(torch.arange(len(work.splits.ood_val)))
        out, before = model(batch.images), work.classifier(batch.images)
    torch.testing.assert_close(out.image_features, before.image_features, rtol=0, atol=0)
    x = before.image_features.double().numpy()
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=events[0]["inverse_penalty"], max_iter=2000))
    theirs.fit(x, batch.labels.numpy())
    expected = torch.from_numpy(theirs.decision_function(x)).float()
    torch.testing.assert_close(out.logits.softmax(1), expected.softmax(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kept", [[3], [3, 7], [1, 3, 7]])
def test_dfr_never_predicts_a_class_it_has_not_seen(work, settings, kept):
    data = work.splits.search_data
    rows = torch.isin(data.ood_val.labels, torch.tensor(kept)).nonzero().flatten()
    scarce = SearchData(data.id_train, data.id_val, data.ood_val.subset(rows), data.classes)
    model = METHODS["dfr"].fit(work.classifier, scarce, settings)
    predicted = predict(model, scarce.ood_val, 64).argmax(1)
    assert set(predicted.tolist()) == set(kept)
    assert np.isclose(model.head.bias.detach()[0], ABSENT, atol=1)


def test_without_a_labelled_half_there_is_no_oracle(picture_tree):
    settings = ("data.format=folder", f"data.root={picture_tree}")
    work = build.workspace(config.load(None, settings))
    assert "oracle" not in build.methods(work)
    assert {"ft_ood_val", "dfr"} <= set(build.methods(work))
    cannot = build.workspace(config.load(None, [*settings, "finetune.method=oracle"]))
    with pytest.raises(ConfigError, match=r"finetune.method: .*'oracle', which this data set cannot serve"):
        build.methods(cannot)
