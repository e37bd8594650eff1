"""sift and saft: the entries that they move, which are those of torch's own gradients."""

from __future__ import annotations

import pytest
import torch

from metaft.clip.classifier import picked_parameters, trainable
from metaft.errors import ConfigError
from metaft.finetune.methods import METHODS
from metaft.hooks.registry import hook_for
from metaft.hooks.sparse import largest_of_all, largest_of_each
from tests.finetune.states import same, with_finetune


def gradients(work, images, labels):
    """By name, of the mean cross-entropy at theta_0."""
    model = work.classifier
    trained = picked_parameters(model, trainable(model, text=False, freeze=()))
    loss = torch.nn.functional.cross_entropy(model(images).logits, labels)
    return dict(zip(trained, torch.autograd.grad(loss, list(trained.values())), strict=True))


def changes(model, work, names):
    return {n: model.get_parameter(n).detach() - work.classifier.get_parameter(n).detach() for n in names}


def test_sift_moves_the_largest_of_each_tensor_by_the_first_gradient(work, data, context):
    model = METHODS["sift"].fit(work.classifier, data, context.with_knobs("sift", {"per_mille": 20}))
    order = torch.randperm(len(data.id_train), generator=torch.Generator().manual_seed(context.settings.seed))
    batch = data.id_train.batch(order[:50])
    grads = gradients(work, batch.images, batch.labels)
    masks = dict(zip(grads, largest_of_each(list(grads.values()), 20), strict=True))
    for name, change in changes(model, work, grads).items():
        if name.startswith("head."):
            assert change.all(), "all of the head moves"
        else:
            assert torch.equal(change != 0, masks[name] > 0), name


def test_saft_moves_the_largest_of_all_by_the_gradient_over_the_training_set(work, data, context):
    varied = context.with_knobs("saft", {"per_mille": 2})
    model = METHODS["saft"].fit(work.classifier, data, varied)
    whole = data.id_train.batch(torch.arange(len(data.id_train)))
    grads = gradients(work, whole.images, whole.labels)
    masks = largest_of_all(list(grads.values()), 2)
    moved = torch.cat([c.flatten() != 0 for c in changes(model, work, grads).values()])
    wanted = torch.cat([m.flatten() > 0 for m in masks])
    assert moved.sum() == wanted.sum() == -(-2 * len(moved) // 1000)
    assert (moved & wanted).sum() >= 0.99 * moved.sum(), "but for the order of additions"


@pytest.mark.parametrize("name", ["sift", "saft"])
def test_a_mask_of_everything_is_plain_fine_tuning(work, data, context, tuned, name):
    everything = context.with_knobs(name, {"per_mille": 1000, "lr_factor": 1.0})
    assert same(METHODS[name].fit(work.classifier, data, everything), tuned)


def test_nothing_to_choose_from(work, data, context):
    with pytest.raises(ConfigError, match="'sift' chooses entries of tensors outside the head, and none of these"):
        hook_for("sift", ["head.weight", "head.bias"], work.cfg.finetune)
    with pytest.raises(ConfigError, match=r"finetune.exclude: every parameter is excluded"):
        METHODS["saft"].fit(work.classifier, data, with_finetune(context, exclude=("*",)))
