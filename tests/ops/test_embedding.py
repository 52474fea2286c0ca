"""Lookups in tables: values, errors and derivatives are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula
import facula.nn.functional as ours
from tests.ops.oracle import assert_same, check, random, to_facula, torch

F = torch.nn.functional


@pytest.mark.parametrize(
    ("rows", "width", "shape"), [(5, 3, (4,)), (100, 33, (7, 9)), (1000, 64, (128,)), (7, 16, ()), (3, 4, (0,))]
)
@pytest.mark.parametrize("padding", [None, 0, -1])
@pytest.mark.parametrize("scaled", [False, True])
def test_embedding(rows: int, width: int, shape: tuple[int, ...], padding: Any, scaled: bool) -> None:
    table = random((rows, width), "float64").requires_grad_()
    indices = torch.tensor(np.random.default_rng(0).integers(0, rows, shape))
    mine = to_facula(table)
    expected = F.embedding(indices, table, padding, scale_grad_by_freq=scaled)
    found = ours.embedding(to_facula(indices), mine, padding, scale_grad_by_freq=scaled)
    assert_same(found, expected)
    slope = torch.randn_like(expected)
    (theirs,) = torch.autograd.grad(expected, table, slope)
    own_slope = to_facula(slope).requires_grad_()
    (grad,) = facula.autograd.grad(found, mine, own_slope, create_graph=True)
    assert_same(grad, theirs, 1e-12)
    if grad.requires_grad and grad.numel() and own_slope.numel():
        # The gradient is linear in the slope: <v, grad(slope)> must equal <slope, its derivative>.
        direction = random((rows, width), "float64", seed=3)
        (second,) = facula.autograd.grad(grad, own_slope, to_facula(direction))
        np.testing.assert_allclose(
            (second.numpy() * slope.numpy()).sum(), (direction.numpy() * theirs.numpy()).sum(), atol=1e-10
        )


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("last", [False, True])
def test_bags(mode: int, padding: Any, last: bool) -> None:
    table = random((30, 37), "float64").requires_grad_()
    indices = torch.tensor(np.random.default_rng(1).integers(0, 30, 40))
    offsets = torch.tensor([0, 3, 3, 17, 40] if last else [0, 3, 3, 17])
    weights = torch.rand(40, dtype=torch.float64).requires_grad_() if mode == 0 else None
    inputs = [table] if weights is None else [table, weights]
    mine = [to_facula(x) for x in inputs]
    expected = torch.embedding_bag(table, indices, offsets, False, mode, False, weights, last, padding)
    found = facula.embedding_bag(
        mine[0],
        to_facula(indices),
        to_facula(offsets),
        False,
        mode,
        False,
        mine[1] if weights is not None else None,
        last,
        padding,
    )
    assert_same(found[0], expected[0])
    slope = torch.randn_like(expected[0])
    assert_same(
        facula.autograd.grad(found[0], mine, to_facula(slope)),
        torch.autograd.grad(expected[0], inputs, slope),
        1e-10,
        1e-12,
    )


def test_errors() -> None:
    table, index = random((5, 3)), torch.tensor([0, 1])
    for given, weight in (
        (torch.tensor([0, 5]), table),
        (torch.tensor([0, -1]), table),
        (torch.tensor([0.0, 1.0]), table),
        (index.int(), table),
        (index, table[0]),
        (index, random((5, 3, 2))),
        (index, table.long()),
        (torch.tensor([True]), table),
    ):
        check("nn.functional.embedding", given, weight, ours=ours.embedding)
    with pytest.raises(IndexError, match="index out of range in self"):
        facula.embedding(facula.zeros(5, 3), facula.tensor([7]))


def test_values_without_an_oracle() -> None:
    table = np.arange(12.0).reshape(4, 3)
    found = ours.embedding(facula.tensor([[2, 0], [3, 3]]), facula.tensor(table))
    np.testing.assert_array_equal(found.numpy(), table[[[2, 0], [3, 3]]])
