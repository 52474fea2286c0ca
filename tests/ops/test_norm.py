"""Normalisation: values, running statistics, errors and derivatives are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula
import facula.nn.functional as ours
from tests.ops.oracle import assert_same, check, check_gradients, random, to_facula, torch

F = torch.nn.functional


def both(name: str, *args: Any, **kwargs: Any) -> None:
    check(f"nn.functional.{name}", *args, ours=getattr(ours, name), rtol=1e-4, atol=1e-4, **kwargs)
    check_gradients(
        f"nn.functional.{name}", *args, ours=getattr(ours, name), second=all(a is not None for a in args), **kwargs
    )


@pytest.mark.parametrize(
    ("shape", "normal"),
    [
        ((4, 5), (5,)),
        ((70, 1000), (1000,)),
        ((2, 3, 4), (3, 4)),
        ((5,), (5,)),
        ((3, 5000), (5000,)),
        ((2, 3, 4), (2, 3, 4)),
    ],
)
def test_rows(shape: tuple[int, ...], normal: tuple[int, ...]) -> None:
    x, weight, bias = random(shape) * 2 + 1, random(normal, seed=1), random(normal, seed=2)
    both("layer_norm", x, normal)
    both("layer_norm", x, normal, weight)
    both("layer_norm", x, normal, weight, bias)
    both("rms_norm", x, normal)
    both("rms_norm", x, normal, weight, 1e-3)


def test_layer_norm_of_large_means_keeps_its_precision() -> None:
    x = random((3, 4000)).double()
    expected = F.layer_norm(x + 1e4, (4000,))
    found = ours.layer_norm(to_facula((x + 1e4).float()), (4000,))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=2e-3)


@pytest.mark.parametrize(("shape", "groups"), [((2, 6, 5), 3), ((3, 4), 2), ((2, 8, 7, 9), 4), ((2, 4, 40, 41), 1)])
def test_groups(shape: tuple[int, ...], groups: int) -> None:
    x, weight, bias = random(shape) + 0.5, random(shape[1:2], seed=1), random(shape[1:2], seed=2)
    both("group_norm", x, groups)
    both("group_norm", x, groups, weight)
    both("group_norm", x, groups, weight, bias)


@pytest.mark.parametrize("shape", [(6, 3), (40, 70), (4, 3, 5), (3, 17, 6, 7), (2, 5, 40, 41), (2, 3, 2, 3, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_batches(shape: tuple[int, ...], training: bool) -> None:
    x = random(shape) + 0.5
    weight, bias = random(shape[1:2], seed=1), random(shape[1:2], seed=2)
    mean, var = torch.randn(shape[1]), torch.rand(shape[1]) + 0.5
    for affine in ((None, None), (weight, bias)):
        theirs, mine = (mean.clone(), var.clone()), to_facula((mean.clone(), var.clone()))
        expected = F.batch_norm(x, *theirs, *affine, training=training, momentum=0.3)
        found = ours.batch_norm(to_facula(x), *mine, *to_facula(affine), training=training, momentum=0.3)
        assert_same(found, expected, 1e-4, 1e-4)
        assert_same(mine, theirs, 1e-4, 1e-5)
        fixed = (mean.double(), var.double())

        def with_statistics(x: Any, *parameters: Any, statistics: Any, module: Any) -> Any:
            return module.batch_norm(x, *statistics, *(parameters or (None, None)), training=training)

        given = [x] if affine[0] is None else [x, weight, bias]
        theirs_args = [a.double().requires_grad_() for a in given]
        mine_args = [to_facula(a) for a in theirs_args]
        out = with_statistics(*theirs_args, statistics=[f.clone() for f in fixed], module=F)
        own = with_statistics(*mine_args, statistics=[to_facula(f.clone()) for f in fixed], module=ours)
        slope = torch.randn_like(out)
        expected_first = torch.autograd.grad(out, theirs_args, slope, create_graph=True)
        assert_same(
            facula.autograd.grad(own, mine_args, to_facula(slope), retain_graph=True),
            [g.detach() for g in expected_first],
            1e-8,
            1e-8,
        )
        first = facula.autograd.grad(own, mine_args, to_facula(slope), create_graph=True)
        again = torch.randn_like(x, dtype=torch.float64)
        if expected_first[0].requires_grad and first[0].requires_grad:
            second = torch.autograd.grad(expected_first[0], theirs_args[:2], again, allow_unused=True)
            mine_second = facula.autograd.grad(first[0], mine_args[:2], to_facula(again), allow_unused=True)
            for a, b in zip(mine_second, second, strict=True):
                if a is not None and b is not None:
                    assert_same(a, b, 1e-7, 1e-8)


def test_half_precision_with_full_parameters() -> None:
    x, weight = random((3, 8)).bfloat16(), random((8,), seed=1)
    check("nn.functional.layer_norm", x, (8,), weight, weight, ours=ours.layer_norm, rtol=2e-2, atol=2e-2)


def test_errors() -> None:
    x = random((4, 5))
    for name, args in (
        ("layer_norm", (x, (4,))),
        ("layer_norm", (x, ())),
        ("layer_norm", (x, (5,), torch.ones(4))),
        ("layer_norm", (x.long(), (5,))),
        ("layer_norm", (x, 5)),
        ("layer_norm", (x.double(), (5,), torch.ones(5))),
        ("rms_norm", (x, (4,))),
        ("group_norm", (x, 2)),
        ("group_norm", (random((2, 4, 3)), 2, torch.ones(3))),
        ("batch_norm", (x, None, None)),
        ("batch_norm", (x, torch.zeros(4), torch.ones(4))),
        ("batch_norm", (x, torch.zeros(5), torch.ones(5), torch.ones(4))),
        ("layer_norm", (x[:0], (5,))),
    ):
        check(f"nn.functional.{name}", *args, ours=getattr(ours, name))


def test_values_without_an_oracle() -> None:
    x = np.random.default_rng(0).standard_normal((6, 50))
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(ours.layer_norm(facula.tensor(x), (50,)).numpy(), expected, rtol=1e-10)
    found = ours.batch_norm(facula.tensor(x), None, None, training=True).numpy()
    np.testing.assert_allclose(found, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5), rtol=1e-8, atol=1e-10)
