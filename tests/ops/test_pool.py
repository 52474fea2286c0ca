"""Pooling: values, indices, errors and derivatives are torch's, over random windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula
import facula.nn.functional as ours
from tests.ops.oracle import assert_same, check, check_gradients, random, to_facula, torch


def both(name: str, x: Any, *args: Any, derivatives: bool = True, **kwargs: Any) -> None:
    function = getattr(ours, name)
    check(f"nn.functional.{name}", x, *args, ours=function, **kwargs)
    if derivatives:
        check_gradients(f"nn.functional.{name}", x, *args, ours=function, **kwargs)


@pytest.mark.parametrize("seed", range(24))
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_random_windows(dims: int, seed: int) -> None:
    generator = np.random.default_rng(seed * 10 + dims)
    size = tuple(int(n) for n in generator.integers(4, 40 if dims < 3 else 10, dims))
    x = random((*((2, 3) if seed % 3 else (2,)), *size), seed=seed)
    kernel: Any = (
        tuple(int(n) for n in generator.integers(1, 5, dims)) if seed % 4 == 0 else int(generator.integers(1, 5))
    )
    stride = None if seed % 2 else int(generator.integers(1, 4))
    padding = int(generator.integers(0, (kernel if isinstance(kernel, int) else min(kernel)) // 2 + 1))
    dilation, ceil_mode = (2 if seed % 5 == 0 else 1), seed % 7 < 3
    both(f"max_pool{dims}d", x, kernel, stride, padding, dilation, ceil_mode, seed % 2 == 0)
    both(f"avg_pool{dims}d", x, kernel, stride, padding, ceil_mode, seed % 2 == 0)
    out = tuple(int(n) for n in generator.integers(1, 6, dims))
    both(f"adaptive_avg_pool{dims}d", x, out if dims > 1 else out[0])
    both(f"adaptive_max_pool{dims}d", x, out if dims > 1 else out[0])


@pytest.mark.parametrize("shape", [(4, 6, 28, 28), (2, 16, 10, 10), (1, 3, 9, 35), (3, 7, 5), (2, 2, 66, 67)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_halving(shape: tuple[int, ...], dtype: str) -> None:
    x = random(shape, dtype)
    for name in ("max_pool2d", "avg_pool2d"):
        check(f"nn.functional.{name}", x, 2, ours=getattr(ours, name), rtol=1e-2 if dtype == "bfloat16" else 1e-5)
        check_gradients(f"nn.functional.{name}", x, 2, ours=getattr(ours, name))


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("max_pool2d", (2,)),
        ("max_pool2d", (3, 2, 1)),
        ("avg_pool2d", (2,)),
        ("avg_pool2d", (3, 1, 1)),
        ("adaptive_avg_pool2d", (3,)),
        ("adaptive_max_pool2d", (3,)),
    ],
)
def test_second_derivatives(name: str, args: tuple[Any, ...]) -> None:
    """Gradients are linear in the slope: the derivative in it is pooling itself, at the places of the maxima."""
    x = random((2, 3, 10, 13), "float64").requires_grad_()
    out = getattr(torch.nn.functional, name)(x, *args)
    slope, direction = torch.randn_like(out, requires_grad=True), torch.randn_like(x)
    (grad,) = torch.autograd.grad(out, x, slope, create_graph=True)
    mine, own_slope = to_facula(x), to_facula(slope)
    (own,) = facula.autograd.grad(getattr(ours, name)(mine, *args), mine, own_slope, create_graph=True)
    assert_same(
        facula.autograd.grad(own, own_slope, to_facula(direction)),
        torch.autograd.grad(grad, slope, direction),
        1e-12,
        1e-12,
    )


def test_whole_planes_and_divisors() -> None:
    x = random((2, 3, 8, 8))
    both("avg_pool2d", x, 8)
    both("avg_pool2d", x, 3, 2, 1, divisor_override=5)
    both("adaptive_avg_pool2d", x, 1)
    both("adaptive_avg_pool2d", x, (4, None))


def test_nan_wins() -> None:
    x = random((1, 1, 6, 40))
    x[0, 0, 2, 7] = float("nan")
    both("max_pool2d", x, 3, 2, 1, derivatives=False)


@pytest.mark.parametrize("args", [(5,), (2, 2, 2), (2, 0), ((2, 2, 2),)])
def test_errors(args: tuple[Any, ...]) -> None:
    both("max_pool2d", random((2, 3, 4, 4)), *args, derivatives=False)


def test_errors_of_shapes() -> None:
    both("max_pool2d", random((3, 4)), 2, derivatives=False)
    both("max_pool2d", torch.zeros(2, 0, 4, 4), 2, derivatives=False)
    both("max_pool2d", torch.zeros(0, 3, 4, 4), 2, derivatives=False)
    both("max_pool1d", random((5,)), 2, derivatives=False)
    both("avg_pool2d", random((2, 3, 4, 4)), 2, divisor_override=0, derivatives=False)


def test_values_without_an_oracle() -> None:
    x = facula.arange(16.0).reshape(1, 1, 4, 4)
    np.testing.assert_array_equal(ours.max_pool2d(x, 2).numpy()[0, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(ours.avg_pool2d(x, 2).numpy()[0, 0], [[2.5, 4.5], [10.5, 12.5]])
