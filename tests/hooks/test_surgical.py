"""Surgical fine-tuning: thirds of layers, and relative gradient norms by hand."""

from __future__ import annotations

import open_clip
import pytest
import torch

from metaft.config.schema import HookConfig
from metaft.errors import ConfigError
from metaft.hooks.registry import hook_for
from metaft.hooks.surgical import AutoRGN, parts_of
from tests.hooks.rows import added, tensors


def test_thirds_of_a_tower():
    clip = open_clip.create_model("ViT-B-32", pretrained=None, device="meta")
    names = ["head.weight", *(f"clip.visual.{name}" for name, _ in clip.visual.named_parameters())]
    for name, part in zip(names, parts_of(names), strict=True):
        if "resblocks" in name:
            assert part == ("first", "middle", "last")[int(name.split(".")[4]) // 4]
        else:
            behind = name == "head.weight" or "ln_post" in name or name == "clip.visual.proj"
            assert part == ("last" if behind else "first"), name


def test_shares_are_relative_gradient_norms():
    """Two layers of two tensors and one; the largest takes the whole step, and what is 0 does no harm."""
    anchors, grads, moves = tensors(0), tensors(1), tensors(2)
    anchors[1] = torch.zeros_like(anchors[1])
    hook = AutoRGN([[0, 1], [2]])
    changed, state = hook.before(grads, anchors, anchors, (), {})
    assert changed is grads
    after, state = hook.after(added(anchors, moves), anchors, state, {})
    assert state == ()

    def length(ts):
        return torch.cat([t.flatten() for t in ts]).norm()

    relative = [length(grads[:2]) / length(anchors[:2]), length(grads[2:]) / length(anchors[2:])]
    shares = [r / max(relative) for r in relative]
    for new, a, move, share in zip(after, anchors, moves, (shares[0], shares[0], shares[1]), strict=True):
        torch.testing.assert_close(new, a + share * move)


def test_one_layer_is_plain():
    anchors, moves = tensors(0), tensors(2)
    hook = AutoRGN([[0, 1, 2]])
    _, state = hook.before(tensors(1), anchors, anchors, (), {})
    proposed = added(anchors, moves)
    after, _ = hook.after(proposed, anchors, state, {})
    assert all(torch.equal(a, b) for a, b in zip(after, proposed, strict=True))


def test_a_third_that_is_empty():
    settings = HookConfig(knobs={"surgical": {"part": "middle"}})
    with pytest.raises(ConfigError, match=r"finetune.knobs.surgical.part: 'middle', and no parameter of that third"):
        hook_for("surgical", ["clip.visual.layer1.0.conv1.weight", "head.weight"], settings)
