"""The benchmarks' worlds: they load, differ between reporting and tuning, and never change under a suite version.

Where the frozen ones fail, see test_frozen.py; run as a script (with benchmarks/ on the path), this file writes the
means of a few pictures of each world and prints the hashes of its labels and class names.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from metaft import build, config
from metaft.config.schema import DataConfig
from metaft.data import registry
from metaft.data.drawing import digits, shapes
from metaft.data.registry import SUITE_VERSION
from metaft.data.types import Splits
from tests.data.test_frozen import FEW, ROUNDING, VIEW, blank, means

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from shared.worlds import TUNING, WORLDS, World

MEANS = Path(__file__).parent / f"frozen-worlds-{SUITE_VERSION}.npz"
HASHES = {
    2: {
        "names_unknown": "338e497414240223",
        "names_known": "b1ff784ce09c0c8f",
        "near_styles": "680bb954e63f494c",
        "far_styles": "50cfb848e1163f5c",
        "few_labels": "884b53fafe8af1f2",
        "many_labels": "4ad36f6dde6ab51b",
        "label_noise": "7b51f021d36a506a",
        "imbalance": "6d114da3c2e79e09",
        "digits": "71a133ef8dbe0307",
        "shapes": "b648bc251a678221",
    }
}
FEW_PICTURES = 10  # of each split


def settings(world: World) -> DataConfig:
    return config.load(None, world.settings).data


def opened(world: World) -> Splits:
    """The first pictures of a world; a size changes no image, but that imbalance deals classes out by size."""
    data = settings(world)
    few = {key: FEW_PICTURES for key in FEW if key != "id_train" or "imbalance" not in data.options}
    return registry.load(data.model_copy(update={"options": {**data.options, **few}}), 0, VIEW)


def pictures() -> dict[str, np.ndarray]:
    """The mean of each channel of the first images of each split of each world."""
    return {
        f"{world.name}/{part}": means(split.source.pixels(range(FEW_PICTURES)))
        for world in WORLDS
        for part, split in opened(world).parts.items()
    }


def hashes() -> dict[str, str]:
    """Class names, and the labels and domains of every split, of each world at its own sizes."""
    digests = {}
    for world in WORLDS:
        with patch.object(shapes, "render", blank), patch.object(digits, "render", blank):
            splits = registry.load(settings(world), 0, VIEW)
        digest = hashlib.sha256(" ".join(splits.classes.names).encode())
        for part, split in sorted(splits.parts.items()):
            digest.update(part.encode() + split.labels.numpy().tobytes())
            if split.domains is not None:
                digest.update(" ".join(split.domains.names).encode() + split.domains.numbers.numpy().tobytes())
        digests[world.name] = digest.hexdigest()[:16]
    return digests


@pytest.mark.parametrize("world", [*WORLDS, *TUNING], ids=lambda world: world.name)
def test_settings_load(world):
    build.check(config.load(None, world.settings))
    assert 0 < len(world.reason) < 120
    assert "\n" not in world.reason


def test_tuning_is_done_on_other_worlds():
    def styles(worlds):
        of = [registry.FORMATS["shapes"].model(**settings(w).options) for w in worlds if w.name != "digits"]
        return {o.style for o in of}, {(frozenset(o.val_styles), frozenset(o.test_styles)) for o in of}

    (reported, sets), (tuned, tuned_sets) = styles(WORLDS), styles(TUNING)
    assert not reported & tuned, "other ID styles"
    assert not sets & tuned_sets
    assert not {v for v, _ in sets} & {v for v, _ in tuned_sets}
    assert not {t for _, t in sets} & {t for _, t in tuned_sets}
    sizes = [{settings(w).options.get("ood_val", 300) for w in worlds} for worlds in (WORLDS, TUNING)]
    assert not sizes[0] & sizes[1], "and other sizes"
    kinds = {key for w in TUNING for key in settings(w).options}
    assert not kinds & {"label_noise", "imbalance"}
    assert {settings(w).format for w in TUNING} == {"shapes"}
    assert len({w.name for w in (*WORLDS, *TUNING)}) == len(WORLDS) + len(TUNING) == 15


def test_labels_have_not_changed_under_this_version():
    assert hashes() == HASHES[SUITE_VERSION], "see the top of this file"


def test_pictures_have_not_changed_under_this_version():
    expected, drawn = dict(np.load(MEANS)), pictures()
    assert set(drawn) == set(expected), "see the top of this file"
    for name, value in expected.items():
        np.testing.assert_allclose(
            drawn[name], value, rtol=0, atol=ROUNDING, err_msg=f"{name}: see the top of this file"
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.savez_compressed(MEANS, **pictures())
    print(hashes())
