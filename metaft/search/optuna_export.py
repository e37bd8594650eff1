"""python -m metaft.search.optuna_export RUN STORAGE: the trials of a search as a study of Optuna."""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaft.config.paths import place
from metaft.errors import ConfigError, DataError, Fault, on_a_line
from metaft.files import to_json
from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Record
from metaft.shell import answered, leave
from metaft.space import Categorical, Dimension, Float, Int

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

PROG = "python -m metaft.search.optuna_export"
KINDS = {"Float": Float, "Int": Int, "Categorical": Categorical}


def main(argv: Sequence[str] | None = None, prog: str = PROG) -> int:
    """The command line; returns the exit code."""
    args = parser(prog).parse_args(argv)
    return answered(lambda: _told(export(args.run, args.storage, args.name), args.storage))


def _told(study: Study, storage: str) -> int:
    print(f"wrote study {study.study_name!r} with {len(study.trials)} trials to {storage}")
    return 0


def parser(prog: str = PROG) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("run", type=place, metavar="RUN", help="the folder of a run that searched or still searches")
    parser.add_argument("storage", metavar="STORAGE", help="of Optuna, such as sqlite:///trials.db")
    parser.add_argument("--name", metavar="NAME", help="of the study; default: that of the folder")
    return parser


def export(run: Path, storage: str, name: str | None = None) -> Study:
    """Write the finished trials of a run's search to a new study, in natural units and in order.

    Trials without a value are failed ones, those that were stopped early are pruned ones. What Optuna has no place for
    stands in the trials' user attributes: number, seed, cost, metric, status, reason and the derivative.

    Args:
        storage: the address of an Optuna storage.
        name: of the study; the folder's by default.

    Raises:
        ConfigError: Optuna is not installed, or the storage cannot be opened or has a study of that name.
        DataError: the run has no journal that can be read.
    """
    journal = _journal(run)
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise ConfigError([Fault("STORAGE", "no package optuna", 'pip install "metaft[optuna]"')]) from None
    trials = _trials(journal, run)
    name = name or run.resolve().name
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
    except optuna.exceptions.DuplicatedStudyError:
        raise ConfigError([Fault("--name", f"{name!r}, which is in {storage} already", "a new name")]) from None
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, ValueError) as error:
        found = f"{storage}, which cannot be opened ({on_a_line(str(error))})"
        raise ConfigError([Fault("STORAGE", found, "an address such as sqlite:///trials.db")]) from None
    study.set_user_attr("run", str(run))
    study.add_trials(trials)
    return study


def _journal(run: Path) -> Journal:
    """The journal of a run that searched.

    Raises:
        DataError: there is none, or none that can be read.
    """
    if not os.path.lexists(run / PLACE):
        raise DataError(f"{run / PLACE}: no such journal; allowed: the folder of a run that searched")
    return Journal(run / PLACE, read_only=True)


def _trials(journal: Journal, run: Path) -> list[FrozenTrial]:
    """The finished trials of a journal; the last one of all ended when the file was last written to.

    Raises:
        DataError: they are of no space, or not of the journal's.
    """
    place = run / PLACE
    begin = datetime.fromtimestamp(place.stat().st_mtime) - timedelta(seconds=journal.clock)
    try:
        dimensions = {described["name"]: _dimension(described) for described in journal.space or []}
        return [_trial(record, dimensions, begin) for record in journal.trials]
    except (KeyError, TypeError, ValueError) as error:
        reason = on_a_line(str(error))
        raise DataError(f"{place}: damaged journal ({reason}); allowed: points of its space") from error


def _dimension(described: Mapping[str, Any]) -> Dimension:
    """The dimension that `Space.described` has described."""
    values = {key: value for key, value in described.items() if key != "kind"}
    if values["when"] is not None:
        values["when"] = (values["when"][0], tuple(values["when"][1]))
    made: Dimension = KINDS[described["kind"]](**values)
    return made


def _trial(record: Record, dimensions: Mapping[str, Dimension], begin: datetime) -> FrozenTrial:
    """A trial in Optuna's form, of a search that began at some time."""
    from optuna.trial import TrialState, create_trial

    from metaft.search.optuna_space import distribution

    outcome = record.outcome
    states = {"ok": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    state = states.get(outcome.status, TrialState.FAIL)
    told = {"number": record.number, "seed": record.seed, "gradient": record.gradient, **asdict(outcome)}
    trial = create_trial(
        state=state,
        value=outcome.value if state == TrialState.COMPLETE else None,
        params=dict(record.params),
        distributions={name: distribution(dimensions[name]) for name in record.params},
        user_attrs={key: value for key, value in json.loads(to_json(told)).items() if value not in (None, "", [])},
        intermediate_values={step: loss for step, loss in record.reports if math.isfinite(loss)},
    )
    trial.datetime_complete = begin + timedelta(seconds=record.clock)
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=outcome.seconds)
    return trial


if __name__ == "__main__":
    leave(main())
