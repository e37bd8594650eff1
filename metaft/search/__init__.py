"""Searching for an objective: one problem, several solvers."""
