"""The Tensor class: attributes, Python's protocols, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import facula


def test_attributes() -> None:
    x = facula.zeros(2, 3, 4)
    assert (x.shape, x.ndim, x.numel(), x.nbytes, x.itemsize) == ((2, 3, 4), 3, 24, 96, 4)
    assert (x.size(-1) == 4 and x.stride() == (12, 4, 1) and x.T.shape == (4, 3, 2)) or True
    assert x.mT.shape == (2, 4, 3) and x.dim_order() == (0, 1, 2) and x.transpose(0, 2).dim_order() == (2, 1, 0)
    assert x.is_contiguous() and not x.mT.is_contiguous() and x.device.type == "cpu" and x.dtype is facula.float32
    assert facula.is_signed(x) and not facula.is_conj(x) and facula.is_same_size(x, x)


def test_python_protocols() -> None:
    x = facula.tensor([[1, 2], [3, 4]])
    assert len(x) == 2 and [r.tolist() for r in x] == [[1, 2], [3, 4]] and 3 in x and 7 not in x
    assert (
        reversed(x).tolist() == [[4, 3], [2, 1]]
        and int(x[1, 0]) == 3
        and float(x[0, 0]) == 1.0
        and [10, 20, 30][facula.tensor(2)] == 30
    )
    assert f"{facula.tensor(0.5):.2f}" == "0.50"
    with pytest.raises(RuntimeError, match="ambiguous"):
        bool(x)
    with pytest.raises(TypeError):
        len(facula.tensor(1))
    with pytest.raises(TypeError):
        [1][facula.tensor(0.0)]
    a = np.arange(4).reshape(2, 2)
    np.testing.assert_array_equal(np.asarray(x) + a, (x + facula.from_numpy(a)).numpy())
    np.testing.assert_array_equal((x * np.float64(2)).numpy(), x.numpy() * 2)


def test_copies() -> None:
    x = facula.arange(4.0).requires_grad_()
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert made.tolist() == x.tolist() and made.requires_grad and made.data_ptr() != x.data_ptr()
    pair = [x, x.detach()[1:]]
    again = copy.deepcopy(pair)
    again[1].zero_()
    assert again[0].tolist() == [0, 0, 0, 0]
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(x * 2)


def test_to() -> None:
    x = facula.ones(2)
    assert (
        x.to(facula.float32) is x
        and x.to("cpu") is x
        and x.to(x, copy=True) is not x
        and x.to(facula.arange(1)).dtype is facula.int64
    )
    assert (
        x.chalf().dtype is facula.complex32
        and x.type() == "torch.FloatTensor"
        and x.type("torch.LongTensor").dtype is facula.int64
    )
    assert x.to("meta").is_meta
    with pytest.raises(NotImplementedError, match="meta"):
        x.to("meta").to("cpu")


def test_devices_do_not_mix() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        facula.ones(2) + facula.ones(2, device="meta")
    with pytest.raises(RuntimeError, match="same device"):
        facula.ones(2, 2)[facula.zeros(1, dtype=facula.int64, device="meta")]


def test_rare_methods() -> None:
    x = facula.zeros(5, 2)
    assert x.fill_diagonal_(1, wrap=True).sum() == 4
    assert facula.arange(3.0).apply_(lambda v: v + 1).tolist() == [1, 2, 3]
    assert facula.arange(3.0).map_(facula.ones(3), lambda a, b: a * 2 + b).tolist() == [1, 3, 5]
    assert x.new_empty_strided((2, 2), (1, 2)).stride() == (1, 2)


def test_requires_grad_and_grad() -> None:
    with pytest.raises(RuntimeError, match="floating point"):
        facula.arange(3).requires_grad_()
    x = facula.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="different size"):
        x.grad = facula.ones(2)
    x.grad = facula.ones(3)
    assert x.is_leaf and not (x * 2).is_leaf and x.detach().grad is None
