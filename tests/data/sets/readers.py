"""What tests of data sets by name share: loading one, and comparing a split with another library's reader."""

from __future__ import annotations

from pathlib import Path

import torch

from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.types import Split, Splits
from tests.data.test_folder import VIEW


def load(name: str, root: Path, *, view=VIEW, seed: int = 0, shots: int | None = None, **options) -> Splits:
    data = DataConfig(format=name, root=root, shots=shots, options=options)
    assert registry.faults(data) == []
    return registry.load(data, seed, view)


def pixels(split: Split):
    """uint8 [N, 3, S, S]."""
    return split.source.pixels(range(len(split)))


def labels(split: Split) -> list[int]:
    return split.labels.tolist()


def files(split: Split) -> list[str]:
    """Where each picture lies, whatever subsets it went through."""
    from metaft.data.types import origin

    places = [origin(split.source, i) for i in range(len(split))]
    return [str(source.files[number]) for source, number in places]


def same_as(split: Split, reference) -> None:
    """The same pictures at the view's size, with the same labels, in the same order, as a map-style dataset has."""
    assert len(split) == len(reference) > 0
    found = pixels(split)
    for number in range(len(reference)):
        image, label = reference[number]
        assert int(split.labels[number]) == int(label)
        expected = VIEW.transform(image.convert("RGB"))
        torch.testing.assert_close(found[number], expected, rtol=0, atol=0)
