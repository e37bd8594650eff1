"""Runs in their folders: a new one, one that goes on, one that is made again, several with different seeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metaft import pipeline, ranks, seeds
from metaft.build.carried import Carried
from metaft.build.workspace import Workspace
from metaft.config.schema import Config
from metaft.data.first_reading import FirstReading
from metaft.errors import ConfigError, Fault
from metaft.objective.file import load_objective
from metaft.objective.objective import Objective
from metaft.progress import heard, warn
from metaft.provenance import agreed_identity
from metaft.report.document import read
from metaft.reproduction import Reproduction, reproduction
from metaft.results import Results
from metaft.runfiles import OBJECTIVE, PAGE, PICTURES, SETTINGS
from metaft.runfolder import RunFolder, claimed, departures, refuse_other_settings, refuse_unusable
from metaft.trackers.following import followed

Source = Objective | Carried | None
Begun = Callable[[Path], None]  # told of a folder once there is something in it to go on with


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    work: Workspace
    folder: RunFolder
    results: Results


def in_folder(cfg: Config, source: Source, resumed: Path | None, begun: Begun, earlier: Path | None = None) -> Run:
    """Open everything, then run in a new folder or a resumed one.

    Args:
        source: the objective, which is otherwise searched for.
        earlier: the folder of a run that is made again.
    """
    with heard() as warnings:
        return _in_folder(cfg, source, resumed, begun, earlier, warnings)


def _in_folder(
    cfg: Config, source: Source, resumed: Path | None, begun: Begun, earlier: Path | None, warnings: list[str]
) -> Run:
    work = ranks.agreed(lambda: _opened(cfg, resumed))
    learned = ranks.agreed(lambda: pipeline.received(work, source))
    own = agreed_identity(work)
    for part, several in departures(earlier, own).items() if earlier else ():
        if several:
            warn(f"{earlier}: {part}: {'; '.join(several)}: what is made again may differ")
    folder = None if resumed is None else ranks.agreed(lambda: RunFolder.reopened(resumed, own, earlier))
    searching = learned is None and not (folder is not None and folder.objective.exists())
    search = pipeline.prepared(work) if searching else None
    folder = folder or RunFolder.create(cfg, own, earlier, work.cfg.data.begun)
    folder.warnings = warnings
    begun(folder.path)
    with folder.claimed(), followed(folder.path, cfg):
        return Run(work, folder, pipeline.run(work, folder, search, learned))


def _opened(cfg: Config, resumed: Path | None) -> Workspace:
    """The workspace, if the folder for the run can be used."""
    if resumed is None:
        refuse_unusable(cfg.out)
    else:
        refuse_other_settings(resumed, cfg)
    return pipeline.opened(cfg.model_copy(update={"data": cfg.data.since(_read(cfg, resumed))}))


def _read(cfg: Config, resumed: Path | None) -> FirstReading | None:
    """What a run has read of its data as it began, where one that cannot be read any more is to be skipped."""
    if cfg.data.on_unreadable != "skip":
        return None
    if resumed is None:
        return FirstReading()
    return FirstReading.load(resumed / PICTURES) if os.path.lexists(resumed / PICTURES) else None


def again(cfg: Config, earlier: Path, resumed: Path | None, begun: Begun) -> tuple[Run, Reproduction]:
    """Make a finished run again, with the objective that it was given or with its search, and compare the two.

    Raises:
        ConfigError: the run is not finished.
        DataError: it cannot be read.
    """
    if seeds.is_begun(earlier):
        one = seeds.place(earlier, seeds.seeds_in(earlier)[0])
        raise ConfigError([Fault("--reproduce", f"{earlier}, which holds several runs", f"one of them, such as {one}")])
    if not (earlier / PAGE).exists():
        found = f"{earlier} is not finished"
        raise ConfigError([Fault("--reproduce", found, f"a finished run; --resume {earlier} goes on with this one")])
    searched = read(earlier).get("mode") is not None
    run = in_folder(cfg, None if searched else load_objective(earlier / OBJECTIVE), resumed, begun, earlier)
    compared = reproduction(earlier, run.folder.path)
    if ranks.leads():
        compared.write(run.folder.path)
    return run, compared


def of_seeds(cfg: Config, folder: Path) -> Iterator[Run]:
    """The run of each seed of a folder (see `metaft.seeds`), one after the other, as they end."""
    ranks.refuse_unshared("out", folder)
    source = ranks.agreed(lambda: seeds.given_in(folder))
    with claimed(folder):
        for seed in seeds.seeds_in(folder):
            out = seeds.place(folder, seed)
            begun = out if (out / SETTINGS).exists() else None
            yield in_folder(cfg.model_copy(update={"seed": seed, "out": out}), source, begun, lambda path: None)
