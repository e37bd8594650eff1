"""A run's folder: what is kept while it works, so that nothing computed is lost."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from metaft import config as configuration
from metaft.clip.classifier import Classifier
from metaft.clip.export import notes, restore, save
from metaft.data import FORMATS, Split, Splits
from metaft.errors import CheckpointError, ConfigError, Problem
from metaft.files import claim, to_json, write
from metaft.finetune.settings import Cost
from metaft.report.write import write_run
from metaft.settings import Config

PACKAGES = ("metaft", "torch", "torchvision", "higher", "open_clip_torch", "numpy", "scipy", "scikit-learn", "pydantic")


class RunFolder:
    """Paths of a run, its log and its results."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path / "search" / "trials.jsonl"
        self.objective = path / "objective.yaml"
        self.model = path / "model"
        self.checkpoints = path / "checkpoints"

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


class Checkpoints:
    """Fitted classifiers and the states of trainings under way, in a folder.

    Args:
        folder: NAME.safetensors is a method's classifier, NAME.training the state of its training.
        fresh: makes a classifier to load into.
        device: where states of trainings go.
    """

    def __init__(self, folder: Path, fresh: Callable[[], Classifier], device: torch.device | str = "cpu") -> None:
        self._folder, self._fresh, self._device = folder, fresh, device

    def take(self, name: str) -> tuple[Classifier, Cost] | None:
        """A method's classifier and what it took, if it is there."""
        path = self._folder / f"{name}.safetensors"
        if not path.exists():
            return None
        model = restore(self._fresh(), path)
        return model, Cost(**{key: float(value) for key, value in notes(path).items()})

    def put(self, name: str, model: Classifier, cost: Cost) -> None:
        """Keep a method's classifier; the states of its trainings have served."""
        written = {key: repr(value) for key, value in asdict(cost).items()}
        save(model.state_dict(), self._folder / f"{name}.safetensors", written)
        for path in (self._training(name), *self._folder.glob(f"{name}.*.training")):
            path.unlink(missing_ok=True)

    def load(self, name: str) -> dict[str, Any] | None:
        """The state of a training, if one was interrupted.

        Raises:
            CheckpointError: it cannot be read.
        """
        path = self._training(name)
        if not path.exists():
            return None
        try:
            return dict(torch.load(path, map_location=self._device, weights_only=True))
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: {reason}; allowed: a training's state, or no such file") from error

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write the state of a training, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write(self._training(name), buffer.getvalue())

    def _training(self, name: str) -> Path:
        return self._folder / f"{name}.training"


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
