"""One file and one line: a dummy of every kind, registered from this module, goes through whole runs."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import torch
from pydantic import BaseModel

from metaft.data import digits
from metaft.data.registry import FORMATS, Format
from metaft.finetune.loop import train, train_with_hook
from metaft.finetune.method import Method
from metaft.finetune.methods import METHODS
from metaft.hooks.hook import Hook
from metaft.hooks.knobs import Knob
from metaft.hooks.registry import HOOKS, HookKind
from metaft.inner.registry import ESTIMATORS, LINEAR_SOLVERS, EstimatorKind, LinearSolverKind
from metaft.inner.solvers import ConjugateGradients
from metaft.inner.unroll import Unroll
from metaft.metrics import METRICS, Metric
from metaft.objective.file import load_objective
from metaft.objective.heads import HEADS, Head
from metaft.objective.registry import TERMS, Term
from metaft.run import LISTS, main
from metaft.search.executors.registry import EXECUTORS, ExecutorKind
from metaft.search.executors.serial import Serial
from metaft.search.random import Uniform
from metaft.search.registry import OUTER_LOSSES, SAMPLERS, OuterLoss, SamplerKind
from metaft.space import SCALES, Float, Scale
from metaft.trackers.registry import TRACKERS, TrackerKind

SEEN: set[str] = set()


def seen(kind):
    """Note that the dummy of a kind was at work."""
    SEEN.add(kind)


class Options(BaseModel):
    """Of the dummy format."""

    n: int = 60


def dummy_data(options, data, seed, view):
    seen("format")
    sizes = digits.Options(id_train=options.n, id_val=40, ood_val=60, test=40)
    return digits.load(sizes, seed, view)


def dummy_term(s):
    seen("term")
    return s.logits.square().mean()


def dummy_method(classifier, data, context):
    seen("method")
    return train(classifier, context.settings.plain, data, context, "dummy")


class DummyHook(Hook):
    def before(self, grads, values, anchors, state, knobs):
        seen("hook")
        return [knobs["pull"] * g for g in grads], state


def dummy_hooked(classifier, data, context):
    seen("hooked method")
    return train_with_hook(classifier, data, context, "dummy_hook")


def dummy_head(classifier, data, context):
    seen("head")
    return classifier


def dummy_metric(predictions, weights):
    seen("metric")
    return float(weights @ predictions.confidence / weights.sum())


def dummy_loss(logits, labels):
    seen("outer loss")
    return torch.nn.functional.cross_entropy(logits, labels)


class DummySampler(Uniform):
    def __init__(self, space, seed=0):
        seen("sampler")
        super().__init__(space, seed)


class DummyExecutor(Serial):
    @classmethod
    def of(cls, problem, place):
        seen("executor")
        return cls(problem)


@dataclass(frozen=True)
class DummyEstimator(Unroll):
    def __call__(self, loop, trace=None):
        seen("estimator")
        return super().__call__(loop, trace)


@dataclass(frozen=True)
class DummySolver(ConjugateGradients):
    def __call__(self, product, b):
        seen("linear solver")
        return super().__call__(product, b)


class DummyTracker:
    def __init__(self, run, settings):
        seen("tracker")

    def log(self, part, step, values):
        pass

    def close(self):
        pass


def forward(u, low, high):
    seen("weight scale")
    return low + (high - low) * u**3


REGISTERED = [
    (FORMATS, "dummy", Format("a dummy", Options, dummy_data)),
    (TERMS, "dummy", Term("dummy", "a dummy", dummy_term)),
    (METHODS, "dummy", Method("a dummy", dummy_method)),
    (METHODS, "dummy_head", Method("a dummy", dummy_head)),
    (METHODS, "dummy_hook", Method("a dummy", dummy_hooked, knobs=(Knob(Float("pull", 0.1, 1.0), 0.5),))),
    (HOOKS, "dummy_hook", HookKind(lambda *_: DummyHook(), (Knob(Float("pull", 0.1, 1.0), 0.5),))),
    (HEADS, "dummy", Head("a dummy", "dummy_head")),
    (METRICS, "dummy", Metric("a dummy", dummy_metric)),
    (OUTER_LOSSES, "dummy", OuterLoss("a dummy", dummy_loss)),
    (SAMPLERS, "dummy", SamplerKind("a dummy", DummySampler)),
    (EXECUTORS, "dummy", ExecutorKind("a dummy", DummyExecutor.of)),
    (ESTIMATORS, "dummy", EstimatorKind("a dummy", lambda settings: DummyEstimator(settings))),
    (LINEAR_SOLVERS, "dummy", LinearSolverKind("a dummy", lambda settings: DummySolver(settings.iterations))),
    (TRACKERS, "dummy", TrackerKind("a dummy", DummyTracker)),
    (SCALES, "dummy", Scale(forward, lambda value, low, high: ((value - low) / (high - low)) ** (1 / 3))),
]
SMALL = (
    *("data.format=dummy", "data.options={n: 50}", "inner.steps=2", "inner.batch_size=10", "finetune.epochs=1"),
    *("search.candidates=1", "evaluation.bootstrap=100", "objective.weight_scale=dummy", "objective.head=dummy"),
    *("search.use_ood_labels=judge", "objective.mix=false"),
    *("search.outer_loss=dummy", "finetune.method=dummy", "report_to=dummy"),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    SEEN.clear()
    for registry, name, kind in REGISTERED:
        monkeypatch.setitem(registry, name, kind)


@pytest.mark.full
def test_by_values(tmp_path):
    own = ("search.executor=dummy", "search.trials=2", "search.method=dummy_hook", "objective.terms=[dummy, kd]")
    methods = "evaluation.methods=[dummy, dummy_hook, autoft]"
    assert main(["--mode", "dummy", "--out", "run", methods, *own, *SMALL]) == 0
    kinds = {"format", "term", "method", "hook", "hooked method", "head", "metric", "outer loss", "sampler"}
    assert kinds | {"executor", "weight scale", "tracker"} == SEEN
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["methods"]) == {"dummy", "dummy_hook", "autoft"}
    assert 0 < results["methods"]["autoft"]["id_test"]["dummy"] <= 1
    assert results["provenance"]["suite"] == {"format": "dummy", "version": None}
    objective = load_objective(tmp_path / "run" / "objective.yaml")
    assert (objective.head, objective.method) == ("dummy", "dummy_hook")
    assert set(objective.terms) == {"ce", "dummy", "kd"}
    assert 0.1 <= objective.knobs["pull"] <= 1


@pytest.mark.full
def test_by_gradients(tmp_path):
    words = ("evaluation.methods=[autoft]", "objective.terms=[dummy]", "search.trials=5", *SMALL)
    assert main(["--mode", "hypergrad", "--out", "exact", "hypergrad.estimator=dummy", *words]) == 0
    assert "estimator" in SEEN
    fixed = "objective.fixed={ce: 1, lr: 1.0e-3, wd: 0.1}"
    implicit = ("hypergrad.estimator=implicit", "hypergrad.linear_solver=dummy", "hypergrad.iterations=2", fixed)
    assert main(["--mode", "hypergrad", "--out", "implicit", *implicit, *words]) == 0
    assert "linear solver" in SEEN


@pytest.mark.parametrize("what", ["terms", "methods", "datasets", "executors", "estimators", "trackers"])
def test_listed(what, capsys):
    assert "| dummy" in LISTS[what]()


def test_a_name_that_is_not_registered_is_refused(capsys):
    words = ("report_to=dumy", "objective.head=dumy", "objective.weight_scale=dumy", "hypergrad.linear_solver=dumy")
    assert main(["--mode", "dumy", *words]) == 2
    err = capsys.readouterr().err
    for field in ("search.mode", "report_to", "objective.head", "objective.weight_scale", "hypergrad.linear_solver"):
        assert field in err
    assert err.count("Did you mean 'dummy'?") == 5
