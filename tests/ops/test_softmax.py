"""Softmax and log-softmax: values, errors and derivatives are torch's."""

from __future__ import annotations

import numpy as np
import pytest

import facula
from tests.ops.oracle import check, check_gradients, random, torch, views

CASES = [
    ((), 0),
    ((5,), 0),
    ((128, 10), 1),
    ((7, 33), 0),
    ((3, 5, 70), 1),
    ((3, 5000), 1),
    ((0, 4), 1),
    ((4, 0), 1),
    ((2, 600), -1),
]


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_values(name: str, shape: tuple[int, ...], dim: int) -> None:
    tensor = random(shape)
    for view in views(tensor):
        check(name, view, dim)
    check(name, tensor.double(), dim, rtol=1e-12, atol=1e-13)
    check(name, tensor.half(), dim, rtol=2e-3, atol=2e-3)
    check(name, tensor.bfloat16(), dim, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize(("shape", "dim"), CASES)
def test_derivatives(name: str, shape: tuple[int, ...], dim: int) -> None:
    check_gradients(name, random(shape), dim)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_extremes(name: str) -> None:
    infinity, nan = float("inf"), float("nan")
    rows = [[1.0, infinity], [-infinity, -infinity], [nan, 1.0], [-infinity, 0.0], [1e4, -1e4]]
    for dim in (0, 1):
        check(name, torch.tensor(rows), dim)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_arguments(name: str) -> None:
    tensor = random((3, 4))
    check(name, tensor.long(), 1)
    check(name, tensor.long(), 1, dtype=torch.float32)
    check(name, tensor, 1, dtype=torch.float64)
    check(name, tensor, 2)


def test_rows_add_up_to_one_without_an_oracle() -> None:
    result = facula.softmax(facula.arange(3000.0).reshape(3, 1000) / 100, 1).numpy()
    np.testing.assert_allclose(result.sum(1), 1.0, rtol=1e-6)
    assert (np.diff(result, axis=1) >= 0).all()
