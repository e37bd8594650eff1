"""The weighted sum of terms, and its parts by parameter group."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.errors import ConfigError
from metaft.objective.registry import TERMS, Term
from metaft.objective.state import SourceState
from metaft.objective.weighted import WeightedLoss
from tests.objective.states import state

GROUPS = {"stem": ("a.weight",), "head": ("b.bias",)}


def test_weighted_sum_is_the_sum():
    s = state()
    h = {"ce": 1.0, "kd": 0.3, "l1init": 0.2, "l2zero": 0.0, "lr": 9.0, "wd": 9.0}
    expected = TERMS["ce"](s) + 0.3 * TERMS["kd"](s) + 0.2 * 10**-0.5 * TERMS["l1init"](s)
    torch.testing.assert_close(WeightedLoss(GROUPS, 10)(s, h), expected)


def test_a_source_adds_its_cross_entropy():
    s, generator = state(), torch.Generator().manual_seed(5)
    logits, labels = torch.randn(3, s.logits.shape[1], generator=generator), torch.tensor([0, 2, 1])
    more = replace(s, sources={"ood_val": SourceState(logits, labels, 0.5)})
    loss, h = WeightedLoss(GROUPS, 10), {"ce": 1.0, "ce:ood_val": 0.6}
    by_hand = 0.6 * 0.5 * -logits.log_softmax(1)[range(3), labels].mean()
    torch.testing.assert_close(loss(more, h), TERMS["ce"](s) + by_hand)
    torch.testing.assert_close(loss(s, h), TERMS["ce"](s))
    assert set(loss.parts(more, {**h, "ce:ood_val": 0.0})) == {"ce"}


def test_released_scale_divides_by_the_number_of_parameters():
    s = state()
    torch.testing.assert_close(WeightedLoss(GROUPS, 10, "released")(s, {"l2init": 2.0}), TERMS["l2init"](s) / 5)


def test_equal_group_weights_are_one_global_weight():
    s, loss = state(), WeightedLoss(GROUPS, 10)
    for name in ("l1init", "l2init", "l1zero", "l2zero"):
        torch.testing.assert_close(loss(s, {f"{name}@stem": 0.7, f"{name}@head": 0.7}), loss(s, {name: 0.7}))
        torch.testing.assert_close(loss(s, {name: 0.7, f"{name}@stem": 0.7}), loss(s, {name: 0.7}))


def test_a_weight_of_zero_costs_nothing():
    s = state()
    object.__setattr__(s, "text_features", None)
    assert float(WeightedLoss(GROUPS, 10)(s, {"flyp": 0.0})) == 0.0


def test_weights_receive_gradients():
    h = {name: torch.tensor(0.5, dtype=torch.float64, requires_grad=True) for name in TERMS}
    gradients = torch.autograd.grad(WeightedLoss(GROUPS, 10)(state(), h), list(h.values()))
    for gradient, term in zip(gradients, TERMS.values(), strict=True):
        torch.testing.assert_close(gradient, term.scale(10) * term(state()))


@pytest.mark.parametrize("look", [lambda s: s.params["a.weight"], lambda s: sum(p.sum() for p in s.params.values())])
def test_a_term_of_ones_own_may_not_look_at_shards(monkeypatch, look):
    """Each rank would take its part for the whole; powers are summed over the ranks, and others see the batch."""
    s, loss = state(), WeightedLoss(GROUPS, 10, total=lambda value: 2 * value)
    monkeypatch.setitem(TERMS, "mine", Term("mine", "for a test", look, penalty=True))
    expected = TERMS["ce"](s) + 2 * TERMS["l2init"](s)
    torch.testing.assert_close(loss(s, {"ce": 1.0, "l2init": 1.0}), expected)
    with pytest.raises(ConfigError, match=r"objective.terms: 'mine', which looks at parameters, of which each rank"):
        loss(s, {"ce": 1.0, "mine": 1.0})


@pytest.mark.parametrize("total", [None, lambda value: value], ids=["whole", "shards"])
def test_the_reference_is_asked_once_for_all_terms(monkeypatch, total):
    s, asked = state(), []
    counted = replace(s, reference=lambda: asked.append(1) or s.reference())
    monkeypatch.setitem(TERMS, "mine", Term("mine", "for a test", lambda seen: seen.reference_logits.sum()))
    WeightedLoss(GROUPS, 10, total=total)(counted, {"kd": 1.0, "mine": 1.0})
    assert len(asked) == 1
