"""Diff pruning: gates, their penalty and the cut, beside the paper's formulas."""

from __future__ import annotations

import pytest
import torch

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError
from metaft.hooks.diff_pruning import DIFF, GATE, DiffPruning
from metaft.hooks.drawn import COUNT
from metaft.hooks.registry import hook_for
from tests.hooks.rows import tensors

FACTOR = 100
NAMES = ["a", "b", "c"]


@pytest.fixture
def pretrained():
    return {**dict(zip(NAMES, tensors(0), strict=True)), "head.weight": torch.ones(2, 3, dtype=torch.float64)}


@pytest.fixture
def hook():
    return DiffPruning(NAMES, FACTOR, 1000)


def variables_of(hook, pretrained, seed=0):
    return hook.variables(pretrained, torch.Generator().manual_seed(seed))


def drifted(hook, pretrained, alpha=0.0):
    """Differences that are not 0, and gates at an alpha."""
    variables = variables_of(hook, pretrained)
    for name, d in zip(NAMES, tensors(1), strict=True):
        variables[name + DIFF] = d
        variables[name + GATE] = torch.full_like(d, (alpha - 5) / FACTOR)
    return variables


def ended(hook, variables):
    return dict(zip(variables, hook.result(list(variables.values()), ()), strict=True))


def test_it_begins_at_theta_0(hook, pretrained):
    parameters = hook.parameters(variables_of(hook, pretrained), pretrained)
    assert set(parameters) == set(pretrained)
    assert all(torch.equal(p, pretrained[name]) for name, p in parameters.items())


def test_gates_have_the_hard_concrete_distribution():
    """P(z > 0) = sigmoid(alpha - log(-l / r)), and P(z = 1) = sigmoid(alpha - log((1 - l) / (r - 1)))."""
    hook, many = DiffPruning(["w"], FACTOR, 1000), {"w": torch.zeros(400, 500, dtype=torch.float64)}
    for alpha in (-1.0, 0.0, 2.0):
        variables = variables_of(hook, many)
        variables["w" + DIFF] = torch.ones(400, 500, dtype=torch.float64)
        variables["w" + GATE] = torch.full((400, 500), (alpha - 5) / FACTOR, dtype=torch.float64)
        z = hook.parameters(variables, many)["w"]
        some = torch.sigmoid(torch.tensor(alpha))
        all_ = torch.sigmoid(torch.tensor(alpha) - torch.log(torch.tensor(2.5 / 0.5)))
        assert float((z > 0).double().mean()) == pytest.approx(float(some), abs=0.005)
        assert float((z == 1).double().mean()) == pytest.approx(float(all_), abs=0.005)
        assert ((z >= 0) & (z <= 1)).all()


def test_noise_is_the_same_within_a_step_and_new_in_the_next(hook, pretrained):
    variables = drifted(hook, pretrained)
    one, again = (hook.parameters(variables, pretrained)["a"] for _ in range(2))
    assert torch.equal(one, again)
    values, _ = hook.after(list(variables.values()), [], (), {})
    later = dict(zip(variables, values, strict=True))
    assert not torch.equal(hook.parameters(later, pretrained)["a"], one)
    other = {**variables, COUNT: variables_of(hook, pretrained, seed=1)[COUNT]}
    assert not torch.equal(hook.parameters(other, pretrained)["a"], one)


def test_the_penalty_is_that_of_its_formula(hook, pretrained):
    """Its gradient beside autograd's of penalty times the mean of P(z > 0)."""
    variables = drifted(hook, pretrained, alpha=1.0)
    values = list(variables.values())
    gates = [variables[name + GATE].requires_grad_() for name in NAMES]
    kept = torch.cat([torch.sigmoid(5 + FACTOR * a.flatten() - torch.log(torch.tensor(1.5 / 1.5))) for a in gates])
    slopes = torch.autograd.grad(7.0 * kept.mean(), gates)
    zeros = [torch.zeros_like(v) for v in values]
    changed, _ = hook.before(zeros, values, values, (), {"penalty": 7.0})
    for name, g in zip(variables, changed, strict=True):
        wanted = slopes[NAMES.index(name[0])] if name.endswith(GATE) else torch.zeros_like(g)
        torch.testing.assert_close(g, wanted)


def test_a_result_has_gates_without_noise(hook, pretrained):
    """z = clip(3 sigmoid(alpha) - 1.5, 0, 1); with open gates all of the difference."""
    for alpha, z in ((0.5, 3 * torch.sigmoid(torch.tensor(0.5, dtype=torch.float64)) - 1.5), (5.0, 1.0), (-1.0, 0.0)):
        variables = drifted(hook, pretrained, alpha)
        parameters = hook.parameters(ended(hook, variables), pretrained)
        for name, d in zip(NAMES, tensors(1), strict=True):
            torch.testing.assert_close(parameters[name], pretrained[name] + z * d)
        assert torch.equal(parameters["head.weight"], pretrained["head.weight"])


def test_a_result_keeps_the_largest_differences(pretrained):
    hook = DiffPruning(NAMES, FACTOR, 100)
    parameters = hook.parameters(ended(hook, drifted(hook, pretrained, 5.0)), pretrained)
    changes = torch.cat([(parameters[name] - pretrained[name]).flatten() for name in NAMES])
    wanted = torch.cat([d.flatten() for d in tensors(1)])
    count = -(-len(wanted) // 10)
    assert (changes != 0).sum() == count
    assert set(wanted.abs().topk(count).indices.tolist()) == set(changes.nonzero().flatten().tolist())


def test_nothing_to_prune():
    with pytest.raises(ConfigError, match="'diff_pruning' prunes differences outside the head, and nothing else"):
        hook_for("diff_pruning", ["head.weight"], HookConfig())
