"""rehearsal: theta_0's predictions are the labels of a source, and their loss is a divergence from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from metaft.clip.classifier import picked_parameters, trainable
from metaft.finetune.methods import METHODS
from metaft.finetune.methods.rehearsal import told
from metaft.finetune.trainee import Trainee
from metaft.objective import Objective
from metaft.training.batches import SourceBatch, TrainBatch
from tests.finetune.states import brief, close, descended


@pytest.fixture(scope="module")
def drawn(work):
    """Splits with few images of pretraining."""
    return replace(work.splits, pretraining=work.splits.pretraining.subset(torch.arange(0, 1000, 40)))


def test_labels_are_what_theta_0_says(work, drawn, short):
    split = told(work.classifier, drawn.pretraining, short)
    with torch.no_grad():
        expected = work.classifier(split.batch(torch.arange(25)).images).logits.softmax(1)
    torch.testing.assert_close(split.labels, expected)


def test_no_more_are_told_than_a_training_draws(work, drawn, short):
    assert len(told(work.classifier, drawn.pretraining, short.varied(steps=2))) == 2 * 10


@pytest.mark.parametrize("accumulate", [1, 2])
def test_its_gradient_is_that_of_the_divergence(work, drawn, context, accumulate):
    """Away from theta_0: CE(p_0, p) and KL(p_0 || p) have the same derivative."""
    model, share = work.classifier, 0.3
    images, rehearsed = (s.batch(torch.arange(n)) for s, n in ((work.splits.id_train, 8), (drawn.pretraining, 4)))
    with torch.no_grad():
        p0 = (2 * model(rehearsed.images).logits).softmax(1)
    objective = Objective({"ce": 1 - share}, 1e-3, 0.1, sources={"pretraining": share})
    finetune = context.settings.finetune.model_copy(update={"accumulate": accumulate})
    trainee = Trainee.begin(model, objective, replace(context.settings, finetune=finetune), None)
    batch = TrainBatch(
        images.images, images.labels, None, None, sources={"pretraining": SourceBatch(rehearsed.images, p0)}
    )
    trainee._descended(batch)
    params = picked_parameters(model, trainable(model, text=False, freeze=context.settings.freeze))
    loss = (1 - share) * F.cross_entropy(model(images.images).logits, images.labels)
    log_p = model(rehearsed.images).logits.log_softmax(1)
    loss = loss + share * (p0 * (p0.log() - log_p)).sum(1).mean()
    for name, slope in zip(params, torch.autograd.grad(loss, list(params.values())), strict=True):
        torch.testing.assert_close(trainee.variables[name].grad, slope, rtol=1e-3, atol=1e-5, msg=name)


def test_its_fit_gives_a_share_to_theta_0s_predictions(work, data, drawn, context):
    few, share = brief(context), 0.3
    seen = replace(data, more={"pretraining": drawn.pretraining.subset(torch.arange(15))})

    def loss(out, first, batch, model, step):
        images = batch.sources["pretraining"].images
        with torch.no_grad():
            p0 = work.classifier(images).logits.softmax(1)
        kept = -(p0 * model(images).logits.log_softmax(1)).sum(1).mean()
        return (1 - share) * F.cross_entropy(out.logits, batch.labels) + share * kept

    fitted = METHODS["rehearsal"].fit(work.classifier, seen, few.with_knobs("rehearsal", {"share": share}))
    close(fitted, descended(loss, work.classifier, seen, few, sources=seen.more))


def test_a_persons_own_images_serve_it_too(work, drawn):
    own = replace(work.splits, pretraining=None, more={"pretraining": work.splits.id_val})
    assert METHODS["rehearsal"].sees(own) == own.search_data
    assert METHODS["rehearsal"].sees(replace(work.splits, pretraining=None)) is None
