"""Shared fixtures: one thread, and one opened workspace of small splits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from metaft import build, config, progress
from metaft.build import Workspace
from metaft.data import decoded
from metaft.progress import be_quiet

torch.set_num_threads(1)  # a second one would wait for others' processors
progress.MINUTE = float("inf")  # no test's errors depend on how long others took

# AutoFT's protocol: K = 11, one fold
JUDGE = (
    *("search.use_ood_labels=judge", "search.id_drop_max=null"),
    *("objective.head=zero_shot", "objective.mix=false"),
)
SMALL = (
    *JUDGE,
    "data.options.id_train=200",
    "data.options.id_val=60",
    "data.options.ood_val=100",
    "data.options.test=40",
    "inner.steps=2",
    "inner.batch_size=16",
    "search.trials=6",
    "search.seconds=600",  # the trials end a search, however slowly processes start
    "search.candidates=2",
    "search.outer_batch_size=64",
    "finetune.epochs=1",
    "finetune.batch_size=50",
    "evaluation.bootstrap=100",
)


def by_default(kept, values):
    """Parameters, of which all but these are for `full` runs."""
    return [pytest.param(value, marks=() if value in kept else pytest.mark.full) for value in values]


@pytest.fixture(autouse=True)
def heard():
    """Lines are told again after a test that was quiet."""
    yield
    be_quiet(False)


@pytest.fixture
def no_compiler(monkeypatch):
    """What torch compiles cannot run."""

    def broken(*_, **__):
        def run(*_, **__):
            raise RuntimeError("no compiler")

        return run

    monkeypatch.setattr("torch.compile", broken)


@pytest.fixture
def small() -> tuple[str, ...]:
    """Overrides that make every part of a run take seconds."""
    return SMALL


@pytest.fixture(scope="session")
def work() -> Workspace:
    """The toy CLIP on small digits."""
    return build.workspace(config.load(None, SMALL))


@pytest.fixture(params=["memory", "disk", "nowhere"])
def kept(request, monkeypatch, tmp_path):
    """Settings of data whose decoded pictures are kept there."""
    monkeypatch.setenv("METAFT_CACHE", str(tmp_path / "cache"))
    if request.param != "memory":
        monkeypatch.setattr(decoded, "MEMORY", 0)
    return {"cache_gib": 0.0} if request.param == "nowhere" else {}


@pytest.fixture
def picture_tree(tmp_path):
    """root/SPLIT/class/image: two classes, light and dark pictures, ten of each."""
    rng = np.random.default_rng(0)
    for split in ("id_train", "id_val", "ood_val", "id_test", "ood_test/dusk", "ood_test/dawn"):
        for label, name in enumerate(("dark_square", "light_square")):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(10):
                pixels = rng.integers(100, size=(40, 48, 3)) + 150 * label
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "pictures"
