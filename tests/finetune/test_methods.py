"""The training loop against a plain one, the best epoch, WiSE-FT at its ends, and divergence."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch

from metaft import build
from metaft.clip.classifier import train_only
from metaft.clip.predict import predict
from metaft.errors import DivergedError
from metaft.finetune.loop import train
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.wise_ft import ALPHAS, interpolate
from metaft.metrics import accuracy
from metaft.objective import Objective
from metaft.training.schedule import warmup_cosine


@pytest.fixture(scope="module")
def data(work):
    return work.splits.search_data


@pytest.fixture(scope="module")
def settings(work):
    return build.fit_settings(work, None)


@pytest.fixture(scope="module")
def tuned(work, data, settings):
    return METHODS["ft"].fit(build.fresh(work), data, settings)


def test_schedule():
    factors = [warmup_cosine(t, 100, 0.1) for t in range(101)]
    assert factors[0] == pytest.approx(1 / 11)
    assert factors[10] == 1.0
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0, abs=1e-12)
    assert [warmup_cosine(t, 10, 0.0) for t in (0, 5)] == [1.0, pytest.approx(0.5)]


def test_plain_fine_tuning_is_torch_and_nothing_else(work, data, settings, tuned):
    model = train_only(copy.deepcopy(work.classifier), text=False, freeze=())
    optimizer = torch.optim.AdamW(model.trained().values(), lr=1e-3, weight_decay=0.1, eps=settings.eps)
    g = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(len(data.id_train), generator=g)
    for t, rows in enumerate(order.split(50)):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * warmup_cosine(t, 4, 0.1)
        batch = data.id_train.batch(rows)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(batch.images).logits, batch.labels).backward()
        optimizer.step()
    for ours, theirs in zip(tuned.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_theta_0_is_not_touched(work, data, settings):
    before = copy.deepcopy(work.classifier.state_dict())
    train(work.classifier, Objective({"ce": 1.0, "flyp": 0.1, "l2init": 0.1}, 1e-3, 0.1), data, settings, "x")
    assert all(torch.equal(t, before[k]) for k, t in work.classifier.state_dict().items())


def test_captions_train_the_text_tower(work, data, settings):
    tuned = train(work.classifier, Objective({"ce": 1.0, "flyp": 1.0}, 1e-3, 0.1), data, settings, "x")
    moved = {k for k, p in tuned.named_parameters() if not torch.equal(p, work.classifier.get_parameter(k))}
    assert {"clip.ln_final.weight", "clip.logit_scale", "head.bias"} <= moved
    assert "clip.token_embedding.weight" not in moved, "frozen by default"


def test_the_best_check_by_id_validation_is_kept(work, data, settings):
    events: list[dict] = []
    several = replace(settings, steps=11, checks=3, log=events.append)
    model = train(work.classifier, Objective({"ce": 1.0}, 3e-2, 0.0), data, several, "x")
    kept = accuracy(predict(model, data.id_val, 64), data.id_val.labels)
    assert [e["step"] for e in events] == [4, 8, 11]
    assert kept == max(e["id_val_accuracy"] for e in events)


def test_wise_ft_is_exact_at_its_ends(work, tuned):
    for alpha, end in ((0.0, work.classifier), (1.0, tuned)):
        mixed = interpolate(work.classifier, tuned, alpha)
        assert all(torch.equal(a, b) for a, b in zip(mixed.parameters(), end.parameters(), strict=True))
    middle = interpolate(work.classifier, tuned, 0.5)
    torch.testing.assert_close(middle.head.weight, (work.classifier.head.weight + tuned.head.weight) / 2)


def test_wise_ft_chooses_by_validation(work, data, settings, tuned):
    events: list[dict] = []
    model = METHODS["wise_ft"].fit(work.classifier, data, replace(settings, fitted=lambda _: tuned, log=events.append))
    assert [e["alpha"] for e in events] == list(ALPHAS)
    best = max(events, key=lambda e: (e["ood_val_accuracy"], e["id_val_accuracy"]))
    chosen = interpolate(work.classifier, tuned, best["alpha"])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), chosen.parameters(), strict=True))


def test_zero_shot_is_zero_shot(work, data, settings):
    assert METHODS["zero_shot"].fit(work.classifier, data, settings) is work.classifier


def test_autoft_needs_an_objective(work, data, settings):
    with pytest.raises(ValueError, match="no learned objective"):
        METHODS["autoft"].fit(work.classifier, data, settings)


@pytest.mark.parametrize("lr", [1e9, math.inf])
def test_divergence_is_found(work, data, settings, lr):
    with pytest.raises(DivergedError, match="ft: diverged"):
        METHODS["ft"].fit(work.classifier, data, replace(settings, plain=Objective({"ce": 1.0}, lr, 0.1)))
