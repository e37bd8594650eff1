"""Features that are made once for all models with the same image tower."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from metaft.build.fits import fit_settings
from metaft.clip.classifier import holding
from metaft.clip.predict import image_features, predict
from metaft.clip.trunk import ROOM, Trunk
from metaft.finetune.context import FitContext
from metaft.finetune.methods.linear_probe import fit as linear_probe
from metaft.finetune.methods.linear_probe_ood_val import fit as probe_of_both
from metaft.finetune.regression import with_head

SIZE = 25


@pytest.fixture
def theta_0(work):
    """theta_0, of which nothing is kept yet."""
    model = holding(work.classifier, {})
    model.trunk = Trunk(ROOM)
    return model


@pytest.fixture
def passes(monkeypatch, work):
    """The number of images of each forward pass."""
    seen: list[int] = []
    visual = type(work.classifier.clip.visual)
    forward = visual.forward

    def counted(self, images, *more, **options):
        seen.append(len(images))
        return forward(self, images, *more, **options)

    monkeypatch.setattr(visual, "forward", counted)
    return seen


def test_other_heads_take_what_one_has_seen(theta_0, passes, work):
    split = work.splits.tests["id_test"]
    logits = predict(theta_0, split, SIZE)
    assert sum(passes) == len(split)
    other = with_head(theta_0, (2 * theta_0.head.weight.detach().numpy(), theta_0.head.bias.detach().numpy()))
    doubled = predict(other, split, SIZE)
    assert predict(theta_0, split, SIZE).equal(logits)
    assert sum(passes) == len(split), "the tower has run once"
    alone = copy.deepcopy(other)
    assert predict(alone, split, SIZE).equal(doubled), "bit for bit what its own tower says"
    assert sum(passes) == 2 * len(split)


def test_other_towers_see_for_themselves(theta_0, passes, work):
    split, name = work.splits.tests["id_test"], "clip.visual.ln_post.bias"
    features = image_features(theta_0, split, SIZE)
    moved = holding(theta_0, {name: theta_0.get_parameter(name) + 0.1})
    trained = copy.deepcopy(theta_0)
    with torch.no_grad():
        trained.get_parameter(name).add_(0.1)
    assert not image_features(moved, split, SIZE).equal(features)
    assert image_features(moved, split, SIZE).equal(image_features(trained, split, SIZE))
    lower = theta_0.in_precision("bfloat16")
    assert not image_features(lower, split, SIZE).equal(features)
    assert sum(passes) == 5 * len(split), "nothing is kept of a tower that may train"


def test_parts_of_a_split_are_others(theta_0, work):
    split = work.splits.tests["id_test"]
    features, rows = image_features(theta_0, split, SIZE), torch.tensor([3, 1])
    assert image_features(theta_0, split.subset(rows), SIZE).allclose(features[rows], atol=1e-6)
    assert len(image_features(theta_0, split.subset(rows), SIZE)) == 2
    renamed = replace(split, name="other")
    assert image_features(theta_0, renamed, SIZE) is features


def test_what_has_no_room_is_not_kept(theta_0, passes, work):
    theta_0.trunk = Trunk(100)
    for _ in range(2):
        image_features(theta_0, work.splits.tests["id_test"], SIZE)
    assert sum(passes) == 2 * len(work.splits.tests["id_test"])


def test_probes_share_the_features_of_what_they_train_on(theta_0, passes, work):
    data, settings = work.splits.search_data, fit_settings(work)
    first = linear_probe(theta_0, data, FitContext(settings))
    once = sum(passes)
    assert once == len(data.id_train) + len(data.id_val) + len(data.ood_val)
    probe_of_both(theta_0, data, FitContext(settings, fitted=lambda name: first))
    assert sum(passes) == once
