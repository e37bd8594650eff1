"""Projection and its derivative by the radius: closed forms, autograd, the one_step estimator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from metaft.hooks.ball import padded, project, radius_gradient, row_norms, row_pulls
from metaft.hooks.registry import NORMS
from metaft.inner import InnerState, estimate

SHAPES = ((5, 7), (6, 2, 3), (4, 3, 2, 2), (9,), ())


def pair(shape, seed=0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("norm", NORMS.choices)
@pytest.mark.parametrize("shape", SHAPES)
def test_projection(shape, norm):
    value, anchor = pair(shape)
    norms = row_norms(value - anchor, norm)
    assert torch.equal(project(value, anchor, torch.tensor(torch.inf, dtype=torch.float64), norm), value)
    assert torch.equal(project(value, anchor, torch.tensor(0.0, dtype=torch.float64), norm), anchor)
    radius = norms.median()
    moved = project(value, anchor, radius, norm)
    after = row_norms(moved - anchor, norm)
    assert (after <= radius * (1 + 1e-12)).all()
    torch.testing.assert_close(after, norms.clamp(max=radius))
    torch.testing.assert_close(project(moved, anchor, radius, norm), moved)
    assert torch.equal(project(anchor, anchor, torch.tensor(0.0, dtype=torch.float64), norm), anchor)


def test_rows_are_those_of_the_first_dimension():
    c = torch.arange(24.0).reshape(2, 3, 4)
    assert row_norms(c, "mars").tolist() == [sum(range(12)), sum(range(12, 24))]
    assert row_norms(torch.tensor([3.0, -4.0]), "mars").tolist() == [7.0], "a bias is one row"
    assert row_norms(torch.tensor([[3.0], [-4.0]]), "l2").tolist() == [5.0]


def test_l2_is_wise_ft_tensor_by_tensor():
    value, anchor = pair((5, 7))
    n = (value - anchor).norm()
    torch.testing.assert_close(project(value, anchor, 0.3 * n, "l2"), 0.7 * anchor + 0.3 * value)


@pytest.mark.parametrize("norm", NORMS.choices)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.2, 0.7, 1 - 1e-9, 1.5])
def test_radius_gradient_is_autograds(shape, norm, share):
    """Of any loss of the projected point, with some rows inside the ball, or all."""
    value, anchor = pair(shape)
    norms = row_norms(value - anchor, norm)
    radius = (share * norms.max()).requires_grad_()
    target, _ = pair(shape, seed=1)
    point = project(value, anchor, radius, norm)
    loss = (point - target).pow(2).sum().sin()
    by_point, by_radius = torch.autograd.grad(loss, [point, radius])
    at, proposed = radius.detach()[None], norms[None]
    ours = radius_gradient(row_pulls(by_point, value - anchor, norm)[None], proposed, at, proposed)
    torch.testing.assert_close(ours[0], by_radius)
    if share <= 1.0:  # FTP's form: from the projected point alone
        drift = (point - anchor).detach()
        theirs = radius_gradient(row_pulls(by_point, drift, norm)[None], at[:, None], at, proposed)
        torch.testing.assert_close(theirs[0], by_radius)


def test_radius_gradient_is_the_one_step_estimator_on_the_radii():
    """FTP as a hyper-optimizer: the last step of an inner loop whose hyperparameters are the radii."""
    tensors = [pair(shape, seed=i) for i, shape in enumerate(SHAPES[:3])]
    anchors, targets = [a for _, a in tensors], [pair(a.shape, seed=9)[0] for _, a in tensors]

    def step(state: InnerState, batch: Tensor, h) -> InnerState:
        proposed = [p - batch * (p - t) for p, t in zip(state.params, targets, strict=True)]
        radii = [h[f"radius.{i}"] for i in range(len(proposed))]
        moved = [project(p, a, r, "mars") for p, a, r in zip(proposed, anchors, radii, strict=True)]
        return InnerState(tuple(moved), (), (), state.step + 1)

    def outer(state: InnerState) -> Tensor:
        return sum((p - 2 * t).abs().pow(1.5).sum() for p, t in zip(state.params, targets, strict=True))

    start = InnerState(tuple(p for p, _ in tensors), (), (), 0)
    batches = [torch.tensor(b, dtype=torch.float64) for b in (0.1, 0.3, 0.2)]
    radii = [0.6 * row_norms(p - a, "mars").max() for p, a in tensors]
    h = {f"radius.{i}": r for i, r in enumerate(radii)}
    _, expected = estimate(step, start, batches, h, outer, "keep", "one_step")

    before = start
    for batch in batches[:-1]:
        before = step(before, batch, h)
    end = step(before, batches[-1], h).leaves()
    grads = torch.autograd.grad(outer(end), end.params)
    proposed = [p - batches[-1] * (p - t) for p, t in zip(before.params, targets, strict=True)]
    pulls = [row_pulls(g, (p - a).detach(), "mars") for g, p, a in zip(grads, end.params, anchors, strict=True)]
    norms = [row_norms(p - a, "mars") for p, a in zip(proposed, anchors, strict=True)]
    at = torch.stack(radii)
    ours = radius_gradient(padded(pulls), at[:, None], at, padded(norms))
    torch.testing.assert_close(ours, torch.stack([expected[f"radius.{i}"] for i in range(len(radii))]))
    assert (ours.abs() > 1e-3).all()
