"""Hypergradients of a CLIP fine-tune by reverse sweeps: against central differences in float64, and torch.func."""

from __future__ import annotations

import pytest

from metaft.config.schema import StorageConfig
from metaft.inner.loop import Footprint, Trace
from metaft.inner.storage import GIB
from metaft.inner.unroll import Truncated, Unroll
from metaft.objective.registry import TERMS
from tests.conftest import by_default
from tests.inner.problems import BY_GROUP, H, Problem, T, problem, tiny
from tests.inner.twin import twin_hypergradient

CASES = {"vit": ("vit", False), "vit by group": ("vit", True), "resnet": ("resnet", False)}


@pytest.fixture(scope="module", params=by_default(("vit", "vit by group"), CASES))
def case(request) -> Problem:
    tower, by_group = CASES[request.param]
    return problem(tower, by_group=by_group)


def test_equals_central_differences(case):
    assert set(TERMS) <= set(case.h)
    assert set(case.h) - set(BY_GROUP) == set(H)
    value, gradient = Unroll(StorageConfig(storage="keep"))(case.loop())
    assert float(value) == pytest.approx(case.value_at(case.h), rel=1e-12)
    for name in case.h:
        assert abs(float(gradient[name])) > 1e-6, f"{name} moves nothing"
        assert case.error(name, gradient, (1e-5, 1e-6), bound=1e-5) < 1e-5, name


STORAGES = {
    "keep": (StorageConfig(storage="keep"), None),
    "replay": (StorageConfig(storage="replay"), None),
    "offload": (StorageConfig(storage="replay", offload=True), None),
    "segments": (StorageConfig(storage="segments"), None),
    "auto, all graphs": (StorageConfig(storage="auto"), None),
    "auto, some graphs": (StorageConfig(storage="auto", memory=305.0 / GIB), Footprint(1, 100, 0)),
    "auto, no room": (StorageConfig(storage="auto", memory=1e-12), None),
}


def test_all_storages_agree(case):
    """Every route against torch.func, to 1e-9, for every hyperparameter and with all terms active."""
    twin, value = twin_hypergradient(tiny(case.tower), case.batches, case.last, case.h)
    routes = {name: (Unroll(storage), footprint) for name, (storage, footprint) in STORAGES.items()}
    routes["truncated after T"] = (Truncated(T, StorageConfig(storage="replay")), None)
    for route, (estimator, footprint) in routes.items():
        other, gradient = estimator(case.loop(footprint))
        assert float(other) == pytest.approx(float(value), rel=1e-12), route
        for name in case.h:
            assert float(gradient[name]) == pytest.approx(float(twin[name]), rel=1e-9), f"{route}: {name}"


def test_theta_0_is_not_touched_and_nothing_lingers(case):
    before = [p.clone() for p in case.step.pretrained.values()]
    (value, gradient), (again, same) = (Unroll(StorageConfig(storage="keep"))(case.loop()) for _ in range(2))
    assert float(value) == float(again)
    assert all(gradient[k].equal(same[k]) for k in case.h)
    assert all(a.equal(b) for a, b in zip(before, case.step.pretrained.values(), strict=True))


def test_a_trace_has_the_adjoints_length_at_every_step():
    small = problem("vit")
    links, trace = [], Trace(whole=True)
    trace.link = lambda t, state, batch, adjoint: links.append((t, state.step, batch is small.batches[t - 1]))
    Unroll(StorageConfig(storage="replay"))(small.loop(), trace)
    assert sorted(trace.lengths) == list(range(T + 1))
    assert all(float(length) > 0 for length in trace.lengths.values())
    assert links == [(t, t - 1, True) for t in range(T, 0, -1)]
