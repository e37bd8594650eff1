"""Fitted classifiers and the states of trainings under way, as files of a run."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from metaft import ranks
from metaft.clip.classifier import Classifier
from metaft.clip.export import moved, notes, restored, save
from metaft.cost import Cost
from metaft.errors import CheckpointError, first_line
from metaft.files import replacing, to_json
from metaft.finetune.fits import BusyFitError, Fit
from metaft.texts import regular

LOCK = ".lock"
CHECK = ".check"  # between the name of a training and the step of a check


class Checkpoints:
    """Fitted classifiers and the states of trainings under way, in a folder.

    Args:
        folder: NAME.safetensors has what a method's classifier does not share with theta_0, NAME.checkSTEP.safetensors
            the same of the model at a check of its training, NAME.training the state of that.
        theta_0: the classifier of which fits are variants.
        run: what tells their run from others.
        shared: whether several processes make fits for this folder.
    """

    keeps = True

    def __init__(self, folder: Path, theta_0: Classifier, run: str = "", *, shared: bool = False) -> None:
        self._folder, self._theta_0, self._run = folder, theta_0, run
        self._shared = shared

    @contextmanager
    def held(self, name: str, wait: bool) -> Iterator[None]:
        """A context in which no other process makes the fit of this name.

        The operating system holds the lock, so that a process that died holds none.

        Raises:
            BusyFitError: another one does, and is not to be waited for.
        """
        if not self._shared:
            yield
            return
        self._folder.mkdir(exist_ok=True)
        lock = FileLock(self._folder / f".{name}{LOCK}")
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise BusyFitError(name) from None
        try:
            yield
        finally:
            lock.release()

    def take(self, name: str) -> Fit | None:
        """A fit; None: it is not in the folder. States of its trainings, which a crash may have left, are deleted.

        Raises:
            CheckpointError: it cannot be read, was changed, or is of another run.
        """
        path = self._folder / f"{name}.safetensors"
        ranks.meet()
        if not os.path.lexists(path):
            return None
        self._forget(name)
        model, written = restored(self._theta_0, path), notes(path)
        self._refuse_other(path, written.get("run"), written.get("name"))
        try:
            costs = {name: Cost(**cost) for name, cost in json.loads(written["costs"]).items()}
            return Fit(model, costs, dict(json.loads(written["chosen"])))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{path}: {first_line(error)}; allowed: notes as metaft wrote them") from error

    def put(self, name: str, fit: Fit) -> None:
        """Write a fit, and delete the states of its trainings, which no rank needs any longer."""
        if ranks.leads():
            self._write(name, fit)
        ranks.meet()  # a slower one may only now have read the best check's parameters
        self._forget(name)

    def _write(self, name: str, fit: Fit) -> None:
        costs = {other: asdict(cost) for other, cost in fit.costs.items()}
        written = {"costs": to_json(costs), "chosen": to_json(fit.chosen), "run": self._run, "name": name}
        self._folder.mkdir(exist_ok=True)
        save(moved(fit.model, self._theta_0), self._folder / f"{name}.safetensors", written)

    def load(self, name: str) -> dict[str, Any] | None:
        """The state of a training that was interrupted, in main memory; None: there is none.

        Raises:
            CheckpointError: it cannot be read, was changed, or is of another run.
        """
        path = self._training(name)
        ranks.meet()
        if not os.path.lexists(path):
            return None
        try:
            with zipfile.ZipFile(regular(path)) as parts:
                changed = parts.testzip()  # compares checksums, which torch.load does not
            if changed is not None:
                raise ValueError(f"{changed} in it was changed")
            state = dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises whatever the bytes lead it to
            raise CheckpointError(
                f"{path}: {first_line(error)}; allowed: a training's state, or no such file"
            ) from error
        self._refuse_other(path, state.pop("run", None), state.pop("name", None))
        return state

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write the state of a training, so that a reader sees a complete file."""
        if not ranks.leads():
            return
        self._folder.mkdir(exist_ok=True)
        with replacing(self._training(name)) as file:
            try:
                torch.save({**state, "run": self._run, "name": name}, file)
            except RuntimeError as error:  # torch's writer hides why a file could not be written
                raise error.__context__ or error from None

    def drop(self, name: str) -> None:
        """Delete the state of a training."""
        if ranks.leads():
            self._training(name).unlink(missing_ok=True)

    def retain(self, name: str, step: int, model: Classifier, most: int) -> None:
        """Write the model of a check, and delete those of earlier checks but for the last `most`."""
        if not ranks.leads():
            return
        self._write(f"{name}{CHECK}{step}", Fit(model))
        kept = sorted(self._folder.glob(f"{name}{CHECK}*.safetensors"), key=lambda path: int(path.stem.split(CHECK)[1]))
        for path in kept[:-most]:
            path.unlink()

    def _forget(self, name: str) -> None:
        """Delete the states of a fit's trainings, but not those of its folds, which are fits of their own."""
        if not ranks.leads():
            return
        for path in (self._training(name), *self._folder.glob(f"{name}.*.training")):
            if not path.name.startswith(f"{name}.fold"):
                path.unlink(missing_ok=True)

    def _refuse_other(self, path: Path, run: str | None, name: str | None) -> None:
        if run != self._run:
            raise CheckpointError(f"{path}: of another run; allowed: this run's own, or no such file")
        if name != path.stem:
            raise CheckpointError(f"{path}: it is {name}; allowed: {path.stem}, or no such file")

    def _training(self, name: str) -> Path:
        return self._folder / f"{name}.training"
