"""The planning of reductions and the kernels, without an oracle: NumPy's values, the walks taken, the partition."""

from __future__ import annotations

import numpy as np
import pytest

import facula
from facula.core import dtype as dt
from facula.core.layout import layout
from facula.ops.reduce import sum as sum_of
from facula.ops.reduce import sum_to_shape
from facula.ops.reduction import kept_and_reduced, walk_of


def walk(shape: tuple[int, ...], dims: tuple[int, ...], stride: tuple[int, ...] | None = None) -> str:
    return walk_of(*kept_and_reduced(layout(shape, stride, dt.float32), dims))


def test_the_walk_follows_the_strides() -> None:
    assert walk((100, 50), (1,)) == "rows"
    assert walk((100, 50), (0,)) == "columns"
    assert walk((100, 50), (0,), (1, 100)) == "rows"
    assert walk((100, 50), (0, 1)) == "rows"
    assert walk((8, 16, 20), (0, 2)) == "rows"
    assert walk((100, 50), (1,), (100, 2)) == "strided"
    assert walk((), ()) == "strided"


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int16"])
@pytest.mark.parametrize("shape", [(1,), (17,), (2049,), (70001,), (3, 129), (129, 3), (33, 40, 7)])
def test_sums_are_numpy_sums(shape: tuple[int, ...], dtype: str) -> None:
    values = np.random.default_rng(0).integers(-9, 9, shape).astype(dtype)
    tensor = facula.from_numpy(values)
    assert sum_of(tensor).item() == values.sum()
    for dim in range(len(shape)):
        np.testing.assert_array_equal(sum_of(tensor, dim).numpy(), values.sum(dim))


def test_few_results_are_computed_in_chunks() -> None:
    long = facula.ones(300_000)
    plan = sum_of.operator._plan(long, None, False, None)
    assert plan.final is not None and plan.workspace is not None
    assert plan.workspace.dtype is dt.float64
    assert sum_of.operator._plan(facula.ones(300, 1000), 1, False, None).final is None


def test_sum_to_shape() -> None:
    values = np.arange(60.0).reshape(3, 4, 5)
    tensor = facula.from_numpy(values)
    np.testing.assert_array_equal(sum_to_shape(tensor, (4, 1)).numpy(), values.sum((0, 2)).reshape(4, 1))
    np.testing.assert_array_equal(sum_to_shape(tensor, ()).numpy(), values.sum())
    assert sum_to_shape(tensor, (3, 4, 5)) is tensor


def test_meta_tensors_have_geometry_alone() -> None:
    tensor = facula.empty(3, 4, device="meta")
    assert facula.sum(tensor, 0).shape == (4,) and facula.argmax(tensor, 1).shape == (3,)
    assert facula.cumsum(tensor, 0).shape == (3, 4) and facula.sort(tensor).indices.dtype is facula.int64
