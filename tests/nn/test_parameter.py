"""Parameters and buffers, and those without a shape yet."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import facula
from facula import nn

PROGRAMS = [
    lambda torch: torch.nn.Parameter(torch.ones(2)),
    lambda torch: torch.nn.Parameter(torch.ones(2), requires_grad=False),
    lambda torch: torch.nn.Parameter(torch.ones(1, dtype=torch.int64)),
    lambda torch: torch.nn.Parameter(torch.ones(1, dtype=torch.int64), requires_grad=False).dtype,
    lambda torch: torch.nn.Parameter().shape,
    lambda torch: isinstance(torch.nn.Parameter(torch.ones(2)), torch.Tensor),
    lambda torch: isinstance(torch.ones(2), torch.nn.Parameter),
    lambda torch: type(torch.nn.Parameter(torch.ones(2)) * 2).__name__,
    lambda torch: type(torch.nn.Parameter(torch.ones(2)).data).__name__,
    lambda torch: torch.nn.Buffer(torch.ones(2)),
    lambda torch: isinstance(torch.nn.Buffer(torch.ones(2)), torch.nn.Buffer),
    lambda torch: isinstance(torch.nn.Buffer(torch.ones(2)), torch.nn.Parameter),
    lambda torch: torch.nn.parameter.UninitializedParameter(),
    lambda torch: torch.nn.parameter.UninitializedParameter().shape,
    lambda torch: torch.nn.parameter.UninitializedParameter().share_memory_(),
    lambda torch: torch.nn.LazyLinear(3),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_agrees_with_torch(agree: Any, program: Any) -> None:
    agree(program)


def test_a_parameter_shares_the_memory_of_its_data() -> None:
    data = facula.zeros(2)
    parameter = nn.Parameter(data)
    data[0] = 5
    assert parameter.tolist() == [5.0, 0.0] and parameter.is_leaf and parameter.requires_grad


def test_deepcopy_gives_a_parameter_without_gradient() -> None:
    parameter = nn.Parameter(facula.ones(2))
    parameter.grad = facula.ones(2)
    clone = copy.deepcopy(parameter)
    assert type(clone) is nn.Parameter and clone.grad is None and clone.requires_grad
    assert clone.data_ptr() != parameter.data_ptr()


def test_lazy_layer_becomes_plain_at_its_first_call() -> None:
    layer = nn.LazyLinear(3)
    assert layer.has_uninitialized_params()
    assert layer(facula.ones(2, 5)).shape == (2, 3)
    assert type(layer) is nn.Linear and layer.weight.shape == (3, 5) and type(layer.weight) is nn.Parameter
    assert layer.weight is layer._parameters["weight"]


def test_lazy_layer_takes_shapes_from_a_state_dict() -> None:
    layer = nn.LazyLinear(3)
    state = nn.Linear(5, 3).state_dict()
    layer.load_state_dict(state)
    assert layer.weight.tolist() == state["weight"].tolist()


def test_lazy_seed_gives_the_plain_layers_weights() -> None:
    facula.manual_seed(3)
    lazy = nn.LazyLinear(3)
    lazy(facula.ones(1, 4))
    facula.manual_seed(3)
    assert lazy.weight.tolist() == nn.Linear(4, 3).weight.tolist()
