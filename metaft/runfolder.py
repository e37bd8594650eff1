"""A run's folder, written while the run works, so that nothing computed is lost."""

from __future__ import annotations

import json
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
from metaft.files import claim, replacing, to_json, unwritable, write
from metaft.finetune.fits import Fit
from metaft.results import Results
from metaft.search.journal import Journal

RUNS = Path("runs")  # where new runs lie unless `out` says otherwise


def refuse_unusable(out: Path | None) -> None:
    """Refuse a folder for a new run before anything is opened.

    Raises:
        ConfigError: it holds a run already, or cannot be written to.
    """
    reason = unwritable(out or RUNS)
    if reason is not None:
        raise ConfigError([Fault("out", reason, "a folder that can be made and written to")])
    if out is not None and (out / "config.yaml").exists():
        raise ConfigError([Fault("out", f"{out} holds a run", f"a new folder, or --resume {out}")])


class RunFolder:
    """The folder of a run, with its settings, log, journal, checkpoints, results and model."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.objective = path / "objective.yaml"
        self.model = path / "model"

    @classmethod
    def create(cls, cfg: Config) -> RunFolder:
        """Make a folder with config.yaml: `out`, or one in runs/ named by the time and the settings.

        Raises:
            ConfigError: as for `refuse_unusable`.
        """
        refuse_unusable(cfg.out)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        path = cfg.out or RUNS / f"{stamp}-{cfg.search.mode or 'objective'}-{cfg.data.format}-seed{cfg.seed}"
        write(path / "config.yaml", dump(cfg))
        return cls(path)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """A context during which no other process can claim the folder.

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
        """The contents of results.json so far; None: there is none."""
        return Results.load(self.path) if (self.path / "results.json").exists() else None


class Checkpoints:
    """Fitted classifiers and the states of trainings under way, in a folder.

    Args:
        folder: NAME.safetensors is a method's classifier, NAME.training the state of its training.
        fresh: makes a classifier to load into.
        device: onto which states of trainings are loaded.
    """

    def __init__(self, folder: Path, fresh: Callable[[], Classifier], device: torch.device | str = "cpu") -> None:
        self._folder, self._fresh, self._device = folder, fresh, device

    def take(self, name: str) -> Fit | None:
        """A fit; None: it is not in the folder."""
        path = self._folder / f"{name}.safetensors"
        if not path.exists():
            return None
        model, written = restore(self._fresh(), path), notes(path)
        costs = {name: Cost(**cost) for name, cost in json.loads(written["costs"]).items()}
        return Fit(model, costs, json.loads(written["chosen"]))

    def put(self, name: str, fit: Fit) -> None:
        """Write a fit, and delete the states of its trainings, which are no longer needed."""
        costs = {other: asdict(cost) for other, cost in fit.costs.items()}
        written = {"costs": to_json(costs), "chosen": to_json(fit.chosen)}
        save(fit.model.state_dict(), self._folder / f"{name}.safetensors", written)
        for path in (self._training(name), *self._folder.glob(f"{name}.*.training")):
            path.unlink(missing_ok=True)

    def load(self, name: str) -> dict[str, Any] | None:
        """The state of a training that was interrupted; None: there is none.

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
        """Write the state of a training, so that a reader sees a complete file."""
        with replacing(self._training(name)) as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # torch's writer hides why a file could not be written
                raise error.__context__ or error from None

    def _training(self, name: str) -> Path:
        return self._folder / f"{name}.training"
