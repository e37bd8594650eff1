"""How a step is computed: parts, clipping, precision, checkpointing, compilation; each against bare torch."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metaft import config
from metaft.build.check import faults_of
from metaft.build.opened import faults_in
from metaft.clip.classifier import picked_parameters, trainable
from metaft.clip.precision import matmuls, served
from metaft.clip.predict import predict
from metaft.config.schema import AdamWConfig
from metaft.errors import DivergedError, OutOfMemoryError
from metaft.finetune.loop import train
from metaft.finetune.record import Watch
from metaft.finetune.scaling import Scale
from metaft.finetune.trainee import Trainee
from metaft.objective import Objective
from metaft.training.batches import SourceBatch, TrainBatch
from tests.conftest import SMALL
from tests.finetune.states import Keeper, same, with_finetune

CE = Objective({"ce": 1.0}, 1e-3, 0.1)
EVERY = Objective({"ce": 1.0, "kd": 0.5, "hinge": 0.1, "l2init": 0.1}, 1e-3, 0.1, sources={"more": 0.7})
FLYP = replace(EVERY, terms={**EVERY.terms, "flyp": 0.5})


@pytest.fixture(scope="module")
def even(context):
    """AdamW with an eps beside which the rounding of gradients that are 0 is nothing."""
    return context.varied(optimizer=AdamWConfig(eps=1e-2))


@pytest.fixture(scope="module")
def in_float64(work):
    """theta_0 and a batch of fifteen images and seven of a further source, in float64."""
    model, split = copy.deepcopy(work.classifier).double(), work.splits.id_train
    images, more = (split.batch(torch.arange(n, n + size)).images.double() for n, size in ((0, 15), (15, 7)))
    tokens = work.tokens[split.labels[:15], 0]
    with torch.no_grad():
        out = model(images)
    sources = {"more": SourceBatch(more, split.labels[15:22])}
    reference = lambda: (out.logits, out.image_features)  # noqa: E731
    return model, TrainBatch(images, split.labels[:15], tokens, reference, sources=sources)


def stepped(model, batch, objective, context, steps=3, **how) -> dict[str, torch.Tensor]:
    """The variables after steps on a batch."""
    trainee = Trainee.begin(model, objective, with_finetune(context, **how).settings, None)
    text = objective.needs_text
    for _ in range(steps):
        trainee.advance(batch if text else batch._replace(tokens=None), objective, 1.0)
    return trainee.variables


def by_hand(model, batch, objective, context, steps=3, limit=None, autocast=None) -> dict[str, torch.Tensor]:
    """The same in torch alone: one model, one optimizer, losses as papers write them."""
    theta_0, model = copy.deepcopy(model), copy.deepcopy(model)
    names = trainable(model, text=objective.needs_text, freeze=context.settings.freeze)
    params = picked_parameters(model, names)
    start = picked_parameters(theta_0, names)
    optimizer = torch.optim.AdamW(params.values(), lr=1e-3, weight_decay=0.1, eps=context.settings.optimizer.eps)
    weight, b = objective.terms.get, len(batch.labels)
    for _ in range(steps):
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            found = model.clip(batch.all_images, batch.tokens if objective.needs_text else None)
        logits = model.head(found["image_features"].to(model.head.weight.dtype))
        z, y = logits[:b], batch.labels
        loss = F.cross_entropy(z, y)
        if "kd" in objective.terms:
            p0 = batch.reference()[0].softmax(1)
            loss = loss + weight("kd") * (p0 * (p0.log() - z.log_softmax(1))).sum(1).mean()
            loss = loss + weight("hinge") * F.multi_margin_loss(z, y, reduction="sum") * z.shape[1] / b
            loss = loss + weight("l2init") * sum((p - start[n].detach()).square().sum() for n, p in params.items())
            loss = loss + 0.7 * F.cross_entropy(logits[b:], batch.sources["more"].labels)
        if "flyp" in objective.terms:
            similar = found["logit_scale"] * found["image_features"][:b] @ found["text_features"].T
            each = torch.arange(b)
            loss = loss + weight("flyp") * (F.cross_entropy(similar, each) + F.cross_entropy(similar.T, each)) / 2
        optimizer.zero_grad()
        loss.backward()
        if limit is not None:
            torch.nn.utils.clip_grad_norm_(params.values(), limit)
        optimizer.step()
    return params


def assert_close(ours, theirs, tolerance):
    for name, p in theirs.items():
        torch.testing.assert_close(ours[name], p, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("objective", [EVERY, FLYP], ids=["means", "flyp"])
def test_parts_are_one_batch(in_float64, even, parts, objective):
    """Fifteen images and seven further ones in four parts, where terms compare the images of a batch too."""
    ours = stepped(*in_float64, objective, even, accumulate=parts)
    assert_close(ours, by_hand(*in_float64, objective, even), 1e-12)


def test_long_gradients_are_shortened(in_float64, even):
    ours = stepped(*in_float64, FLYP, even, clip=0.1, accumulate=2)
    assert_close(ours, by_hand(*in_float64, FLYP, even, limit=0.1), 1e-12)
    assert_close(stepped(*in_float64, FLYP, even, clip=1e9), stepped(*in_float64, FLYP, even), 0)


def test_bfloat16_is_torchs_autocast(work, even):
    """After a step, as the next would round other weights; one in float32 is far from it."""
    rows = work.splits.id_train.batch(torch.arange(16))
    batch, model = TrainBatch(rows.images, rows.labels, None, None), work.classifier.in_precision("bfloat16")
    ours = stepped(model, batch, CE, even, steps=1, precision="bfloat16")
    theirs = by_hand(work.classifier, batch, CE, even, steps=1, autocast=torch.bfloat16)
    assert_close(ours, theirs, 1e-7)
    exact = stepped(work.classifier, batch, CE, even, steps=1)
    assert max(float((ours[n] - p).detach().abs().max()) for n, p in exact.items()) > 1e-5


def test_theta_0_and_evaluation_have_the_precision_of_the_fine_tune(work):
    assert work.classifier.precision == "float32"
    lower = work.classifier.in_precision("bfloat16")
    assert lower.head.weight is work.classifier.head.weight, "nothing is copied"
    images = work.splits.id_val.batch(torch.arange(8)).images
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            features = work.classifier.clip(images)["image_features"]
        expected = work.classifier.head(features.float())
    said = predict(lower, work.splits.id_val.subset(torch.arange(8)), 8)
    assert said.dtype == torch.float32
    assert torch.equal(said, expected)


@pytest.mark.parametrize("objective", [CE, FLYP], ids=["ce", "flyp"])
def test_checkpointing_changes_no_bit(work, in_float64, context, objective):
    plain = stepped(*in_float64, objective, context)
    again = stepped(*in_float64, objective, context, checkpointing=True, accumulate=1)
    assert all(torch.equal(p, again[n]) for n, p in plain.items())
    assert not work.clip.model.transformer.grad_checkpointing


def test_checkpointing_with_what_a_hook_makes_of_its_variables(in_float64, context):
    """LoRA's matrices are made anew in each step, and are those that are computed with again."""
    model, batch = in_float64
    low_rank = replace(CE, method="lora", knobs={"rank": 2})
    plain = stepped(model, batch, low_rank, context)
    again = stepped(model, batch, low_rank, context, checkpointing=True)
    assert all(torch.equal(p, again[n]) for n, p in plain.items())


