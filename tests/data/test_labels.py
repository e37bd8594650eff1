"""Labels of drawn splits: long tails, and wrong ones in a known share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.drawing.labels import classes_of, noisy
from metaft.data.shapes import KNOWN, NAMES, UNKNOWN
from metaft.data.types import ImageView

VIEW = ImageView(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lambda image: torch.zeros(3, 32, 32, dtype=torch.uint8))


def splits(suite: str, **options):
    few = {"id_train": 240, "id_val": 24, "ood_val": 24, "test": 24}
    return registry.load(DataConfig(format=suite, options={**few, **options}), 3, VIEW)


def test_a_long_tail_falls_evenly():
    """Each class has imbalance^(-1/(C-1)) times the images of the one before, to rounding."""
    counts = np.bincount(classes_of(100_000, 12, 20.0))
    assert counts.sum() == 100_000
    assert counts[0] / counts[-1] == pytest.approx(20, rel=0.01)
    assert counts[1:] / counts[:-1] == pytest.approx(20 ** (-1 / 11), rel=0.01)
    assert np.array_equal(classes_of(5, 3), [0, 1, 2, 0, 1])


def test_wrong_labels_are_of_any_other_class():
    labels = classes_of(60_000, 6)
    given = noisy(labels, 6, 0.3, seed=1)
    wrong = given != labels
    assert wrong.mean() == pytest.approx(0.3, abs=0.01)
    shifts = np.bincount((given - labels)[wrong] % 6, minlength=6)
    assert shifts[0] == 0
    assert shifts[1:] == pytest.approx(wrong.sum() / 5, rel=0.05)
    assert np.array_equal(noisy(labels, 6, 0.0, seed=1), labels)
    assert not np.array_equal(noisy(labels, 6, 0.3, seed=2), given)


@pytest.mark.parametrize("suite", ["shapes", "digits"])
def test_only_id_train_has_wrong_labels_and_a_tail(suite):
    clean, changed = splits(suite), splits(suite, label_noise=0.3)
    for name, split in clean.parts.items():
        other = changed.parts[name]
        rows = list(range(len(split)))
        assert torch.equal(split.source.pixels(rows), other.source.pixels(rows)), "the pictures are the same"
        assert torch.equal(split.labels, other.labels) == (name != "id_train"), name
    tailed = splits(suite, imbalance=10)
    counts = torch.bincount(tailed.id_train.labels).tolist()
    assert counts == sorted(counts, reverse=True)
    assert 8 <= counts[0] / counts[-1] <= 12
    assert len(set(torch.bincount(tailed.ood_val.labels).tolist())) <= 2


def test_objects_by_what_is_known_of_their_names():
    suite, known, unknown = (splits("shapes", names=names) for names in ("suite", "known", "unknown"))
    assert suite.classes.names == NAMES
    assert known.classes.names == KNOWN
    assert unknown.classes.names == UNKNOWN
    assert not set(UNKNOWN) & set(KNOWN)
    rows = list(range(24))
    assert torch.equal(suite.id_val.source.pixels(rows), unknown.id_val.source.pixels(rows))
    assert known.id_val.labels.max() == len(KNOWN) - 1
