"""Solvers of the bi-level problem: by hypergradients, by values alone, along one fine-tune."""
