"""One battery over every registered term, against closed forms in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from torch.autograd import gradcheck, gradgradcheck

from metaft.objective.registry import TERMS, terms
from tests.objective.states import B, C, D, state


def _entropy(s):
    log_p = log_softmax(s.logits.numpy(), axis=1)
    return -(np.exp(log_p) * log_p).sum(axis=1)


def _ce(z, y):
    return np.mean(logsumexp(z, axis=1) - z[np.arange(len(y)), y])


def _dcm(s):
    wrong = s.logits.numpy().argmax(axis=1) != s.labels.numpy()
    assert wrong.any()
    return (wrong * _entropy(s)).sum() / len(wrong)


def _hinge(s):
    z, y = s.logits.numpy(), s.labels.numpy()
    return np.mean([sum(max(0, z[i, c] - z[i, k] + 1) for c in range(z.shape[1]) if c != k) for i, k in enumerate(y)])


def _flyp(s):
    similarity = float(s.logit_scale) * s.image_features.numpy() @ s.text_features.numpy().T
    pairs = np.arange(len(similarity))
    return (_ce(similarity, pairs) + _ce(similarity.T, pairs)) / 2


def _kd(s):
    log_p, log_q = log_softmax(s.logits.numpy(), axis=1), log_softmax(s.reference_logits.numpy(), axis=1)
    return (np.exp(log_q) * (log_q - log_p)).sum(axis=1).mean()


def _flat(params):
    return np.concatenate([p.numpy().ravel() for p in params.values()])


CLOSED_FORMS = {
    "ce": lambda s: _ce(s.logits.numpy(), s.labels.numpy()),
    "dcm": _dcm,
    "entropy": lambda s: _entropy(s).mean(),
    "hinge": _hinge,
    "flyp": _flyp,
    "kd": _kd,
    "l1zero": lambda s: np.abs(_flat(s.params)).sum(),
    "l2zero": lambda s: (_flat(s.params) ** 2).sum(),
    "l1init": lambda s: np.abs(_flat(s.params) - _flat(s.pretrained)).sum(),
    "l2init": lambda s: ((_flat(s.params) - _flat(s.pretrained)) ** 2).sum(),
}


def _certain(s):
    """Every label predicted with near certainty."""
    return replace(s, logits=200.0 * torch.nn.functional.one_hot(s.labels, C).double())


def _aligned(s):
    """Each caption is its image, and all pairs are orthogonal."""
    features = torch.eye(4, D, dtype=torch.float64)
    return replace(
        state(b=4), image_features=features, text_features=features, logit_scale=torch.tensor(200.0).double()
    )


ZEROS = {
    **dict.fromkeys(("ce", "dcm", "entropy", "hinge"), _certain),
    "flyp": _aligned,
    "kd": lambda s: replace(s, logits=s.reference_logits.clone()),
    **dict.fromkeys(
        ("l1zero", "l2zero"), lambda s: replace(s, params={k: torch.zeros_like(p) for k, p in s.params.items()})
    ),
    **dict.fromkeys(("l1init", "l2init"), lambda s: replace(s, params=dict(s.pretrained))),
}

each_term = pytest.mark.parametrize("name", terms())


def test_the_battery_knows_every_term():
    assert set(terms()) == set(CLOSED_FORMS) == set(ZEROS)
    assert {"ce", "dcm", "entropy", "flyp", "hinge", "kd", "l1init", "l1zero", "l2init", "l2zero"} <= set(terms())


@each_term
@pytest.mark.parametrize("seed", range(3))
def test_closed_form(name, seed):
    s = state(seed)
    value = TERMS[name](s)
    assert value.shape == ()
    assert float(value) == pytest.approx(CLOSED_FORMS[name](s), rel=1e-12)


@each_term
def test_zero_at_its_reference_point(name):
    assert float(TERMS[name](ZEROS[name](state()))) == pytest.approx(0, abs=1e-12)


@each_term
def test_first_and_second_derivatives(name):
    s = state()

    def of(logits, images, texts, scale, weight, bias):
        moved = replace(
            s,
            logits=logits,
            image_features=images,
            text_features=texts,
            logit_scale=scale,
            params={"a.weight": weight, "b.bias": bias},
        )
        return TERMS[name](moved) + 0 * sum(t.square().sum() for t in (logits, images, texts, scale, weight, bias))

    inputs = [s.logits, s.image_features, s.text_features, s.logit_scale, *s.params.values()]
    inputs = tuple(t.clone().requires_grad_() for t in inputs)
    assert gradcheck(of, inputs)
    assert gradgradcheck(of, inputs)


@each_term
def test_order_of_the_batch_is_nothing(name):
    s = state()
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    logits, features = s.reference_logits[order], s.reference_features[order]
    moved = replace(
        s,
        logits=s.logits[order],
        image_features=s.image_features[order],
        text_features=s.text_features[order],
        labels=s.labels[order],
        reference=lambda: (logits, features),
    )
    assert float(TERMS[name](moved)) == pytest.approx(float(TERMS[name](s)), rel=1e-12)


@each_term
@pytest.mark.parametrize("edge", ["one sample", "one class", "equal logits", "huge logits"])
def test_edges_are_finite(name, edge):
    s = state(b=1) if edge == "one sample" else state(c=1) if edge == "one class" else state()
    factor = {"equal logits": 0.0, "huge logits": 1e4}.get(edge, 1.0)
    leaf = (s.logits * factor).requires_grad_()
    value = TERMS[name](replace(s, logits=leaf))
    assert torch.isfinite(value)
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, leaf)
        assert torch.isfinite(gradient).all()


def test_what_a_term_needs_is_named():
    with pytest.raises(ValueError, match="text_features are missing"):
        TERMS["flyp"](replace(state(), text_features=None))
    with pytest.raises(ValueError, match="reference: missing"):
        TERMS["kd"](replace(state(), reference=None))
    with pytest.raises(ValueError, match="reference logits: shape"):
        TERMS["kd"](replace(state(), reference=lambda: (torch.zeros(1, 1), torch.zeros(1, 1))))
    with pytest.raises(ValueError, match="params: empty"):
        TERMS["l2init"](replace(state(), params={}))


def test_dcm_indicator_is_by_the_batch_not_by_the_errors():
    s = state()
    logits = s.logits.clone()
    alone = replace(s, logits=logits, labels=logits.argmax(dim=1))
    alone.labels[0] = (alone.labels[0] + 1) % C
    assert float(TERMS["dcm"](alone)) == pytest.approx(_entropy(alone)[0] / B)


def test_penalty_gradients_have_the_documented_length():
    s = state()
    params = {k: p.clone().requires_grad_() for k, p in s.params.items()}
    n = sum(p.numel() for p in params.values())
    for name in ("l1zero", "l1init"):
        value = TERMS[name].scale(n) * TERMS[name](replace(s, params=params))
        gradient = torch.autograd.grad(value, list(params.values()))
        assert sum(g.square().sum() for g in gradient).sqrt() == pytest.approx(1.0)
    assert TERMS["l2init"].scale(n) == 1.0
