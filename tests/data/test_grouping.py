"""Domains and groups that a person gives beside own datasets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaft.data.folds import folds
from metaft.data.objects import splits_of
from metaft.errors import ConfigError
from tests.data.suites import VIEW
from tests.data.test_objects import CLASSES, pictures

SIZES = {"id_train": 8, "ood_val": 6, "id_test": 4}
GROUPS = {"ood_val": [1, 1, 10, 10, 9, 9], "id_test": list("abab")}


def opened(splits=None, **beside):
    datasets = {name: pictures(size, seed) for seed, (name, size) in enumerate(SIZES.items())}
    given = datasets if splits is None else {"id_train": datasets["id_train"], **splits}
    return splits_of(given, CLASSES, VIEW, None, 0, **beside)


def test_names_and_numbers_of_every_kind():
    """Lists, arrays, and columns of the tensor [N, fields] in which the package wilds keeps what it knows of images."""
    metadata = torch.tensor([[7, 0], [7, 1], [9, 2], [9, 3], [7, 4], [10, 5]])
    for column in (metadata[:, 0], metadata[:, 0].numpy(), metadata[:, 0].tolist(), ("7", "7", "9", "9", "7", "10")):
        split = opened(domains={"ood_val": column}).ood_val
        assert split.domains.names == ("7", "9", "10"), "numbers by their size"
        assert split.domains.numbers.tolist() == [0, 0, 1, 1, 0, 2]
        assert split.groups is None
    splits = opened(domains={"id_test": ["north", None, "east", "north"]})
    assert splits.tests["id_test"].domains.names == ("east", "north")
    assert splits.tests["id_test"].domains.numbers.tolist() == [1, -1, 0, 1]
    assert splits.ood_val.domains is None


def test_a_fold_judges_by_whole_groups():
    splits = opened(groups=GROUPS)
    assert splits.ood_val.groups.names == ("1", "9", "10")
    assert splits.ood_val.groups.numbers.tolist() == [0, 0, 2, 2, 1, 1]
    for fold in folds(splits.ood_val, 2, 0):
        assert not {*fold.fitting.groups.numbers.tolist()} & {*fold.judging.groups.numbers.tolist()}
    assert splits.id_val.groups is None, "it is held out of id_train, of which nobody says any"
    known = opened(groups={**GROUPS, "id_train": np.arange(8)})
    pixels = opened().id_train.source.pixels(range(len(known.id_train)))
    assert torch.equal(known.id_train.source.pixels(range(len(known.id_train))), pixels)
    everyone = [*known.id_train.groups.numbers.tolist(), *known.id_val.groups.numbers.tolist()]
    assert sorted(everyone) == list(range(8))
    rows = [int(i) for i in known.id_val.groups.numbers]
    own = torch.stack([pictures(8, 0)[i][0] for i in rows])
    assert torch.equal(known.id_val.source.pixels(range(len(rows))), own), "each has stayed with its image"


def test_groups_over_domains():
    """A camera that two domains have is one group."""
    splits = {"ood_val/noon": pictures(2, 3), "ood_val/haze": pictures(3, 4), "id_test": pictures(4, 2)}
    groups = {"ood_val/noon": ["x", "y"], "ood_val/haze": ["y", "y", "z"], "id_test": list("abab")}
    split = opened(splits, groups=groups).ood_val
    assert split.domains.names == ("noon", "haze")
    assert [split.groups.names[number] for number in split.groups.numbers] == ["x", "y", "y", "y", "z"]


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"domains": {"ood_vall": [1] * 6}}, ["domains: unknown name 'ood_vall'", "Did you mean 'ood_val'?"]),
        ({"domains": {"ood_val": [1] * 5}}, ["domains['ood_val']: 5 of them; allowed: 6, one for each image"]),
        (
            {"domains": {"ood_val": "abcdef"}},
            ["domains['ood_val']: a str; allowed: a list, tuple, array or tensor of 6"],
        ),
        ({"domains": {"ood_val": {*range(6)}}}, ["domains['ood_val']: a set"]),
        ({"domains": {"ood_val": torch.tensor(6)}}, ["domains['ood_val']: a Tensor"]),
        ({"domains": {"ood_val": iter(range(6))}}, ["domains['ood_val']: a range_iterator"]),
        ({"domains": {"ood_val": [1, 2, 3.0, 4, 5, 6]}}, ["item 2 is 3.0; allowed: names or whole numbers, or None"]),
        ({"domains": {"ood_val": ["a", " "] * 3}}, ["domains['ood_val']: item 1 is ' '"]),
        ({"domains": {"ood_val": [True, False] * 3}}, ["item 0 is True"]),
        ({"domains": {"ood_val": torch.zeros(6, 2, dtype=torch.int64)}}, ["item 0 is tensor([0, 0])"]),
        ({"groups": {**GROUPS, "id_test": [1, 2, None, 3]}}, ["groups['id_test']: item 2 is None; allowed: names or"]),
        ({"groups": {"ood_val": GROUPS["ood_val"]}}, ["groups['id_test']: missing, but ood_val given"]),
        ({"domains": {"ood_val": [1]}, "groups": {"more/x": [1]}}, ["4 problems", "groups: unknown name 'more/x'"]),
    ],
)
def test_faults_are_named(beside, words):
    with pytest.raises(ConfigError) as caught:
        opened(**beside)
    for word in words:
        assert word in str(caught.value)


def test_a_domain_is_said_once():
    splits = {"ood_val/noon": pictures(2, 3), "ood_val/haze": pictures(2, 4)}
    with pytest.raises(ConfigError, match=r"domains\['ood_val/noon'\]: given, and the split is one domain by its name"):
        opened(splits, domains={"ood_val/noon": [1, 2]})
