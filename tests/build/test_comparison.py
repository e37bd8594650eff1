"""Rows by workers: those of one process, whatever is put off and whoever dies."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from safetensors.torch import load_file

from metaft import config, pipeline
from metaft.build import comparison
from metaft.build.comparison import Comparison, Elsewhere, Fitting, Rating, Variant, workers
from metaft.build.fits import fit_settings
from metaft.build.fits import fits as fits_of
from metaft.build.workspace import workspace
from metaft.checkpoints import LOCK, Checkpoints
from metaft.errors import DivergedError
from metaft.finetune.context import FitContext
from metaft.finetune.fits import BusyFitError
from metaft.objective import Objective
from metaft.search.executors.registry import ExecutorKind
from metaft.search.executors.work import Done
from tests.conftest import SMALL

NAMES = ("zero_shot", "ft", "wise_ft", "dfr", "autoft")
FOUND = Objective({"ce": 1.0, "l2init": 1e-3}, 1e-3, 0.1)
OURS = Variant(FOUND)
SOME = (*SMALL, "data.options.ood_val=40", "finetune.batch_size=100")


@pytest.fixture(scope="module")
def opened():
    return workspace(config.load(None, SOME))


def kept_in(folder, work, **how):
    """A folder of fits, and the methods whose fits are kept there."""
    kept = Checkpoints(folder, work.classifier, **how)
    return kept, fits_of(work, FitContext(fit_settings(work, FOUND), keeper=kept), kept)


def elsewhere(folder, executor="processes", workers=2):
    where = (f"evaluation.executor={executor}", f"evaluation.workers={workers}")
    return Elsewhere(config.load(None, [*SOME, *where]), folder, "", folder.parent / "events.jsonl")


def compared(work, fits, several=None):
    return pipeline.compare(work, fits, NAMES, pipeline.blank(work), several=several)


def told(results):
    """Everything but seconds."""
    found = results.to_dict()
    costs = {name: cost.step_equivalents for name, cost in results.cost.items()}
    return {
        **{part: found[part] for part in ("methods", "ood_val", "handed_back", "drift", "curve", "failed")},
        "costs": costs,
    }


@pytest.mark.full
def test_workers_make_what_one_process_makes(opened, tmp_path):
    (tmp_path / "events.jsonl").touch()
    one, several = tmp_path / "one", tmp_path / "several"
    here = compared(opened, kept_in(one, opened)[1])
    _, fits = kept_in(several, opened)
    with workers(elsewhere(several)) as two:
        there = compared(opened, fits, two)
    assert json.dumps(told(there)) == json.dumps(told(here)), "in the same order, to the last bit"
    assert sorted(path.name for path in several.iterdir()) == sorted(path.name for path in one.iterdir())
    for path in one.iterdir():
        ours, theirs = load_file(path), load_file(several / path.name)
        assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items()), path.name
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["method"] for event in events if "drift" in event} == set(NAMES)
    assert len([event for event in events if event["method"] == "ft" and "step" in event]) == 1, "trained once"


def test_a_fit_of_another_process_is_waited_for_or_put_off(opened, tmp_path):
    kept, fits = kept_in(tmp_path, opened, shared=True)
    mine = Comparison.of(opened, fits, lambda event: None)
    with kept.held("ft", wait=True):
        with pytest.raises(BusyFitError), Checkpoints(tmp_path, opened.classifier, shared=True).held("ft", wait=False):
            pass
        assert not fitting("wise_ft").perform(mine)
        assert fitting("zero_shot").perform(mine), "which builds on nothing"
    assert fitting("wise_ft").perform(mine)
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {
        f"{n}.safetensors" for n in ("ft", "wise_ft", "zero_shot")
    }


@dataclass
class Scripted:
    """An executor of one worker; answers are given as pairs of a job and what comes of it, the rest are True."""

    answers: list
    capacity: int = 1

    def __post_init__(self):
        self.seen, self._job = [], None

    def submit(self, job):
        self._job = job
        self.seen.append(job)

    def next(self):
        return Done(self._job, next((answer for job, answer in self.answers if job == self._job), True))

    def close(self):
        self.closed = True


def fitting(name, **how):
    return Fitting(name, OURS, **how)


@contextmanager
def scripted(tmp_path, answers):
    """Workers with given answers, and the executor that gives them."""
    executor = Scripted(answers)
    kind = ExecutorKind("scripted", lambda made, place: executor)
    with pytest.MonkeyPatch.context() as patch, workers(elsewhere(tmp_path)) as several:
        patch.setitem(comparison.EXECUTORS, "processes", kind)
        yield several, executor


def test_what_builds_on_another_comes_again_last_and_waits(opened, tmp_path):
    _, fits = kept_in(tmp_path, opened)
    answers = [(fitting("dfr"), False), (Rating("dfr", OURS), "why")]
    with scripted(tmp_path, answers) as (several, executor):
        rows = dict(several.rows(fits, ["dfr", "ft"]))
    folds = [fitting("dfr", fold=0), fitting("dfr", fold=1)]
    ratings = [Rating("dfr", OURS), Rating("ft", OURS)]
    assert executor.seen == [fitting("dfr"), fitting("ft"), *folds, *ratings, fitting("dfr", patient=True)]
    assert rows == {"dfr": "why", "ft": True}
    assert executor.closed


def test_fits_under_another_name_are_made_as_asked(opened, tmp_path):
    _, fits = kept_in(tmp_path, opened)
    found = replace(FOUND, lr=1e-4)
    aside = replace(fits, context=fits.context.varied(learned=found)).aside("autoft_end", "autoft_found")
    with scripted(tmp_path, []) as (several, executor):
        several.prepare(aside, ["autoft_end"])
    (job,) = executor.seen
    mine = Comparison.of(opened, fits, lambda event: None)
    assert job.perform(mine)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["autoft_found.safetensors"]
    made, again = Checkpoints(tmp_path, opened.classifier).take("autoft_found"), aside.model("autoft_end")
    assert all(torch.equal(p, q) for p, q in zip(made.model.parameters(), again.parameters(), strict=True))


def test_a_method_that_kills_its_worker_twice_has_no_row(opened, tmp_path, capsys):
    _, fits = kept_in(tmp_path, opened)
    with scripted(tmp_path, [(fitting("dfr"), None)]) as (several, executor):
        rows = dict(several.rows(fits, ["dfr", "ft"]))
    assert executor.seen == [fitting("dfr"), fitting("dfr"), fitting("ft"), Rating("ft", OURS)]
    assert rows == {"dfr": "its worker died 2 times", "ft": True}
    assert capsys.readouterr().err.count("the worker of dfr died") == 2


def test_a_divergence_is_told_by_the_row(opened, tmp_path):
    _, fits = kept_in(tmp_path, opened)

    def diverge(name, ood_val, context):
        raise DivergedError(f"{name} diverged")

    mine = Comparison.of(opened, replace(fits, fit=diverge), lambda event: None)
    assert fitting("ft").perform(mine)
    assert Rating("ft", OURS).perform(mine) == "ft diverged"


def test_workers_begin_when_they_are_needed_and_leave_no_lock(opened, tmp_path):
    (tmp_path / f".ft{LOCK}").touch()
    with scripted(tmp_path, []) as (_, executor):
        pass
    assert not hasattr(executor, "closed")
    assert not list(tmp_path.iterdir())
