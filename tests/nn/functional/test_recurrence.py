"""Recurrent layers as single operators: equal to their steps, differentiable twice, and used where batches are even."""

from __future__ import annotations

from typing import Any

import pytest

import facula
from facula import nn
from facula.ops import recurrent


def _inputs(kind: str, length: int, batch: int, size: int, dtype: Any) -> list[Any]:
    gates = (4 if kind == "lstm" else 3) * size
    shapes = [(length, batch, gates), (batch, size)]
    shapes += [(batch, size), (gates, size)] if kind == "lstm" else [(gates, size), (gates,)]
    return [facula.randn(*shape, dtype=dtype).requires_grad_() for shape in shapes]


FORMS = {
    "lstm": (lambda *args: recurrent.lstm_layer(*args)[:2], recurrent.lstm_steps),
    "gru": (lambda *args: recurrent.gru_layer(*args)[:1], recurrent.gru_steps),
}


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("dtype", [facula.float32, facula.float64], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 7), (2, 9, 33)])
def test_layer_equals_its_steps(kind: str, dtype: Any, shape: tuple[int, int, int]) -> None:
    inputs = _inputs(kind, *shape, dtype)
    found = []
    for form in FORMS[kind]:
        for item in inputs:
            item.grad = None
        outputs = form(*inputs)
        sum((out * out.detach().cos()).sum() for out in outputs).backward()
        found.append([*(out.detach() for out in outputs), *(item.grad for item in inputs)])
    for ours, steps in zip(*found):
        scale = max(1.0, steps.abs().max().item())
        assert (ours - steps).abs().max().item() <= (1e-5 if dtype is facula.float32 else 1e-13) * scale


@pytest.mark.parametrize("kind", FORMS)
def test_gradients_can_be_differentiated(kind: str) -> None:
    inputs = _inputs(kind, 2, 1, 2, facula.float64)
    found = []
    for form in FORMS[kind]:
        slopes = facula.autograd.grad(form(*inputs)[0].pow(2).sum(), inputs, create_graph=True)
        found.append(facula.autograd.grad(sum(slope.pow(2).sum() for slope in slopes), inputs))
    for ours, steps in zip(*found):
        assert (ours - steps).abs().max().item() < 1e-12


def test_even_batches_take_one_node() -> None:
    output, _ = nn.GRU(3, 4)(facula.randn(5, 2, 3))
    names, node = [], output.grad_fn
    while node is not None and len(names) < 6:
        names.append(node.name())
        node = node.next_functions[0][0] if node.next_functions else None
    assert "GruLayerBackward0" in names


def test_states_that_are_left_out_are_zeros() -> None:
    model = nn.LSTM(3, 4)
    x, zeros = facula.randn(5, 2, 3), facula.zeros(1, 2, 4)
    assert model(x)[0].tolist() == model(x, (zeros, zeros))[0].tolist()
