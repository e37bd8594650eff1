"""Searching for an objective: one problem, several solvers. Called, it is `metaft.api.search`."""

from metaft.lazy import make_callable

make_callable(__name__, "metaft.api:search")
