"""Writing a run's report, and one page over several runs, whether they have ended or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from metaft.config.paths import no_folder
from metaft.config.schema import Config
from metaft.errors import DataError
from metaft.files import write
from metaft.report import tables
from metaft.report.document import Document, read
from metaft.report.page import Pace, render
from metaft.report.run import Run, run_in
from metaft.runfiles import PAGE, SETTINGS
from metaft.watch.frame import frame
from metaft.watch.state import Looking, runs_of


def write_run(results: Document, folder: Path) -> None:
    """Write results.md, figures/id_ood.png and report.html beside a run's results.json."""
    from metaft.report import figures  # matplotlib, which a page does without

    write(folder / "results.md", tables.page(results))
    figures.id_against_ood([results], folder / "figures" / "id_ood.png")
    run = run_in(folder, results, str(folder))  # by the path that commands take
    write(folder / PAGE, render([run], results.get("title", "metaft")))


def write_page(runs: Sequence[Run], out: Path, every: float | None = None) -> None:
    """Write one page over several runs.

    Args:
        every: seconds after which it is written anew; None: it is not.
    """
    title = "metaft: comparison of runs" if len(runs) > 1 else runs[0].results.get("title", "metaft")
    write(out, render(runs, title, Pace(time.strftime("%Y-%m-%d %H:%M:%S %z"), every)))


def runs_in(folders: Sequence[Path]) -> list[Run]:
    """The runs in some folders as they are now, of a folder with several seeds each.

    Raises:
        DataError: a folder has no readable run, or runs are of different versions of an embedded suite.
    """
    folders = [run for folder in folders for run in runs_of(folder) or [folder]]
    last = [folder.resolve().name for folder in folders]
    short = last if len(set(last)) == len(last) else [""] * len(last)
    runs = [_run_in(folder, name) for folder, name in zip(folders, short, strict=True)]
    _same_versions(runs)
    return runs


def _run_in(folder: Path, short: str) -> Run:
    """A run by the path that commands take; a folder without settings holds results that were saved alone."""
    if not folder.is_dir():
        raise DataError(f"{no_folder(folder)}; allowed: the folder of a metaft run")
    if not (folder / SETTINGS).exists():
        return run_in(folder, read(folder), str(folder), short)
    state = Looking(folder).now()
    run = run_in(folder, _blank(state.cfg) if state.results is None else state.results, str(folder), short)
    return run if state.ended else replace(run, standing=frame(state, time.time()).lines)


def _blank(cfg: Config) -> dict[str, Any]:
    """The results of a run that has not opened its data yet."""
    return {"title": cfg.report.title, "mode": cfg.search.mode, "seed": cfg.seed, "methods": {}, "provenance": {}}


def _same_versions(runs: Sequence[Run]) -> None:
    first: dict[str, tuple[str, int | None]] = {}
    for run in runs:
        suite = run.results["provenance"].get("suite") or {}
        form, here = suite.get("format", "unknown"), suite.get("version")
        before, version = first.setdefault(form, (run.name, here))
        if version != here:
            raise DataError(
                f"{run.name}: {form} in version {here}, but {before} in version {version}; "
                "allowed: runs of one version, since other versions have other pictures"
            )
