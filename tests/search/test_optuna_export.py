"""A journal as a study that Optuna itself reads, with importances and times."""

from __future__ import annotations

import json
import math
import os
import sys
from datetime import datetime

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from metaft.search.journal import PLACE, Journal
from metaft.search.lines import Record, Start
from metaft.search.optuna_export import export, main
from metaft.search.outcome import Outcome
from metaft.space import Categorical, Float, Int, Space

optuna.logging.set_verbosity(optuna.logging.WARNING)
SPACE = Space(
    [
        Float("lr", 1e-5, 1e-1, log=True),
        Float("weight", 0.0, 10.0, scale="asinh"),
        Int("rank", 1, 64, log=True),
        Categorical("norm", ("mars", None)),
        Int("depth", 0, 3, when=("norm", ("mars",))),
    ]
)
TRIALS = 24
END = 1e9  # when the journal was last written to
STATUSES = {3: "diverged", 5: "stopped", 7: "oom"}


def outcome(number: int, value: float) -> Outcome:
    status = STATUSES.get(number, "ok")
    return Outcome(value, 0.5, value if status in ("ok", "stopped") else math.inf, 5, 10.0, 2.0, status, "so it is")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a search with trials whose value is that of the learning rate, and one under way."""
    rng = np.random.default_rng(0)
    points = [
        {
            "lr": float(10 ** rng.uniform(-5, -1)),
            "weight": float(rng.uniform(0, 10)),
            "rank": int(rng.integers(1, 65)),
            **({"norm": None} if rng.random() < 0.5 else {"norm": "mars", "depth": int(rng.integers(4))}),
        }
        for _ in range(TRIALS + 1)
    ]
    records = [
        Record(
            *("trial", n, params, 7 + n, outcome(n, abs(math.log10(params["lr"]) + 3)), (0.5,) * 4 + (math.nan,)),
            reports=((2, 1.5), (4, math.nan)) if n == 5 else (),
            clock=3.0 * (TRIALS - n),
        )
        for n, params in enumerate(points)
    ]
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    ended = records[:TRIALS][::-1]  # workers end in any order
    journal = Journal(folder / PLACE, earlier=ended)
    journal.bind(SPACE)
    for record in records:
        journal.start(Start(record.number, record.params, record.seed))
    for record in ended:
        journal.append(record)
    os.utime(folder / PLACE, (END, END))
    return folder


@pytest.fixture(scope="module")
def storage(run):
    """A file of Optuna's with the study."""
    storage = f"sqlite:///{run.parent}/trials.db"
    assert main([str(run), storage]) == 0
    return storage


@pytest.fixture(scope="module")
def study(storage):
    return optuna.load_study(study_name="first", storage=storage)


def test_optuna_reads_the_study(run, study):
    trials, records = study.trials, Journal(run / PLACE, read_only=True).trials
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert [t.number for t in trials] == [t.user_attrs["number"] for t in trials] == list(range(TRIALS))
    for trial, record in zip(trials, records, strict=True):
        assert trial.params == record.params
        assert trial.user_attrs["seed"] == record.seed
        assert (trial.user_attrs["status"], trial.user_attrs["step_equivalents"]) == (record.outcome.status, 10.0)
        assert trial.user_attrs["gradient"] == [0.5, 0.5, 0.5, 0.5, None]
    best = min((r for r in records if r.outcome.status == "ok"), key=lambda r: r.outcome.value)
    assert (study.best_trial.number, study.best_value) == (best.number, best.outcome.value)
    assert trials[0].distributions["lr"] == optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)
    assert trials[0].distributions["rank"] == optuna.distributions.IntDistribution(1, 64, log=True)


def test_trials_without_a_value_have_failed_and_stopped_ones_are_pruned(study):
    trials = study.trials
    assert {t.number: t.state for t in trials if t.state != TrialState.COMPLETE} == {
        3: TrialState.FAIL,
        5: TrialState.PRUNED,
        7: TrialState.FAIL,
    }
    assert trials[5].intermediate_values == {2: 1.5}
    assert trials[3].user_attrs["reason"] == "so it is"


def test_times_are_those_of_the_search(study):
    for trial in study.trials:  # number 0 ended last, as the file was written
        assert trial.datetime_complete == datetime.fromtimestamp(END - 3.0 * trial.number)
        assert trial.duration.total_seconds() == 2.0


def test_importances_find_what_matters(study):
    always = ["lr", "weight", "rank", "norm"]  # which all trials have
    importances = optuna.importance.get_param_importances(study, params=always)
    assert set(importances) == set(always)
    assert max(importances, key=importances.get) == "lr"
    assert importances["lr"] > 0.5


def test_attributes_are_what_json_knows(study):
    for trial in study.trials:
        assert json.loads(json.dumps(trial.user_attrs, allow_nan=False)) == trial.user_attrs


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        ("nonsense", "STORAGE: nonsense, which cannot be opened"),
        ("sqlite:////absent/folder/trials.db", "STORAGE: sqlite:////absent/folder/trials.db, which cannot be opened"),
        ("odd://host/base", "STORAGE: odd://host/base, which cannot be opened"),
    ],
)
def test_a_storage_that_cannot_be_opened(run, storage, said, capsys):
    assert main([str(run), storage]) == 2
    assert said in capsys.readouterr().err


def test_a_study_that_is_there_is_not_added_to(run, storage, study, capsys):
    assert main([str(run), storage]) == 2
    assert "--name: 'first', which is in" in capsys.readouterr().err
    assert len(study.trials) == TRIALS
    assert export(run, storage, "second").study_name == "second"


def test_a_folder_without_a_journal(tmp_path, capsys):
    assert main([str(tmp_path), "sqlite://"]) == 3
    assert "no such journal; allowed: the folder of a run that searched" in capsys.readouterr().err


@pytest.mark.parametrize(
    "dimensions",
    [[{"kind": "Odd", "name": "x", "when": None}], [{"kind": "Float", "name": "x", "when": None, "low": 1}], []],
    ids=str,
)
def test_a_journal_of_no_space_is_refused(tmp_path, dimensions, capsys):
    journal = Journal(tmp_path / PLACE)
    journal._write("space", {"dimensions": dimensions})
    journal.start(Start(0, {"x": 0.1}, 7))
    journal.append(Record("trial", 0, {"x": 0.1}, 7, outcome(0, 1.0)))
    assert main([str(tmp_path), "sqlite://"]) == 3
    assert "damaged journal" in capsys.readouterr().err


def test_without_optuna_it_is_told_what_to_install(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main([str(run), "sqlite://"]) == 2
    assert 'no package optuna; allowed: pip install "metaft[optuna]"' in capsys.readouterr().err
