"""Training batches: drawn by seed, loaded when asked for, cut into parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metaft.build.fits import fit_settings
from metaft.finetune.context import FitContext
from metaft.finetune.loop import train
from metaft.inner.attention import second_order_attention
from metaft.objective import Objective
from metaft.training import reference
from metaft.training.augment import Augment
from metaft.training.batches import TrainBatches
from metaft.training.reference import Reference
from tests.finetune.states import same


@pytest.fixture(scope="module")
def batches(work):
    split = work.splits.id_train.subset(torch.arange(20))
    return TrainBatches(split, work.tokens, Reference(work.classifier, split, "cpu"), "cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_image_comes_once_before_any_comes_again(batches):
    drawn = batches.drawn(6, 8, generator())
    numbers = [indices for indices, _ in drawn.draws]
    assert len(drawn) == 6
    for pair in zip(numbers[::2], numbers[1::2], strict=True):  # two of eight fit into twenty; four are left out
        assert len(torch.cat(pair).unique()) == 16
    assert all(len(indices) == 20 for indices, _ in batches.drawn(3, 99, generator()).draws)


def test_the_same_generator_gives_the_same_batches(batches):
    (one, again, other) = (batches.drawn(2, 4, generator(seed)) for seed in (0, 0, 1))
    for first, second in zip(one, again, strict=True):
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.tokens, second.tokens)
        assert first.seed == second.seed
    assert not torch.equal(one[0].images, other[0].images)
    assert one[0].seed != one[1].seed


def test_captions_are_of_the_images_classes(batches, work):
    batch = batches.take(torch.arange(10), seed=3)
    for caption, label in zip(batch.tokens, batch.labels, strict=True):
        assert any(torch.equal(caption, known) for known in work.tokens[label])


def test_a_slice_keeps_draws_and_paces(batches):
    drawn = batches.drawn(5, 4, generator(), paces=[0.1, 0.2, 0.3, 0.4, 0.5])
    tail = drawn[2:]
    assert [batch.pace for batch in tail] == [0.3, 0.4, 0.5]
    assert torch.equal(tail[0].images, drawn[2].images)
    assert batches.drawn(1, 4, generator())[0].pace == 1.0


def test_parts_are_the_batch_cut(batches):
    batch = batches.take(torch.tensor([3, 1, 4, 15, 9]), seed=7)
    assert batch.parts(1) == [(1.0, batch)]
    shares, parts = zip(*batch.parts(2), strict=True)
    assert shares == (3 / 5, 2 / 5)
    for field in ("images", "labels", "tokens"):
        assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(batch, field))
    for row in range(2):
        assert torch.equal(torch.cat([part.reference()[row] for part in parts]), batch.reference()[row])
    assert [part.seed for part in parts] == [7, 8]


@pytest.mark.parametrize("where", ["memory", "disk", "nowhere"])
def test_theta_0_speaks_of_an_image_whatever_was_asked_before(work, where, monkeypatch, tmp_path):
    """To the last bit: a training that goes on asks for other images together than one that was never interrupted."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "BLOCK", 16)
    split = work.splits.id_train
    monkeypatch.setattr(reference, "WHOLE", len(split) if where == "memory" else 10)
    asked = len(split) if where == "disk" else 0
    before, fresh = (Reference(work.classifier, split, "cpu", asked) for _ in range(2))
    for asked in ([3, 20], [4, 5, 6], [40, 21, 9]):
        with second_order_attention():  # as within a hypergradient
            before(torch.tensor(asked))
    last = torch.tensor([5, 20, 41, 7, 3])
    for old, new in zip(before(last), fresh(last), strict=True):
        assert torch.equal(old, new)
    mapped = str(tmp_path / "cache") in Path("/proc/self/maps").read_text()
    assert mapped is (where == "disk")
    del before, fresh, old, new
    assert str(tmp_path / "cache") not in Path("/proc/self/maps").read_text(), "it goes with what it was kept for"
    assert where != "disk" or not list((tmp_path / "cache").iterdir())


