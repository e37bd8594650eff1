"""Deterministic kernels where they are asked for, and one clear error where there is none."""

from __future__ import annotations

import os

import pytest
import torch

from metaft import config
from metaft.build.workspace import workspace
from metaft.determinism import CUBLAS, settle
from metaft.errors import ConfigError
from metaft.search.bilevel import Budget
from metaft.search.evaluations import Evaluation
from metaft.search.executors.serial import Serial
from metaft.search.journal import Journal
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.shell import answered
from tests.conftest import SMALL
from tests.search.problems import Bowl


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What is settled for a process ends with the test."""
    monkeypatch.delenv(CUBLAS, raising=False)
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.pop(CUBLAS, None)


def no_kernel() -> torch.Tensor:
    return torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))


@pytest.mark.parametrize(
    ("how", "on", "only_warns"), [("true", True, False), ("warn", True, True), ("false", False, False)]
)
def test_a_run_settles_it(how, on, only_warns):
    workspace(config.load(None, [*SMALL, f"deterministic={how}"]))
    assert torch.are_deterministic_algorithms_enabled() is on
    assert torch.is_deterministic_algorithms_warn_only_enabled() is only_warns
    assert (CUBLAS in os.environ) is on


def test_a_setting_of_cublas_stays(monkeypatch):
    monkeypatch.setenv(CUBLAS, ":16:8")
    settle(True)
    assert os.environ[CUBLAS] == ":16:8"


SAID = r"deterministic: true, but put_ has no deterministic kernel on this device; allowed: warn, false"


def test_a_command_says_which_operation_has_none(capsys):
    settle(True)
    assert answered(lambda: int(no_kernel().sum())) == 2
    assert SAID in capsys.readouterr().err


class Undetermined(Bowl):
    """Every run meets an operation without a deterministic kernel."""

    def _value(self, u, seed):
        return no_kernel().sum() + super()._value(u, seed)


def test_it_is_no_failed_trial():
    settle(True)
    with pytest.raises(ConfigError, match=SAID):
        HypergradSolver().solve(Undetermined(), Budget(trials=9), Journal())
    serial = Serial(Undetermined())
    serial.submit(Evaluation("trial", 0, {"x": 0.1, "y": 0.2}, 0))
    with pytest.raises(ConfigError, match=SAID):
        serial.next()


def test_where_it_warns_the_run_goes_on():
    settle("warn")
    with pytest.warns(UserWarning, match="put_ does not have a deterministic implementation"):
        assert float(no_kernel().sum()) == 1.0
