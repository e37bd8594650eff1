"""Optuna's own suite for samplers: our TPE within Optuna, and Optuna's samplers as ours, as Optuna's again."""

from __future__ import annotations

from functools import partial

import optuna
import pytest
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from metaft.search.from_optuna import Sobol, gp, tpe
from metaft.search.optuna_sampler import OwnSampler, TPESampler

optuna.logging.set_verbosity(optuna.logging.WARNING)
MADE = {
    "joint": partial(TPESampler, seed=0, startup=2),
    "single": partial(TPESampler, seed=0, startup=2, multivariate=False),
    "optuna-tpe": partial(OwnSampler, tpe, seed=0),
    "optuna-gp": partial(OwnSampler, gp, seed=0),
    "optuna-qmc": partial(OwnSampler, Sobol, seed=0),
}


class Sampled:
    """Makes the sampler for the suite."""

    @pytest.fixture(params=MADE.values(), ids=MADE)
    def sampler(self, request):
        return request.param


@pytest.mark.full
class TestBasic(Sampled, BasicSamplerTestCase):
    pass


@pytest.mark.full
class TestRelative(Sampled, RelativeSamplerTestCase):
    pass


class TestSingleOnly(Sampled, SingleOnlySamplerTestCase):
    pass


class TestSome(Sampled):
    """What is quick."""

    test_dynamic_range_objective = BasicSamplerTestCase.test_dynamic_range_objective
    test_conditional_sample_independent = BasicSamplerTestCase.test_conditional_sample_independent
    test_nan_objective_value = BasicSamplerTestCase.test_nan_objective_value
    test_conditional_parameter_objective = BasicSamplerTestCase.test_conditional_parameter_objective
    test_trial_relative_params = RelativeSamplerTestCase.test_trial_relative_params
