"""Scores on every test split are those of the metrics on its logits."""

from __future__ import annotations

import pytest

from metaft.build.fits import scored
from metaft.clip.predict import predict
from metaft.evaluation.scores import evaluate
from metaft.metrics import accuracy


def test_every_split_has_every_metric_with_its_interval(work):
    scores = scored(work, work.classifier)
    assert list(scores) == ["id_test", "ood_test/handwritten"]
    for name, score in scores.items():
        split = work.splits.tests[name]
        assert score.n == len(split)
        assert score.metrics["accuracy"] == pytest.approx(accuracy(predict(work.classifier, split, 100), split.labels))
        assert set(score.ci95) == set(score.metrics)
        low, high = score.ci95["accuracy"]
        assert 0 <= low <= score.metrics["accuracy"] <= high <= 1
    id_test = {"id_test": work.splits.tests["id_test"]}
    again = evaluate(work.classifier, id_test, batch_size=25, resamples=100, seed=work.cfg.seed)
    assert again["id_test"].ci95 == scores["id_test"].ci95, "the same resamples by the same seed"
