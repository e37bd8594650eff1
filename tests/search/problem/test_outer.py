"""Outer losses: the fitted temperature, its gradient, and the error rate."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch.autograd import gradcheck

from metaft.config.schema import OuterConfig
from metaft.data.types import Domains, PixelArray, Ready, Split
from metaft.metrics import METRICS
from metaft.search.problem.judging import judgement_of
from metaft.search.problem.outer import Floor, Judgement, by_domain, margin
from metaft.search.registry import OUTER_LOSSES
from metaft.temperature import best_log_temperature, ce_by_class, ce_calibrated


def data(seed: int):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(5, (40,), generator=g)
    logits = torch.randn(40, 5, generator=g, dtype=torch.float64) + 1.5 * F.one_hot(labels, 5)
    return logits, labels


@pytest.mark.parametrize("seed", range(3))
def test_temperature_against_scipy(seed):
    logits, labels = data(seed)

    def loss(s: float) -> float:
        return float(F.cross_entropy(logits * torch.tensor(-s).double().exp(), labels))

    theirs = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-8})
    assert float(best_log_temperature(logits, labels)) == pytest.approx(theirs.x, abs=1e-5)
    assert float(ce_calibrated(logits, labels)) == pytest.approx(theirs.fun, rel=1e-10)


def test_confidence_alone_changes_nothing():
    logits, labels = data(0)
    assert float(ce_calibrated(4 * logits, labels)) == pytest.approx(float(ce_calibrated(logits, labels)), abs=1e-7)


def test_gradient_of_the_fitted_loss():
    logits, labels = data(1)
    assert gradcheck(lambda z: ce_calibrated(z, labels), (logits.requires_grad_(),), atol=1e-6)


def test_what_is_differentiated_has_a_gradient():
    logits, labels = data(2)
    for name, loss in OUTER_LOSSES.items():
        value = loss.function(logits.clone().requires_grad_(), labels)
        assert value.requires_grad == (loss.stand_in is None), name
        assert loss.smooth(logits.clone().requires_grad_(), labels).requires_grad, name
    assert float(OUTER_LOSSES["error"].function(logits, logits.argmax(1))) == 0


def test_margin_is_a_smooth_error_rate_of_no_temperature():
    logits, labels = data(3)
    assert float(margin(7 * logits, labels)) == pytest.approx(float(margin(logits, labels)))
    assert gradcheck(lambda z: margin(z, labels), (logits.requires_grad_(),))
    sure = 50.0 * F.one_hot(labels, 5).double()
    assert float(margin(sure, labels)) == pytest.approx(1 / (1 + math.e))
    assert float(margin(sure, (labels + 1) % 5)) == pytest.approx(math.e / (1 + math.e))


def test_a_floor_costs_what_lies_below_it():
    logits, labels = data(4)
    images = torch.zeros(len(labels), 3, 8, 8)
    floor = Floor.under(images, labels, logits, drop=0.05, slope=2.5)
    assert floor.cost(logits) == 0
    assert float(floor.smooth(logits)) == 0
    worse = logits.roll(1, dims=1)
    lost = (logits.argmax(1) == labels).double() - (worse.argmax(1) == labels).double()
    error = scipy.stats.sem(lost.numpy())
    assert floor.cost(worse) == pytest.approx(2 * 2.5 * (float(lost.mean()) - 2 * error - 0.05))
    assert torch.autograd.grad(floor.smooth(worse.requires_grad_()), worse)[0].abs().sum() > 0


DOMAINS = torch.tensor([5] * 20 + [2] * 15 + [9] * 5)


@pytest.mark.parametrize(("how", "of"), [("mean", lambda values: sum(values) / 3), ("worst", max)])
def test_domains_count_alike_or_the_worst_alone(how, of):
    logits, labels = data(0)
    parts = [(logits[rows], labels[rows]) for rows in (slice(0, 20), slice(20, 35), slice(35, 40))]
    expected = of([float(F.cross_entropy(*part)) for part in parts])
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = by_domain(F.cross_entropy, how, DOMAINS[shuffled])(logits[shuffled], labels[shuffled])
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert abs(expected - float(F.cross_entropy(logits, labels))) > 1e-3, "which is not the mean over images"


@pytest.mark.parametrize("how", ["mean", "worst"])
def test_the_gradient_over_domains(how):
    logits, labels = data(1)
    assert gradcheck(lambda z: by_domain(margin, how, DOMAINS)(z, labels), logits.requires_grad_())


def test_a_judgement_keeps_the_stand_in():
    logits, labels = data(0)
    error, judgement = OUTER_LOSSES["error"], Judgement.over(OUTER_LOSSES["error"], "worst", DOMAINS)
    assert float(judgement.function(logits, labels)) == float(
        by_domain(error.function, "worst", DOMAINS)(logits, labels)
    )
    assert judgement.smooth(logits.requires_grad_(), labels).requires_grad


def test_domains_are_pooled_unless_asked_for():
    logits, labels = data(0)
    pooled = Judgement.over(OUTER_LOSSES["ce"], "pooled", DOMAINS)
    assert float(pooled.function(logits, labels)) == float(F.cross_entropy(logits, labels))


@pytest.mark.parametrize("how", ["mean", "worst"])
def test_images_in_no_domain_are_left_out_where_others_are_in_one(how):
    logits, labels = data(0)
    some = DOMAINS.where(torch.arange(40) % 4 > 0, -1)
    named, of_named = some >= 0, by_domain(F.cross_entropy, how, some[some >= 0])
    found = by_domain(F.cross_entropy, how, some)(logits, labels)
    assert float(found) == float(of_named(logits[named], labels[named]))
    none = by_domain(F.cross_entropy, how, torch.full((40,), -1))
    assert float(none(logits, labels)) == float(F.cross_entropy(logits, labels))


def test_cross_entropy_by_class_is_the_mean_of_each_classs_at_its_best_temperature():
    logits, labels = data(3)
    labels[labels == 4] = 3  # a class without an image does not count

    def loss(s: float) -> float:
        cooled = logits * math.exp(-s)
        return sum(float(F.cross_entropy(cooled[labels == c], labels[labels == c])) for c in range(4)) / 4

    theirs = minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-8})
    assert float(ce_by_class(logits, labels)) == pytest.approx(theirs.fun, rel=1e-9)
    assert gradcheck(lambda z: ce_by_class(z, labels), logits.requires_grad_(), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["macro_f1", "mean_per_class"])
def test_losses_of_metrics_are_what_is_missing_to_one(name):
    logits, labels = data(2)
    judgement = Judgement.over(OUTER_LOSSES[name], "pooled", None)
    truth, said = labels.numpy(), logits.argmax(1).numpy()
    theirs = {
        "macro_f1": f1_score(truth, said, average="macro", labels=sorted(set(truth))),
        "mean_per_class": balanced_accuracy_score(truth, said),
    }[name]
    assert float(judgement.function(logits, labels)) == pytest.approx(1 - theirs, rel=1e-9)
    assert float(judgement.smooth(logits, labels)) == float(ce_by_class(logits, labels))


def split_of(numbers, groups=None):
    labels = torch.arange(len(numbers)) % 5
    domains, groups = (None if n is None else Domains(tuple("abc")[: len(n.unique())], n) for n in (numbers, groups))
    return Split("ood_val", PixelArray(torch.zeros(40, 3, 2, 2), 2), labels, Ready(2), domains, groups)


@pytest.mark.parametrize(
    ("settings", "loss"),
    [
        ({"metric": "accuracy"}, "ce_calibrated"),
        ({"metric": "macro_f1"}, "macro_f1"),
        ({"metric": "nll"}, "ce"),
        ({"metric": "macro_f1", "outer_loss": "margin"}, "margin"),
    ],
)
def test_a_metric_is_sought_by_its_loss_unless_one_is_named(settings, loss):
    logits, labels = data(0)
    judgement = judgement_of(split_of(DOMAINS), OuterConfig(**settings))
    assert float(judgement.function(logits, labels)) == float(OUTER_LOSSES[loss].function(logits, labels))
    metric = METRICS[settings["metric"]]
    assert judgement.metric(logits, labels) == metric(logits, labels, DOMAINS)


def test_a_fold_of_one_domain_is_judged_by_it_and_not_by_its_groups():
    """The split has several domains, of which the fold holds the first alone."""
    logits, labels = data(0)
    rows = torch.arange(20)
    fold = split_of(torch.where(torch.arange(40) < 20, 0, 1), torch.arange(40) % 3).subset(rows)
    judgement = judgement_of(fold, OuterConfig(metric="worst_group"))
    right = float((logits[rows].argmax(1) == labels[rows]).double().mean())
    assert judgement.metric(logits[rows], labels[rows]) == pytest.approx(right)
    assert float(judgement.function(logits[rows], labels[rows])) == pytest.approx(1 - right)


def test_the_worst_group_is_sought_by_the_worst_error():
    logits, labels = data(0)
    rows = torch.arange(0, 40, 2)
    for split in (split_of(DOMAINS), split_of(torch.zeros(40, dtype=torch.int64), DOMAINS)):
        judgement = judgement_of(split, OuterConfig(metric="worst_group"), rows)
        z, y, d = logits[rows], labels[rows], DOMAINS[rows]
        right = [float((z[d == k].argmax(1) == y[d == k]).double().mean()) for k in d.unique()]
        assert float(judgement.function(z, y)) == pytest.approx(1 - min(right))
        assert judgement.metric(z, y) == pytest.approx(min(right))
        assert float(judgement.smooth(z, y)) == float(by_domain(margin, "worst", d)(z, y))
