"""Splits: batches in order, sizes, parts and sums."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.data.types import Domains, ImageView, concatenated, joined
from metaft.errors import DataError
from tests.data.suites import load


def test_another_model_size_enlarges():
    large = ImageView(64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), lambda image: torch.zeros(3, 64, 64, dtype=torch.uint8))
    batch = load("digits", view=large, id_train=8).id_train.batch(torch.arange(8))
    assert batch.images.shape == (8, 3, 64, 64)
    assert 0 <= batch.images.min() <= batch.images.max() <= 1


def test_batches_cover_a_split_in_order():
    split = load("digits", id_train=25).id_train
    batches = list(split.batches(10))
    assert torch.cat([b.indices for b in batches]).tolist() == list(range(25))
    assert torch.equal(torch.cat([b.labels for b in batches]), split.labels)
    part = split.subset(torch.tensor([3, 1]))
    assert torch.equal(part.batch(torch.tensor([1])).images, split.batch(torch.tensor([1])).images)


def test_two_splits_as_one():
    splits = load("digits", id_train=30, ood_val=20)
    both = joined("both", splits.id_train, splits.ood_val)
    rows = [45, 3, 30, 29]
    assert torch.equal(both.labels, torch.cat([splits.id_train.labels, splits.ood_val.labels]))
    expected = [splits.ood_val.source.pixels([15, 0]), splits.id_train.source.pixels([3, 29])]
    assert torch.equal(both.source.pixels(rows), torch.cat(expected)[[0, 2, 1, 3]])
    assert torch.equal(both.source.pixels([3]), splits.id_train.source.pixels([3]))


def test_domains_as_one():
    first, second = (load("digits", id_train=10, seed=seed).id_train for seed in (0, 1))
    split = concatenated("ood_val", [("print", first), ("italic", second)])
    assert (split.name, split.domains.names) == ("ood_val", ("print", "italic"))
    assert split.domains.numbers.tolist() == [0] * 10 + [1] * 10
    assert torch.equal(split.source.pixels([12]), second.source.pixels([2]))
    assert split.subset(torch.tensor([12, 3])).domains.numbers.tolist() == [1, 0]


def test_what_a_split_is_told_apart_by():
    """Domains, or else groups, wherever images of two are there; images in none count as no domain."""
    split = load("digits", id_train=6).id_train
    styles = Domains(("ink", "chalk"), torch.tensor([0, 0, 1, 1, -1, -1]))
    writers = Domains(("ann", "bob", "cat"), torch.tensor([0, 2, 0, 2, 2, 2]))
    both = replace(split, domains=styles, groups=writers)
    assert split.parts is None
    assert (both.parts, both.domains.present, both.groups.present) == (styles, [0, 1], [0, 2])
    assert replace(split, groups=writers).parts is writers
    chalk = both.subset(torch.tensor([4, 2, 3]))
    assert chalk.parts is chalk.groups, "one domain alone is no domain"
    assert (chalk.domains.numbers.tolist(), chalk.groups.numbers.tolist()) == ([-1, 1, 1], [2, 0, 2])
    assert both.subset(torch.tensor([1, 4])).parts is None


def test_a_test_without_an_image_is_refused():
    splits = load("digits", id_train=20, id_val=10, ood_val=20, test=10)
    empty = splits.tests["id_test"].subset(torch.arange(0))
    with pytest.raises(DataError, match="id_test: no images found; allowed: at least one"):
        replace(splits, tests={**splits.tests, "id_test": empty})
