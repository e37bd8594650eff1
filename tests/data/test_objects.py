"""A person's own datasets: domains of validation and further sources."""

from __future__ import annotations

import pytest
import torch

from metaft.data.objects import splits_of
from metaft.data.types import Classes, Splits
from metaft.errors import ConfigError, DataError
from tests.data.suites import VIEW

CLASSES = Classes(("dark", "light"), ("a {} picture.",))


def pictures(count: int, seed: int, dtype: torch.dtype = torch.uint8) -> list:
    """Pairs of random pixels and labels by turns."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 3, 32, 32), generator=generator).to(dtype)
    return [(image, i % 2) for i, image in enumerate(pixels)]


def opened(**more) -> Splits:
    splits = {"id_train": pictures(8, 0), "ood_val": pictures(6, 1), "id_test": pictures(4, 2)}
    splits |= {name.replace("__", "/"): dataset for name, dataset in more.items()}
    return splits_of({name: data for name, data in splits.items() if data is not None}, CLASSES, VIEW, None, 0)


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
