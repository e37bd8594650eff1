"""A loss on the outputs of a whole batch whose parts went through the model one after the other.

    dL / d theta = sum_k (dL / d out_k) (d out_k / d theta),  dL / d out from the outputs of all parts, without graphs

Source: Gao et al., Scaling deep contrastive learning batch size under memory limited setup, RepL4NLP 2021, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metaft.clip.classifier import Outputs

Pulls = tuple[Tensor | None, ...]


def cut(images: Tensor, tokens: Tensor | None, count: int) -> list[tuple[Tensor, Tensor | None]]:
    """Images and tokens in `count` parts; there are at least as many of each."""
    texts = [None] * count if tokens is None else tokens.tensor_split(count)
    return list(zip(images.tensor_split(count), texts, strict=True))


def joined(parts: Sequence[Outputs]) -> Outputs:
    """The outputs on a whole batch from those on its parts, as leaves to differentiate by; the scale is the same."""
    logits, features, texts, (scale, *_) = zip(*parts, strict=True)
    text = [t for t in texts if t is not None]
    leaves = (torch.cat(logits), torch.cat(features), torch.cat(text) if text else None, scale)
    return Outputs(*(None if t is None else t.detach().requires_grad_() for t in leaves))  # type: ignore[arg-type]


def pulls(whole: Outputs, parts: Sequence[Outputs]) -> list[Pulls]:
    """The gradients that the outputs on a whole batch have got, by part; that of the scale goes to the first."""
    columns = [
        [None] * len(parts) if t is None or t.grad is None else t.grad.split([len(p[i]) for p in parts])  # type: ignore[arg-type]
        for i, t in enumerate(whole[:3])
    ]
    scale = [whole.logit_scale.grad, *[None] * (len(parts) - 1)]
    return list(zip(*columns, scale, strict=True))


def pull(out: Outputs, by: Pulls) -> None:
    """Add to the gradients of what outputs depend on, for gradients of these."""
    live = [(t, g) for t, g in zip(out, by, strict=True) if t is not None and g is not None and t.requires_grad]
    torch.autograd.backward([t for t, _ in live], [g for _, g in live])