def test_nothing_of_theta_0_is_copied_or_given_a_gradient(work, data, context):
    tuned = train(work.classifier, CE, data, context, "x")
    theta_0 = dict(work.classifier.named_parameters())
    shared = {n for n, p in tuned.named_parameters() if p is theta_0[n]}
    assert shared == set(theta_0) - set(trainable(work.classifier, text=False, freeze=context.settings.freeze))
    assert all(p.grad is None for p in theta_0.values())


def test_compilation_that_fails_is_told_once(work, data, context, tuned, no_compiler, capsys):
    model = train(work.classifier, CE, data, with_finetune(context, compile=True), "x")
    assert capsys.readouterr().err.count("finetune.compile: no compiler; goes on without") == 1
    assert same(model, tuned)


def test_memory_that_runs_out_as_it_is_compiled_is_no_failed_compilation(work, data, context, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("torch.compile", lambda *_, **__: full)
    with pytest.raises(OutOfMemoryError, match="CUDA out of memory") as caught:
        train(work.classifier, CE, data, with_finetune(context, compile=True), "x")
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)


def test_gradients_that_no_scale_makes_finite_end_a_training():
    watch, scale = Watch("ft", 10), Scale.of("float16")
    while scale.factor > 1:
        assert not scale.sound([torch.tensor([math.inf])])
        watch.scaled(scale, 3)
    scale.sound([torch.tensor([math.inf])])
    with pytest.raises(DivergedError, match="ft: diverged in step 4 of 10 \\(its gradients are beyond float16"):
        watch.scaled(scale, 4)
    watch.scaled(Scale.of("bfloat16"), 4)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_compiled_step_is_the_same_but_for_rounding(in_float64, even, capsys):
    plain = stepped(*in_float64, FLYP, even, accumulate=3)
    assert_close(stepped(*in_float64, FLYP, even, accumulate=3, compile=True), plain, 1e-10)
    assert "goes on without" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "how",
    [
        {"accumulate": 3, "clip": 0.5},
        pytest.param({"precision": "bfloat16"}, marks=pytest.mark.full),
        pytest.param({"precision": "float16", "clip": 1.0}, marks=pytest.mark.full),
    ],
    ids=lambda how: ", ".join(how),
)
def test_it_goes_on_to_the_same_bits(work, data, short, how, monkeypatch):
    """A scale of float16 that is halved before the interruption is part of what is kept."""
    monkeypatch.setattr("metaft.finetune.scaling.LARGEST", 2.0**24)
    objective = Objective({"ce": 1.0, **({"flyp": 0.3} if "accumulate" in how else {})}, 1e-3, 0.1)
    theta_0, context = (
        work.classifier.in_precision(how.get("precision", "float32")),
        with_finetune(short, batch_size=4, **how),
    )
    whole = train(theta_0, objective, data, context, "x")
    keeper = Keeper(stop=True)
    with pytest.raises(KeyboardInterrupt):
        train(theta_0, objective, data, replace(context, keeper=keeper), "x")
    scale = keeper.load("x")["scale"]
    assert scale["factor"] < 2.0**24 if how.get("precision") == "float16" else scale["factor"] == 1.0
    assert same(train(theta_0, objective, data, replace(context, keeper=keeper), "x"), whole)


