"""Kernels with second derivatives by hand, beside those that torch composes."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from metaft.inner import Unroll, second_order
from metaft.inner.second_order import second_order_kernels
from tests.inner.problems import problem, tiny

SHAPES = {"rows": (5,), "two dimensions": (3, 5)}


def drawn(*shape: int, by: bool = True) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_(by)


def twice(run, inputs, context) -> list[torch.Tensor | None]:
    """The value of a function, its derivatives along a direction, and the derivatives of these along others."""
    torch.manual_seed(1)
    with context():
        value = run(*inputs)
    live = [t for t in inputs if t is not None and t.requires_grad]
    direction = torch.randn_like(value).requires_grad_()
    first = torch.autograd.grad(value, live, direction, create_graph=True)
    along = [torch.randn_like(g) for g in first]
    second = torch.autograd.grad(first, [*live, direction], along, allow_unused=True, materialize_grads=True)
    return [value, *first, *second]


def same(run, *inputs) -> bool:
    ours, theirs = (twice(run, inputs, context) for context in (second_order_kernels, nullcontext))
    count = len(inputs) - inputs.count(None) - sum(t is not None and not t.requires_grad for t in inputs) + 1
    assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    return all(map(torch.equal, ours[:count], theirs[:count]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("given", ["weight and bias", "weight", "neither", "frozen"])
def test_layer_norms_are_those_of_torch(shape, given):
    """Values and first derivatives to the same bits."""
    torch.manual_seed(0)
    weight = None if given == "neither" else drawn(*shape, by=given != "frozen")
    bias = drawn(*shape, by=given != "frozen") if given in ("weight and bias", "frozen") else None
    assert same(lambda x, w, b: F.layer_norm(x, shape, w, b, 1e-3), drawn(4, 3, 5), weight, bias)


def test_second_derivatives_are_differences_of_first_ones():
    torch.manual_seed(0)
    inputs = (drawn(2, 7), drawn(7), drawn(7))
    with second_order_kernels():
        assert torch.autograd.gradgradcheck(lambda x, w, b: F.gelu(F.layer_norm(x, (7,), w, b)), inputs)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelus_are_those_of_torch(approximate):
    torch.manual_seed(0)
    assert same(lambda x: F.gelu(x, approximate=approximate), drawn(6, 5))


def test_autocast_decides_for_itself():
    x, w = torch.randn(4, 8, requires_grad=True), torch.randn(8, requires_grad=True)
    found = []
    for context in (second_order_kernels, nullcontext):
        with torch.autocast("cpu", torch.bfloat16), context():
            found.append(F.gelu(F.linear(F.layer_norm(x, (8,), w), torch.eye(8))))
    assert found[0].dtype == found[1].dtype
    assert torch.equal(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hypergradients_hardly_change(monkeypatch, dtype):
    """The outer loss not by a bit."""
    case = problem("vit", dtype=dtype)
    value, ours = Unroll()(case.loop())
    monkeypatch.setattr("metaft.inner.step.second_order_kernels", nullcontext)
    other, theirs = Unroll()(case.loop())
    assert torch.equal(value, other)
    assert_close(ours, theirs, rtol=1e-10 if dtype == torch.float64 else 1e-3, atol=1e-12)


def test_steps_that_are_differentiated_take_them(monkeypatch):
    """For each layer norm and GELU of both towers; plain steps take torch's."""
    case, taken = problem("vit"), []
    for name in ("_LayerNorm", "_Gelu"):
        ours = getattr(second_order, name).apply
        monkeypatch.setattr(
            getattr(second_order, name), "apply", lambda *args, ours=ours: taken.append(ours) or ours(*args)
        )
    case.step.plain(case.step.initial(), case.batches[0], case.h)
    assert taken == []
    case.step(case.step.initial(), case.batches[0], case.h)
    parts = [m for m in tiny("vit").modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.GELU)]
    assert len(taken) == len(parts)
