"""The spacing of a difference quotient: on functions whose best spacing is known."""

from __future__ import annotations

import math

import pytest
import torch

from metaft.inner.spacing import WIDEST, least_error


def quotient(order: int, precision: float, curvature: float):
    """The derivatives of exp(curvature x) at 0 in a hundred directions, whose values are rounded at random."""

    def derivative(x: float) -> torch.Tensor:
        generator = torch.Generator().manual_seed(hash(x) % 2**31)
        ahead, behind = precision * (torch.rand(2, 100, generator=generator, dtype=torch.float64) - 0.5)
        f = math.exp(curvature * x), math.exp(-curvature * x) if order == 2 else 1.0
        return (f[0] + ahead - f[1] - behind) / (x * (2 if order == 2 else 1))

    return derivative


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("precision", [1e-3, 1e-7, 1e-15])
@pytest.mark.parametrize("curvature", [1.0, 30.0])
def test_it_is_near_the_best_and_its_error_is_known(order, precision, curvature):
    derivative = quotient(order, precision, curvature)

    def error(x: float) -> float:
        return float((derivative(x) - curvature).norm()) / (10 * curvature)

    found = least_error(derivative, precision, order)
    best = min(error(found.spacing * 1.5**k) for k in range(-20, 20) if found.spacing * 1.5**k < WIDEST)
    assert error(found.spacing) < 3 * best
    assert error(found.spacing) / 3 < found.error < 5 * error(found.spacing)


def test_a_linear_function_has_no_error():
    found = least_error(lambda _: torch.ones(3), 1e-7, 2)
    assert found.error == 0


def test_noise_alone_has_an_error_of_its_own_size():
    noise = quotient(2, 1e3, 1.0)
    assert least_error(noise, 1e-7, 2).error > 1


def test_what_is_not_finite_has_an_infinite_error():
    assert least_error(lambda _: torch.full((3,), math.nan), 1e-7, 2).error == math.inf


def test_noise_beyond_the_precision_is_found():
    """Values with more noise than their precision says: neighbours differ by chance where rounding would prevail."""
    found = [least_error(quotient(order, 1e-4, 1.0), 1e-7, order) for order in (1, 2)]
    for (spacing, error), order in zip(found, (1, 2), strict=True):
        derivative = quotient(order, 1e-4, 1.0)
        assert float((derivative(spacing) - 1).norm()) / 10 < 0.05
        assert error < 0.1