def test_theta_0_speaks_once_of_each_of_many_images(work, monkeypatch, tmp_path, capsys):
    """Where they are kept on disk, and whenever they are asked for where that has no room."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reference, "BLOCK", 16)
    monkeypatch.setattr(reference, "WHOLE", 10)
    calls, split = [], work.splits.id_train

    def counting(images):
        calls.append(len(images))
        return work.classifier(images)

    rows = torch.tensor([3, 20, 4])
    kept = Reference(counting, split, "cpu", asked=2 * len(split))
    for _ in range(2):
        found = kept(rows)
    assert calls == [16, 16]
    with torch.no_grad():
        expected = work.classifier(split.batch(rows).images)
    torch.testing.assert_close(found[0], expected.logits)
    torch.testing.assert_close(found[1], expected.image_features)
    monkeypatch.setattr(reference, "SPARE", 0.0)
    calls.clear()
    full = Reference(counting, split, "cpu", asked=2 * len(split))
    for _ in range(2):
        again = full(rows)
    assert calls == [16, 3, 3], "no room is found out once"
    torch.testing.assert_close(again[0], expected.logits)
    said = capsys.readouterr().err
    assert said.count("theta_0's outputs on id_train are computed whenever they are asked for: they would take") == 1


def test_a_fine_tune_asks_for_all_images(work, monkeypatch, tmp_path):
    """So that distillation on more images than memory holds runs theta_0 once on each, to the same bits."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    data, kd = work.splits.search_data, Objective({"ce": 1.0, "kd": 0.5}, 1e-3, 0.1)
    settings = replace(fit_settings(work), steps=8, checks=1)
    plain, computed, seen = train(work.classifier, kd, data, FitContext(settings), "x"), Reference._computed, []

    def counting(self, indices):
        seen.extend(indices.tolist())
        return computed(self, indices)

    monkeypatch.setattr(reference, "WHOLE", 10)
    monkeypatch.setattr(Reference, "_computed", counting)
    assert same(train(work.classifier, kd, data, FitContext(settings), "x"), plain)
    assert sorted(seen) == list(range(len(data.id_train)))


def test_theta_0_speaks_once_of_an_image(work, monkeypatch):
    monkeypatch.setattr(reference, "BLOCK", 16)
    calls, split = [], work.splits.id_train

    def counting(images):
        calls.append(len(images))
        return work.classifier(images)

    theta_0 = Reference(counting, split, "cpu")
    first = torch.tensor([5, 2, 5])
    logits, features = theta_0(first)
    with torch.no_grad():
        expected = work.classifier(split.batch(first).images)
    torch.testing.assert_close(logits, expected.logits)
    torch.testing.assert_close(features, expected.image_features)
    theta_0(torch.tensor([2, 7]))
    assert calls == [16], "all of a block, once"
    theta_0(torch.tensor([1, len(split) - 1]))
    assert calls == [16, (len(split) - 1) % 16 + 1]


@pytest.fixture(scope="module")
def mixed(batches, work):
    return replace(batches, sources={"ood_val": work.splits.ood_val.subset(torch.arange(7))})


def test_a_further_source_adds_half_a_batch(mixed, batches):
    drawn, alone = mixed.drawn(3, 8, generator()), batches.drawn(3, 8, generator())
    assert (drawn.images, alone.images) == (12, 8)
    for batch, plain in zip(drawn, alone, strict=True):
        assert torch.equal(batch.images, plain.images)
        assert torch.equal(batch.all_images, torch.cat([batch.images, batch.sources["ood_val"].images]))
        assert len(batch.sources["ood_val"].labels) == 4
        assert plain.all_images is plain.images
    assert torch.equal(drawn[1].all_images, mixed.drawn(3, 8, generator())[1].all_images)
    assert not torch.equal(drawn[0].sources["ood_val"].images, drawn[1].sources["ood_val"].images)


def test_a_source_smaller_than_its_half_comes_again_within_a_batch(mixed):
    images = mixed.take(torch.arange(20), seed=1).sources["ood_val"].images
    assert len(images) == 10
    assert len(images.flatten(1).unique(dim=0)) == 7, "all seven before any comes again"


@pytest.mark.parametrize("count", [2, 3, 5])
def test_parts_of_a_source_add_up_to_its_mean(mixed, count):
    batch = mixed.take(torch.tensor([3, 1, 4, 15, 9]), seed=7)
    whole = batch.sources["ood_val"]
    assert len(whole.labels) == 2, "fewer than parts: some parts have none"
    total = sum(
        share * part.sources["ood_val"].share * part.sources["ood_val"].images.mean()
        for share, part in batch.parts(count)
        if part.sources
    )
    torch.testing.assert_close(total, whole.images.mean())


def test_augmented_images_are_drawn_from_the_batchs_seed_and_theta_0_sees_them_as_they_are(batches):
    few = batches.split.subset(torch.arange(12))
    source = replace(batches, augment=Augment(), sources={"more": few})
    plain, one, again, other = (
        source_.take(torch.arange(8), seed)
        for source_, seed in ((replace(source, augment=None), 3), (source, 3), (source, 3), (source, 4))
    )
    assert torch.equal(one.all_images, again.all_images)
    assert not torch.equal(one.images, other.images)
    assert torch.equal(one.images, Augment()(plain.images, 3))
    assert torch.equal(one.labels, plain.labels)
    assert torch.equal(one.sources["more"].labels, plain.sources["more"].labels)
    assert not torch.equal(one.sources["more"].images, plain.sources["more"].images)
    for mine, theirs in zip(one.reference(), plain.reference(), strict=True):
        assert torch.equal(mine, theirs)
