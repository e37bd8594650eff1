"""The differentiable AdamW is torch's, step by step."""

from __future__ import annotations

import pytest
import torch

from metaft.inner.adamw import FLOOR, Constants, adamw
from metaft.inner.step import DifferentiableAdamW, higher

STEPS = 20


def _network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.GELU(), torch.nn.LayerNorm(8), torch.nn.Linear(8, 3)
    ).double()


def _loss(model: torch.nn.Module, t: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(t)
    x, y = torch.randn(16, 5, generator=g, dtype=torch.float64), torch.randint(3, (16,), generator=g)
    return torch.nn.functional.cross_entropy(model(x), y)


def _groups(model: torch.nn.Module, grouped: bool, wd: float) -> list[dict]:
    parameters = list(model.parameters())
    if not grouped:
        return [{"params": parameters, "lr": 1e-2, "weight_decay": wd}]
    return [
        {"params": parameters[4:], "lr": 3e-2, "weight_decay": 2 * wd},
        {"params": parameters[:4], "lr": 1e-3, "weight_decay": wd},
    ]


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
@pytest.mark.parametrize("wd", [0.0, 0.3])
@pytest.mark.parametrize("grouped", [False, True], ids=["one group", "two groups"])
def test_equals_torch_over_twenty_steps(eps, wd, grouped):
    model = _network()
    optimizer = torch.optim.AdamW(_groups(model, grouped, wd), betas=(0.8, 0.95), eps=eps)
    patched = higher.monkeypatch(model, copy_initial_weights=True, track_higher_grads=True)
    twin = higher.get_diff_optim(optimizer, list(model.parameters()), fmodel=patched)
    assert type(twin) is DifferentiableAdamW
    for t in range(STEPS):
        optimizer.zero_grad()
        _loss(model, t).backward()
        optimizer.step()
        twin.step(_loss(patched, t))
        for ours, theirs in zip(patched.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-10)


def test_goes_on_from_a_warm_optimizer():
    model = _network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for t in range(3):
        optimizer.zero_grad()
        _loss(model, t).backward()
        optimizer.step()
    patched = higher.monkeypatch(model)
    twin = higher.get_diff_optim(optimizer, list(model.parameters()), fmodel=patched)
    optimizer.zero_grad()
    _loss(model, 9).backward()
    optimizer.step()
    twin.step(_loss(patched, 9))
    for ours, theirs in zip(patched.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-12)


def test_a_zero_gradient_gives_no_nan():
    weight = torch.nn.Parameter(torch.ones(2, dtype=torch.float64))
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    twin = higher.get_diff_optim(optimizer, [weight], override={"lr": [lr]})
    (new,) = twin.step((weight[0] * 3).square(), params=[weight])
    (new,) = twin.step((new[0] * 3).square(), params=[new])
    (gradient,) = torch.autograd.grad(new.sum(), lr)
    assert torch.isfinite(gradient)


def _elementary(p, g, m, v, lr, wd, b1, b2, eps, t):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    denominator = (v + FLOOR).sqrt() / (1 - b2**t) ** 0.5 + eps
    return p * (1 - lr * wd) - lr / (1 - b1**t) * m / denominator, m, v


def _inputs(n: int = 3):
    g = torch.Generator().manual_seed(0)
    rows = [torch.randn(n, 2, generator=g, dtype=torch.float64) for _ in range(3)]
    second = torch.rand(n, 2, generator=g, dtype=torch.float64)
    lr, wd = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    return [x.requires_grad_() for x in (lr, wd, *rows, second)]


def _update(lr, wd, p, g, m, v):
    return tuple(out[0] for out in adamw([p], [g], [m], [v], lr, wd, Constants(0.8, 0.95, 1e-3, 4)))


def test_derivatives_by_hand_are_those_of_elementary_operations():
    inputs = _inputs()
    lr, wd, *rest = inputs
    expected = _elementary(*rest, lr, wd, 0.8, 0.95, 1e-3, 4)
    found = _update(*inputs)
    weights = [torch.full_like(x, 0.5).cumsum(0) for x in found]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=0)
    pairs = (torch.autograd.grad(out, inputs, weights) for out in (found, expected))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_forward_and_reverse_mode_agree_with_finite_differences():
    assert torch.autograd.gradcheck(_update, _inputs(), check_forward_ad=True, eps=1e-7, atol=1e-6)


def test_an_unused_output_costs_nothing_and_changes_nothing():
    inputs = _inputs()
    new, _, _ = _update(*inputs)
    alone = torch.autograd.grad(new.sum(), inputs, allow_unused=True)
    lr, wd, *rest = inputs
    whole = torch.autograd.grad(_elementary(*rest, lr, wd, 0.8, 0.95, 1e-3, 4)[0].sum(), inputs)
    for ours, theirs in zip(alone, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
