"""Views share memory, and what is written through them is seen by autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import facula

VIEWS: list[Callable[[Any], Any]] = [
    lambda x: x.t(), lambda x: x[1], lambda x: x[:, ::2], lambda x: x.view(2, 6), lambda x: x.unsqueeze(1), lambda x: x.diagonal(),
    lambda x: x.unfold(1, 2, 2), lambda x: x.as_strided((2, 2), (1, 4), 1), lambda x: x.narrow(0, 1, 2), lambda x: x.movedim(0, 1),
    lambda x: x.chunk(2, 1)[1], lambda x: x.hsplit(2)[1], lambda x: x.vsplit(3)[1], lambda x: x.unflatten(1, (2, 2)),
]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS)
def test_views_share_memory(view: Callable[[Any], Any]) -> None:
    x = facula.arange(12.0).view(3, 4)
    seen = view(x)
    seen.fill_(-1)
    assert (x == -1).sum() == len(set(np.asarray(view(facula.arange(12).view(3, 4)).tolist()).reshape(-1)))
    assert seen._base is x or seen._base is x._base


@pytest.mark.parametrize("view", VIEWS)
def test_gradients_pass_through_views_changed_in_place(view: Callable[[Any], Any]) -> None:
    x = facula.arange(12.0).view(3, 4).requires_grad_()
    whole = x * 1
    view(whole).mul_(3)
    whole.sum().backward()
    expected = facula.ones(3, 4)
    view(expected).fill_(3)
    assert x.grad.tolist() == expected.tolist()


def test_own_geometry_changes_in_place() -> None:
    x = facula.zeros(2, 3)
    assert x.t_() is x and x.shape == (3, 2) and x.stride() == (1, 3)
    assert x.transpose_(0, 1).shape == (2, 3)
    assert x.unsqueeze_(0).shape == (1, 2, 3) and x.squeeze_().shape == (2, 3)
    y = facula.ones(2, 3, requires_grad=True) * facula.arange(3.0)
    y.t_()
    (y * facula.arange(2.0)).sum().backward()


def test_copies_and_embedded_slices() -> None:
    x = facula.arange(6).view(2, 3)
    assert facula.transpose_copy(x, 0, 1).is_contiguous() and facula.unbind_copy(x)[1].tolist() == [3, 4, 5]
    assert facula.select_scatter(x, facula.tensor([7, 8]), 1, 0).tolist() == [[7, 1, 2], [8, 4, 5]]
    assert facula.slice_scatter(x, facula.tensor([[9], [9]]), 1, 2).tolist() == [[0, 1, 9], [3, 4, 9]]
    assert facula.diagonal_scatter(x, facula.tensor([7, 8])).tolist() == [[7, 1, 2], [3, 8, 5]]
    assert x.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_errors() -> None:
    x = facula.zeros(2, 3)
    with pytest.raises(IndexError, match="Dimension out of range"):
        x.transpose(0, 2)
    with pytest.raises(RuntimeError, match=r"shape '\[4\]' is invalid for input of size 6"):
        x.view(4)
    with pytest.raises(RuntimeError):
        x.t().view(6)
    with pytest.raises(RuntimeError):
        x.as_strided((5, 5), (3, 1))
    with pytest.raises(IndexError):
        facula.tensor(1.0).unbind()
    with pytest.raises(RuntimeError, match="not divisible"):
        x.hsplit(2)
