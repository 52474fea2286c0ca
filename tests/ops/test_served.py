"""Products on the native fast path: the second call of a kind gives what the first, in Python, gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import facula

linear = facula.nn.functional.linear


def tensors(seed: int, *shapes: tuple[int, ...], grad: tuple[bool, ...] = ()) -> list[Any]:
    rng = np.random.default_rng(seed)
    made = [facula.from_numpy(rng.standard_normal(shape).astype("f4")) for shape in shapes]
    for x, needed in zip(made, grad, strict=False):
        x.requires_grad_(needed)
    return made


CALLS: list[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("mm", facula.mm, ((7, 9), (9, 5))),
    ("bmm", facula.bmm, ((3, 7, 9), (3, 9, 5))),
    ("mv", facula.mv, ((7, 9), (9,))),
    ("dot", facula.dot, ((11,), (11,))),
    ("matmul of vectors", facula.matmul, ((11,), (11,))),
    ("matmul with a vector", facula.matmul, ((7, 9), (9,))),
    ("matmul by a matrix", facula.matmul, ((2, 3, 7, 9), (9, 5))),
    ("matmul of stacks", facula.matmul, ((2, 3, 7, 9), (2, 3, 9, 5))),
    ("operator", lambda a, b: a @ b, ((7, 9), (9, 5))),
    ("method", lambda a, b: a.mm(b), ((7, 9), (9, 5))),
    ("linear", linear, ((7, 9), (5, 9), (5,))),
    ("linear without bias", lambda a, b: linear(a, b, None), ((7, 9), (5, 9))),
    ("linear of stacks", linear, ((2, 7, 9), (5, 9), (5,))),
    ("linear to one", linear, ((7, 9), (1, 9), (1,))),
]


@pytest.mark.parametrize("name,call,shapes", CALLS, ids=[c[0] for c in CALLS])
def test_repeated_calls_agree(name: str, call: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]) -> None:
    """With every choice of inputs that require grad: values, gradients, and the name of the node."""
    for mask in range(1 << len(shapes)):
        grad = tuple(bool(mask >> i & 1) for i in range(len(shapes)))
        seen = []
        for _ in range(3):
            inputs = tensors(1, *shapes, grad=grad)
            out = call(*inputs)
            assert out.requires_grad == (mask > 0)
            if mask:
                (out * out).sum().backward()
            node = None if out.grad_fn is None else out.grad_fn.name()
            seen.append(
                (out.detach().numpy().copy(), node, [None if x.grad is None else x.grad.numpy().copy() for x in inputs])
            )
        for value, node, gradients in seen[1:]:
            assert (value == seen[0][0]).all() and node == seen[0][1]
            for ours, first, needed in zip(gradients, seen[0][2], grad, strict=True):
                assert (ours is None) == (not needed)
                assert ours is None or (ours == first).all()
        reference = tensors(1, *shapes)
        assert (call(*reference).numpy() == seen[0][0]).all()


def test_layouts_are_told_apart() -> None:
    a, b = tensors(2, (6, 6), (6, 6))
    for _ in range(3):
        np.testing.assert_allclose((a @ b).numpy(), a.numpy() @ b.numpy(), atol=1e-5)
        np.testing.assert_allclose((a.t() @ b).numpy(), a.numpy().T @ b.numpy(), atol=1e-5)
        np.testing.assert_allclose((a @ b.t()).numpy(), a.numpy() @ b.numpy().T, atol=1e-5)
        np.testing.assert_allclose((a[:3] @ b[:, :2]).numpy(), a.numpy()[:3] @ b.numpy()[:, :2], atol=1e-5)


def test_shapes_that_do_not_fit_are_refused_each_time() -> None:
    a, b = tensors(3, (2, 3), (2, 3))
    for _ in range(3):
        with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            a @ b


def test_saved_values_are_watched() -> None:
    for _ in range(3):
        x, w = tensors(4, (3, 4), (5, 4), grad=(True, True))
        out = linear(x, w, None)
        with facula.no_grad():
            w.add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.sum().backward()


def test_parameters_and_no_grad() -> None:
    layer = facula.nn.Linear(4, 5)
    (x,) = tensors(5, (3, 4))
    expected = x.numpy() @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    for _ in range(3):
        out = layer(x)
        assert out.grad_fn.name() == "AddmmBackward0"
        np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-5)
        with facula.no_grad():
            assert not layer(x).requires_grad


def test_twice_differentiated() -> None:
    for _ in range(3):
        a, b = tensors(6, (3, 4), (4, 2), grad=(True, True))
        (first,) = facula.autograd.grad((a @ b).sum(), [a], create_graph=True)
        (second,) = facula.autograd.grad((first * first).sum(), [b])
        np.testing.assert_allclose(
            second.numpy(), np.repeat(6 * b.detach().numpy().sum(1, keepdims=True), 2, 1), atol=1e-4
        )
