"""One run a seed in a folder of its own, and what they come to together."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from scipy.stats import t as student

from metaft import ranks
from metaft.build.carried import Carried, keep, kept
from metaft.config.read import dump
from metaft.config.schema import Config
from metaft.errors import DataError, first_line, on_a_line
from metaft.files import from_json, to_json, write
from metaft.objective.objective import Objective
from metaft.report.document import Document, read
from metaft.report.tables import markdown
from metaft.report.values import metrics_of, ood_mean, ood_splits, splits_of, title, written
from metaft.runfiles import SEEDS, SETTINGS, SUMMARY
from metaft.runfolder import made
from metaft.texts import read_text

GIVEN = "given"
KEPT = "handed back"  # beside the methods: of each run the model that it hands back
OOD_MEAN = "OOD mean"  # beside the splits


def begin(cfg: Config, source: Objective | Carried | None, seeds: Sequence[int]) -> Path:
    """A new folder for runs with these seeds, and the objective that all are given: `out`, or one in runs/.

    Raises:
        ConfigError: `out` cannot be used.
    """

    def begin_alone() -> Path:
        with made(cfg, "seeds") as folder:
            if source is not None:
                keep(source, folder / GIVEN)
            write(folder / SEEDS, to_json({"seeds": list(seeds), GIVEN: _given_in(folder)}) + "\n")
            write(folder / SETTINGS, dump(cfg))
        return folder

    return ranks.alone(begin_alone)


def is_begun(folder: Path) -> bool:
    """Whether a folder is one of runs with several seeds."""
    return (folder / SEEDS).exists()


def seeds_in(folder: Path) -> list[int]:
    """The seeds of a folder's runs.

    Raises:
        DataError: they cannot be read.
    """
    return list(_begun(folder).seeds)


def given_in(folder: Path) -> Objective | Carried | None:
    """The objective that all runs of a folder are given; None: each searches for its own.

    Raises:
        DataError: it is not what the runs began with.
    """
    if _begun(folder).given != _given_in(folder):
        raise DataError(f"{folder / GIVEN}: not the objective that the runs were given; allowed: as they began")
    return kept(folder / GIVEN)


class _Begun(BaseModel):
    """What seeds.json says: the seeds, and a hash of the objective that was given."""

    model_config = ConfigDict(strict=True, extra="forbid")
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(min_length=1)
    given: str | None = None

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("a seed twice")
        return seeds


def _begun(folder: Path) -> _Begun:
    """What the runs of a folder began with.

    Raises:
        DataError: it cannot be read.
    """
    path = folder / SEEDS
    try:
        return _Begun.model_validate(from_json(read_text(path)))
    except (OSError, ValueError, RecursionError) as error:
        reason = on_a_line(first_line(error))
        raise DataError(f"{path}: the seeds cannot be read ({reason}); allowed: as the runs began") from error


def _given_in(folder: Path) -> str | None:
    """A hash of the files of the objective that was given, 64 hexadecimal digits; None: there are none."""
    files = sorted((folder / GIVEN).glob("*.yaml"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files else None


def place(folder: Path, seed: int) -> Path:
    """The folder of the run with a seed."""
    return folder / f"seed-{seed}"


class Summary:
    """Runs that differ in the seed alone, by seed: means, and 95 % intervals by Student's t over the seeds.

        mean +- t_{.975, n - 1} s / sqrt(n)

    An interval tells of seeds (draws of data, batches, search), not of test images; each run has those of its images.
    """

    def __init__(self, runs: Mapping[int, Document]) -> None:
        self._runs = runs

    @classmethod
    def of(cls, folder: Path) -> Summary:
        """The finished runs of a folder."""
        return cls({seed: read(place(folder, seed)) for seed in seeds_in(folder)})

    def to_dict(self) -> dict[str, Any]:
        """By method, split and metric: the mean, the half width of its interval (null for one seed), and each value."""
        methods: dict[str, Any] = {}
        for method, split, metric in self._cells():
            values = self._values(method, split, metric)
            cell = {"mean": _mean(values), "half_width": half_width(values), "values": values}
            methods.setdefault(method, {}).setdefault(split, {})[metric] = cell
        return {"seeds": list(self._runs), "handed_back": self._kept(), "methods": methods}

    def table(self, metric: str = "accuracy") -> str:
        """A Markdown table: one row a method, means +- half widths in per cent, or nats."""
        cells = [(method, split) for method, split, name in self._cells() if name == metric]
        splits = list(dict.fromkeys(split for _, split in cells))
        rows = [
            [method, *(self._written(method, split, metric) for split in splits)]
            for method in dict.fromkeys(method for method, _ in cells)
        ]
        return markdown([f"{title(metric)}, {len(self._runs)} seeds", *splits], rows)

    def choices(self) -> str:
        """How often each method's model is handed back, in words."""
        return ", ".join(f"{method} {times} times" for method, times in self._kept().items())

    def write(self, folder: Path) -> None:
        """Write summary.json and summary.md."""
        if not ranks.leads():
            return
        write(folder / SUMMARY, to_json(self.to_dict(), indent=1) + "\n")
        write(folder / "summary.md", f"# {len(self._runs)} seeds\n\n{self.table()}\n\nHanded back: {self.choices()}.\n")

    def _cells(self) -> Iterator[tuple[str, str, str]]:
        """Every method, split and metric that a run has."""
        runs = list(self._runs.values())
        names = dict.fromkeys([name for run in runs for name in run["methods"]] + [KEPT] * any(self._kept()))
        splits = list(dict.fromkeys(split for run in runs for split in splits_of(run)))
        splits += [OOD_MEAN] if len(ood_splits(splits)) > 1 else []
        metrics = dict.fromkeys(metric for run in runs for metric in metrics_of(run))
        return ((name, split, metric) for name in names for split in splits for metric in metrics)

    def _values(self, method: str, split: str, metric: str) -> list[float | None]:
        """A value a run; None where it has none."""
        return [_value(run, method, split, metric) for run in self._runs.values()]

    def _written(self, method: str, split: str, metric: str) -> str:
        values = self._values(method, split, metric)
        wide, missing = half_width(values), values.count(None)
        around = "" if wide is None else f" ± {written(wide, metric)}"
        return written(_mean(values), metric) + around + (f" ({missing} none)" if missing else "")

    def _kept(self) -> Counter[str]:
        return Counter(run["handed_back"]["method"] for run in self._runs.values() if run.get("handed_back"))


def half_width(values: Sequence[float | None]) -> float | None:
    """Half the width of the 95 % interval of a mean by Student's t; None for fewer than two values."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return None
    return float(student.ppf(0.975, len(known) - 1)) * stdev(known) / math.sqrt(len(known))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _value(run: Document, method: str, split: str, metric: str) -> float | None:
    kept = run.get("handed_back")
    scores = run["methods"].get((kept["method"] if kept else None) if method == KEPT else method)
    if scores is None:
        return None
    return ood_mean(scores, metric) if split == OOD_MEAN else scores.get(split, {}).get(metric)
