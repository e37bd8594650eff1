"""The results of a search and of a comparison, typed and frozen; results.json holds the latter."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from metaft.cost import Cost
from metaft.errors import DataError
from metaft.files import refuse_unusable_folder, to_json, write
from metaft.objective.objective import Objective
from metaft.report.document import RUN, read, sealed
from metaft.report.tables import methods_table
from metaft.report.values import ood_mean
from metaft.runfiles import RESULTS
from metaft.score import Score
from metaft.search.lines import Record

CEILING = "oracle"  # the method that is no competitor


@dataclass(frozen=True)
class LastChoice:
    """Whose fine-tune was taken at full length, and the share of its way (see `metaft.build.last_choice`).

    Args:
        values: by candidate the best worth on its way, a share; `autoft` is what was searched.
    """

    method: str
    alpha: float
    values: Mapping[str, float]


@dataclass(frozen=True)
class SearchResult:
    """What a search settles on.

    Args:
        objective: what to fine-tune with.
        value: the mean outer loss of its point on fresh seeds.
        trials: what was tried, in order.
        cost: step equivalents at `inner.batch_size`, and seconds.
        inner_steps: T.
        space_size: K.
        finalists: the points that were evaluated again at the end, each with its number, its values and their mean.
        last_choice: between whole fine-tunes, where there was one.

    >>> import metaft
    >>> from metaft.api import EXAMPLE
    >>> result = metaft.search(EXAMPLE, mode="random")
    >>> len(result.trials), result.space_size
    (2, 14)
    """

    objective: Objective
    value: float
    trials: tuple[Record, ...]
    cost: Cost
    inner_steps: int
    space_size: int
    finalists: tuple[Mapping[str, Any], ...] = ()
    last_choice: LastChoice | None = None

    def to_dict(self) -> dict[str, Any]:
        """The part `search` of results.json."""
        return {
            "trials": len(self.trials),
            "best_value": self.value,
            "inner_steps": self.inner_steps,
            "step_equivalents": self.cost.step_equivalents,
            "seconds": self.cost.seconds,
            "space_size": self.space_size,
            "finalists": [dict(finalist) for finalist in self.finalists],
            "last_choice": None if self.last_choice is None else asdict(self.last_choice),
        }


@dataclass(frozen=True)
class HandedBack:
    """The model that a run gives to its user: whose it is, why in one sentence, its accuracy on ood_val if known.

    Args:
        ood_val: cross-fitted, in [0, 1] (see `metaft.finetune.fits.Fits.judged`).
    """

    method: str
    reason: str
    ood_val: float | None = None


@dataclass(frozen=True)
class Results:
    """Methods side by side on the test splits.

    Args:
        scores: by method and split.
        seed: of the run.
        provenance: command, versions, device and data.
        title: of the report.
        mode: of the search, if there was one.
        objective: what `autoft` was trained with, as plain values.
        search: what it cost to find (see `SearchResult.to_dict`).
        cost: by method; methods that it builds on are included.
        drift: by method, of weights and features from theta_0 (see `metaft.evaluation.drift`).
        failed: by method that gave no result, the reason.
        ood_val: by method, its cross-fitted accuracy on ood_val in [0, 1]: no image judges a model trained on it.
        handed_back: the method whose model a run gives to its user.

    >>> import metaft
    >>> from metaft.api import EXAMPLE
    >>> results = metaft.compare(EXAMPLE, methods=["zero_shot", "ft"])
    >>> results.methods
    ('zero_shot', 'ft')
    >>> results.best in results.methods
    True
    """

    scores: Mapping[str, Mapping[str, Score]]
    seed: int
    provenance: Mapping[str, Any]
    title: str = "metaft"
    mode: str | None = None
    objective: Mapping[str, Any] | None = None
    search: Mapping[str, Any] | None = None
    cost: Mapping[str, Cost] = field(default_factory=dict)
    drift: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    curve: Mapping[str, Any] = field(default_factory=dict)
    leave_one_out: Mapping[str, Any] = field(default_factory=dict)
    ood_val: Mapping[str, float] = field(default_factory=dict)
    handed_back: HandedBack | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that gave a result."""
        return tuple(self.scores)

    @property
    def splits(self) -> tuple[str, ...]:
        """The test splits: `id_test` and `ood_test/NAME`."""
        return tuple(dict.fromkeys(split for scores in self.scores.values() for split in scores))

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, float]]]:
        """Every metric by method and split: shares in [0, 1], nll in nats."""
        return {m: {s: dict(score.metrics) for s, score in scores.items()} for m, scores in self.scores.items()}

    @property
    def intervals(self) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
        """The 95 % bootstrap interval of every metric by method and split."""
        return {m: {s: dict(score.ci95) for s, score in scores.items()} for m, scores in self.scores.items()}

    @property
    def best(self) -> str | None:
        """The method with the best mean accuracy over the OOD tests, the oracle aside; None without any.

        It is read off the tests, so its accuracy is that of a winner: report it, and choose by validation data.
        """
        means = {name: ood_mean(scores) for name, scores in self.to_dict()["methods"].items() if name != CEILING}
        known = {name: mean for name, mean in means.items() if mean is not None}
        return max(known, key=known.__getitem__, default=None)

    def table(self, metric: str = "accuracy") -> str:
        """A Markdown table: one row a method, the metric on every split with its interval, in per cent or nats.

        Raises:
            DataError: no split has that metric.
        """
        return methods_table(self.to_dict(), metric)

    def with_method(
        self, name: str, scores: Mapping[str, Score], cost: Cost, drift: Any, ood_val: float | None = None
    ) -> Results:
        """The results with one more method, and its accuracy on ood_val where there is one."""
        return replace(
            self,
            scores={**self.scores, name: scores},
            cost={**self.cost, name: cost},
            drift={**self.drift, name: drift},
            ood_val=self.ood_val if ood_val is None else {**self.ood_val, name: ood_val},
        )

    def with_curve(self, name: str, curve: Sequence[Mapping[str, Any]] | None) -> Results:
        """The results with a method's whole way on the tests, if it has one (see `metaft.build.fits.curve`)."""
        return self if curve is None else replace(self, curve={**self.curve, name: curve})

    def in_order(self, methods: Sequence[str]) -> Results:
        """The results with what is known by method in this order."""

        def ordered(known: Mapping[str, Any]) -> dict[str, Any]:
            return {name: known[name] for name in (*methods, *known) if name in known}

        return replace(
            self,
            scores=ordered(self.scores),
            cost=ordered(self.cost),
            drift=ordered(self.drift),
            ood_val=ordered(self.ood_val),
        )

    def with_failure(self, name: str, reason: str) -> Results:
        """The results with one more method that gave no result, and why."""
        return replace(self, failed={**self.failed, name: reason})

    def to_dict(self) -> dict[str, Any]:
        """The contents of results.json."""
        return {
            "title": self.title,
            "mode": self.mode,
            "seed": self.seed,
            "objective": self.objective,
            "search": self.search,
            "handed_back": None if self.handed_back is None else asdict(self.handed_back),
            "methods": {m: {s: score.to_dict() for s, score in scores.items()} for m, scores in self.scores.items()},
            "ood_val": dict(self.ood_val),
            "cost": {name: asdict(cost) for name, cost in self.cost.items()},
            "drift": dict(self.drift),
            "curve": dict(self.curve),
            "leave_one_out": dict(self.leave_one_out),
            "provenance": dict(self.provenance),
            "failed": dict(self.failed),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Results:
        """The inverse of `to_dict`."""
        unchanged = (
            "title",
            "mode",
            "seed",
            "objective",
            "search",
            "drift",
            "curve",
            "leave_one_out",
            "provenance",
            "failed",
            "ood_val",
        )
        kept = raw.get("handed_back")
        methods: Mapping[str, Any] = raw["methods"]
        return cls(
            scores={m: {s: Score.from_dict(score) for s, score in scores.items()} for m, scores in methods.items()},
            cost={name: Cost(**cost) for name, cost in raw.get("cost", {}).items()},
            handed_back=None if kept is None else HandedBack(**kept),
            **{key: raw[key] for key in unchanged if key in raw},
        )

    def write(self, folder: str | Path, run: str | None = None) -> None:
        """Write results.json, sealed by its checksum, and provenance.json into a folder that exists.

        Args:
            run: what tells the run apart whose results they are.
        """
        contents = json.loads(to_json(self.to_dict() | ({} if run is None else {RUN: run})))
        write(Path(folder) / RESULTS, to_json(sealed(contents), indent=2) + "\n")
        write(Path(folder) / "provenance.json", to_json(contents["provenance"], indent=2) + "\n")

    def save(self, folder: str | Path, run: str | None = None) -> None:
        """Write results.json and its report: results.md, report.html and figures/; `run` as for `write`.

        Raises:
            ConfigError: the folder cannot be made or written to.
        """
        from metaft.report.write import write_run  # matplotlib, which reading results does not need

        refuse_unusable_folder(folder)
        Path(folder).mkdir(parents=True, exist_ok=True)
        self.write(folder, run)
        write_run(self.to_dict(), Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, unsealed: bool = True, run: str | None = None) -> Results:
        """Read the results.json of a run folder.

        Args:
            unsealed: whether it may be without a checksum, as those of earlier versions are.
            run: what tells the run apart whose results they have to be; then they need a checksum.

        Raises:
            DataError: it is missing or unreadable, is not what was written, or is of another run.
        """
        try:
            return cls.from_dict(read(Path(folder), unsealed=unsealed, run=run))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__} {error}"
            raise DataError(f"{folder}: results.json is damaged ({reason}); allowed: as metaft wrote it") from error
