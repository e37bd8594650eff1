"""Scores on every test split are those of the metrics on its logits, together and by domain."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.build.fits import scored
from metaft.clip.predict import predict
from metaft.data.types import Domains
from metaft.evaluation.scores import evaluate, score
from metaft.measures import unpacked
from metaft.metrics import METRICS, accuracy


def test_every_split_has_every_metric_with_its_interval(work):
    scores = scored(work, work.classifier)
    assert list(scores) == ["id_test", "ood_test/handwritten"]
    for name, found in scores.items():
        split = work.splits.tests[name]
        assert found.n == len(split)
        assert found.metrics["accuracy"] == pytest.approx(accuracy(predict(work.classifier, split, 100), split.labels))
        assert set(found.ci95) == set(found.metrics)
        low, high = found.ci95["accuracy"]
        assert 0 <= low <= found.metrics["accuracy"] <= high <= 1
    id_test = {"id_test": work.splits.tests["id_test"]}
    again = evaluate(work.classifier, id_test, batch_size=25, resamples=100, seed=work.cfg.seed)
    assert again["id_test"].ci95 == scores["id_test"].ci95, "the same resamples by the same seed"


@pytest.fixture
def told(work):
    """A split without domains, and logits on its images."""
    split = work.splits.tests["id_test"]
    return split, predict(work.classifier, split, 100)


def kept(split, numbers, names="abc"):
    return Domains(tuple(names), torch.as_tensor(numbers, dtype=torch.long))


def test_scores_by_domain_are_those_of_its_images(told):
    split, logits = told
    numbers = torch.arange(len(split)) % 4 - 1  # a quarter is in no domain
    whole = score(logits, replace(split, domains=kept(split, numbers)), 100, 0)
    assert list(whole.by_domain) == ["a", "b", "c"]
    for number, inside in enumerate(whole.by_domain.values()):
        rows = numbers == number
        assert inside.n == rows.sum()
        assert inside.metrics == {
            n: m(logits[rows], split.labels[rows]) for n, m in METRICS.items() if n != "worst_group"
        }
        assert set(inside.ci95) == set(inside.metrics)
    assert whole.metrics["worst_group"] == min(inside.metrics["accuracy"] for inside in whole.by_domain.values())
    assert (whole.n, whole.groups) == (len(split), 0)
    assert set(whole.metrics) == set(METRICS)


def test_groups_are_drawn_whole_and_are_no_domains(told):
    split, logits = told
    numbers = torch.arange(len(split)) % 3
    apart = score(logits, replace(split, groups=kept(split, numbers)), 100, 0)
    assert (apart.groups, apart.by_domain) == (3, {})
    each = [accuracy(logits[numbers == g], split.labels[numbers == g]) for g in range(3)]
    assert apart.metrics["worst_group"] == pytest.approx(min(each))
    assert min(each) <= apart.ci95["accuracy"][0] <= apart.ci95["accuracy"][1] <= max(each)
    images = score(logits, split, 100, 0)
    assert apart.ci95["accuracy"] != images.ci95["accuracy"]
    assert "worst_group" not in images.metrics


def test_a_domain_that_is_a_group_is_drawn_by_image(told):
    split, logits = told
    places = kept(split, torch.arange(len(split)) % 3)
    both = score(logits, replace(split, domains=places, groups=places), 100, 0)
    assert both.groups == 3
    for inside in both.by_domain.values():
        assert inside.groups == 0
        low, high = inside.ci95["nll"]
        assert low < inside.metrics["nll"] < high


def test_one_domain_is_none(told):
    split, logits = told
    one = kept(split, torch.zeros(len(split)))
    assert score(logits, replace(split, domains=one, groups=one), 100, 0) == score(logits, split, 100, 0)


def test_which_images_are_right_is_kept(told):
    """In the split's order, or, where intervals draw groups, group after group."""
    split, logits = told
    right = (logits.argmax(dim=1) == split.labels).long()
    whole = score(logits, split, 100, 0)
    assert unpacked(whole.right, whole.n).tolist() == right.tolist()
    assert whole.sizes == ()
    numbers = torch.tensor([5, 2, 9])[torch.arange(len(split)) % 3]
    apart = score(logits, replace(split, groups=kept(split, numbers, "abcdefghij")), 100, 0)
    assert apart.sizes == tuple(int((numbers == g).sum()) for g in (2, 5, 9))
    assert unpacked(apart.right, apart.n).tolist() == [r for g in (2, 5, 9) for r in right[numbers == g].tolist()]
    inside = score(logits, replace(split, domains=kept(split, torch.arange(len(split)) % 2)), 100, 0).by_domain
    assert not any(domain.right for domain in inside.values())


def test_mistakes_are_those_of_the_whole_split(told):
    split, logits = told
    whole = score(logits, replace(split, domains=kept(split, torch.arange(len(split)) % 2)), 100, 0)
    assert sum(n for n, _, _ in whole.calibration) == sum(n for *_, n in whole.confusion) == len(split)
    right = sum(n for label, said, n in whole.confusion if label == said)
    assert right / len(split) == pytest.approx(whole.metrics["accuracy"])
    assert not any(inside.calibration or inside.confusion for inside in whole.by_domain.values())
