"""Sorting, selection, distinct elements, search and counts: values, errors and gradients are torch's."""

from __future__ import annotations

import math
from typing import Any

import pytest

import facula
from tests.ops.oracle import REAL, check, check_gradients, parts, random, to_facula, torch, views

SHAPES = [(), (0,), (5,), (3, 0), (7, 5), (3, 40, 33), (3, 500)]


def check_values(name: str, *args: Any, **kwargs: Any) -> None:
    """The first part of the result is torch's, and the second says where it stands (any of equal elements will do)."""
    values, indices = getattr(facula, name)(*[to_facula(a) for a in args], **kwargs)
    expected = getattr(torch, name)(*args, **kwargs)
    assert str(values.tolist()) == str(expected[0].tolist())  # NaN prints alike
    dim, input = kwargs.get("dim", args[1] if len(args) > 1 else -1), to_facula(args[0])
    if input.ndim and indices.ndim == input.ndim:
        assert str(input.gather(dim, indices).tolist()) == str(values.tolist())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [*REAL, "float16", "int8"])
def test_sort_is_stable_with_nan_last(dtype: str, shape: tuple[int, ...]) -> None:
    for view in views(random(shape, dtype, nan=3 if shape == (7, 5) else 0)):
        for dim in range(max(1, view.ndim)):
            check("sort", view, dim=dim, stable=True)
            check("sort", view, dim=dim, descending=True, stable=True)
            check("argsort", view, dim=dim, stable=True)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32"])
def test_long_lines(dtype: str) -> None:
    check("sort", random((40000,), dtype), stable=True)
    check("sort", random((2, 3000), dtype), descending=True, stable=True)


def test_sort_of_special_values() -> None:
    tensor = torch.tensor([0.0, -0.0, 1.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, -1e-45])
    check("sort", tensor, stable=True)
    check("sort", tensor, descending=True, stable=True)
    check("sort", torch.tensor([2**63 - 1, -(2**63), 0]))
    check("msort", random((4, 5)))
    check("sort", random((4, 5)), 3)
    assert facula.sort(facula.zeros(3, 2).t()).values.stride() == (1, 2)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
def test_topk(dtype: str, largest: bool) -> None:
    for shape in [(5,), (7, 5), (3, 500)]:
        for view in views(random(shape, dtype, nan=2 if shape == (7, 5) else 0)):
            for dim in range(view.ndim):
                for k in {1, 2, 5, view.shape[dim] // 2, view.shape[dim]}:
                    if k <= view.shape[dim]:
                        check_values("topk", view, k=k, dim=dim, largest=largest)
    check("topk", random((3, 4)), 7)
    check("topk", random((3,), "bool"), 1)


@pytest.mark.parametrize("name", ["median", "nanmedian", "mode"])
@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
def test_middle_and_most_frequent(name: str, dtype: str) -> None:
    for shape in [(), (5,), (7, 5), (3, 40, 33)]:
        for view in views(random(shape, dtype, nan=2 if shape == (7, 5) and name != "mode" else 0)):
            if name != "mode":
                check(name, view)
            for dim in range(view.ndim):
                check_values(name, view, dim)
                check_values(name, view, dim=dim, keepdim=True)
    check(name, torch.zeros(3, 0), 1)


def test_kthvalue() -> None:
    tensor = random((7, 5))
    for k in (1, 3, 5):
        check_values("kthvalue", tensor, k=k, dim=1)
        check_values("kthvalue", tensor, k=k, dim=0, keepdim=True)
    check("kthvalue", tensor, 9)
    check("kthvalue", tensor, 0)


@pytest.mark.parametrize("interpolation", ["linear", "lower", "higher", "midpoint", "nearest"])
@pytest.mark.parametrize("name", ["quantile", "nanquantile"])
def test_quantiles(name: str, interpolation: str) -> None:
    for shape in [(), (5,), (7, 5), (3, 4, 9)]:
        tensor = random(shape, nan=1 if shape == (7, 5) else 0)
        for q in (0.5, 0.0, 1.0, torch.tensor([0.1, 0.77])):
            for dim in [None, *range(tensor.ndim)]:
                check(name, tensor, q, dim, interpolation=interpolation)
                check(name, tensor, q, dim, True, interpolation=interpolation)
    check(name, tensor, 1.5)
    check(name, torch.zeros(0), 0.5)
    check(name, random((3,), "int64"), 0.5)


def test_gradients() -> None:
    torch.manual_seed(0)
    for tensor in views(torch.randn(7, 5)):
        for dim in (0, 1):
            check_gradients("sort", tensor, dim=dim, descending=True)
            check_gradients("topk", tensor, 2, dim)
            check_gradients("topk", tensor, 1, dim)
            check_gradients("kthvalue", tensor, 2, dim, True)
            check_gradients("median", tensor, dim)
            check_gradients("quantile", tensor, 0.3, dim)
        check_gradients("median", tensor)
        check_gradients("msort", tensor)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8", "bool"])
@pytest.mark.parametrize("name", ["unique", "unique_consecutive"])
def test_distinct_elements(name: str, dtype: str) -> None:
    for shape in [(0,), (1,), (50,), (7, 5), (3, 4, 5)]:
        tensor = random(shape, dtype)
        check(name, tensor)
        check(name, tensor, return_inverse=True, return_counts=True)
        for dim in range(tensor.ndim if tensor.numel() else 0):
            check(name, tensor > 0, return_inverse=True, return_counts=True, dim=dim)
    assert len(parts(facula.unique(facula.zeros(3), return_counts=True))) == 2


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "int64", "int32"])
def test_search(dtype: str, right: bool) -> None:
    boundaries, values = random((20,), dtype).sort().values, random((6, 7), dtype)
    check("searchsorted", boundaries, values, right=right)
    check("searchsorted", boundaries, 1, right=right, out_int32=True)
    check("searchsorted", random((6, 20), dtype).sort().values, values, right=right)
    check("bucketize", values, boundaries, right=right)
    shuffled = random((20,), dtype)
    check("searchsorted", shuffled, values, sorter=shuffled.argsort())
    check("searchsorted", boundaries, values, side="right")
    check("searchsorted", boundaries, values, side="left", right=True)
    check("searchsorted", random((3, 4)), random((5, 4)))
    check("bucketize", values, random((3, 4)))


def test_counts() -> None:
    numbers = random((50,), "uint8")
    check("bincount", numbers)
    check("bincount", numbers[::2], minlength=20)
    check("bincount", numbers, torch.arange(50.0))
    check("bincount", numbers, torch.arange(50))
    check("bincount", torch.tensor([-1]))
    check("bincount", torch.tensor([1.0]))
    check("bincount", torch.zeros(2, 2, dtype=torch.int64))
    for tensor in views(random((20, 25))):
        check("histc", tensor)
        check("histc", tensor, 10, -1, 1)
    check("histc", torch.zeros(0), 5)
    check("histc", torch.ones(4), 5)
    check("histc", torch.ones(4), 5, 3, 1)
    check("histc", torch.ones(4), 0)
