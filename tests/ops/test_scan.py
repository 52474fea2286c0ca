"""Scans: values, errors and gradients are torch's."""

from __future__ import annotations

from typing import Any

import pytest

import facula
from tests.ops.oracle import REAL, check, check_gradients, random, to_facula, torch, views

SHAPES = [(), (0,), (5,), (3, 0), (7, 5), (3, 40, 33), (3, 500)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [*REAL, "int8"])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "cummin"])
def test_every_dimension_dtype_and_stride(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = random(shape, dtype, nan=3 if shape == (7, 5) else 0)
    for view in views(tensor.clamp(-1, 2) if name == "cumprod" and dtype != "bool" else tensor):
        for dim in range(max(1, view.ndim)):
            check(name, view, dim, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_logcumsumexp(shape: tuple[int, ...]) -> None:
    for view in views(random(shape)):
        for dim in range(max(1, view.ndim)):
            check("logcumsumexp", view, dim)
    check("logcumsumexp", torch.tensor([-torch.inf, -torch.inf, 1.0, torch.inf]), 0)
    check("logcumsumexp", random((3,), "int64"), 0)


def test_arguments() -> None:
    tensor = random((4, 5))
    check("cumsum", tensor.int(), 0, dtype=torch.float32)
    check("cumsum", tensor * 3, 0, dtype=torch.int64)
    check("cumsum", tensor, axis=1)
    check("cumsum", tensor, 5)
    check("cumsum", tensor, 1.5)
    check("cumsum", tensor)
    check("cumprod", tensor, dim=-1)
    out = facula.empty(4, 5)
    assert facula.cumsum(to_facula(tensor), 0, out=out) is out


@pytest.mark.parametrize("shape", [(), (5,), (7, 5), (2, 3, 4)])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp", "cummax", "cummin"])
def test_gradients(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for tensor in views(torch.randn(shape)):
        for dim in range(tensor.ndim):
            check_gradients(name, tensor, dim)


def test_gradient_of_cumprod_at_zeros() -> None:
    tensor = torch.tensor([[1.0, 0.0, 2.0, 0.0, 3.0], [2.0, 3.0, 0.0, 1.0, 2.0]])
    check_gradients("cumprod", tensor, 1, second=False)
    check_gradients("cumprod", tensor, 0, second=False)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_diff(dtype: str) -> None:
    tensor: Any = random((4, 6), dtype)
    check("diff", tensor)
    check("diff", tensor, 2, 0)
    check("diff", tensor, 0)
    check("diff", tensor, 9)
    check("diff", tensor, prepend=tensor[:, :1], append=tensor[:, :2])
    check("diff", torch.tensor(1.0))
    check_gradients("diff", random((4, 6)), 2, 1)


def test_trace() -> None:
    for tensor in views(random((4, 6))):
        check("trace", tensor)
        check_gradients("trace", tensor)
    check("trace", random((3,)))
