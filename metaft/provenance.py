"""The origin of results."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metaft.build.workspace import Workspace
from metaft.data.types import Split

PACKAGES = ("metaft", "torch", "torchvision", "higher", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pydantic")


def provenance(work: Workspace) -> dict[str, Any]:
    """The command, versions, commit, device, date, seed, metric and data of a run, as JSON types."""
    device = work.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "commit": _commit(),
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": work.cfg.seed,
        "metric": work.search.metric,
        "suite": dict(work.suite),
        "data": {name: {"n": len(split), "sha256": _fingerprint(split)} for name, split in work.splits.parts.items()},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the source tree metaft runs from, with `+` where it has changes; None outside of one."""
    root = Path(__file__).parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _fingerprint(split: Split) -> str:
    """A hash of all labels and the first 64 images, 16 hexadecimal digits."""
    digest = hashlib.sha256(split.labels.numpy().tobytes())
    digest.update(split.source.pixels(range(min(64, len(split)))).numpy().tobytes())
    return digest.hexdigest()[:16]
