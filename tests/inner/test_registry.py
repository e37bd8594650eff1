"""Estimators by name: what they can and cannot do."""

from __future__ import annotations

import pytest

from metaft.config.schema import HypergradConfig
from metaft.errors import ConfigError
from metaft.inner import Auto, Differences, Estimator, Forward, Implicit, Truncated, Unroll, estimate
from metaft.inner.registry import ESTIMATORS, LINEAR_SOLVERS, refusals
from metaft.inner.solvers import ConjugateGradients, Neumann
from tests.inner.problems import problem
from tests.inner.ridge import Ridge


def test_unknown_names_are_told_with_the_nearest():
    ridge = Ridge()
    with pytest.raises(ConfigError, match=r"hypergrad\.estimator: unknown name 'unrol'.*'unroll'"):
        ridge.gradient(1, "unrol")
    with pytest.raises(ConfigError, match=r"hypergrad\.storage: unknown name 'replai'.*'replay'"):
        ridge.gradient(1, storage="replai")
    with pytest.raises(ConfigError, match=r"hypergrad\.storage: unknown name 'replay'; allowed: auto, keep"):
        ridge.gradient(1, "forward", "replay")


def test_each_is_made_from_the_settings():
    settings = HypergradConfig(last=3, iterations=4, damping=0.1, scale=0.2, linear_solver="neumann", storage="replay")
    made = {name: kind.make(settings) for name, kind in ESTIMATORS.items()}
    assert made == {
        "auto": Auto(settings),
        "differences": Differences("both", None, settings),
        "unroll": Unroll(settings),
        "truncated": Truncated(3, settings),
        "one_step": Truncated(1, settings),
        "forward": Forward(),
        "implicit": Implicit(Neumann(4, 0.2), 0.1),
    }
    assert all(isinstance(estimator, Estimator) for estimator in made.values())
    assert LINEAR_SOLVERS["cg"].make(settings) == ConjugateGradients(4)


def test_refusals_come_together():
    first, second = refusals("implicit", "replay", ["kd", "wd@block.0.attn", "ftp.speed"])
    assert (first.field, second.field) == ("hypergrad.storage", "hypergrad.estimator")
    assert "wd@block.0.attn, ftp.speed" in second.found
    assert "kd" not in second.found
    assert "auto, unroll, differences, truncated, one_step, forward" in second.allowed
    assert refusals("implicit", "keep", ["kd", "l2init@block.0.attn"]) == []


@pytest.mark.parametrize(
    ("option", "told"), [({"last": 0}, r"last: 0.*greater than or equal to 1"), ({"lst": 1}, "lst: unknown key.*last")]
)
def test_options_are_settings(option, told):
    loop = problem("vit").loop()
    with pytest.raises(ConfigError, match=f"hypergrad.{told}"):
        estimate(loop.step, loop.state, loop.batches, loop.h, loop.outer, estimator="truncated", **option)
