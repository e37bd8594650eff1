"""Writing a run's report, and one page over several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from metaft.errors import DataError
from metaft.files import write
from metaft.report import tables
from metaft.report.document import Document, read
from metaft.report.page import render
from metaft.report.run import run_in
from metaft.runfiles import PAGE


def write_run(results: Document, folder: Path) -> None:
    """Write results.md, figures/id_ood.png and report.html beside a run's results.json."""
    from metaft.report import figures  # matplotlib, which a page does without

    write(folder / "results.md", tables.page(results))
    figures.id_against_ood([results], folder / "figures" / "id_ood.png")
    run = run_in(folder, results, str(folder))  # by the path that commands take
    write(folder / PAGE, render([run], results.get("title", "metaft")))


def write_page(folders: Sequence[Path], out: Path) -> None:
    """Write one page over several runs.

    Raises:
        DataError: a folder has no readable results.json, or runs are of different versions of an embedded suite.
    """
    runs = {str(folder): read(folder) for folder in folders}
    _same_versions(runs)
    last = [Path(name).resolve().name for name in runs]
    short = dict(zip(runs, last, strict=True)) if len(set(last)) == len(last) else {}
    shown = [run_in(Path(name), results, name, short.get(name, "")) for name, results in runs.items()]
    title = "metaft: comparison of runs" if len(shown) > 1 else shown[0].results.get("title", "metaft")
    write(out, render(shown, title))


def _same_versions(runs: Mapping[str, Document]) -> None:
    first: dict[str, tuple[str, int | None]] = {}
    for name, run in runs.items():
        suite = run["provenance"].get("suite") or {}
        form, here = suite.get("format", "unknown"), suite.get("version")
        before, version = first.setdefault(form, (name, here))
        if version != here:
            raise DataError(
                f"{name}: {form} in version {here}, but {before} in version {version}; "
                "allowed: runs of one version, since other versions have other pictures"
            )
