"""Parametrizations: reading, writing, representation, state, removal, and the ready-made ones."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from facula import nn


def symmetric(torch: Any) -> Any:
    class Symmetric(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x: Any) -> Any:
            return x.triu()

    return Symmetric()


def parametrized(torch: Any) -> Any:
    layer = torch.nn.Linear(3, 3)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", symmetric(torch))
    return layer


PROGRAMS = [
    lambda torch, P: parametrized(torch),
    lambda torch, P: list(parametrized(torch).state_dict()),
    lambda torch, P: [name for name, _ in parametrized(torch).named_parameters()],
    lambda torch, P: parametrized(torch).weight,
    lambda torch, P: (P.is_parametrized(parametrized(torch)), P.is_parametrized(parametrized(torch), "bias")),
    lambda torch, P: P.type_before_parametrizations(parametrized(torch)).__name__,
    lambda torch, P: P.remove_parametrizations(parametrized(torch), "weight").weight,
    lambda torch, P: P.remove_parametrizations(parametrized(torch), "weight", leave_parametrized=False).weight,
    lambda torch, P: P.remove_parametrizations(parametrized(torch), "bias"),
    lambda torch, P: P.register_parametrization(torch.nn.Linear(2, 3), "nope", symmetric(torch)),
    lambda torch, P: P.register_parametrization(torch.nn.Linear(2, 3), "weight", torch.nn.Flatten(0)),
    lambda torch, P: P.register_parametrization(parametrized(torch), "weight", torch.nn.Tanh()).weight,
    lambda torch, P: __import__("pickle").dumps(parametrized(torch)),
    lambda torch, P: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 3)),
    lambda torch, P: torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(2, 3)).weight,
    lambda torch, P: torch.nn.utils.parametrizations.spectral_norm(torch.nn.Conv2d(2, 3, 2)).weight,
    lambda torch, P: torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(2, 3), "x"),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_agrees_with_torch(agree_closely: Any, program: Any) -> None:
    agree_closely(lambda torch: program(torch, torch.nn.utils.parametrize))


def test_assigning_goes_through_the_right_inverse(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        layer = parametrized(torch)
        layer.weight = torch.arange(9.0).reshape(3, 3)
        return layer.weight, layer.parametrizations.weight.original

    agree_closely(program)


def test_gradients_reach_the_originals(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))
        layer(torch.randn(4, 3)).pow(2).sum().backward()
        return [parameter.grad for parameter in layer.parameters()], layer.parametrizations.weight.original0

    agree_closely(program)


def test_older_weight_norm_states_can_be_loaded(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(3, 2))
        state = {"weight_g": torch.ones(2, 1), "weight_v": torch.ones(2, 3), "bias": torch.zeros(2)}
        return str(layer.load_state_dict(state)), layer.weight

    agree_closely(program)


def test_cached_reads_compute_once() -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Any) -> Any:
            calls.append(1)
            return x * 1

    layer = nn.utils.parametrize.register_parametrization(nn.Linear(2, 2), "weight", Counting())
    calls.clear()
    with nn.utils.parametrize.cached():
        assert layer.weight is layer.weight
    assert len(calls) == 1 and layer.weight is not layer.weight


def test_copies_are_parametrized_on_their_own() -> None:
    import facula

    layer = parametrized(facula)
    clone = copy.deepcopy(layer)
    assert clone.weight.tolist() == layer.weight.tolist()
    assert clone.parametrizations.weight.original is not layer.parametrizations.weight.original
