"""The origin of results, and what tells a run from every other."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metaft import ranks
from metaft.build.workspace import Workspace
from metaft.config.read import flatten
from metaft.config.schema import MOVABLE, Config
from metaft.search.registry import SAMPLERS
from metaft.tensors import digest

PACKAGES = ("metaft", "torch", "torchvision", "higher", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pydantic")


def provenance(work: Workspace) -> dict[str, Any]:
    """The command, versions, commit, device, date, seed, metric, data and class names of a run, as JSON types."""
    device = work.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in _packages(work.cfg)}},
        "commit": _commit(),
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": work.cfg.seed,
        "metric": work.search.metric,
        "suite": dict(work.suite),
        "data": work.fingerprints,
        "classes": list(work.splits.classes.names),
    }


def identity(work: Workspace) -> dict[str, dict[str, Any]]:
    """What a run must have in common with itself when it goes on, as JSON types: settings, data, weights and code.

    Code, with the threads that it runs on, may be other: what it makes of the rest differs by rounding.
    """
    known = work.splits.classes
    classes = hashlib.sha256("\n".join([*known.names, "", *known.templates]).encode()).hexdigest()[:16]
    code = {p: _version(p) for p in _packages(work.cfg) if p != "metaft"}
    return {
        "settings": fixed_settings(work.cfg),
        "data": {"classes": {"n": len(known.names), "sha256": classes}, **work.fingerprints},
        "weights": {"theta_0": digest(work.classifier.clip.state_dict())},  # the head rounds as threads do
        "code": {"metaft": _source(), **code, "threads": torch.get_num_threads()},
    }


def agreed_identity(work: Workspace) -> dict[str, dict[str, Any]]:
    """The identity of a workspace, which all ranks have, on devices of one kind.

    Raises:
        ConfigError: they do not; names the rank and what differs first, on all.
    """
    own = identity(work)
    ranks.refuse_others({**own, "device": {"kind": work.device.type}})
    return own


def fixed_settings(cfg: Config) -> dict[str, Any]:
    """The settings that a run must go on with as it began, by dotted key."""
    return {name: value for name, value in flatten(cfg).items() if name not in MOVABLE}


def run_id(identity: Mapping[str, Mapping[str, Any]]) -> str:
    """16 hexadecimal digits that runs of the same settings, data and weights have in common."""
    same = {part: values for part, values in identity.items() if part != "code"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _source() -> str:
    """A hash of this package's source, 16 hexadecimal digits."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()[:16]


def _packages(cfg: Config) -> tuple[str, ...]:
    """The packages whose versions results may depend on: these, and that of the sampler."""
    sampler = SAMPLERS.get(cfg.search.mode or "")
    return PACKAGES if sampler is None or sampler.package is None else (*PACKAGES, sampler.package)


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
