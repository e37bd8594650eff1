"""A run's folder, written while the run works, so that nothing computed is lost."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from metaft.build.workspace import Workspace
from metaft.clip.classifier import Classifier
from metaft.clip.export import notes, restored, save
from metaft.config.read import dump
from metaft.config.schema import Config
from metaft.cost import Cost
from metaft.errors import CheckpointError, ConfigError, DataError, Fault, first_line
from metaft.files import TEMPORARY, append, claim, complete_lines, replacing, to_json, unwritable, write
from metaft.finetune.fits import Fit
from metaft.progress import warn
from metaft.provenance import run_id
from metaft.results import Results
from metaft.search.journal import PLACE, Journal

RUNS = Path("runs")  # where new runs lie unless `out` says otherwise
OWN = (  # what a run keeps in its folder, so that a folder that holds any of it is no folder for another
    *("config.yaml", "seeds.json", "metrics.jsonl", "results.json", "objective.yaml"),
    *("search", "checkpoints", "model"),
)
PARTS = ("settings", "data", "weights", "code")  # of an identity
Identity = Mapping[str, Mapping[str, Any]]  # see `metaft.provenance.identity`


def refuse_unusable(out: Path | None) -> None:
    """Refuse a folder for a new run before anything is opened.

    Raises:
        ConfigError: it holds a run already, or what is left of one, or cannot be written to.
    """
    reason = unwritable(out or RUNS)
    if reason is not None:
        raise ConfigError([Fault("out", reason, "a folder that can be made and written to")])
    found = [] if out is None else [name for name in OWN if (out / name).exists()]
    if "config.yaml" in found:
        raise ConfigError([Fault("out", f"{out} holds a run", f"a new folder, or --resume {out}")])
    if found:
        raise ConfigError([Fault("out", f"{out} holds {', '.join(found)}, as a run does", "a new folder")])


class RunFolder:
    """The folder of a run, with its settings, log, journal, checkpoints, results and model.

    Args:
        path: of the folder.
        identity: of the run.
        earlier: the folder of a run that this one makes again.
    """

    def __init__(self, path: Path, identity: Identity, earlier: Path | None = None) -> None:
        self.path = path
        self.objective = path / "objective.yaml"
        self.model = path / "model"
        self._run, self._earlier = run_id(identity), earlier
        self._events, self._logged = path / "metrics.jsonl", set[str]()

    @classmethod
    def create(cls, cfg: Config, identity: Identity, earlier: Path | None = None) -> RunFolder:
        """Make a folder with identity.json and config.yaml: `out`, or one in runs/ named by the time and the settings.

        Raises:
            ConfigError: as for `refuse_unusable`.
        """
        path = made(cfg, f"seed{cfg.seed}")
        write(path / "identity.json", to_json(identity, indent=1) + "\n")
        write(path / "config.yaml", dump(cfg))
        return cls(path, identity, earlier)

    @classmethod
    def reopened(cls, path: Path, identity: Identity, earlier: Path | None = None) -> RunFolder:
        """The folder of a run that goes on with settings, data and weights of this identity.

        Other code is told of, and the run goes on with it.

        Raises:
            ConfigError: the run began with other ones; each is named.
            DataError: what it began with cannot be read.
        """
        found = departures(path, identity)
        if code := found.pop("code"):
            warn(f"{path}: {'; '.join(code)}: its numbers may differ by rounding")
        allowed = "as the run began; a new run takes others"
        faults = [Fault(f"{path}: {part}", one, allowed) for part, several in found.items() for one in several]
        if faults:
            raise ConfigError(faults)
        return cls(path, identity, earlier)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """A context during which no other process can claim the folder; what a crash has left half-written is removed.

        Raises:
            BusyError: another process is at work in it.
        """
        lock = claim(self.path)
        try:
            for unfinished in self.path.rglob(f"*{TEMPORARY}"):
                unfinished.unlink()
            complete, torn = complete_lines(self._events) if self._events.exists() else (b"", b"begin")
            if torn:
                write(self._events, complete)
            self._logged = set(complete.decode(errors="replace").splitlines())
            yield
        except OSError as error:
            error.filename = error.filename or str(self.path)  # torch and others leave it out
            raise
        finally:
            lock.release()

    def log(self, event: Mapping[str, Any]) -> None:
        """Append an event to metrics.jsonl, unless it was there before an interruption."""
        line = to_json(event)
        if line not in self._logged:
            append(self._events, line)

    def journal(self) -> Journal:
        """The journal of the search, for one process at a time."""
        earlier = [] if self._earlier is None else Journal(self._earlier / PLACE, read_only=True).records
        return Journal(self.path / PLACE, run=self._run, earlier=earlier)

    def checkpoints(self, work: Workspace) -> Checkpoints:
        """The fitted classifiers of a workspace, and the states of trainings under way."""
        return Checkpoints(self.path / "checkpoints", work.classifier, work.device, self._run)

    def results(self) -> Results | None:
        """The contents of results.json so far; None: there is none."""
        return Results.load(self.path) if (self.path / "results.json").exists() else None


def made(cfg: Config, what: str) -> Path:
    """A new folder: `out`, or one in runs/ named by the time, the settings and what it is for.

    Raises:
        ConfigError: as for `refuse_unusable`.
    """
    refuse_unusable(cfg.out)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = cfg.out or RUNS / f"{stamp}-{cfg.search.mode or 'objective'}-{cfg.data.format}-{what}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def departures(path: Path, identity: Identity) -> dict[str, list[str]]:
    """By part of an identity, in words, each value that is not what the run in a folder began with.

    Raises:
        DataError: what it began with cannot be read.
    """
    begun = _identity_in(path)
    return {part: _differences(begun, identity, part) for part in PARTS}


def _identity_in(path: Path) -> dict[str, dict[str, Any]]:
    """What the run in a folder began with.

    Raises:
        DataError: it cannot be read.
    """
    file = path / "identity.json"
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        return {part: dict(begun[part]) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DataError(f"{file}: what the run began with cannot be read ({reason}); allowed: as it began") from error


def _differences(begun: Identity, now: Identity, part: str) -> list[str]:
    """In words, each value of a part that is not what a run began with."""
    old, new = begun[part], json.loads(to_json(now[part]))
    return [
        f"{name} was {old.get(name, 'not there')} and is {new.get(name, 'not there')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]


class Checkpoints:
    """Fitted classifiers and the states of trainings under way, in a folder.

    Args:
        folder: NAME.safetensors is a method's classifier, NAME.training the state of its training.
        theta_0: the classifier of which fits are variants; they share what is the same.
        device: onto which states of trainings are loaded.
        run: what tells their run from others.
    """

    keeps = True

    def __init__(self, folder: Path, theta_0: Classifier, device: torch.device | str = "cpu", run: str = "") -> None:
        self._folder, self._theta_0, self._device, self._run = folder, theta_0, device, run

    def take(self, name: str) -> Fit | None:
        """A fit; None: it is not in the folder.

        Raises:
            CheckpointError: it cannot be read, was changed, or is of another run.
        """
        path = self._folder / f"{name}.safetensors"
        if not path.exists():
            return None
        model, written = restored(self._theta_0, path), notes(path)
        self._refuse_other(path, written.get("run"))
        costs = {name: Cost(**cost) for name, cost in json.loads(written["costs"]).items()}
        return Fit(model, costs, json.loads(written["chosen"]))

    def put(self, name: str, fit: Fit) -> None:
        """Write a fit, and delete the states of its trainings, which are no longer needed."""
        costs = {other: asdict(cost) for other, cost in fit.costs.items()}
        written = {"costs": to_json(costs), "chosen": to_json(fit.chosen), "run": self._run}
        self._folder.mkdir(exist_ok=True)
        save(fit.model.state_dict(), self._folder / f"{name}.safetensors", written)
        for path in (self._training(name), *self._folder.glob(f"{name}.*.training")):
            path.unlink(missing_ok=True)

    def load(self, name: str) -> dict[str, Any] | None:
        """The state of a training that was interrupted; None: there is none.

        Raises:
            CheckpointError: it cannot be read, was changed, or is of another run.
        """
        path = self._training(name)
        if not path.exists():
            return None
        try:
            with zipfile.ZipFile(path) as parts:
                changed = parts.testzip()  # compares checksums, which torch.load does not
            if changed is not None:
                raise ValueError(f"{changed} in it was changed")
            state = dict(torch.load(path, map_location=self._device, weights_only=True))
        except Exception as error:  # torch raises whatever the bytes lead it to
            raise CheckpointError(
                f"{path}: {first_line(error)}; allowed: a training's state, or no such file"
            ) from error
        self._refuse_other(path, state.pop("run", None))
        return state

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write the state of a training, so that a reader sees a complete file."""
        self._folder.mkdir(exist_ok=True)
        with replacing(self._training(name)) as file:
            try:
                torch.save({**state, "run": self._run}, file)
            except RuntimeError as error:  # torch's writer hides why a file could not be written
                raise error.__context__ or error from None

    def drop(self, name: str) -> None:
        """Delete the state of a training."""
        self._training(name).unlink(missing_ok=True)

    def _refuse_other(self, path: Path, run: str | None) -> None:
        if run != self._run:
            raise CheckpointError(f"{path}: of another run; allowed: this run's own, or no such file")

    def _training(self, name: str) -> Path:
        return self._folder / f"{name}.training"
