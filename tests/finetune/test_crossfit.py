"""Cross-fitted judging: predictions in the order of ood_val, whatever the folds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metaft.clip.predict import predict
from metaft.data.folds import folds
from metaft.data.types import Domains
from metaft.finetune.crossfit import Apart, Judged, gains, judge, rows_by_fold, told
from metaft.metrics import METRICS


def with_domains(split, count: int):
    """The split with its images dealt to named domains."""
    return replace(split, domains=Domains(tuple("abc"[:count]), torch.arange(len(split)) % count))


@pytest.mark.parametrize("domains", [None, 3])
def test_rows_are_those_of_the_folds(data, domains):
    split = data.ood_val if domains is None else with_domains(data.ood_val, domains)
    rows = rows_by_fold(split, 2, 7)
    assert torch.cat([judging for _, judging in rows]).sort().values.tolist() == list(range(len(split)))
    for (fitting, judging), fold in zip(rows, folds(split, 2, 7), strict=True):
        assert not set(fitting.tolist()) & set(judging.tolist())
        assert torch.equal(split.labels[judging], fold.judging.labels)
        some = torch.arange(5)
        assert torch.equal(split.subset(fitting).batch(some).images, fold.fitting.batch(some).images)


def test_a_split_that_cannot_be_dealt_has_none(data):
    assert rows_by_fold(data.ood_val.subset(torch.arange(3)), 2, 0) == []


def test_parts_are_put_in_order(work, data, tuned):
    order = torch.randperm(len(data.ood_val), generator=torch.Generator().manual_seed(0))
    models = (work.classifier, tuned)
    parts = [Apart(m, data.ood_val.subset(rows), rows) for m, rows in zip(models, order.chunk(2), strict=True)]
    judged = judge(parts, 64)
    said = torch.stack([predict(model, data.ood_val, 200) for model in models])
    which = torch.isin(torch.arange(len(order)), order.chunk(2)[1]).long()
    expected = said[which, torch.arange(len(order))]
    torch.testing.assert_close(judged.logits, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(judged.predictions, expected.argmax(1))
    assert torch.equal(judged.correct, expected.argmax(1) == data.ood_val.labels)


def test_accuracy():
    assert Judged(torch.eye(4), torch.tensor([0, 2, 2, 3])).accuracy == 0.75


@pytest.mark.parametrize(("n", "share"), [(30, 10 / 13), (300, 1 / 4)])
def test_gains_are_of_accuracy_and_of_the_loss_the_more_the_fewer_images(n, share):
    """The losses at temperatures found by a search over many, 2.5 nats being worth a share of 1."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    towards = 2 * F.one_hot(labels)  # or no temperature would be the best
    models = [Judged((torch.randn(n, 3, generator=generator) + towards) * scale, labels) for scale in (1.0, 5.0)]

    def best(model):
        tried = [F.cross_entropy(model.logits / 2**s, labels, reduction="none") for s in torch.linspace(-5, 5, 4001)]
        return min(tried, key=lambda losses: float(losses.mean()))

    one, other = models
    right = (one.logits.argmax(1) == labels).double() - (other.logits.argmax(1) == labels).double()
    expected = (1 - share) * right + share * (best(other) - best(one)) / 2.5
    torch.testing.assert_close(gains(one, other), expected, rtol=0, atol=2e-3)
    assert gains(one, one).abs().max() == 0


def informative(seed: int, classes: int = 3, n: int = 40) -> Judged:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) + F.one_hot(labels, classes)
    return Judged(logits, labels, torch.arange(n) % 4)


@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.sought_by])
def test_scores_of_images_are_jackknife_pseudo_values(metric):
    """Against the metric of the images that are left, each recomputed from logits."""
    judged, sign = informative(0), 1 if METRICS[metric].higher_is_better else -1
    n = len(judged.labels)
    whole = METRICS[metric](judged.logits, judged.labels, judged.groups)
    expected = []
    for image in range(n):
        rest = torch.arange(n) != image
        left = METRICS[metric](judged.logits[rest], judged.labels[rest], judged.groups[rest])
        expected.append(sign * (n * whole - (n - 1) * left))
    torch.testing.assert_close(judged.scores(metric), torch.tensor(expected, dtype=torch.float64))
    assert judged.score(metric) == sign * whole


@pytest.mark.parametrize("metric", ["accuracy", "mean_per_class", "nll"])
def test_what_is_told_is_of_the_metric_and_of_the_loss(metric):
    """Of forty images the loss has 100 parts of 140."""
    model, over = informative(1), informative(2)
    over = Judged(over.logits, model.labels, model.groups)
    unit = 2.5 if metric == "nll" else 1.0
    by_score = (model.score(metric) - over.score(metric)) / unit
    by_loss = float(over.losses.mean() - model.losses.mean()) / 2.5
    assert told(model, over, metric) == pytest.approx(over.score(metric) / unit + (40 * by_score + 100 * by_loss) / 140)
    if metric != "mean_per_class":  # of which the pseudo-values' mean is free of bias
        gained = float(gains(model, over, metric).mean())
        assert told(model, over, metric) == pytest.approx(over.score(metric) / unit + gained)


def test_domains_of_folds_are_those_of_the_split(work, data):
    """A fold may hold one domain alone, where the split has several; images in none keep that."""
    numbers = torch.arange(len(data.ood_val)) % 3 - 1
    split = replace(data.ood_val, domains=Domains(("a", "b"), numbers))
    rows = [(numbers == number).nonzero()[:, 0] for number in (1, -1, 0)]
    judged = judge([Apart(work.classifier, split.subset(r), r) for r in rows], 64)
    assert torch.equal(judged.groups, numbers)
    right = [float(judged.correct[numbers == number].double().mean()) for number in (0, 1)]
    assert judged.score("worst_group") == pytest.approx(min(right))
    alone = replace(split, domains=Domains(("a", "b"), torch.zeros_like(numbers)))
    judged = judge([Apart(work.classifier, alone, torch.arange(len(alone)))], 64)
    assert judged.score("worst_group") == judged.accuracy
    assert judge([Apart(work.classifier, data.ood_val, torch.arange(len(alone)))], 64).groups is None


@pytest.mark.parametrize("metric", ["macro_f1", "nll"])
def test_one_image_is_its_own_score(metric):
    one = Judged(torch.tensor([[1.0, 2.0]]), torch.tensor([1]))
    assert one.scores(metric).tolist() == [one.score(metric)]
