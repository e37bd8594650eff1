"""Folds: every image judges once, and never where it is trained on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from metaft.data.folds import folds, unsplittable
from metaft.data.types import Domains, PixelArray, Split
from metaft.errors import DataError
from tests.data.suites import VIEW


def numbered(labels: list[int], domains: list[int] | None = None) -> Split:
    """A split whose images say their number."""
    array = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    named = None if domains is None else Domains(("fog", "noir", "neon", "empty"), torch.tensor(domains))
    return Split("ood_val", PixelArray(array, 32), torch.tensor(labels), VIEW, named)


def images(split: Split) -> list[int]:
    return split.source.pixels(range(len(split)))[:, 0, 0, 0].tolist()


BY_IMAGE = numbered([i % 3 for i in range(31)])
BY_DOMAIN = numbered([i % 3 for i in range(40)], [0] * 20 + [1] * 6 + [2] * 14)
ONE_DOMAIN = numbered([i % 3 for i in range(20)], [1] * 20)
BY_GROUP = replace(ONE_DOMAIN, groups=Domains(tuple("abcdef"), torch.arange(20) // 4))
SOME_IN_NONE = numbered([i % 3 for i in range(20)], [0] * 8 + [-1] * 5 + [2] * 7)


@pytest.mark.parametrize(
    "split",
    [BY_IMAGE, BY_DOMAIN, ONE_DOMAIN, BY_GROUP, SOME_IN_NONE],
    ids=["images", "domains", "one domain", "groups", "some in no domain"],
)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_image_judges_once_and_never_where_it_fits(split, count):
    made = folds(split, count, seed=1)
    for fold in made:
        fitting, judging = images(fold.fitting), images(fold.judging)
        assert not set(fitting) & set(judging)
        assert sorted(fitting + judging) == images(split)
        for part, numbers in ((fold.fitting, fitting), (fold.judging, judging)):
            assert torch.equal(part.labels, split.labels[numbers])
            assert part.name == "ood_val"
    assert sorted(i for fold in made for i in images(fold.judging)) == images(split)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_images_are_dealt_evenly(count):
    made = folds(BY_IMAGE, count, seed=3)
    assert len(made) == count
    counts = torch.tensor([[*fold.judging.counts(3), len(fold.judging)] for fold in made])
    assert (counts.max(0).values - counts.min(0).values).max() <= 1, "of each class, and of all"


def test_a_fold_judges_domains_that_are_not_trained_on():
    for count, sizes in ((2, [20, 20]), (3, [6, 14, 20]), (5, [6, 14, 20])):
        made = folds(BY_DOMAIN, count, seed=0)
        assert sorted(len(fold.judging) for fold in made) == sizes, "as even as whole domains allow"
        for fold in made:
            trained, judged = (set(part.domains.numbers.tolist()) for part in (fold.fitting, fold.judging))
            assert not trained & judged


def test_alike_images_are_in_one_fold():
    for count, sizes in ((2, [8, 12]), (3, [4, 8, 8]), (9, [4] * 5)):
        made = folds(BY_GROUP, count, seed=0)
        assert sorted(len(fold.judging) for fold in made) == sizes
        for fold in made:
            assert not {*fold.fitting.groups.numbers.tolist()} & {*fold.judging.groups.numbers.tolist()}


@pytest.mark.parametrize("split", [BY_IMAGE, BY_DOMAIN], ids=["images", "domains"])
def test_the_seed_decides(split):
    def judged(seed):
        return [images(fold.judging) for fold in folds(split, 3, seed)]

    assert judged(0) == judged(0)
    assert any(judged(0) != judged(seed) for seed in range(1, 5))


@pytest.mark.parametrize(
    ("split", "count", "words"),
    [
        (numbered([0, 1] * 4 + [0]), 5, "ood_val: 9 images, too few for 5 folds; allowed: at least 10"),
        (numbered([0] * 20), 2, "class 0 alone"),
        (numbered([0] * 19 + [1]), 2, "in 2 folds, one would judge by class 0 alone"),
        (numbered([0, 1] * 5 + [1] * 4, [0] * 10 + [2] * 4), 5, "in 2 folds, domain neon would judge by class 1 alone"),
        (
            replace(numbered([0, 1] * 5 + [1] * 4), groups=Domains(("ann", "bob"), torch.tensor([0] * 10 + [1] * 4))),
            2,
            "in 2 folds, group bob would judge by class 1 alone",
        ),
        (numbered([0, 1] * 5 + [1] * 4, [0] * 5 + [2] * 5 + [-1] * 4), 3, "domain none would judge by class 1 alone"),
        (numbered([0, 1, 0], [0, 0, 1]), 5, "3 images, too few for 2 folds"),
        (BY_IMAGE, 1, "1 folds; allowed: at least 2"),
    ],
)
def test_what_cannot_be_split_says_why(split, count, words):
    assert words in unsplittable(split, count)
    with pytest.raises(DataError, match="allowed: at least"):
        folds(split, count, seed=0)


def test_what_can_be_split():
    assert unsplittable(numbered([0, 1] * 5), 5) is None
    assert unsplittable(BY_DOMAIN, 5) is None
    small = numbered([0, 1] * 5 + [1] * 4, [0] * 4 + [1] * 6 + [2] * 4)
    assert unsplittable(small, 2) is None, "a domain with one class, beside another that has both"


def seen(split: Split) -> set[int]:
    return set(split.pictures.tolist())


def with_pictures(split: Split, pictures: list[int]) -> Split:
    return replace(split, pictures=torch.tensor(pictures))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("split", [BY_IMAGE, BY_DOMAIN], ids=["images", "domains"])
def test_no_copy_of_a_picture_is_trained_on_where_it_judges(split, seed):
    """Two pictures are there three times, in other domains too."""
    n = len(split)
    copied = with_pictures(split, [0 if i in (4, 21) else 3 if i in (7, 30) else i for i in range(n)])
    made = folds(copied, 2, seed)
    assert sorted(i for fold in made for i in images(fold.judging)) == images(split), "each judges once"
    for fold in made:
        assert not seen(fold.fitting) & seen(fold.judging)
        assert seen(fold.fitting) | seen(fold.judging) == seen(copied)
    if split.domains is None:
        assert all(len(fold.fitting) + len(fold.judging) == n for fold in made), "copies are together"


def test_copies_are_no_further_images():
    twice = with_pictures(numbered([0, 1] * 4), [0, 1, 2, 1, 0, 1, 2, 1])
    assert unsplittable(twice, 2) == "ood_val: 3 images, too few for 2 folds; allowed: at least 4"
    same = with_pictures(numbered([0, 1] * 8, [0] * 8 + [2] * 8), [*range(8), *range(8)])
    assert unsplittable(same, 2) == (
        "ood_val: in 2 folds, domain fog has every picture of the others; allowed: pictures of its own in each"
    )
