"""Every solver by the mode it serves."""

from __future__ import annotations

from functools import partial

import pytest

from metaft.search.random import Uniform
from metaft.search.solvers.blackbox import BlackBoxSolver
from metaft.search.solvers.hypergrad import HypergradSolver
from metaft.search.tpe.tpe import TPE

tpe, uniform = partial(BlackBoxSolver, TPE), partial(BlackBoxSolver, Uniform)
SOLVERS = {"hypergrad": HypergradSolver, "tpe": tpe, "random": uniform}
each_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
