"""Losses: values, errors and derivatives are torch's, for every reduction, weight and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula
import facula.nn.functional as ours
from tests.ops.oracle import check, check_gradients, random, to_facula, torch

F = torch.nn.functional
LINEAR = ("nll_loss", "l1_loss")
"""Losses whose gradient does not depend on the input: their second derivative is zero."""
SHAPES = [(4, 5), (1, 3), (70, 300), (7,), (2, 5, 3), (2, 4, 3, 20)]


def scores_and_classes(shape: tuple[int, ...]) -> tuple[Any, Any]:
    axis = 0 if len(shape) == 1 else 1
    generator = np.random.default_rng(sum(shape))
    classes = generator.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    return random(shape), torch.tensor(classes)


def both(name: str, *args: Any, derivatives: bool = True, **kwargs: Any) -> None:
    function = getattr(ours, name)
    check(f"nn.functional.{name}", *args, ours=function, rtol=2e-5, atol=1e-5, **kwargs)
    if derivatives:
        doubled = {
            k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in kwargs.items()
        }
        check_gradients(
            f"nn.functional.{name}",
            *args,
            ours=lambda *a, **_: function(*a, **{k: to_facula(v) for k, v in doubled.items()}),
            second=name not in LINEAR,
            **doubled,
        )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy(shape: tuple[int, ...], reduction: str, smoothing: float) -> None:
    scores, classes = scores_and_classes(shape)
    weight = torch.rand(shape[0 if len(shape) == 1 else 1]) + 0.1
    for w in (None, weight):
        both(
            "cross_entropy",
            scores,
            classes,
            weight=w,
            reduction=reduction,
            label_smoothing=smoothing,
            derivatives=w is None,
        )
        if classes.ndim:
            both(
                "cross_entropy",
                scores,
                classes,
                weight=w,
                reduction=reduction,
                ignore_index=1,
                label_smoothing=smoothing,
            )
    both(
        "cross_entropy",
        scores,
        scores.softmax(0),
        weight=weight,
        reduction=reduction,
        label_smoothing=smoothing,
        derivatives=False,
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss(shape: tuple[int, ...], reduction: str) -> None:
    scores, classes = scores_and_classes(shape)
    weight = torch.rand(shape[0 if len(shape) == 1 else 1]) + 0.1
    for w in (None, weight):
        for ignore in (-100, 1):
            if classes.ndim:
                both("nll_loss", scores, classes, weight=w, reduction=reduction, ignore_index=ignore)


@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_errors_of_class_losses(name: str) -> None:
    x = random((4, 5))
    for target in ([0, 1, 2], [0, 1, 2, 7], [0, 1, 2, -1]):
        both(name, x, torch.tensor(target), derivatives=False)
    target = torch.tensor([0, 1, 2, 3])
    for given in (target.int(), target.float(), target.byte()):
        both(name, x, given, derivatives=False)
    for kwargs in ({"weight": torch.ones(4)}, {"weight": torch.ones(5).double()}, {"reduction": "bad"}):
        both(name, x, target, derivatives=False, **kwargs)
    both(name, torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), derivatives=False)
    both(name, random((2, 5, 3)), torch.zeros(2, 4, dtype=torch.int64), derivatives=False)
    with pytest.raises(IndexError, match="Target 7 is out of bounds"):
        getattr(ours, name)(facula.zeros(4, 5), facula.tensor([0, 1, 7, 2]))


@pytest.mark.parametrize("shape", [(5,), (), (3, 7), (130, 300), (0,)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses_of_pairs(shape: tuple[int, ...], reduction: str) -> None:
    x, t, p = random(shape), random(shape, seed=1), torch.rand(shape) * 0.9 + 0.05
    q = torch.rand(shape)
    both("mse_loss", x, t, reduction=reduction)
    both("l1_loss", x, t, reduction=reduction)
    both("smooth_l1_loss", x, t, reduction=reduction, beta=0.6)
    both("huber_loss", x, t, reduction=reduction, delta=0.7)
    both("binary_cross_entropy", p, q, reduction=reduction)
    both("binary_cross_entropy", p, q, reduction=reduction, weight=torch.rand(shape))
    both("binary_cross_entropy_with_logits", x, q, reduction=reduction)
    both("binary_cross_entropy_with_logits", x, q, reduction=reduction, weight=torch.rand(shape))
    if reduction != "mean":
        both("kl_div", x, q, reduction=reduction)


def test_arguments_of_pairs() -> None:
    x = random((3, 4))
    both("mse_loss", x, x.double(), derivatives=False)
    both("mse_loss", x, x.t().contiguous().t() + 1)
    both("mse_loss", x.long(), x.long(), derivatives=False)
    both("mse_loss", x, x, reduction="bad", derivatives=False)
    both("binary_cross_entropy", torch.tensor([1.5]), torch.tensor([1.0]), derivatives=False)
    both("binary_cross_entropy", torch.tensor([1.5]), torch.tensor([1.0]), reduction="none", derivatives=False)
    both("binary_cross_entropy", torch.tensor([0.5]), torch.tensor([1.0]).double(), derivatives=False)


def test_values_without_an_oracle() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]])
    expected = np.log(np.exp(logits).sum(1)) - logits[[0, 1], [1, 2]]
    found = ours.cross_entropy(facula.tensor(logits), facula.tensor([1, 2]), reduction="none")
    np.testing.assert_allclose(found.numpy(), expected)
    assert ours.mse_loss(facula.zeros(2), facula.tensor([1.0, 3.0])).item() == 5.0
