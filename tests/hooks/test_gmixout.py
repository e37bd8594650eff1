"""GMixout: AdamW on theta through a mixture whose anchor and masks move every k steps."""

from __future__ import annotations

import torch

from metaft.hooks.gmixout import GMixout
from metaft.hooks.mixout import Mixout
from tests.hooks.rows import tensors
from tests.hooks.test_mixout import P, by_autograd, close, hooked, masks


def test_it_is_adamw_through_a_mixture_about_a_moving_anchor():
    hook, start, centre = GMixout(2), tensors(0), {}

    def anchors(step, theta):
        if step == 0:
            centre[0] = start
        elif step % 2 == 0:
            centre[step // 2] = [0.7 * a + 0.3 * t for a, t in zip(centre[step // 2 - 1], theta, strict=True)]
        return centre[step // 2]

    theirs, their_weights = by_autograd(lambda n: masks(Mixout(), n // 2, start), anchors, start, 5)
    ours, our_weights = hooked(hook, {"probability": P, "decay": 0.7}, start, 5)
    close(ours, theirs)
    for mine, other in zip(our_weights, their_weights, strict=True):
        close(mine, other)
    assert len(centre) == 3


def test_a_fixed_anchor_and_new_masks_are_mixout():
    start = tensors(0)
    general, _ = hooked(GMixout(1), {"probability": P, "decay": 1.0}, start, 4)
    special, _ = hooked(Mixout(), {"probability": P}, start, 4)
    assert all(torch.equal(a, b) for a, b in zip(general, special, strict=True))
