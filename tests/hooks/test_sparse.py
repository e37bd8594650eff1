"""Masks: which entries they choose, and that nothing but these moves."""

from __future__ import annotations

import pytest
import torch

from metaft.hooks.sparse import Sparse, largest_of_all, largest_of_each
from tests.hooks.rows import tensors


@pytest.mark.parametrize("per_mille", [1, 100, 333, 1000])
def test_the_largest_entries(per_mille):
    """Of each tensor, and of all together, as sorting has it; never none."""
    grads = tensors(1)
    for mask, g in zip(largest_of_each(grads, per_mille), grads, strict=True):
        count = -(-g.numel() * per_mille // 1000)
        assert mask.sum() == count
        assert set(mask.unique().tolist()) <= {0.0, 1.0}
        least = g.abs().flatten().sort(descending=True).values[count - 1]
        assert torch.equal(mask.bool(), g.abs() >= least)
    together = torch.cat([g.flatten() for g in grads]).abs()
    count = -(-len(together) * per_mille // 1000)
    least = together.sort(descending=True).values[count - 1]
    for mask, g in zip(largest_of_all(grads, per_mille), grads, strict=True):
        assert torch.equal(mask.bool(), g.abs() >= least)


def run(hook, steps=6):
    """AdamW with weight decay on a quadratic, whose entries do not see each other, with what the hook does around."""
    anchors, goal = tensors(0), tensors(1)
    values = [a.clone().requires_grad_() for a in anchors]
    optimizer = torch.optim.AdamW(values, lr=0.1, weight_decay=0.5)
    state = hook.initial(anchors) if hook else ()
    for step in range(steps):
        with torch.no_grad():
            grads = [p - t * (1 + step) for p, t in zip(values, goal, strict=True)]
            if hook:
                grads, state = hook.before(grads, values, anchors, state, {})
            for p, g in zip(values, grads, strict=True):
                p.grad = g
            optimizer.step()
            if hook:
                after, state = hook.after(values, anchors, state, {})
                for p, new in zip(values, after, strict=True):
                    p.copy_(new)
    return [v.detach() for v in values], optimizer, state


def test_what_is_masked_stays_and_the_rest_is_plain_adamw():
    """Bit for bit, though gradients change their order of size: the masks are those of the first."""
    anchors, first = tensors(0), [a - t for a, t in zip(tensors(0), tensors(1), strict=True)]
    masks = largest_of_each(first, 300)
    sparse, optimizer, state = run(Sparse(lambda grads: largest_of_each(grads, 300)))
    assert all(torch.equal(m, found) for m, found in zip(masks, state[1:], strict=True))
    plain, _, _ = run(None)
    for m, p, q, a in zip(masks, sparse, plain, anchors, strict=True):
        assert torch.equal(p, torch.where(m > 0, q, a))
    for m, kept in zip(masks, optimizer.state.values(), strict=True):
        assert not kept["exp_avg"][m == 0].any()
        assert not kept["exp_avg_sq"][m == 0].any()


def test_a_mask_of_everything_is_plain():
    ours, _, _ = run(Sparse(lambda grads: largest_of_all(grads, 1000)))
    plain, _, _ = run(None)
    assert all(torch.equal(p, q) for p, q in zip(ours, plain, strict=True))
