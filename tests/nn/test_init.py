"""Initialisers: the values of a seed, gains, fans, and errors."""

from __future__ import annotations

import math
from typing import Any

import pytest

import facula
from facula import nn
from facula.nn import init


def filled(name: str, *args: Any, shape: tuple[int, ...] = (5, 4), **options: Any) -> Any:
    """A program that draws with one seed."""

    def program(torch: Any) -> Any:
        torch.manual_seed(7)
        tensor = torch.empty(shape)
        getattr(torch.nn.init, name)(tensor, *args, **options)
        return [round(x, 5) for x in tensor.reshape(-1).tolist()]

    return program


PROGRAMS = [
    filled("uniform_", -1, 2),
    filled("normal_", 1, 2),
    filled("constant_", 3),
    filled("ones_"),
    filled("zeros_"),
    filled("eye_"),
    filled("eye_", shape=(2, 2, 2)),
    filled("dirac_", shape=(4, 2, 3)),
    filled("dirac_", 2, shape=(4, 2, 3, 3)),
    filled("dirac_", 3, shape=(4, 2, 3, 3)),
    filled("dirac_"),
    filled("xavier_uniform_"),
    filled("xavier_normal_", 2.0, shape=(3, 2, 3)),
    filled("xavier_normal_", shape=(3,)),
    filled("kaiming_uniform_", a=math.sqrt(5)),
    filled("kaiming_uniform_", mode="fan_out", nonlinearity="relu", shape=(3, 2, 3, 3)),
    filled("kaiming_normal_", mode="fan_in", nonlinearity="tanh"),
    filled("kaiming_normal_", mode="other"),
    filled("trunc_normal_"),
    filled("trunc_normal_", std=0.02),
    filled("trunc_normal_", mean=1.0, a=1.5, b=1.6),
    filled("sparse_", 0.4),
    filled("sparse_", 0.4, shape=(2, 2, 2)),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_agrees_with_torch(agree: Any, program: Any) -> None:
    agree(program)


GAINS = ["linear", "conv2d", "sigmoid", "tanh", "relu", "leaky_relu", "selu", "gelu"]


@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("param", [None, 0.2, 1, True, "x"])
def test_gain_agrees_with_torch(agree: Any, name: str, param: Any) -> None:
    agree(lambda torch: torch.nn.init.calculate_gain(name, param))


def test_initialisers_record_nothing_and_return_their_tensor() -> None:
    weight = nn.Parameter(facula.empty(2, 3))
    assert init.normal_(weight) is weight
    assert weight.is_leaf and weight.grad_fn is None


def test_names_without_underscore_warn() -> None:
    with pytest.warns(FutureWarning, match="in favor of `nn.init.constant_`"):
        assert init.constant(facula.empty(2), 3.0).tolist() == [3.0, 3.0]


def test_empty_tensors_are_left_alone_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="no-op"):
        init.kaiming_uniform_(facula.empty(0, 2))


def test_truncated_normal_stays_within_its_bounds() -> None:
    drawn = init.trunc_normal_(facula.empty(1000), std=2.0, a=-1.0, b=1.5)
    assert drawn.min().item() >= -1.0 and drawn.max().item() <= 1.5
    with pytest.warns(UserWarning, match="more than 2 std"):
        init.trunc_normal_(facula.empty(2), mean=9.0)


def test_orthogonal_rows_or_columns_are_orthonormal() -> None:
    for shape in ((3, 5), (5, 3), (4, 2, 2)):
        drawn = init.orthogonal_(facula.empty(shape)).reshape(shape[0], -1)
        product = drawn @ drawn.t() if drawn.size(0) <= drawn.size(1) else drawn.t() @ drawn
        assert (product - facula.eye(product.size(0))).abs().max().item() < 1e-5
