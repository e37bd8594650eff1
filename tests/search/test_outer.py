"""Outer losses: the fitted temperature, its gradient, and the error rate."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch.autograd import gradcheck

from metaft.search.outer import OUTER_LOSSES, best_log_temperature, ce_calibrated


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


def test_differentiable_is_what_it_says():
    logits, labels = data(2)
    for name, loss in OUTER_LOSSES.items():
        assert loss.function(logits.clone().requires_grad_(), labels).requires_grad == loss.differentiable, name
    assert float(OUTER_LOSSES["error"].function(logits, logits.argmax(1))) == 0
