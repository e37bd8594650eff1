"""Hypergradients of a real CLIP fine-tune, against central differences in float64."""

from __future__ import annotations

from itertools import islice

import open_clip
import pytest
import torch
from torch.nn import functional as F

from metaft.clip.classifier import Classifier, train_only
from metaft.errors import ConfigError
from metaft.inner import Footprint, InnerState, Options, Step, estimate
from metaft.objective import TERMS, WeightedLoss
from metaft.training.batches import TrainBatch
from metaft.objective.registry import Term
from tests.inner.twin import twin_hypergradient

C, B, T = 4, 6, 3
TOWERS = {
    "vit": {"image_size": 16, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "resnet": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
}
TEXT = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}


def tiny(tower: str, dtype: torch.dtype = torch.float64, towers=TOWERS) -> Classifier:
    torch.manual_seed(1)
    model = open_clip.CLIP(embed_dim=32, vision_cfg=towers[tower], text_cfg=TEXT, output_dict=True)
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


def setting(tower: str, grouped: bool = False, dtype: torch.dtype = torch.float64, classifier=None, **kind):
    classifier = tiny(tower, dtype) if classifier is None else classifier
    count = sum(p.numel() for p in classifier.trained().values())
    step = Step(classifier, WeightedLoss(classifier.groups(), count), (0.9, 0.999), 1e-4, **kind)
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
        state = step.plain(state, batch, h)
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
        state = step.plain(state, batch, h)
        out = classifier(batch.images, batch.tokens)
        optimizer.zero_grad()
        loss_of(batch.observe(out, dict(classifier.trained()), pretrained), numbers).backward()
        optimizer.step()
    for ours, theirs in zip(state.params, classifier.trained().values(), strict=True):
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0, atol=1e-10)


ROUTES = {
    "keep": ("unroll", "keep", {}),
    "replay": ("unroll", "replay", {}),
    "offload": ("unroll", "replay", {"offload": True}),
    "segments": ("unroll", "segments", {}),
    "auto, all graphs": ("unroll", "auto", {}),
    "auto, some graphs": ("unroll", "auto", {"footprint": Footprint(1, 100, 0), "memory": 305.0}),
    "auto, no room": ("unroll", "auto", {"memory": 0.0}),
    "truncated after T": ("truncated", "replay", {"last": T}),
    "forward": ("forward", "keep", {}),
}


@pytest.mark.parametrize(("tower", "grouped"), [("vit", False), ("vit", True), ("resnet", False)])
def test_all_exact_routes_agree(tower, grouped):
    """Every route against torch.func, to 1e-9, for every hyperparameter and with all terms active."""
    step, inner, outer, h = setting(tower, grouped)
    classifier, last = tiny(tower), batches(tiny(tower))[-1]
    loss_of = WeightedLoss(classifier.groups(), sum(p.numel() for p in classifier.trained().values()))
    twin, value = twin_hypergradient(classifier, loss_of, inner, last, h, F.cross_entropy, (0.9, 0.999), 1e-4)
    for route, (estimator, storage, options) in ROUTES.items():
        found, gradient = estimate(step, step.initial(), inner, h, outer, storage, estimator, Options(**options))
        assert float(found) == pytest.approx(float(value), rel=1e-12), route
        for name in h:
            assert float(gradient[name]) == pytest.approx(float(twin[name]), rel=1e-9), f"{route}: {name}"


