"""The worlds of the benchmarks: they load, and hold what they held when they were frozen.

Run as a script, this file writes worlds.json anew: after that every committed row of benchmarks/worlds.py is void.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from shared.worlds import TUNING, WORLDS

from metaft import config
from metaft.build import check
from metaft.data import registry
from metaft.data.types import ImageView

FILE = Path(__file__).parent / "worlds.json"
VIEW = ImageView(32, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), lambda image: torch.zeros(3, 32, 32, dtype=torch.uint8))
FIRST = 48  # images of each split that are looked at


def contents(world) -> dict[str, list]:
    """By split: its size, a hash of its labels, and the mean of each channel over its first images."""
    cfg = config.load(None, list(world.settings))
    splits = registry.load(cfg.data, 0, VIEW)
    return {
        name: [
            len(split),
            hashlib.sha256(split.labels.numpy().tobytes()).hexdigest()[:16],
            [round(m, 2) for m in split.source.pixels(range(min(FIRST, len(split)))).float().mean((0, 2, 3)).tolist()],
        ]
        for name, split in splits.parts.items()
    }


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_a_world_is_frozen(world):
    frozen = json.loads(FILE.read_text())[world.name]
    now = contents(world)
    assert now.keys() == frozen.keys()
    for name, (size, labels, means) in now.items():
        assert [size, labels] == frozen[name][:2], name
        assert means == pytest.approx(frozen[name][2], abs=0.02), name


@pytest.mark.parametrize("world", [*WORLDS, *TUNING], ids=lambda world: world.name)
def test_a_world_can_be_opened(world):
    check(config.load(None, list(world.settings)))
    assert world.reason


def test_nothing_is_tuned_on_what_is_reported():
    reported = {world.settings for world in WORLDS}
    assert len(reported) == len(WORLDS) >= 8
    assert not reported & {world.settings for world in TUNING}
    assert len({world.name for world in (*WORLDS, *TUNING)}) == len(WORLDS) + len(TUNING)


if __name__ == "__main__":
    FILE.write_text(json.dumps({world.name: contents(world) for world in WORLDS}, indent=1) + "\n")
