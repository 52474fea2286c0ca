"""Tensors out of nothing: values, dtypes and errors of torch's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import facula

EXPRESSIONS = [
    "torch.tensor([1, 2])", "torch.tensor([1., 2])", "torch.tensor([True])", "torch.tensor(3j)", "torch.tensor([[1, 2], [3]])",
    "torch.tensor('a')", "torch.tensor([1, 'a'])", "torch.tensor([])", "torch.tensor([300], dtype=torch.uint8)", "torch.tensor(None)",
    "torch.zeros(2, 3)", "torch.zeros((2, 3), dtype=torch.int8)", "torch.zeros(-1)", "torch.ones(())", "torch.full((2,), 7)",
    "torch.full((2,), 1.5)", "torch.full((2,), True)", "torch.arange(5)", "torch.arange(1, 4, 0.5)", "torch.arange(5, 0, -2)",
    "torch.arange(0, 1, 0)", "torch.arange(1, 0)", "torch.arange(0, float('inf'))", "torch.arange(3, dtype=torch.float64)",
    "torch.linspace(0, 1, 5)", "torch.linspace(-3, 7, 4, dtype=torch.int64)", "torch.linspace(0, 1, -1)", "torch.logspace(0, 2, 3)",
    "torch.logspace(2, 1.2, 2, dtype=torch.int64)", "torch.eye(3)", "torch.eye(2, 3, dtype=torch.bool)", "torch.eye(-1)",
    "torch.zeros_like(torch.ones(2, 3).t())", "torch.ones_like(torch.arange(3), dtype=torch.float32)",
    "torch.empty_strided((2, 2), (1, 2)).zero_()", "torch.scalar_tensor(3)", "torch.arange(6).new_zeros(2)",
    "torch.zeros(3).new_tensor([1, 2])", "torch.as_tensor([1, 2])", "torch.hann_window(5)", "torch.hamming_window(4, False)",
    "torch.kaiser_window(4)", "torch.tril_indices(3, 3)", "torch.complex(torch.ones(2), torch.zeros(2))",
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_as_torch_has_it(expression: str) -> None:
    torch = pytest.importorskip("torch")
    try:
        expected = eval(expression, {"torch": torch})
    except Exception as error:
        with pytest.raises(type(error)):
            eval(expression, {"torch": facula})
        return
    found: Any = eval(expression, {"torch": facula})
    assert str(found.dtype) == str(expected.dtype) and tuple(found.shape) == tuple(expected.shape)
    assert found.stride() == expected.stride()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6, atol=1e-7)


def test_from_other_objects() -> None:
    array = np.arange(4.0)
    assert facula.as_tensor(array).data_ptr() == array.ctypes.data
    assert facula.tensor(array).data_ptr() != array.ctypes.data
    x = facula.arange(3)
    assert facula.asarray(x) is x and facula.asarray(x, copy=True) is not x
    assert facula.tensor([facula.tensor(1), facula.tensor(2)]).tolist() == [1, 2]
    with pytest.warns(UserWarning, match="copy construct"):
        facula.tensor(x)
    assert facula.zeros(2, device="meta").is_meta
    with pytest.raises(RuntimeError):
        facula.zeros(2, device="nowhere")


def test_constants() -> None:
    assert (facula.pi, facula.e, facula.inf, facula.newaxis) == (math.pi, math.e, math.inf, None) and math.isnan(
        facula.nan
    )


def test_writing_into_out() -> None:
    table = facula.zeros(5, 2, dtype=facula.int64)
    facula.arange(5, out=table[:, 0])
    assert table.tolist() == [[i, 0] for i in range(5)]
    assert facula.linspace(0, 1, 3, out=facula.empty(0)).tolist() == [0, 0.5, 1]
    with pytest.raises(RuntimeError, match="does not match"):
        facula.zeros(2, dtype=facula.int64, out=facula.empty(2))