def test_the_scale_is_that_of_torchs_scaler():
    theirs, ours = torch.amp.GradScaler("cpu"), Scale.of("float16")
    w = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.0)
    for step in range(2020):
        bad = float("inf") if step in (3, 4, 9) else 1.0
        w.grad = theirs.scale(torch.tensor(1.0)) * bad * torch.ones(3)
        grads = [ours.factor * bad * torch.ones(3), None]
        assert ours.sound(grads) == (bad == 1.0)
        assert bad != 1.0 or torch.equal(grads[0], torch.ones(3))
        theirs.step(optimizer)
        theirs.update()
        assert ours.factor == theirs.get_scale()
    assert ours.factor == 2.0**14


def test_a_step_whose_gradients_are_not_finite_is_left_out(work, context):
    rows = work.splits.id_train.batch(torch.arange(16))
    batch = TrainBatch(rows.images, rows.labels, None, None)
    settings = with_finetune(context, precision="float16").settings
    trainee = Trainee.begin(work.classifier, CE, settings, None)
    trainee.scale.factor = float("inf")
    before = copy.deepcopy(trainee.state_dict())
    trainee.advance(batch, CE, 1.0)
    assert all(torch.equal(v, before["variables"][n]) for n, v in trainee.variables.items())
    assert trainee.step == 1
    assert not trainee.optimizer.state


@pytest.mark.parametrize("precision", ["tf32", "float16"])
def test_a_precision_that_the_device_lacks_is_refused(work, precision):
    finetune = work.cfg.finetune.model_copy(update={"precision": precision})
    odd = replace(work, cfg=work.cfg.model_copy(update={"finetune": finetune}))
    told = f"finetune.precision: {precision!r} on cpu; allowed: float32, bfloat16."
    assert [str(fault) for fault in faults_in(odd)] == [told]
    assert served(torch.device("cpu")) == ("float32", "bfloat16")


def test_float32_is_no_tf32_but_where_it_is_asked_for(work):
    def rounded() -> tuple[str, bool]:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    assert rounded() == ("highest", False), "since the workspace was opened"
    with matmuls("tf32"):
        assert rounded() == ("high", True)
    with matmuls("float32"):
        assert rounded() == ("highest", False)


def test_a_model_without_checkpointing_is_refused(work):
    finetune = work.cfg.finetune.model_copy(update={"checkpointing": True})
    bare = replace(work, clip=replace(work.clip, model=torch.nn.Module()))
    odd = replace(bare, cfg=work.cfg.model_copy(update={"finetune": finetune}))
    assert [fault.field for fault in faults_in(odd)] == ["finetune.checkpointing"]


def test_more_parts_than_images_are_refused():
    cfg = config.load(None, [*SMALL, "finetune.accumulate=51"])
    told = "finetune.accumulate: 51; allowed: 1 to finetune.batch_size, 50."
    assert [str(fault) for fault in faults_of(cfg)] == [told]
