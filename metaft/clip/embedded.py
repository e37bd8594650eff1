"""The embedded models: architectures registered with open_clip, and the files of their weights."""

from __future__ import annotations

import re
from pathlib import Path

import open_clip

from metaft.clip.names import EMBEDDED, FOLDER, TOY
from metaft.data.registry import PICTURES
from metaft.errors import CheckpointError
from metaft.files import cache_folder

for _name in EMBEDDED:
    open_clip.add_model_config(FOLDER / f"{_name}.json")


def checkpoint(name: str, seed: int) -> Path:
    """The file of an embedded model's weights from a pretraining seed, whether it exists yet or not.

    The toy's seed 0 ships in the package. `benchmarks/pretrain.py` makes the others, in the folder that METAFT_CACHE
    names or else in ~/.cache/metaft.
    """
    if (name, seed) == (TOY, 0):
        return FOLDER / f"{TOY}.safetensors"
    return cache_folder() / f"{name}-suites-{PICTURES}-seed-{seed}.safetensors"


def resolve(name: str, pretrained: str | None) -> str | None:
    """The file that `pretrained` means for an embedded model: None is seed 0, `seed-N` another pretraining.

    Raises:
        CheckpointError: that pretraining has not been made on this machine.
    """
    if name not in EMBEDDED:
        return pretrained
    seed = re.fullmatch(r"seed-(\d+)", pretrained or "seed-0")
    if seed is None:
        return pretrained
    path = checkpoint(name, int(seed[1]))
    if not path.exists():
        command = f"python benchmarks/pretrain.py --model {name} --seed {seed[1]}"
        raise CheckpointError(
            f"model.pretrained: {seed[0]} of {name} is not at {path}; allowed: made before, by {command}"
        )
    return str(path)