def test_accumulation_is_the_mean_of_the_parts():
    """One step against the mean of two losses; the hypergradient, whose graphs are built again, against differences."""
    step, inner, outer, h = setting("vit", accumulate=2)
    classifier = tiny("vit")
    loss_of = WeightedLoss(classifier.groups(), sum(p.numel() for p in classifier.trained().values()))
    batch = inner[0]
    halves = [part for _, part in batch.parts(2)]
    assert [len(part.labels) for part in halves] == [B // 2, B // 2]
    state, by_hand = step.plain(step.initial(), batch, h), step.initial()
    losses = []
    for part in halves:
        out = classifier(part.images, part.tokens)
        losses.append(loss_of(part.observe(out, dict(classifier.trained()), step.pretrained), h))
    grads = torch.autograd.grad(sum(losses) / 2, list(classifier.trained().values()))
    by_hand = step.advance(by_hand, grads, h)
    for ours, theirs in zip(state.params, by_hand.params, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    for estimator, storage in (("unroll", "keep"), ("unroll", "replay"), ("forward", "keep")):
        _, gradient = estimate(step, step.initial(), inner, h, outer, storage, estimator)
        for name in h:
            ratios = [difference(step, inner, outer, h, name, r) / float(gradient[name]) for r in (1e-5, 1e-6, 1e-7)]
            assert min(abs(r - 1) for r in ratios) < 1e-5, f"{name}: {ratios}"  # l1init has a kink within 1e-6 of ce


def test_dropout_is_the_same_when_a_step_is_repeated():
    dropping = {"vit": {**TOWERS["vit"], "patch_dropout": 0.5}}
    classifier = tiny("vit", towers=dropping)
    classifier.clip.visual.patch_dropout.train()
    step, inner, outer, h = setting("vit", classifier=classifier)
    inner = [batch._replace(seed=7 + t) for t, batch in enumerate(inner)]
    found = [estimate(step, step.initial(), inner, h, outer, storage) for storage in ("keep", "replay", "segments")]
    (value, gradient), *others = found
    for other, repeated in others:
        assert float(other) == pytest.approx(float(value), rel=1e-12)
        for name in h:
            assert float(repeated[name]) == pytest.approx(float(gradient[name]), rel=1e-9), name
    ratios = [difference(step, inner, outer, h, "ce", r) / float(gradient["ce"]) for r in (1e-5, 1e-6, 1e-7)]
    assert min(abs(r - 1) for r in ratios) < 1e-5
    still, _, calm, _ = setting("vit", classifier=tiny("vit", towers=dropping))
    assert float(estimate(still, still.initial(), inner, h, calm)[0]) != float(value)
    with pytest.raises(ValueError, match=r"batch\.seed: missing"):
        step.plain(step.initial(), inner[0]._replace(seed=None), h)


def test_a_model_that_changes_as_it_runs_is_refused():
    classifier = tiny("resnet")
    classifier.clip.visual.bn1.train()
    step, inner, outer, h = setting("resnet", classifier=classifier)
    inner = [batch._replace(seed=t) for t, batch in enumerate(inner)]
    with pytest.raises(ConfigError, match=r"model: clip\.visual\.bn1\.running_mean, .*running_var, .* changes as the"):
        estimate(step, step.initial(), inner, h, outer)


def test_a_term_without_a_derivative_is_named(monkeypatch):
    counting = Term("count", "errors", lambda s: (s.logits.argmax(1) != s.labels).double().mean())
    monkeypatch.setitem(TERMS, "count", counting)
    step, inner, outer, h = setting("vit")
    with pytest.raises(ConfigError, match=r"objective\.terms: 'count' has no derivative"):
        estimate(step, step.initial(), inner, {**h, "count": h["ce"]}, outer)


def test_key_biases_get_no_gradient_from_the_outputs():
    """Their gradient is zero in theory and rounding in practice; here it is zero, so AdamW leaves them alone."""
    step, inner, _, h = setting("vit", dtype=torch.float32)
    h = {name: h[name].float() for name in ("ce", "hinge", "lr", "wd")}
    state = step.plain(step.initial(), inner[0], {**h, "wd": 0.0})
    checked = 0
    for name, new, old in zip(step.names, state.params, step.initial().params, strict=True):
        if name.endswith("attn.in_proj_bias") and ".visual." in name:
            query, key, value = (new != old).chunk(3)
            assert query.any()
            assert value.any()
            assert not key.any()
            checked += 1
    assert checked == TOWERS["vit"]["layers"]


def test_bfloat16_keeps_float32_states():
    step, inner, outer, h = setting("vit", dtype=torch.float32, precision="bfloat16")
    exact = setting("vit", dtype=torch.float32)[0]
    start, batch = step.initial(), inner[0]
    rough, fine = (s.forward(start.params, batch.images).logits.detach() for s in (step, exact))
    assert 0 < float((rough - fine).abs().max()) < 0.02 * float(fine.abs().max())
    assert {t.dtype for t in step.plain(start, batch, h).tensors} == {torch.float32}
    _, gradient = estimate(step, start, inner, h, outer)
    assert all(bool(g.isfinite()) for g in gradient.values())


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
    state = step.plain(step.initial(), inner[0]._replace(tokens=None), h)
    moved = {
        name
        for name, new, old in zip(step.names, state.params, step.initial().params, strict=True)
        if (new != old).any()
    }
    assert "head.weight" in moved
    assert "clip.ln_final.weight" not in moved
