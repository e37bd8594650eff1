"""A run's folder: what is kept while it works, so that nothing computed is lost."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metaft import config as configuration
from metaft.config import Config
from metaft.data import FORMATS, Split, Splits
from metaft.errors import ConfigError, Problem
from metaft.files import claim, to_json, write
from metaft.report.write import write_run

PACKAGES = ("metaft", "torch", "torchvision", "higher", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pydantic")


class RunFolder:
    """Paths of a run, its log and its results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "search" / "trials.jsonl"
        self.objective = path / "objective.yaml"
        self.model = path / "model"

    @classmethod
    def create(cls, cfg: Config) -> RunFolder:
        """A new folder with config.yaml.

        Raises:
            ConfigError: there is a run in it already.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = cfg.out or Path("runs") / f"{stamp}-{cfg.search.mode or 'objective'}-{cfg.data.format}-seed{cfg.seed}"
        if (path / "config.yaml").exists():
            raise ConfigError([Problem("out", f"{path} holds a run", f"a new folder, or --resume {path}")])
        write(path / "config.yaml", configuration.dump(cfg))
        return cls(path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes out meanwhile.

        Raises:
            BusyError: another process is at work in it.
        """
        lock = claim(self.path)
        try:
            yield
        finally:
            lock.release()

    def checkpoint(self, method: str) -> Path:
        """Where a method's classifier is kept."""
        return self.path / "checkpoints" / f"{method}.safetensors"

    def log(self, event: Mapping[str, Any]) -> None:
        """Append an event to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(to_json(event) + "\n")

    def results(self) -> dict[str, Any]:
        """What results.json holds so far."""
        path = self.path / "results.json"
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}

    def write(self, results: Mapping[str, Any]) -> None:
        """Write results.json, and what it says of its origin alone as provenance.json."""
        write(self.path / "results.json", to_json(results, indent=2) + "\n")
        write(self.path / "provenance.json", to_json(results["provenance"], indent=2) + "\n")

    def report(self, results: Mapping[str, Any]) -> None:
        """Write results.json, results.md, report.html and the figure."""
        self.write(results)
        write_run(results, self.path)


def provenance(cfg: Config, splits: Splits, device: torch.device) -> dict[str, Any]:
    """Where results come from: command, versions, commit, device, data."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in PACKAGES}},
        "commit": _commit(),
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": cfg.seed,
        "suite": {"format": cfg.data.format, "version": FORMATS[cfg.data.format].version},
        "data": {name: {"n": len(split), "sha256": _fingerprint(split)} for name, split in splits.parts.items()},
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
    """A hash of all labels and the first images."""
    digest = hashlib.sha256(split.labels.numpy().tobytes())
    digest.update(split.source.pixels(range(min(64, len(split)))).numpy().tobytes())
    return digest.hexdigest()[:16]
