"""Clipping, vectors of parameters, fused normalisations, weight normalisation, calls with other parameters."""

from __future__ import annotations

from typing import Any

import pytest

import facula
from facula import nn


def with_gradients(torch: Any) -> Any:
    layer = torch.nn.Linear(3, 2)
    for parameter in layer.parameters():
        parameter.grad = torch.randn(*parameter.shape) * 5
    return layer


CLIPS = [
    lambda torch, layer: torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0),
    lambda torch, layer: torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e6),
    lambda torch, layer: torch.nn.utils.clip_grad_norm_(layer.weight, 1.0),
    lambda torch, layer: torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0, norm_type=float("inf")),
    lambda torch, layer: torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0, norm_type=1),
    lambda torch, layer: torch.nn.utils.clip_grad_norm_([], 1.0),
    lambda torch, layer: torch.nn.utils.clip_grad_value_(layer.parameters(), 0.5),
    lambda torch, layer: torch.nn.utils.get_total_norm([layer.weight.grad]),
    lambda torch, layer: torch.nn.utils.clip_grads_with_norm_(layer.parameters(), 1.0, torch.tensor(4.0)),
]


@pytest.mark.parametrize("clip", CLIPS)
def test_clipping_agrees_with_torch(agree_closely: Any, clip: Any) -> None:
    def program(torch: Any) -> Any:
        layer = with_gradients(torch)
        return clip(torch, layer), [parameter.grad for parameter in layer.parameters()]

    agree_closely(program)


def test_a_norm_that_is_not_finite_can_be_an_error(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        layer = with_gradients(torch)
        layer.weight.grad[0, 0] = float("nan")
        return torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0, error_if_nonfinite=True)

    agree_closely(program)


def test_the_norm_is_clipped_to_the_given_one() -> None:
    weight = nn.Parameter(facula.zeros(2))
    weight.grad = facula.tensor([3.0, 4.0])
    assert nn.utils.clip_grad_norm_([weight], 1.0).item() == 5.0
    assert abs(weight.grad.norm().item() - 1.0) < 1e-5


def test_vectors_make_the_round_trip() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (13,)
    nn.utils.vector_to_parameters(vector * 2, model.parameters())
    assert nn.utils.parameters_to_vector(model.parameters()).tolist() == (vector * 2).tolist()
    with pytest.raises(TypeError, match="but got: int"):
        nn.utils.vector_to_parameters(3, model.parameters())


def test_fused_normalisation_computes_the_same(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        linear, norm = torch.nn.Linear(3, 4).eval(), torch.nn.BatchNorm1d(4).eval()
        norm.running_mean.copy_(torch.randn(4))
        fused = torch.nn.utils.fuse_linear_bn_eval(linear, norm)
        return fused.weight, fused.bias

    agree_closely(program)


def test_weight_norm_splits_and_joins(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        layer = torch.nn.utils.weight_norm(torch.nn.Linear(3, 4))
        x = torch.randn(2, 3)
        out = layer(x)
        out.sum().backward()
        names = [name for name, _ in layer.named_parameters()]
        gradients = [layer.weight_g.grad, layer.weight_v.grad]
        torch.nn.utils.remove_weight_norm(layer)
        return out, names, gradients, [name for name, _ in layer.named_parameters()], layer(x)

    agree_closely(program)


def test_functional_call_uses_other_parameters_and_restores_its_own() -> None:
    from facula.nn.utils.stateless import functional_call

    model = nn.Sequential(nn.Linear(2, 3))
    weight = model[0].weight
    zeros = {name: facula.zeros(parameter.shape) for name, parameter in model.named_parameters()}
    assert functional_call(model, zeros, facula.ones(1, 2)).tolist() == [[0.0, 0.0, 0.0]]
    assert model[0].weight is weight and model[0]._parameters["weight"] is weight
    with pytest.raises(RuntimeError, match="Missing key"):
        functional_call(model, {}, facula.ones(1, 2), strict=True)


def test_data_parallel_prefixes_names() -> None:
    model = nn.DataParallel(nn.Linear(2, 3))
    assert list(model.state_dict()) == ["module.weight", "module.bias"]
    assert model(facula.ones(1, 2)).shape == (1, 3)


def test_skip_init_makes_the_module() -> None:
    assert nn.utils.skip_init(nn.Linear, 2, 3).weight.shape == (3, 2)
