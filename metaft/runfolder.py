"""A run's folder, written while the run works, so that nothing computed is lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from metaft import ranks
from metaft.build.comparison import Elsewhere
from metaft.build.workspace import Workspace
from metaft.checkpoints import Checkpoints
from metaft.clip.classifier import Classifier
from metaft.clip.export import export
from metaft.config.read import dump
from metaft.config.schema import Config
from metaft.data.first_reading import FirstReading
from metaft.errors import ConfigError, DataError, Fault, on_a_line
from metaft.events import EVENTS as EVENTS
from metaft.events import Events
from metaft.files import TEMPORARY, claim, from_json, to_json, unwritable, write
from metaft.objective.objective import Objective
from metaft.progress import warn
from metaft.provenance import fixed_settings, run_id
from metaft.report.run import EXAMPLES, WARNINGS
from metaft.results import Results
from metaft.runfiles import OBJECTIVE, PICTURES, RESULTS, SEEDS, SETTINGS
from metaft.search.journal import PLACE, Journal
from metaft.texts import read_text

RUNS = Path("runs")  # where new runs lie unless `out` says otherwise
FIRST = "identity.json"  # of what a run writes
CHECKPOINTS = "checkpoints"
OWN = (  # what a run keeps in its folder, so that a folder that holds any of it is no folder for another
    *(SETTINGS, SEEDS, FIRST, EVENTS, RESULTS, OBJECTIVE),
    *("search", CHECKPOINTS, "model"),
)
PARTS = ("settings", "data", "weights", "code")  # of an identity
Identity = Mapping[str, Mapping[str, Any]]  # see `metaft.provenance.identity`


def refuse_unusable(out: Path | None) -> None:
    """Refuse a folder for a new run before anything is opened.

    What a run wrote first, and nothing but that, is what is left of one that ended as it began, and is no hindrance.

    Raises:
        ConfigError: it holds a run already, or what is left of one, or cannot be written to.
    """
    reason = unwritable(out or RUNS)
    if reason is not None:
        raise ConfigError([Fault("out", reason, "a folder that can be made and written to")])
    found = [] if out is None else [name for name in OWN if (out / name).exists()]
    if SETTINGS in found:
        raise ConfigError([Fault("out", f"{out} holds a run", f"a new folder, or --resume {out}")])
    if set(found) - {FIRST}:
        raise ConfigError([Fault("out", f"{out} holds {', '.join(found)}, as a run does", "a new folder")])


def refuse_other_settings(path: Path, cfg: Config) -> None:
    """Refuse settings other than the run in a folder began with, before anything is opened.

    Raises:
        ConfigError: they are others; each is named.
        DataError: what it began with cannot be read.
    """
    _refuse(path, {"settings": _differences(_identity_in(path), {"settings": fixed_settings(cfg)}, "settings")})


class RunFolder:
    """The folder of a run, with its settings, log, journal, checkpoints, results and model.

    Args:
        path: of the folder.
        identity: of the run.
        earlier: the folder of a run that this one makes again.

    `warnings` are those of this sitting, which its owner may set.
    """

    def __init__(self, path: Path, identity: Identity, earlier: Path | None = None) -> None:
        self.path = path
        self.objective = path / OBJECTIVE
        self.model = path / "model"
        self._run, self._earlier = run_id(identity), earlier
        self._events = Events(path / EVENTS)
        self.warnings: list[str] = []

    @classmethod
    def create(
        cls, cfg: Config, identity: Identity, earlier: Path | None = None, read: FirstReading | None = None
    ) -> RunFolder:
        """Make a folder with identity.json, config.yaml and, where they are given, the pictures that were read.

        It is `out`, or one in runs/ named by the time and the settings.

        Raises:
            ConfigError: as for `refuse_unusable`.
        """

        def begin() -> Path:
            with made(cfg, f"seed{cfg.seed}") as path:
                write(path / FIRST, to_json(identity, indent=1) + "\n")
                if read is not None:
                    write(path / PICTURES, read.to_json())
                write(path / SETTINGS, dump(cfg))
            return path

        return cls(ranks.alone(begin), identity, earlier)

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
        _refuse(path, found)
        return cls(path, identity, earlier)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """A context during which no other process can claim the folder; what a crash has left half-written is removed.

        Raises:
            BusyError: another process is at work in it.
        """
        with claimed(self.path):
            try:
                if ranks.leads():
                    self._mend()
                yield
            except OSError as error:
                error.filename = error.filename or str(self.path)  # torch and others leave it out
                raise

    def _mend(self) -> None:
        """Remove what a crash has left half-written."""
        for unfinished in self.path.rglob(f"*{TEMPORARY}"):
            unfinished.unlink()
        self._events.mend()

    def log(self, event: Mapping[str, Any]) -> None:
        """Append an event to metrics.jsonl, unless it was there before an interruption."""
        if ranks.leads():
            self._events.add(event)

    def elsewhere(self, work: Workspace) -> Elsewhere:
        """The comparison of this run as workers make it."""
        return Elsewhere(work.cfg, self.path / CHECKPOINTS, self._run, self.path / EVENTS)

    def journal(self) -> Journal:
        """The journal of the search, for one process at a time."""

        def opened() -> Journal:
            earlier = [] if self._earlier is None else Journal(self._earlier / PLACE, read_only=True).records
            return Journal(self.path / PLACE, run=self._run, earlier=earlier, read_only=not ranks.leads())

        return ranks.leader_first(opened)

    def checkpoints(self, work: Workspace) -> Checkpoints:
        """The fitted classifiers of a workspace, and the states of trainings under way."""
        return Checkpoints(self.path / CHECKPOINTS, work.classifier, self._run)

    def write(self, results: Results) -> None:
        """Write results.json."""
        if ranks.leads():
            results.write(self.path, self._run)

    def settle(self, learned: Objective) -> None:
        """Write objective.yaml, whose presence says that a search has ended."""
        if ranks.leads():
            learned.save(self.objective)

    def show(self, examples: Mapping[str, Any] | None) -> None:
        """Write what the report shows beside results.

        That is warnings.txt, a warning of any sitting a line, and examples.json: what is fixed and broken on ood_val,
        if anything is known of it.
        """
        warnings = [told for several in ranks.gathered(self.warnings) for told in several]
        if not ranks.leads():
            return
        told = self.path / WARNINGS
        before = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.is_file() else []
        lines = dict.fromkeys([*before, *map(on_a_line, warnings)])
        write(told, "".join(f"{line}\n" for line in lines))
        if examples is not None:
            write(self.path / EXAMPLES, to_json(examples) + "\n")

    def finish(self, work: Workspace, results: Results, handed_back: Classifier | None) -> None:
        """Write the model that is handed back, the results and their report."""
        if ranks.leads():
            if handed_back is not None:
                export(handed_back, work.clip, work.splits.classes.names, self.model, work.reading)
            results.save(self.path, self._run)
        ranks.meet()

    def results(self) -> Results | None:
        """The contents of results.json so far; None: there is none.

        Raises:
            DataError: it cannot be read, is not what was written, or is of another run.
        """
        return Results.load(self.path, run=self._run) if os.path.lexists(self.path / RESULTS) else None


@contextmanager
def claimed(path: Path) -> Iterator[None]:
    """A context during which no other process, but for the ranks of this run, can claim a folder.

    Raises:
        BusyError: another process is at work in it.
    """
    lock = ranks.agreed(lambda: claim(path) if ranks.leads() else None)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


@contextmanager
def made(cfg: Config, what: str) -> Iterator[Path]:
    """A new folder, which no other process can claim meanwhile: `out`, or one in runs/ named by the time, the settings
    and what it is for.

    Raises:
        BusyError: another process has claimed `out`.
        ConfigError: as for `refuse_unusable`.
    """
    refuse_unusable(cfg.out)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = cfg.out or _unused(RUNS / f"{stamp}-{cfg.search.mode or 'objective'}-{cfg.data.format}-{what}")
    path.mkdir(parents=True, exist_ok=True)
    lock = claim(path)
    try:
        refuse_unusable(path)  # whoever was here before it was claimed may have begun a run
        yield path
    finally:
        lock.release()


def _unused(path: Path) -> Path:
    """A folder that this process makes, numbered where others have made the ones before it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        mine = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            mine.mkdir()
        except FileExistsError:
            continue
        return mine
    raise AssertionError("there is always another number")


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
    file = path / FIRST
    try:
        begun = from_json(read_text(file))
        return {part: dict(begun[part]) for part in PARTS}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = on_a_line(f"{type(error).__name__}: {error}")
        raise DataError(f"{file}: what the run began with cannot be read ({reason}); allowed: as it began") from error


def _refuse(path: Path, found: Mapping[str, Sequence[str]]) -> None:
    allowed = "as the run began; a new run takes others"
    faults = [Fault(f"{path}: {part}", one, allowed) for part, several in found.items() for one in several]
    if faults:
        raise ConfigError(faults)


def _differences(begun: Identity, now: Identity, part: str) -> list[str]:
    """In words, each value of a part that is not what a run began with."""
    old, new = begun[part], json.loads(to_json(now[part]))
    return [
        f"{name} was {old.get(name, 'not there')} and is {new.get(name, 'not there')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
