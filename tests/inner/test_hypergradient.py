"""Hypergradients of a real CLIP fine-tune, against central differences in float64."""

from __future__ import annotations

from itertools import islice

import open_clip
import pytest
import torch
from torch.nn import functional as F

from metaft.clip.classifier import Classifier, train_only
from metaft.inner import InnerState, Step, estimate
from metaft.objective import TERMS, WeightedLoss
from metaft.objective.batches import TrainBatch

C, B, T = 4, 6, 3
TOWERS = {
    "vit": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}


def tiny(tower: str, dtype: torch.dtype = torch.float64) -> Classifier:
    torch.manual_seed(1)
    model = open_clip.CLIP(embed_dim=32, vision_cfg=TOWERS[tower], text_cfg=TEXT, output_dict=True)
    for module in model.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    classifier = Classifier(model, 10 * F.normalize(torch.randn(C, 32), dim=1), torch.zeros(C)).to(dtype).eval()
    with torch.no_grad():  # away from the kink of l1zero, where many biases begin
        for p in classifier.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return train_only(classifier, text=True, freeze=())


def batches(classifier: Classifier, seed: int = 0) -> list[TrainBatch]:
    g = torch.Generator().manual_seed(seed)
    dtype = classifier.head.weight.dtype
    size = classifier.clip.visual.image_size
    size = size if isinstance(size, int) else size[0]
    made = []
    for _ in range(T + 1):
        images = torch.randn(B, 3, size, size, generator=g, dtype=torch.float64).to(dtype)
        tokens = torch.randint(1, 60, (B, 8), generator=g)
        tokens[:, -1] = 63  # the largest id marks the end of the text
        with torch.no_grad():
            out = classifier(images)
        reference = (out.logits, out.image_features)
        labels = torch.randint(C, (B,), generator=g)
        made.append(TrainBatch(images, labels, tokens, lambda reference=reference: reference))
    return made


H = {
    **{"ce": 1.0, "dcm": 0.3, "entropy": 0.2, "flyp": 0.4, "hinge": 0.1, "kd": 0.5},
    **{"l1init": 0.05, "l1zero": 0.05, "l2init": 0.1, "l2zero": 0.02, "lr": 1e-3, "wd": 0.2},
}


def setting(tower: str, grouped: bool = False, dtype: torch.dtype = torch.float64):
    classifier = tiny(tower, dtype)
    count = sum(p.numel() for p in classifier.trained().values())
    step = Step(classifier, WeightedLoss(classifier.groups(), count), (0.9, 0.999), 1e-4)
    *inner, last = batches(classifier)
    values = dict(H)
    if grouped:
        values.update({"lr@head": 3e-3, "wd@stem": 0.5, "l2init@block.0.attn": 0.3})

    def outer(state: InnerState) -> torch.Tensor:
        return F.cross_entropy(step.forward(state.params, last.images).logits, last.labels)

    return step, inner, outer, {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


def value_at(step: Step, inner, outer, h) -> float:
    state = step.initial()
    for batch in inner:
        state = step(state, batch, h, differentiable=False)
    with torch.no_grad():
        return float(outer(state))


def difference(step: Step, inner, outer, h, name: str, relative: float) -> float:
    """A central difference; the larger step suffers from curvature, the smaller from rounding."""
    delta = relative * abs(float(h[name]))
    high, low = ({**h, name: h[name] + sign * delta} for sign in (1, -1))
    return (value_at(step, inner, outer, high) - value_at(step, inner, outer, low)) / (2 * delta)


@pytest.mark.parametrize(("tower", "grouped"), [("vit", False), ("vit", True), ("resnet", False)])
def test_equals_central_differences(tower, grouped):
    step, inner, outer, h = setting(tower, grouped)
    assert set(TERMS) <= set(h)
    value, gradient = estimate(step, step.initial(), inner, h, outer, "keep")
    assert float(value) == pytest.approx(value_at(step, inner, outer, h), rel=1e-12)
    for name in h:
        assert abs(float(gradient[name])) > 1e-6, f"{name} moves nothing"
        errors = [abs(difference(step, inner, outer, h, name, r) / float(gradient[name]) - 1) for r in (1e-5, 1e-6)]
        assert min(errors) < 1e-5, f"{name}: {errors}"


def test_the_trajectory_is_the_plain_one():
    """Twenty steps by higher, with every term, against torch.optim.AdamW on the bare classifier."""
    step, inner, _, h = setting("vit", grouped=True)
    classifier = tiny("vit")
    pretrained = {k: p.detach().clone() for k, p in classifier.trained().items()}
    groups, numbers = classifier.groups(), {k: float(v) for k, v in h.items()}
    loss_of = WeightedLoss(groups, sum(p.numel() for p in pretrained.values()))
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [dict(classifier.named_parameters())[k] for k in members],
                "lr": numbers.get(f"lr@{group}", numbers["lr"]),
                "weight_decay": numbers.get(f"wd@{group}", numbers["wd"]),
            }
            for group, members in groups.items()
        ],
        eps=1e-4,
    )
    state = step.initial()
    for batch in islice(iter(inner * 20), 20):
        state = step(state, batch, h, differentiable=False)
        out = classifier(batch.images, batch.tokens)
        optimizer.zero_grad()
        loss_of(batch.observe(out, dict(classifier.trained()), pretrained), numbers).backward()
        optimizer.step()
    for ours, theirs in zip(state.params, classifier.trained().values(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-10)


def test_theta_0_is_not_touched_and_nothing_lingers():
    step, inner, outer, h = setting("vit")
    before = [p.clone() for p in step.pretrained.values()]
    first = estimate(step, step.initial(), inner, h, outer)
    second = estimate(step, step.initial(), inner, h, outer)
    assert float(first[0]) == float(second[0])
    assert all(torch.equal(first[1][k], second[1][k]) for k in h)
    assert all(torch.equal(a, b) for a, b in zip(before, step.pretrained.values(), strict=True))


def test_a_parameter_without_gradient_stays():
    """The text tower gets no gradient where no term asks for captions: torch leaves it alone, weight decay included."""
    step, inner, _, h = setting("vit")
    h = {name: h[name] for name in ("ce", "lr", "wd")}
    state = step(step.initial(), inner[0]._replace(tokens=None), h, differentiable=False)
    moved = {
        name
        for name, new, old in zip(step.names, state.params, step.initial().params, strict=True)
        if (new != old).any()
    }
    assert "head.weight" in moved
    assert "clip.ln_final.weight" not in moved


def test_unknown_storage_is_named():
    step, inner, outer, h = setting("vit")
    with pytest.raises(ValueError, match="unroll offers keep"):
        estimate(step, step.initial(), inner, h, outer, "disk")
