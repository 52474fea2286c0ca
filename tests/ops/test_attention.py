"""Scaled dot-product attention: values, masks and gradients are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula
import facula.nn.functional as ours
from tests.ops.oracle import assert_same, check, random, to_facula, torch

F = torch.nn.functional
SHAPES = [
    ((3, 4), (5, 4), (5, 6)),
    ((2, 3, 4), (2, 5, 4), (2, 5, 6)),
    ((2, 3, 7, 8), (2, 3, 9, 8), (2, 3, 9, 8)),
    ((1, 2, 40, 16), (1, 2, 40, 16), (1, 2, 40, 16)),
    ((2, 4, 20, 8), (2, 2, 20, 8), (2, 2, 20, 8)),
]


def masks(query: tuple[int, ...], key: tuple[int, ...]) -> list[Any]:
    lengths = (query[-2], key[-2])
    found = [None, torch.rand(lengths) < 0.6, random(lengths)]
    if len(query) == 4:
        found += [
            torch.rand(query[0], 1, 1, lengths[1]) < 0.6,
            random((query[1], *lengths)),
            torch.rand(query[0], 1, lengths[0], 1) < 0.5,
        ]
    if lengths[0] == lengths[1]:
        later = torch.full(lengths, float("-inf")).triu(1)
        blind = later.clone()
        blind[0] = float("-inf")
        found += [later, blind]
    return found


@pytest.mark.parametrize("shapes", SHAPES)
def test_masks(shapes: tuple[tuple[int, ...], ...]) -> None:
    shared = len(shapes[0]) == 4 and shapes[0][1] != shapes[1][1]
    for mask in masks(*shapes[:2]):
        for causal in (False, True) if mask is None else (False,):
            inputs = [random(s, "float64", seed=i).requires_grad_() for i, s in enumerate(shapes)]
            mine = [to_facula(x) for x in inputs]
            given = mask.double() if mask is not None and mask.is_floating_point() else mask
            expected = F.scaled_dot_product_attention(*inputs, given, is_causal=causal, enable_gqa=shared)
            found = ours.scaled_dot_product_attention(*mine, to_facula(given), is_causal=causal, enable_gqa=shared)
            assert_same(found, expected, 1e-10, 1e-12)
            slope = torch.randn_like(expected)
            gradients = [torch.nan_to_num(g) for g in torch.autograd.grad(expected, inputs, slope)]
            assert_same(facula.autograd.grad(found, mine, to_facula(slope)), gradients, 1e-8, 1e-10)


def test_causal_attention_in_blocks() -> None:
    inputs = [random((1, 2, 400, 8), "float64", seed=i).requires_grad_() for i in range(3)]
    mine = [to_facula(x) for x in inputs]
    expected = F.scaled_dot_product_attention(*inputs, is_causal=True)
    found = ours.scaled_dot_product_attention(*mine, is_causal=True)
    assert_same(found, expected, 1e-10, 1e-12)
    slope = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, inputs, slope)
    assert_same(facula.autograd.grad(found, mine, to_facula(slope)), gradients, 1e-8, 1e-10)


def test_gradient_of_a_mask() -> None:
    inputs = [random((2, 5, 4), "float64", seed=i).requires_grad_() for i in range(3)]
    mask = random((5, 5), "float64").requires_grad_()
    expected = torch.autograd.grad(F.scaled_dot_product_attention(*inputs, mask).sin().sum(), mask)
    mine = [to_facula(x) for x in (*inputs, mask)]
    found = facula.autograd.grad(ours.scaled_dot_product_attention(*mine).sin().sum(), mine[3])
    assert_same(found, expected, 1e-9, 1e-12)


def test_errors() -> None:
    x = random((1, 2, 3, 4))
    name, function = "nn.functional.scaled_dot_product_attention", ours.scaled_dot_product_attention
    for args in (
        (x[0, 0, 0],) * 3,
        (x, x, x, torch.ones(3, 3, dtype=torch.int64)),
        (x, x, x, torch.ones(3, 3).double()),
        (x, x, x.double()),
        (x, x[..., :3], x),
        (x, x, x, torch.zeros(2, 3, 4)),
    ):
        check(name, *args, ours=function)


def test_values_without_an_oracle() -> None:
    found = ours.scaled_dot_product_attention(facula.zeros(2, 4), facula.ones(3, 4), facula.eye(3))
    np.testing.assert_allclose(found.numpy(), np.full((2, 3), 1 / 3), rtol=1e-6)
    causal = ours.scaled_dot_product_attention(facula.zeros(3, 4), facula.ones(3, 4), facula.eye(3), is_causal=True)
    np.testing.assert_allclose(causal.numpy(), np.tril(np.ones((3, 3))) / np.arange(1, 4)[:, None], rtol=1e-6)
