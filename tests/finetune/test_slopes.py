"""Gradients outside of training: those of the mean loss, in parts of a batch, never in unscaled float16."""

from __future__ import annotations

import pytest
import torch

from metaft.clip.classifier import picked_parameters, trainable
from metaft.finetune.methods import METHODS
from metaft.finetune.slopes import Slopes
from tests.finetune.states import same, with_finetune


@pytest.fixture(scope="module")
def values(work):
    return picked_parameters(work.classifier, trainable(work.classifier, text=False, freeze=()))


def gradient(model, values, batch):
    loss = torch.nn.functional.cross_entropy(model(batch.images).logits, batch.labels)
    return torch.autograd.grad(loss, list(values.values()))


def close(ours, theirs) -> None:
    length = torch.stack([t.norm() for t in theirs]).norm()
    assert torch.stack([(a - b).norm() for a, b in zip(ours, theirs, strict=True)]).norm() < 1e-5 * length


@pytest.mark.parametrize("parts", [1, 4])
def test_parts_are_one_batch(work, context, values, parts):
    """Eleven images in four parts, of which no more than three are in memory at once."""
    batch, seen = work.splits.id_train.batch(torch.arange(11)), []
    slopes = Slopes.of(work.classifier, with_finetune(context, accumulate=parts).settings.finetune)
    handle = work.classifier.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    try:
        found = slopes(values, batch)
    finally:
        handle.remove()
    close(found, gradient(work.classifier, values, batch))
    assert seen == ([11] if parts == 1 else [3, 3, 3, 2])


def test_in_float16_they_are_those_of_float32(work, context, values):
    batch, how = work.splits.id_train.batch(torch.arange(8)), context.settings.finetune
    lower = Slopes.of(work.classifier.in_precision("float16"), how)
    close(lower(values, batch), gradient(work.classifier, values, batch))
    assert Slopes.of(work.classifier.in_precision("bfloat16"), how).model.precision == "bfloat16"


def test_methods_that_take_them_take_parts_and_float32(work, data, short, monkeypatch):
    """What saft chooses from, and what the radii of tpgm in training descend."""
    asked = []
    monkeypatch.setattr(Slopes, "_of_part", _noting(asked))
    lower, steps = work.classifier.in_precision("bfloat16"), short.varied(steps=1, checks=1)
    for method in ("saft", "tpgm"):
        varied = with_finetune(steps, accumulate=5, precision="bfloat16", knobs={"tpgm": {"when": "training"}})
        METHODS[method].fit(lower, data, varied)
        assert {len(labels) for _, labels in asked} == {4}, method
        assert {model.precision for model, _ in asked} == {"bfloat16"}
        asked.clear()
    assert same(work.classifier, lower)


def _noting(asked):
    plain = Slopes._of_part

    def noted(self, values, images, labels):
        asked.append((self.model, labels))
        return plain(self, values, images, labels)

    return noted
