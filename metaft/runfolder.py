"""A run's folder: what is kept while it works, so that nothing computed is lost."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.clip.export import notes, restore, save
from metaft.config.read import dump
from metaft.config.schema import Config
from metaft.cost import Cost
from metaft.errors import CheckpointError, ConfigError, Fault
from metaft.files import claim, to_json, write
from metaft.finetune.fits import Fit
from metaft.results import Results
from metaft.search.journal import Journal


class RunFolder:
    """Where what a run gives goes, so that nothing computed is lost: its log, journal, checkpoints and results."""

    def __init__(self, path: Path) -> None:
        self.path = path
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
            raise ConfigError([Fault("out", f"{path} holds a run", f"a new folder, or --resume {path}")])
        write(path / "config.yaml", dump(cfg))
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

    def journal(self) -> Journal:
        """The journal of the search, for one process at a time."""
        return Journal(self.path / "search" / "trials.jsonl")

    def checkpoints(self, work: Workspace) -> Checkpoints:
        """The fitted classifiers of a workspace, and the states of trainings under way."""
        return Checkpoints(self.path / "checkpoints", work.fresh, work.device)

    def results(self) -> Results | None:
        """What results.json holds so far, if it is there."""
        return Results.load(self.path) if (self.path / "results.json").exists() else None


class Checkpoints:
    """Fitted classifiers and the states of trainings under way, in a folder.

    Args:
        folder: NAME.safetensors is a method's classifier, NAME.training the state of its training.
        fresh: makes a classifier to load into.
        device: where states of trainings go.
    """

    def __init__(self, folder: Path, fresh: Callable[[], Classifier], device: torch.device | str = "cpu") -> None:
        self._folder, self._fresh, self._device = folder, fresh, device

    def take(self, name: str) -> Fit | None:
        """A method's classifier and what it took, if it is there."""
        path = self._folder / f"{name}.safetensors"
        if not path.exists():
            return None
        model = restore(self._fresh(), path)
        return Fit(model, Cost(**{key: float(value) for key, value in notes(path).items()}))

    def put(self, name: str, fit: Fit) -> None:
        """Keep a method's classifier; the states of its trainings have served."""
        written = {key: repr(value) for key, value in asdict(fit.cost).items()}
        save(fit.model.state_dict(), self._folder / f"{name}.safetensors", written)
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
        except Exception as error:  # torch raises whatever the bytes lead it to
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise CheckpointError(f"{path}: {reason}; allowed: a training's state, or no such file") from error

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write the state of a training, whole or not at all."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write(self._training(name), buffer.getvalue())

    def _training(self, name: str) -> Path:
        return self._folder / f"{name}.training"
