"""Every solver by the mode it serves."""

from __future__ import annotations

from functools import partial

import pytest

from metaft.search.from_optuna import Sobol, gp
from metaft.search.from_optuna import tpe as optuna_tpe
from metaft.search.random import Uniform
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE

tpe, uniform = partial(BlackBoxSolver, TPE), partial(BlackBoxSolver, Uniform)
SOLVERS = {"hypergrad": HypergradSolver, "tpe": tpe, "random": uniform}
OPTUNAS = {
    f"optuna-{name}": partial(BlackBoxSolver, make) for name, make in (("tpe", optuna_tpe), ("gp", gp), ("qmc", Sobol))
}
each_solver = pytest.mark.parametrize(
    "solver",
    [*SOLVERS.values(), *(pytest.param(solver, marks=pytest.mark.full) for solver in OPTUNAS.values())],
    ids=[*SOLVERS, *OPTUNAS],
)
