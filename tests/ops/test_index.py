"""Indexing against NumPy, the operators that take index tensors, and indices out of range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula

ROWS, COLUMNS = np.array([2, 0, -1]), np.array([1, 3, 0])
KEYS: list[Any] = [
    0, -1, slice(None, None, 2), (slice(1, None), 2), (..., 1), (None, 1), (slice(None), None, slice(0, 2)), ROWS, (ROWS, COLUMNS),
    (slice(None), COLUMNS), (ROWS[:, None], COLUMNS), (ROWS, slice(1, 3)), [2, 0], (1, COLUMNS), np.array([True, False, True]),
    np.arange(12).reshape(3, 4) % 3 == 0, (slice(None), np.array([True, False, False, True])), (ROWS, None, COLUMNS), (), ...,
]  # fmt: skip


def ours(key: Any) -> Any:
    if isinstance(key, np.ndarray):
        return facula.from_numpy(key.copy())
    return tuple(ours(k) for k in key) if isinstance(key, tuple) else key


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_reading_and_writing(number: int) -> None:
    key, array = KEYS[number], np.arange(12.0).reshape(3, 4)
    x = facula.from_numpy(array.copy())
    np.testing.assert_array_equal(x[ours(key)].numpy(), array[key])
    expected = array.copy()
    expected[key] = -expected[key] * 2
    x[ours(key)] = -x[ours(key)] * 2
    np.testing.assert_array_equal(x.numpy(), expected)
    x[ours(key)] = 5
    expected[key] = 5
    np.testing.assert_array_equal(x.numpy(), expected)


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_gradients_of_reading(number: int) -> None:
    x = facula.arange(12.0).view(3, 4).requires_grad_()
    part = x[ours(KEYS[number])]
    (part * part).sum().backward()
    expected = np.zeros((3, 4))
    np.add.at(expected, KEYS[number], 2 * np.arange(12.0).reshape(3, 4)[KEYS[number]])
    np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize("key", [3, -4, (0, 4), facula.tensor([0, 3]), (slice(None), facula.tensor([-5]))])
def test_out_of_range(key: Any) -> None:
    x = facula.zeros(3, 4)
    with pytest.raises(IndexError, match="out of bounds for dimension"):
        x[key]
    with pytest.raises(IndexError, match="out of bounds for dimension"):
        x[key] = 1.0
    assert x[2, 3] == 0


def test_wrong_keys() -> None:
    x = facula.zeros(3, 4)
    for key, error in (
        ((0, 0, 0), IndexError),
        ("a", TypeError),
        (1.5, TypeError),
        (slice(None, None, -1), ValueError),
    ):
        with pytest.raises(error):
            x[key]
    with pytest.raises(IndexError, match="mask"):
        x[facula.ones(2, dtype=facula.bool)]
    with pytest.raises(RuntimeError, match="gather"):
        facula.gather(x, 1, facula.tensor([[4]]))


@pytest.mark.parametrize("reduce", ["sum", "prod", "mean", "amin", "amax"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scatter_reduce(reduce: str, include_self: bool) -> None:
    x, index, src = facula.tensor([4.0, 5.0, 6.0]), facula.tensor([0, 0, 2, 2]), facula.tensor([1.0, 3.0, 8.0, 2.0])
    function = {"sum": sum, "prod": np.prod, "mean": np.mean, "amin": min, "amax": max}[reduce]
    groups = [[1.0, 3.0], [], [8.0, 2.0]]
    expected = [
        float(function([own] * include_self + group)) if include_self or group else own
        for own, group in zip([4.0, 5.0, 6.0], groups, strict=True)
    ]
    assert x.scatter_reduce(0, index, src, reduce, include_self=include_self).tolist() == pytest.approx(expected)
    leaves = (x.double().requires_grad_(), src.double().requires_grad_())
    assert facula.autograd.gradcheck(
        lambda a, b: a.scatter_reduce(0, index, b, reduce, include_self=include_self), leaves
    )


def test_put_take_isin() -> None:
    x = facula.arange(6).view(2, 3)
    assert x.take(facula.tensor([5, -6])).tolist() == [5, 0]
    assert x.put(facula.tensor([1, -1]), facula.tensor([9, 8])).tolist() == [[0, 9, 2], [3, 4, 8]]
    assert x.put(facula.tensor([1, 1]), facula.tensor([9, 8]), accumulate=True)[0, 1] == 18
    assert facula.isin(x, facula.tensor([1, 4])).tolist() == [[False, True, False], [False, True, False]]
    assert [c.tolist() for c in facula.unravel_index(facula.tensor([4, 5]), (2, 3))] == [[1, 1], [1, 2]]
    assert facula.index_reduce(
        facula.ones(2, 2), 0, facula.tensor([1, 1]), facula.tensor([[2.0, 3], [4, 5]]), "prod"
    ).tolist() == [
        [1, 1],
        [8, 15],
    ]
