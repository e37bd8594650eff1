"""What every embedded suite keeps to."""

from __future__ import annotations

import pytest
import torch

from metaft import config
from metaft.data import registry
from metaft.data.types import ImageView
from tests.data.suites import VIEW, load


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_splits_are_repeatable_and_differ(name):
    first, again, other = (load(name, id_train=n, seed=seed, id_val=40) for n, seed in ((40, 0), (80, 0), (40, 1)))
    pixels = first.id_train.source.pixels(range(40))
    assert torch.equal(pixels, again.id_train.source.pixels(range(40))), "a size changes no image"
    assert not torch.equal(pixels, other.id_train.source.pixels(range(40)))
    assert not torch.equal(pixels, first.id_val.source.pixels(range(40)))
    assert len(first.id_train) == 40
    assert "id_test" in first.tests
    assert any(split.startswith("ood_test/") for split in first.tests)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_the_oracle_sees_no_test_image(name):
    splits = load(name, test=100)
    seen = splits.oracle_data
    trained = {bytes(p) for s in (seen.id_train, seen.id_val) for p in s.source.pixels(range(len(s))).numpy()}
    tested = {bytes(p) for s in splits.tests.values() for p in s.source.pixels(range(len(s))).numpy()}
    assert len(trained) == len(splits.labelled_half) == sum(len(t) for k, t in splits.tests.items() if k != "id_test")
    assert not trained & tested


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_pictures_can_be_drawn_larger(name):
    view = ImageView(64, VIEW.mean, VIEW.std, VIEW.transform)
    fine, coarse = (load(name, view=view, size=s).id_train.source.pixels(range(20)) for s in (64, 32))
    assert fine.shape == coarse.shape == (20, 3, 64, 64)
    smooth = torch.nn.functional.avg_pool2d(fine.float() - coarse.float(), 8)
    assert smooth.abs().mean() < 12, "the same pictures, to the eye"


@pytest.mark.parametrize("text", ["2024", "1.0", "true", "class #1", "[a"])
def test_names_among_options_are_what_was_typed(text):
    words = ["format=hf", "root=p", *(f"options.{name}={text}" for name in ("label_key", "group_key", "id_train"))]
    options = registry.options(config.load(None, [f"data.{word}" for word in words]).data)
    assert (options.label_key, options.group_key, str(options.id_train)) == (text, text, text)


def test_numbers_and_truth_values_among_options_are_read_as_such():
    words = ["format=shapes", "options.label_noise=1e-1", "options.size=64", "options.id_train=40"]
    options = registry.options(config.load(None, [f"data.{word}" for word in words]).data)
    assert (options.label_noise, options.size, options.id_train) == (0.1, 64, 40)
    words = ["format=domainnet", "options.balanced=true"]
    assert registry.options(config.load(None, [f"data.{word}" for word in words]).data).balanced is True


@pytest.mark.parametrize(
    ("word", "field"), [("ood_test={a: null}", "ood_test.a"), ("more={w: [1]}", "more.w"), ("id_train=[a]", "id_train")]
)
def test_what_is_no_path_is_named_with_its_place(word, field):
    data = config.load(None, ["data.format=folder", "data.root=p", f"data.options.{word}"]).data
    (fault,) = registry.faults(data)
    assert (fault.field, fault.allowed.partition(";")[0]) == (f"data.options.{field}", "a path")
