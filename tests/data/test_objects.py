"""A person's own datasets: domains of validation and further sources."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from metaft.data.decode import Reading, decode
from metaft.data.objects import splits_of
from metaft.data.types import Classes, Splits
from metaft.errors import ConfigError, DataError
from tests.data.suites import VIEW
from tests.data.test_folder import VIEW as REAL

CLASSES = Classes(("dark", "light"), ("a {} picture.",))


def pictures(count: int, seed: int, dtype: torch.dtype = torch.uint8) -> list:
    """Pairs of random pixels and labels by turns."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator).to(dtype)
    return [(image, i % 2) for i, image in enumerate(pixels)]


def opened(view=VIEW, **more) -> Splits:
    splits = {"id_train": pictures(8, 0), "ood_val": pictures(6, 1), "id_test": pictures(4, 2)}
    splits |= {name.replace("__", "/"): dataset for name, dataset in more.items()}
    return splits_of({name: data for name, data in splits.items() if data is not None}, CLASSES, view, None, 0)


def test_validation_in_named_domains():
    noon, haze = pictures(4, 3), pictures(3, 4)
    splits = opened(ood_val=None, ood_val__noon=noon, ood_val__haze=haze)
    split = splits.ood_val
    assert (split.name, split.domains.names) == ("ood_val", ("noon", "haze"))
    assert split.domains.numbers.tolist() == [0] * 4 + [1] * 3
    assert split.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert torch.equal(split.source.pixels([6, 0]), torch.stack([haze[2][0], noon[0][0]]))
    assert set(splits.tests) == {"id_test"}
    assert opened().ood_val.domains is None


def test_domains_of_different_kinds():
    with pytest.raises(DataError, match="noon of pixels in uint8, haze of floats"):
        opened(ood_val=None, ood_val__noon=pictures(4, 3), ood_val__haze=pictures(3, 4, torch.float32))


def test_further_sources():
    splits = opened(more__artist_2=pictures(6, 3), ood_test__fog=pictures(2, 4))
    assert list(splits.search_data.sources) == ["ood_val", "artist_2"]
    assert splits.more["artist_2"].name == "more/artist_2"
    assert set(splits.tests) == {"id_test", "ood_test/fog"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"ood_val__fog": pictures(2, 3)}, "splits['ood_val']: given, and 'ood_val/fog' too"),
        (
            {"more__id_train": pictures(2, 3)},
            "splits['more/id_train']: not the name of a source; allowed: more/NAME of",
        ),
        ({"more__Fog 1": pictures(2, 3)}, "splits['more/Fog 1']: not the name of a source"),
        ({"more__": pictures(2, 3)}, "splits['more/']: unknown name"),
        ({"ood_val": None}, "splits['ood_val']: missing"),
    ],
)
def test_names(more, words):
    with pytest.raises(ConfigError) as caught:
        opened(**more)
    assert words in str(caught.value)


@pytest.mark.parametrize("mode", ["I;16", "RGBA", "F", "LA", "P", "L", "CMYK"])
def test_pictures_of_every_kind_become_what_files_become(mode, tmp_path):
    """As `ImageFolder`s and `datasets` give them: 16 bits, floats and transparency as in a file of the same."""
    rng = np.random.default_rng(0)
    made = {
        "I;16": lambda: Image.fromarray(rng.integers(2**16, size=(40, 40)).astype(np.uint16)),
        "F": lambda: Image.fromarray(rng.random((40, 40)).astype(np.float32)),
    }
    plain = Image.fromarray(rng.integers(256, size=(40, 40, 4)).astype(np.uint8), "RGBA")
    image = (
        made[mode]() if mode in made else plain.convert("RGB").convert(mode) if mode == "CMYK" else plain.convert(mode)
    )
    path = tmp_path / ("a.tif" if mode in ("F", "CMYK") else "a.png")
    image.save(path)
    expected = decode(path, Reading(REAL)).pixels
    (ours,) = opened(REAL, id_test=[(image, 0)]).tests["id_test"].source.pixels([0])
    assert torch.equal(ours, expected)
    assert ours.float().std() > 1, "not of one colour"


def test_what_cannot_be_read_is_named():
    class Broken(list):
        def __getitem__(self, number):
            raise OSError("image file is truncated") if number == 2 else IndexError(number)

    with pytest.raises(DataError, match=r"id_train'\]: item 0 cannot be read \(0\)"):
        opened(id_train=Broken(pictures(4, 0)))
    bad = Image.fromarray(np.full((4, 4), 7.0, dtype=np.float32))
    with pytest.raises(
        DataError, match=r"item 0 has an image with a fault \(values from 7 to 7; allowed: floats from 0 to 1\)"
    ):
        opened(ood_test__x=[(bad, 0)])


def half(name: str) -> Image.Image:
    """A picture that is opened, but not yet read, of a file that ends early."""
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)).save(whole, name)
    return Image.open(io.BytesIO(whole.getvalue()[: len(whole.getvalue()) // 2]))


class Unsized(list):
    """Its length cannot be had."""

    def __len__(self):
        raise NotImplementedError("no length\nhere")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (half("PNG"), r"item 1 has an image with a fault \(image file is truncated"),
        (half("JPEG"), r"item 1 has an image with a fault \(image file is truncated"),
        (Image.new("RGB", (0, 7)), "item 1 has an image of 0 x 7 pixels"),
        (torch.full((3, 32, 32), torch.nan), "item 1 has an image with NaN or infinite values"),
    ],
    ids=["png", "jpeg", "no pixels", "NaN"],
)
def test_images_that_are_none_are_named(image, said):
    with pytest.raises(DataError, match=rf"splits\['id_test'\]: {said}"):
        opened(VIEW if isinstance(image, torch.Tensor) else REAL, id_test=[(torch.zeros(3, 32, 32), 0), (image, 1)])


def test_datasets_without_a_length_are_named():
    with pytest.raises(DataError, match=r"id_test'\]: its length cannot be had \(no length\); allowed: a map-style"):
        opened(id_test=Unsized(pictures(4, 2)))
    with pytest.raises(DataError, match=r"id_test'\]: the class Unsized; allowed: an object of it"):
        opened(id_test=Unsized)


def test_images_of_a_computation_are_taken_as_they_are():
    moving = [(torch.zeros(3, 32, 32, requires_grad=True), i % 2) for i in range(4)]
    assert not opened(id_test=moving).tests["id_test"].source.pixels([0]).requires_grad


def test_every_class_that_judges_is_trained():
    with pytest.raises(DataError, match="id_train: no image of class 'light', of which ood_val has some"):
        opened(id_train=[(image, 0) for image, _ in pictures(8, 0)])
    assert opened(id_train=[(image, 0) for image, _ in pictures(8, 0)], more__web=pictures(4, 5))
