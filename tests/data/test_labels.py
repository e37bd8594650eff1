"""Options of the embedded suites that spoil ID labels or change names: what they change, and all that they leave."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.drawing import shapes as drawing
from metaft.data.labels import dealt, noisy
from metaft.data.shapes import CLASSES, NAMES, Options
from tests.data.suites import load


@pytest.mark.parametrize(("count", "classes", "ratio"), [(2000, 12, 20), (2000, 10, 5), (500, 8, 100)])
def test_classes_decay_exponentially(count, classes, ratio):
    counts = np.bincount(dealt(count, classes, ratio, 3), minlength=classes)
    shares = np.array([ratio ** (-k / (classes - 1)) for k in range(classes)])
    np.testing.assert_allclose(counts, count * shares / shares.sum(), atol=1)
    assert counts.sum() == count
    assert counts[0] / counts[-1] == pytest.approx(ratio, rel=0.5 if counts[-1] < 5 else 0.1)
    assert len(set(dealt(count, classes, ratio, 3)[:50])) > classes // 2, "mixed, not sorted"


def test_no_imbalance_deals_by_turns():
    assert dealt(7, 3, 1.0, 5).tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_share_of_labels_is_false():
    labels = np.arange(12_000) % 12
    false = noisy(labels, 12, 0.3, 7)
    wrong = false != labels
    assert wrong.mean() == pytest.approx(0.3, abs=0.02)
    moves = np.bincount((false - labels)[wrong] % 12, minlength=12)
    assert moves[0] == 0
    assert moves[1:] == pytest.approx(wrong.sum() / 11, rel=0.2), "each other class as likely"
    assert np.array_equal(noisy(labels[:100], 12, 0.3, 7), false[:100]), "a size changes no label"
    assert not np.array_equal(noisy(labels, 12, 0.3, 8), false)
    assert np.array_equal(noisy(labels, 12, 0.0, 7), labels)
    assert (noisy(labels, 12, 1.0, 7) != labels).all()


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_noise_changes_labels_of_id_train_alone(name):
    clean, false = load(name, id_train=200), load(name, id_train=200, label_noise=0.4)
    assert 50 < (clean.id_train.labels != false.id_train.labels).sum() < 110
    for part in clean.parts:
        one, other = clean.parts[part], false.parts[part]
        assert torch.equal(one.source.pixels(range(20)), other.source.pixels(range(20)))
        assert part == "id_train" or torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_imbalance_changes_id_train_alone(name):
    even, tilted = load(name, id_train=400), load(name, id_train=400, imbalance=10)
    classes = len(even.classes.names)
    counts = tilted.id_train.counts(classes)
    assert sum(counts) == 400
    assert counts == sorted(counts, reverse=True)
    assert counts[0] / counts[-1] == pytest.approx(10, rel=0.1)
    for part in set(even.parts) - {"id_train"}:
        assert torch.equal(even.parts[part].labels, tilted.parts[part].labels)
        assert torch.equal(even.parts[part].source.pixels(range(20)), tilted.parts[part].source.pixels(range(20)))


def test_pretraining_has_read_the_known_names_alone():
    """Captions name glyphs by their keys; no made-up name is a word of one."""
    read = {*drawing.GLYPHS}
    assert len(CLASSES["known"]) == 8
    assert set(CLASSES["known"].values()) < read
    assert all(list(drawing.GLYPHS)[place] == name for place, name in CLASSES["known"].items())
    made_up = CLASSES["unknown"].values()
    assert len({*made_up}) == len(NAMES) == 12
    assert not {*made_up} & words_of_pretraining()
    assert {*NAMES} - read < {*made_up}


def words_of_pretraining() -> set[str]:
    """Every word that a caption of the pretraining may hold."""
    from metaft.data.digits import NAMES as DIGITS
    from metaft.data.drawing.styles import COLOURS, STYLES

    phrases = [*drawing.GLYPHS, *DIGITS, *COLOURS, *STYLES, "picture drawing digit a of the"]
    return {word for phrase in phrases for word in re.findall(r"\w+", phrase)}


def test_unknown_names_change_no_picture():
    suite, unknown = load("shapes"), load("shapes", names="unknown")
    assert suite.classes.names == NAMES
    assert not {*unknown.classes.names} & {"circle", "star", "ring"}
    for part in suite.parts:
        one, other = suite.parts[part], unknown.parts[part]
        assert torch.equal(one.labels, other.labels)
        assert torch.equal(one.source.pixels(range(20)), other.source.pixels(range(20)))


def test_known_names_leave_their_objects():
    splits = load("shapes", names="known", id_train=40)
    assert splits.classes.names == ("circle", "square", "triangle", "star", "heart", "ring", "arrow", "diamond")
    for split in splits.parts.values():
        assert split.labels[:16].tolist() == [*range(8)] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"names": "unknwon"}, "'suite', 'known' or 'unknown'"),
        ({"label_noise": 1.5}, "less than or equal to 1"),
        ({"imbalance": 0.5}, "greater than or equal to 1"),
        ({"imbalance": float("inf")}, "finite"),
    ],
)
def test_faulty_options_are_named(options, words):
    (odd,) = registry.faults(DataConfig(format="shapes", options=options))
    assert words in str(odd)
    assert Options().imbalance == 1
