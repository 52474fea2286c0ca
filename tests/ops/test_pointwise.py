"""What the generic tests cannot know of pointwise operators: integers, special numbers, complex numbers, errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import facula

INF, NAN = math.inf, math.nan


def test_integer_division_never_traps() -> None:
    a, b = facula.tensor([7, -7, 5, -(2**63)]), facula.tensor([2, 2, -3, -1])
    assert (a // b).tolist() == [3, -4, -2, -(2**63)]
    assert (a % b).tolist() == [1, 1, -1, 0]
    assert facula.fmod(a, b).tolist() == [1, -1, 2, 0]
    assert facula.div(a, b, rounding_mode="trunc").tolist() == [3, -3, -1, -(2**63)]


@pytest.mark.parametrize("call", [lambda a, b: a // b, lambda a, b: a % b, facula.fmod])
@pytest.mark.parametrize("zero", [0, [3, 0, 5]])
def test_integer_division_by_zero(call: Callable[..., Any], zero: Any) -> None:
    other = facula.tensor(zero) if isinstance(zero, list) else zero
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        call(facula.tensor([7, 8, 9]), other)
    assert call(facula.tensor([7, 8, 9]), 2).shape == (3,)  # the fault is forgotten


def test_shifts_beyond_the_width() -> None:
    a = facula.tensor([1, -8, 7])
    assert (a << facula.tensor([3, 70, -1])).tolist() == [8, 0, 0]
    assert (a >> facula.tensor([1, 64, -1])).tolist() == [0, -1, 0]


@pytest.mark.parametrize(
    "call,given,expected",
    [
        (facula.sign, [-2.0, 0.0, NAN], [-1, 0, 0]),
        (facula.hypot, [3.0, INF, NAN], [5, INF, NAN]),
        (facula.fmax, [1.0, NAN, 3.0], [4, 4, 4]),
        (facula.maximum, [1.0, NAN, 9.0], [4, NAN, 9]),
        (facula.nn.functional.hardtanh, [-INF, 0.5, INF], [-1, 0.5, 1]),
    ],
)
def test_special_numbers(call: Callable[..., Any], given: list[float], expected: list[float]) -> None:
    arguments = [facula.tensor(given)]
    if call in (facula.hypot, facula.fmax, facula.maximum):
        arguments.append(facula.full((3,), 4.0))
    np.testing.assert_array_equal(call(*arguments).numpy(), np.float32(expected))


@pytest.mark.parametrize("name", ["mul_", "div_", "pow_", "sin_", "clamp_min_", "xlogy_"])
def test_in_place_keeps_what_the_gradient_names(name: str) -> None:
    """The overwritten value is saved before it is overwritten."""
    arguments = () if name == "sin_" else (facula.tensor([2.0, 0.5, 1.5]),)

    def gradient(call: Callable[..., Any]) -> Any:
        x = facula.tensor([0.3, 0.7, 1.9], requires_grad=True)
        call(x * 1).sum().backward()
        return x.grad.tolist()

    plain = gradient(lambda y: getattr(y, name[:-1])(*arguments))
    assert gradient(lambda y: getattr(y, name)(*arguments)) == plain


def test_numbers_where_tensors_are_needed() -> None:
    x = facula.ones(3)
    for call in (
        lambda: facula.atan2(x, 2),
        lambda: facula.eq(2, x),
        lambda: facula.remainder(2, 3),
        lambda: facula.pow(2, 3),
    ):
        with pytest.raises(TypeError):
            call()
    assert facula.remainder(5, facula.tensor([3.0])).tolist() == [2.0]


def values(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return np.asarray(generator.normal(size=shape) + 1j * generator.normal(size=shape))


UNARY = [
    "exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan", "asinh", "acosh", "atanh", "sqrt",
    "rsqrt", "reciprocal", "neg", "abs", "sigmoid", "sgn", "square", "log2", "log10", "log1p", "expm1", "conj", "angle",
]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_complex_functions(name: str) -> None:
    """Values and gradients (torch's convention: of the conjugate) are torch's."""
    torch = pytest.importorskip("torch")
    array = values(3, 4)
    found = []
    for namespace in (torch, facula):
        x = namespace.from_numpy(array.copy()).requires_grad_()
        y = getattr(namespace, name)(x)
        weight = namespace.from_numpy(np.asarray(values(3, 4, seed=1) if y.is_complex() else values(3, 4, seed=1).real))
        (grad,) = namespace.autograd.grad(y, x, weight)
        found.append((y.detach().resolve_conj().numpy(), grad.resolve_conj().numpy()))
    for theirs, ours in zip(*found, strict=True):
        assert theirs.dtype == ours.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow"])
@pytest.mark.parametrize("real", [None, 0, 1])
def test_complex_arithmetic(name: str, real: int | None) -> None:
    torch = pytest.importorskip("torch")
    arrays = [values(3, 4), values(4, seed=2)]
    if real is not None:
        arrays[real] = arrays[real].real.copy()
    found = []
    for namespace in (torch, facula):
        given = [namespace.from_numpy(a.copy()).requires_grad_() for a in arrays]
        y = getattr(namespace, name)(*given)
        grads = namespace.autograd.grad(y, given, namespace.from_numpy(values(3, 4, seed=3)))
        found.append([t.detach().resolve_conj().numpy() for t in (y, *grads)])
    for theirs, ours in zip(*found, strict=True):
        assert theirs.dtype == ours.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def test_complex_numbers_and_views() -> None:
    array = values(3, 4)
    x = facula.from_numpy(array.copy())
    np.testing.assert_allclose((x.t() * (2 + 1j) + 3j - x.t() / 2).numpy(), array.T * (2 + 1j) + 3j - array.T / 2)
    assert (x == x).all() and not (x != x).any()
    np.testing.assert_array_equal(x.real.numpy(), array.real)
    x.imag.zero_()
    np.testing.assert_array_equal(x.numpy(), array.real.astype(complex))
    assert facula.view_as_complex(facula.view_as_real(x)).data_ptr() == x.data_ptr()
    y = facula.complex(facula.tensor([1.0]), facula.tensor([2.0]))
    assert y.dtype is facula.complex64 and y.item() == 1 + 2j
    assert abs(facula.polar(facula.tensor([2.0]), facula.tensor([math.pi / 2])).item() - 2j) < 1e-6
    with pytest.raises(NotImplementedError):
        facula.floor(x)
