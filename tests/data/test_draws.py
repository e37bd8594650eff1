"""Draws by labels and seed, against counts by hand and independent rules."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from metaft.data.draws import dealt, drawn, few, held_out, hold_out
from metaft.errors import DataError
from tests.data.test_folder import load as folder

LABELS = [0] * 50 + [1] * 7 + [2] * 30
DOMAINS = ["a", "b", "b", "b"] * 21 + ["a"] * 3


def test_a_draw_is_the_seeds():
    first = drawn(LABELS, None, 20, 0, False)
    assert first == drawn(LABELS, None, 20, 0, False) == sorted(set(first))
    assert len(first) == 20
    assert first != drawn(LABELS, None, 20, 1, False)
    assert drawn(LABELS, None, 200, 0, True) == list(range(87))


@pytest.mark.parametrize(("count", "expected"), [(3, [1, 1, 1]), (21, [7, 7, 7]), (30, [11, 7, 12]), (62, [27, 7, 28])])
def test_balanced_classes_differ_by_one_at_most_until_one_is_used_up(count, expected):
    found = Counter(LABELS[row] for row in drawn(LABELS, None, count, 3, True))
    assert sorted(found.values()) == sorted(expected)


def test_balanced_domains_differ_by_one_at_most_within_a_class():
    rows = drawn(LABELS, DOMAINS, 21, 5, True)
    found = Counter((LABELS[row], DOMAINS[row]) for row in rows)
    assert {label: (found[label, "a"], found[label, "b"]) for label in (0, 2)} in (
        *({0: (a, 7 - a), 2: (c, 7 - c)} for a in (3, 4) for c in (3, 4)),
    )
    assert found[1, "a"] + found[1, "b"] == 7, "of seven images, all"


def test_of_one_image_a_class_none_is_held_out(picture_tree):
    train = folder(picture_tree).id_train
    firsts = train.subset(torch.tensor([train.labels.tolist().index(label) for label in (0, 1)]))
    with pytest.raises(
        DataError, match="2 images, one a class, of which none can be held out for id_val; allowed: two"
    ):
        hold_out(firsts, 0)


def test_few_images_of_each_class():
    rows = few(LABELS, 16, 0)
    assert Counter(LABELS[row] for row in rows) == {0: 16, 1: 7, 2: 16}
    assert few([LABELS[row] for row in rows], 16, 1) == list(range(39)), "of so few, all"


def test_a_share_of_each_class_is_held_out():
    kept, held = held_out([*LABELS, 3, 4, 4], 0.1, 0)
    assert sorted(kept + held) == list(range(90))
    assert Counter([*LABELS, 3, 4, 4][row] for row in held) == {0: 5, 1: 1, 2: 3, 4: 1}


def test_halves_share_classes_and_no_image():
    one, other = dealt(LABELS, 2, 0)
    assert sorted(one + other) == list(range(87))
    for label, count in Counter(LABELS).items():
        assert sum(LABELS[row] == label for row in one) in (count // 2, count - count // 2)
