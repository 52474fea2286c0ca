"""Copies, conversions, fills and resizing."""

from __future__ import annotations

import numpy as np
import pytest

import facula

DTYPES = [
    facula.float32,
    facula.float64,
    facula.float16,
    facula.bfloat16,
    facula.int64,
    facula.int8,
    facula.uint8,
    facula.bool,
]


@pytest.mark.parametrize("source", DTYPES, ids=str)
@pytest.mark.parametrize("target", DTYPES, ids=str)
def test_conversions(source: facula.dtype, target: facula.dtype) -> None:
    x = facula.tensor([0, 1, 5, 100]).to(source)
    y = x.to(target)
    assert y.dtype is target and (y is x) == (source is target)
    assert y.tolist() == [
        float(v != 0) if target is facula.bool or source is facula.bool else v for v in (0, 1, 5, 100)
    ]


def test_copy_broadcasts_converts_and_overlaps() -> None:
    x = facula.zeros(2, 3)
    x.copy_(facula.tensor([1, 2, 3]))
    assert x.tolist() == [[1, 2, 3], [1, 2, 3]]
    x = facula.arange(6)
    x[1:].copy_(x[:-1])
    assert x.tolist() == [0, 0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError):
        facula.zeros(2).copy_(facula.zeros(3))
    with pytest.raises(RuntimeError):
        facula.zeros(1).expand(3).copy_(facula.ones(3))


def test_out_is_resized_and_checked() -> None:
    out = facula.empty(0)
    assert facula.add(facula.ones(2, 2), 1, out=out) is out and out.tolist() == [[2, 2], [2, 2]]
    strided = facula.zeros(3, 4)[:, ::2]
    facula.mul(facula.ones(3, 2), 5, out=strided)
    assert strided.sum() == 30
    with pytest.raises(RuntimeError, match="can't be cast"):
        facula.add(facula.ones(2), 1, out=facula.empty(2, dtype=facula.int64))
    with pytest.raises(RuntimeError, match="don't support automatic differentiation"):
        facula.add(facula.ones(2, requires_grad=True), 1, out=facula.empty(2))
    with pytest.warns(UserWarning, match="resized"):
        facula.arange(4, out=facula.zeros(2, dtype=facula.int64))


def test_fills_and_sizes() -> None:
    x = facula.ones(2, 3, requires_grad=True)
    y = x * 2
    y[0].fill_(7.0)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0, 0], [2, 2, 2]])
    assert facula.fill(facula.zeros(2), 3).tolist() == [3, 3]
    z = facula.arange(4)
    assert z.resize_(2, 2) is z and z.resize_as_(facula.zeros(1, 3)).shape == (1, 3)
    with pytest.raises(RuntimeError, match="without overflow"):
        facula.zeros(1, dtype=facula.uint8).fill_(300)
