"""Which step and which term a hypergradient owes its length to."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from metaft.config.schema import StorageConfig
from metaft.inner.diagnosis import (
    OPTIMIZER,
    culprit_step,
    culprit_term,
    diverged_step,
    explanation,
    second_order_shares,
)
from metaft.inner.loop import Loop, Trace
from metaft.inner.state import InnerState
from metaft.inner.unroll import Truncated, Unroll
from tests.inner.problems import T, problem


@pytest.mark.parametrize(
    ("lengths", "step"),
    [
        ([30.0, 20.0, 2.0, 1.0], 2),
        ([math.inf, 5.0, 5.0, 1.0], 1),
        ([math.nan, math.nan, 5.0, 1.0], 2),
        ([math.nan, math.nan, math.nan, math.nan], None),  # so from the outer loss on
        ([], None),
    ],
)
def test_the_step_of_most_growth(lengths, step):
    """Lengths of the adjoint after 0, 1, 2, ... steps."""
    assert culprit_step(Trace({t: torch.tensor(x) for t, x in enumerate(lengths)})) == step


@pytest.fixture(scope="module")
def links():
    """A small fine-tune, and what its reverse sweep sees of each step."""
    case, trace, seen = problem("vit"), Trace(), {}
    trace.link = lambda t, state, batch, adjoint: seen.update({t: (state, batch, adjoint)})
    Unroll(StorageConfig(storage="keep"))(case.loop(), trace)
    return case, seen


def test_shares_are_of_every_term_that_curves(links):
    case, seen = links
    shares = second_order_shares(case.step, seen[T][0], seen[T][1], case.h, seen[T][2])
    assert set(shares) == set(case.h) - {"lr", "wd"}
    assert shares["l1init"] == shares["l1zero"] == 0.0
    assert all(shares[name] > 0 for name in ("ce", "flyp", "kd", "l2init", "l2zero"))


def test_a_term_of_great_weight_is_named(links):
    case, seen = links
    for name in ("flyp", "l2init"):
        heavy = {**case.h, name: torch.tensor(1e6, dtype=torch.float64)}
        assert culprit_term(case.step, seen[2][0], seen[2][1], heavy, seen[2][2]) == name


def test_an_adjoint_that_is_not_finite_is_the_optimizers(links):
    case, seen = links
    state, batch, adjoint = seen[1]
    broken = adjoint.map(lambda t: t * math.nan)
    assert culprit_term(case.step, state, batch, case.h, broken) == OPTIMIZER


def test_parts_of_a_batch_have_the_shares_of_the_whole():
    """Of terms that compare no images; the graph of one part is in memory at a time."""
    found = []
    for parts in (1, 2):
        case, seen = problem("vit", accumulate=parts), []
        h = {name: x for name, x in case.h.items() if name != "flyp"}
        loop = case.loop(h=h)
        Unroll(StorageConfig(storage="keep"))(loop, Trace(link=lambda t, *link, kept=seen: kept.append(link)))
        found.append(second_order_shares(case.step, seen[0][0], seen[0][1], h, seen[0][2]))
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_a_step_of_a_tail_has_its_number_in_the_loop():
    case = problem("vit")
    h = {**case.h, "flyp": torch.tensor(1e6).double()}
    said = explanation(Truncated(last=1, storage=StorageConfig(storage="keep")), case.loop(h=h), case.step, h, 1e9)
    assert said.endswith(f"from inner step {T} of {T}, term flyp")


def test_where_memory_is_short_the_step_alone_is_named(monkeypatch):
    case = problem("vit")

    def without_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("metaft.inner.diagnosis.culprit_term", without_memory)
    said = explanation(Unroll(StorageConfig(storage="keep")), case.loop(), case.step, case.h, 1e9)
    assert said.startswith("hypergradient of length 1e+09, from inner step ")
    assert said.endswith("which term it is takes more memory than there is")


def test_the_step_after_which_nothing_is_finite():
    def step(state: InnerState, batch: float, h) -> InnerState:
        return replace(state, params=tuple(p * batch for p in state.params))

    def loop(*batches: float) -> Loop:
        state = InnerState((torch.ones(2),), (), (), 0)
        return Loop(step, state, batches, {"w": torch.tensor(1.0)}, lambda end: end.params[0].sum())

    assert diverged_step(loop(2.0, 3.0)) is None
    assert diverged_step(loop(2.0, math.inf, 1.0)) == 2
