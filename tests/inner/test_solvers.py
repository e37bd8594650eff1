"""Linear solvers beside torch.linalg, on a matrix in two pieces."""

from __future__ import annotations

import pytest
import torch

from metaft.inner.solvers import ConjugateGradients, Neumann

N = 7


@pytest.fixture(scope="module")
def system():
    """A positive definite matrix, its product with a list of two tensors, and a right-hand side."""
    g = torch.Generator().manual_seed(0)
    root = torch.randn(N, N, generator=g, dtype=torch.float64)
    matrix = root @ root.T / N + torch.eye(N, dtype=torch.float64)
    b = torch.randn(N, generator=g, dtype=torch.float64)

    def product(parts):
        return split(matrix @ joined(parts))

    return matrix, product, b


def split(x):
    return [x[:3], x[3:].reshape(2, 2)]


def joined(parts):
    return torch.cat([part.flatten() for part in parts])


def test_conjugate_gradients_solve_in_as_many_products_as_dimensions(system):
    matrix, product, b = system
    expected = torch.linalg.solve(matrix, b)
    torch.testing.assert_close(joined(ConjugateGradients(N)(product, split(b))), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(joined(ConjugateGradients(50)(product, split(b))), expected, rtol=1e-10, atol=1e-12)
    errors = [float((joined(ConjugateGradients(k)(product, split(b))) - expected).norm()) for k in range(N)]
    assert errors == sorted(errors, reverse=True)


def test_conjugate_gradients_stop_where_the_matrix_is_not_positive():
    b = [torch.ones(2, dtype=torch.float64)]
    (v,) = ConjugateGradients(5)(lambda parts: [-p for p in parts], b)
    assert v.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("k", [0, 1, 4, 400])
def test_neumann_is_its_series(system, k):
    matrix, product, b = system
    scale = 1 / float(torch.linalg.eigvalsh(matrix)[-1])
    shrink = torch.eye(N, dtype=torch.float64) - scale * matrix
    expected = scale * sum((torch.linalg.matrix_power(shrink, j) @ b for j in range(k)), torch.zeros_like(b))
    v = joined(Neumann(k, scale)(product, split(b)))
    torch.testing.assert_close(v, expected, rtol=1e-12, atol=1e-12)
    if k == 400:
        torch.testing.assert_close(v, torch.linalg.solve(matrix, b), rtol=1e-8, atol=1e-8)
