"""R-Adapter: merged beside unmerged in a whole tower, dropping, averaging and rescaling."""

from __future__ import annotations

import pytest
import torch

from metaft.clip.classifier import holding
from metaft.config.schema import HookConfig
from metaft.errors import ConfigError
from metaft.hooks.drawn import COUNT, NONE
from metaft.hooks.patterns import matching
from metaft.hooks.r_adapter import ADAPTER, LAST, RAdapter
from metaft.hooks.registry import hook_for
from tests.inner.problems import tiny


@pytest.fixture(scope="module")
def classifier():
    return tiny("vit")


@pytest.fixture(scope="module")
def pretrained(classifier):
    return {n: p.detach() for n, p in classifier.named_parameters() if n.startswith(("clip.visual.", "head."))}


def hook_of(pretrained, drop=0.2):
    return RAdapter(matching(list(pretrained), LAST), drop)


def drifted(hook, pretrained, seed=0):
    """Adapters and a head that are not as they began."""
    g = torch.Generator().manual_seed(seed)
    first = hook.variables(pretrained, g)
    return {
        n: v if n == COUNT else v + 0.1 * torch.randn(v.shape, generator=g, dtype=v.dtype) for n, v in first.items()
    }


def test_it_has_two_adapters_a_block_and_begins_at_theta_0(pretrained):
    hook = hook_of(pretrained)
    variables = hook.variables(pretrained, torch.Generator().manual_seed(0))
    assert sum(n.endswith(ADAPTER) for n in variables) == 2 * 2
    assert {"head.weight", "head.bias", COUNT} < set(variables)
    assert all(torch.equal(p, pretrained[n]) for n, p in hook.parameters(variables, pretrained).items())


def test_merged_equals_unmerged(classifier, pretrained):
    """x + A x behind attention and MLP, as modules of their own."""
    hook = hook_of(pretrained)
    variables = {**drifted(hook, pretrained), COUNT: torch.tensor(NONE, dtype=torch.float64)}
    merged = holding(classifier, hook.parameters(variables, pretrained))
    unmerged = holding(classifier, {n: variables[n] for n in ("head.weight", "head.bias")})
    for i, block in enumerate(unmerged.clip.visual.transformer.resblocks):
        prefix = f"clip.visual.transformer.resblocks.{i}"
        a, b = (variables[f"{prefix}.{last}.weight{ADAPTER}"] for last in ("attn.out_proj", "mlp.c_proj"))
        block.attn.register_forward_hook(lambda m, x, out, a=a: (out[0] + out[0] @ a.T, *out[1:]))
        block.mlp.register_forward_hook(lambda m, x, out, b=b: out + out @ b.T)
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs, plain = (model(images).logits for model in (merged, unmerged, classifier))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert (ours - plain).abs().max() > 0.01


def test_adapters_are_dropped_and_the_others_scaled_up(pretrained):
    """Over many draws a quarter is missing, and the mean is the adapter; within a step draws repeat."""
    hook = hook_of(pretrained, drop=0.25)
    variables = drifted(hook, pretrained)
    (name, *_) = matching(list(pretrained), LAST)
    w, change = pretrained[name], variables[name + ADAPTER] @ pretrained[name]
    values, whole = list(variables.values()), 0
    for _ in range(400):
        now = dict(zip(variables, values, strict=True))
        moved = hook.parameters(now, pretrained)[name] - w
        assert torch.equal(moved, hook.parameters(now, pretrained)[name] - w)
        kept = bool(moved.any())
        torch.testing.assert_close(moved, change / 0.75 if kept else torch.zeros_like(w), rtol=1e-9, atol=1e-12)
        whole += kept
        values, _ = hook.after(values, values, hook.initial(values), {"share": 0.5, "decay": 0.9})
    assert whole / 400 == pytest.approx(0.75, abs=0.07)


def test_a_result_is_the_rescaled_average(pretrained):
    hook = hook_of(pretrained)
    anchors = list(hook.variables(pretrained, torch.Generator().manual_seed(0)).values())
    state, average = hook.initial(anchors), anchors[:-1]
    for seed in range(1, 4):
        values = list(drifted(hook, pretrained, seed).values())
        _, state = hook.after(values, anchors, state, {"share": 0.4, "decay": 0.8})
        average = [0.8 * e + 0.2 * v for e, v in zip(average, values[:-1], strict=True)]
    *ours, count = hook.result(values, state)
    assert count == NONE
    for r, e, a in zip(ours, average, anchors[:-1], strict=True):
        torch.testing.assert_close(r, a + 0.4 * (e - a))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_0_is_theta_0_and_of_1_without_average_is_the_last_step(pretrained, share):
    hook = hook_of(pretrained)
    anchors, values = (list(v.values()) for v in (drifted(hook, pretrained, 1), drifted(hook, pretrained, 2)))
    _, state = hook.after(values, anchors, hook.initial(anchors), {"share": share, "decay": 0.0})
    for r, wanted in zip(hook.result(values, state)[:-1], (values if share else anchors)[:-1], strict=True):
        assert torch.equal(r, wanted)


def test_a_tower_without_blocks():
    with pytest.raises(
        ConfigError, match="'r_adapter' adapts what attention and MLP put out, and this model has neither"
    ):
        hook_for("r_adapter", ["clip.visual.layer1.0.conv1.weight", "head.weight"], HookConfig())
