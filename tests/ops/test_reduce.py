"""Reductions over dimensions, dtypes and strides: values, errors and gradients are torch's."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

import facula
from facula.ops.reduction import reduction
from facula.ops.vector_norm import vector_norm
from tests.ops.oracle import REAL, check, check_gradients, random, to_facula, torch, views

SHAPES = [(), (0,), (5,), (3, 0), (7, 5), (3, 40, 33), (2, 3, 4, 5)]
SMALL = [(), (5,), (4, 5), (2, 3, 4)]


def dims_of(tensor: Any) -> list[Any]:
    """Every single dimension and every pair."""
    return [*range(tensor.ndim), *itertools.combinations(range(tensor.ndim), 2)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "any", "all", "nansum"])
def test_every_dimension_dtype_and_stride(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    for tensor in views(random(shape, dtype)):
        check(name, tensor, atol=1e-4)
        for dim in dims_of(tensor):
            check(name, tensor, dim, atol=1e-4)
            check(name, tensor, dim, True, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
@pytest.mark.parametrize("shape", SHAPES)
def test_prod_and_count(shape: tuple[int, ...], dtype: str) -> None:
    for tensor in views(random(shape, dtype)):
        check("prod", tensor)
        check("count_nonzero", tensor)
        for dim in range(tensor.ndim):
            check("prod", tensor, dim)
            check("prod", tensor, dim, True)
            check("count_nonzero", tensor, dim)


@pytest.mark.filterwarnings("ignore:.*degrees of freedom")
@pytest.mark.parametrize("name", ["var", "std"])
def test_variance_forms(name: str) -> None:
    for shape in SHAPES[2:]:
        for tensor in views(random(shape)):
            check(name, tensor, atol=1e-5)
            for dim in dims_of(tensor):
                check(name, tensor, dim, atol=1e-5)
                check(name, tensor, dim, correction=0, keepdim=True, atol=1e-5)
    tensor = random((4, 5))
    for arguments in [(False,), (1, False), (0, True, True), ([0, 1],)]:
        check(name, tensor, *arguments)
        check(name + "_mean", tensor, *arguments)
    check(name, tensor, unbiased=False)
    check(name, tensor, dim=None, correction=2)
    check(name, random((4,), "int64"))


def test_variance_warns_without_degrees_of_freedom() -> None:
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert math.isnan(facula.ones(1).var().item())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "any"])
def test_half_precision(name: str, dtype: str) -> None:
    tensor = random((33, 20), dtype)
    for dim in (0, 1):
        check(name, tensor, dim, rtol=1e-2)


@pytest.mark.parametrize("shape", [(200000,), (3, 90000), (90000, 3), (2, 40000, 3), (300, 300)])
def test_large_reductions_in_two_phases(shape: tuple[int, ...]) -> None:
    tensor = random(shape)
    for name in ("sum", "mean", "amin", "any", "var"):
        check(name, tensor, rtol=1e-4, atol=1e-3)
        for dim in range(len(shape)):
            check(name, tensor, dim, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["sum", "amax", "argmax"])
def test_results_do_not_depend_on_threads(name: str) -> None:
    tensor = to_facula(random((700, 700)))
    threads = facula.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            facula.set_num_threads(count)
            found.append([getattr(facula, name)(tensor, *dim).numpy().tobytes() for dim in ((), (0,), (1,))])
    finally:
        facula.set_num_threads(threads)
    assert found[0] == found[1]


def test_sums_are_accurate() -> None:
    values = torch.full((3_000_000,), 0.1)
    assert facula.sum(to_facula(values)).item() == pytest.approx(values.double().sum().item(), rel=1e-6)


def test_dtype_argument() -> None:
    tensor = random((4, 5))
    check("sum", tensor, dtype=torch.float64)
    check("sum", tensor * 3, 1, dtype=torch.int64)
    check("sum", tensor.int(), 0, dtype=torch.float32)
    check("sum", tensor > 0, dtype=torch.bool)
    check("mean", tensor.int(), dtype=torch.float64)
    check("prod", tensor.int(), dtype=torch.float32)
    check("nansum", tensor, dtype=torch.float16)


def test_names_and_forms() -> None:
    tensor = random((4, 5))
    check("sum", tensor, axis=0)
    check("sum", tensor, axis=(0, 1), keepdims=True)
    check("sum", input=tensor, dim=-1)
    check("amax", tensor, ())
    check("any", tensor, dim=())
    check("sum", tensor, [0])
    out = facula.empty(5)
    assert facula.sum(to_facula(tensor), 0, out=out) is out
    assert out.tolist() == tensor.sum(0).tolist()


@pytest.mark.parametrize("arguments", [(5,), ((0, 0),), (-3,), ("a",), (1.5,)])
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "prod", "all", "std", "logsumexp", "max", "argmax"])
def test_wrong_dimensions(name: str, arguments: tuple[Any, ...]) -> None:
    check(name, random((4, 5)), *arguments)


def test_other_errors() -> None:
    for name in ("mean", "amax", "max", "min", "argmax", "var"):
        check(name, torch.zeros(0, 3, dtype=torch.int64) if name == "mean" else torch.zeros(0))
        check(name, random((3,), "int64")) if name == "mean" else check(name, torch.zeros(0, 3), 0)
        check(name, 3)
    with pytest.raises(
        RuntimeError, match=r"amax\(\): Expected reduction dim to be specified for input.numel\(\) == 0"
    ):
        facula.amax(facula.zeros(0))
    with pytest.raises(RuntimeError, match=r"mean\(\): could not infer output dtype. .* Got: Long"):
        facula.mean(facula.zeros(3, dtype=facula.int64))


def test_special_values() -> None:
    nan, inf = math.nan, math.inf
    for values in ([1.0, nan], [inf, -inf], [inf, 1.0], [-inf, -inf], [0.0, -0.0]):
        tensor = torch.tensor(values)
        for name in (
            "sum",
            "nansum",
            "mean",
            "nanmean",
            "prod",
            "amax",
            "amin",
            "any",
            "all",
            "max",
            "argmin",
            "count_nonzero",
        ):
            check(name, tensor)
        check("logsumexp", tensor, 0)
    check("sum", torch.tensor([127, 127], dtype=torch.int8))
    check("sum", torch.tensor([2**62, 2**62, 5]))
    check("all", torch.tensor([1, 0], dtype=torch.uint8))


def test_complex_sums() -> None:
    tensor = torch.view_as_complex(random((3, 4, 2)))
    for arguments in [(), (0,), (1, True), ((0, 1),)]:
        check("sum", tensor, *arguments)
        check("mean", tensor.t(), *arguments)


@pytest.mark.parametrize("shape", SMALL)
@pytest.mark.parametrize(
    "name", ["sum", "mean", "nansum", "prod", "amax", "amin", "logsumexp", "std", "var", "max", "min"]
)
def test_gradients(name: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    for tensor in views(torch.randn(shape)):
        if name != "logsumexp" and not (name in ("std", "var") and tensor.numel() < 2):
            check_gradients(name, tensor)
        for dim in range(tensor.ndim):
            if name not in ("std", "var") or tensor.shape[dim] > 1:
                check_gradients(name, tensor, dim)
                check_gradients(name, tensor, dim, keepdim=True)
        if tensor.ndim > 1 and name not in ("prod", "max", "min"):
            check_gradients(name, tensor, (0, 1))


def test_gradient_of_ties_and_zeros() -> None:
    ties = torch.tensor([[1.0, 2.0, 2.0], [2.0, 0.0, 0.0]])
    for name in ("amax", "amin", "max"):
        check_gradients(name, ties)
        check_gradients(name, ties, 1)
    check_gradients("prod", ties, 1)
    check_gradients("prod", ties)
    check_gradients("aminmax", ties)
    check_gradients("var_mean", ties, 0)


@pytest.mark.parametrize("order", [2, 1, 0, math.inf, -math.inf, 3, 0.5, 1.5, -1])
def test_vector_norm(order: float) -> None:
    ours = vector_norm
    for shape in SMALL:
        for tensor in views(random(shape)):
            check("linalg.vector_norm", tensor, order, ours=ours, rtol=1e-4)
            for dim in dims_of(tensor):
                check("linalg.vector_norm", tensor, order, dim, True, ours=ours, rtol=1e-4)
        tensor = torch.randn(shape) + 3
        if order > 0:
            check_gradients("linalg.vector_norm", tensor, order, ours=ours)
    check("linalg.vector_norm", torch.zeros(0), order, ours=ours)
    check("linalg.vector_norm", random((3,), "int64"), order, ours=ours)


def test_norm_forms() -> None:
    tensor = random((4, 5))
    for arguments in [(), ("fro",), (1,), (math.inf, 0), (2, 1, True), (None,), ("fro", (0, 1))]:
        check("norm", tensor, *arguments)
    check("norm", tensor, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(), (5,), (7, 5), (3, 40, 33), (3, 500)])
@pytest.mark.parametrize("dtype", [*REAL, "float16"])
@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_extrema_and_their_places(name: str, dtype: str, shape: tuple[int, ...]) -> None:
    for tensor in views(random(shape, dtype, nan=2 if math.prod(shape) > 30 else 0)):
        check(name, tensor)
        for dim in range(tensor.ndim):
            check(name, tensor, dim)
            check(name, tensor, dim, True)


def test_forms_of_max() -> None:
    tensor, other = random((4, 5)), random((4, 5), seed=1)
    check("max", tensor, other)
    check("min", tensor, other=other)
    check("max", tensor, dim=1)
    check("aminmax", tensor)
    check("aminmax", tensor, dim=0, keepdim=True)
    found = facula.max(to_facula(tensor), 1)
    assert repr(found).startswith("torch.return_types.max(\nvalues=tensor(")
    assert found.values is found[0] and found.indices is found[1]
    values, indices = facula.empty(4), facula.empty(4, dtype=facula.int64)
    facula.max(to_facula(tensor), 1, out=(values, indices))
    assert indices.tolist() == tensor.max(1).indices.tolist()


def test_a_reduction_is_defined_in_one_place() -> None:
    @reduction(public=False)
    def sum_of_squares(input: Any) -> Any:
        return input * input

    sum_of_squares.gradient(input=lambda grad, input: grad * 2 * input)

    for tensor in views(torch.arange(24.0, dtype=torch.float64).reshape(4, 6)):
        for dim in (None, 0, 1, (0, 1)):
            mine = to_facula(tensor).requires_grad_()
            found = sum_of_squares(mine, dim)
            assert found.tolist() == (tensor * tensor).sum(dim).tolist()
            (gradient,) = facula.autograd.grad(found.sum(), mine, create_graph=True)
            assert gradient.tolist() == (2 * tensor).tolist()
            (again,) = facula.autograd.grad(gradient.sum(), mine)
            assert set(again.flatten().tolist()) == {2.0}
    assert sum_of_squares(facula.zeros(0)).item() == 0


def test_a_reduction_with_its_own_combination() -> None:
    @reduction(combine=lambda a, b: a ^ b, identity=0, public=False)
    def parity(input: Any) -> Any:
        return input

    assert parity(facula.tensor([[5, 3], [6, 1]]), 0).tolist() == [3, 2]
