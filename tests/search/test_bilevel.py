"""What solvers are given: problems, budgets, seeds."""

from __future__ import annotations

import math

import pytest

from metaft.errors import ConfigError
from metaft.search.bilevel import BilevelProblem, Budget, seed_for
from tests.search.problems import Bowl


def test_the_bowl_is_a_problem():
    assert isinstance(Bowl(), BilevelProblem)


def test_the_first_limit_reached_ends_a_budget():
    budget = Budget(trials=10, step_equivalents=100.0)
    assert budget.spent(trials=5, seconds=1e9, step_equivalents=20.0) == 0.5
    assert budget.spent(trials=5, seconds=0.0, step_equivalents=90.0) == 0.9
    assert Budget().spent(1, 1, 1) == 0.0


@pytest.mark.parametrize("limit", [0, -1, math.nan, "3"])
@pytest.mark.parametrize("name", ["trials", "seconds", "step_equivalents"])
def test_a_limit_that_would_end_nothing_is_refused(name, limit):
    with pytest.raises(ConfigError, match=rf"search\.{name}: {limit!r}; allowed: above 0, or None"):
        Budget(**{name: limit})


def test_seeds_of_different_uses_differ():
    seeds = {seed_for(seed, use, number) for seed in (0, 1) for use in ("trial", "final") for number in range(50)}
    assert len(seeds) == 200
    assert seed_for(3, "trial", 7) == seed_for(3, "trial", 7)
