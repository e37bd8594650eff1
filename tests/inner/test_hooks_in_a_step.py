"""Hooks inside the inner step: hypergradients by the knobs too, against central differences in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from metaft.hooks import HOOKS, HookOptions, hook_for
from metaft.inner import InnerState, Step, estimate
from metaft.objective import WeightedLoss
from tests.inner.test_hypergradient import H, batches, difference, tiny, value_at

# moderate steps, so that rows end up on and within their balls but none near its kink
KNOBS = {"ftp": {"kappa": 0.7, "speed": 0.05}, "spd": {"strength": 0.8}, "ema": {"decay": 0.9}, "lora": {}}


def setting(method: str):
    classifier = tiny("vit")
    names = list(classifier.trained())
    options = HookOptions(knobs={"lora": {"rank": 2}}, lora_targets=("clip.visual.*.attn.in_proj_weight",))
    hook, defaults = hook_for(method, names, options)
    count = sum(p.numel() for p in classifier.trained().values())
    loss = WeightedLoss(classifier.groups(), count)
    step = Step(classifier, loss, (0.9, 0.999), 1e-4, hook=hook, knobs=defaults)
    *inner, last = batches(classifier)

    def outer(state: InnerState) -> torch.Tensor:
        return F.cross_entropy(step.forward(step.result(state), last.images).logits, last.labels)

    values = {**H, **{f"{method}.{knob}": value for knob, value in KNOBS[method].items()}}
    return step, inner, outer, {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


@pytest.mark.parametrize("method", HOOKS)
def test_hypergradients_equal_central_differences(method):
    step, inner, outer, h = setting(method)
    value, gradient = estimate(step, step.initial(), inner, h, outer, "keep")
    assert float(value) == pytest.approx(value_at(step, inner, outer, h), rel=1e-12)
    for name in ("kd", "lr", *(k for k in h if "." in k)):
        assert abs(float(gradient[name])) > 1e-9, f"{name} moves nothing"
        errors = [abs(difference(step, inner, outer, h, name, r) / float(gradient[name]) - 1) for r in (1e-5, 1e-6)]
        assert min(errors) < 1e-4, f"{name}: {errors}"


@pytest.mark.parametrize("method", ["ftp", "lora"])
def test_replay_and_forward_mode_agree(method):
    step, inner, outer, h = setting(method)
    _, kept = estimate(step, step.initial(), inner, h, outer, "keep")
    for storage, estimator in (("replay", "unroll"), ("keep", "forward")):
        few = {k: v for k, v in h.items() if k in ("kd", "lr") or "." in k}
        rest = {k: float(v) for k, v in h.items() if k not in few}

        def own(state, batch, values, rest=rest):
            return step(state, batch, {**rest, **values})

        _, other = estimate(own, step.initial(), inner, few, outer, storage, estimator)
        for name in few:
            torch.testing.assert_close(other[name], kept[name], rtol=1e-8, atol=1e-10)
