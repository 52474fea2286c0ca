"""Jacobians, Hessians and their products, against the reference implementation and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula


def f(t: Any) -> Any:
    return lambda x, y: (x.sin() * y, (x * y).sum(), x.exp())


def scalar(t: Any) -> Any:
    return lambda x, y: (x.sin() * y).sum() + (x * x * y).prod()


def inputs(t: Any) -> tuple[Any, Any]:
    rng = np.random.RandomState(0)
    return t.tensor(rng.randn(3)), t.tensor(rng.randn(3))


def arrays(value: Any) -> Any:
    return [arrays(v) for v in value] if isinstance(value, tuple) else value.detach().numpy()


def equal(a: Any, b: Any) -> None:
    if isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


CALLS = {
    "jacobian": lambda t, m: m.jacobian(f(t), inputs(t)),
    "jacobian_single": lambda t, m: m.jacobian(lambda x: x.sin(), inputs(t)[0]),
    "jacobian_matrix": lambda t, m: m.jacobian(lambda x: x.view(1, 3) * x.view(3, 1), inputs(t)[0]),
    "hessian": lambda t, m: m.hessian(scalar(t), inputs(t)),
    "hessian_single": lambda t, m: m.hessian(lambda x: (x**3).sum(), inputs(t)[0]),
    "vjp": lambda t, m: m.vjp(f(t), inputs(t), (inputs(t)[0], t.tensor(2.0, dtype=t.float64), inputs(t)[1])),
    "jvp": lambda t, m: m.jvp(f(t), inputs(t), inputs(t)[::-1]),
    "vhp": lambda t, m: m.vhp(scalar(t), inputs(t), inputs(t)[::-1]),
    "hvp": lambda t, m: m.hvp(scalar(t), inputs(t), inputs(t)[::-1]),
    "independent": lambda t, m: m.jacobian(lambda x, y: x * 2, inputs(t)),
    "linear_hessian": lambda t, m: m.hessian(lambda x: x.sum(), inputs(t)[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_values(name: str) -> None:
    torch = pytest.importorskip("torch")
    equal(
        arrays(CALLS[name](facula, facula.autograd.functional)), arrays(CALLS[name](torch, torch.autograd.functional))
    )


def test_products_belong_together() -> None:
    m = facula.autograd.functional
    x, v = inputs(facula)

    def function(x: Any) -> Any:
        return facula.stack([x.sin().sum(), (x * x).sum()])

    jacobian = m.jacobian(function, x)
    equal(m.jvp(function, x, v)[1].numpy(), (jacobian @ v).numpy())
    equal(m.vjp(function, x, v[:2])[1].numpy(), (v[:2] @ jacobian).numpy())


def test_create_graph() -> None:
    x = inputs(facula)[0].requires_grad_()
    facula.autograd.functional.jacobian(lambda x: x**2, x, create_graph=True).sum().backward()
    assert x.grad.tolist() == [2.0] * 3
    assert not facula.autograd.functional.jacobian(lambda x: x**2, x).requires_grad


ERRORS = [
    lambda t, m: m.jacobian(lambda x: 3, inputs(t)[0]),
    lambda t, m: m.jacobian(lambda x: x, 3),
    lambda t, m: m.jacobian(lambda x, y: x * 2, inputs(t), strict=True),
    lambda t, m: m.vjp(lambda x: x * 2, inputs(t)[0]),
    lambda t, m: m.vjp(lambda x: x * 2, inputs(t)[0], t.ones(2, dtype=t.float64)),
    lambda t, m: m.hessian(lambda x: x * 2, inputs(t)[0]),
]


@pytest.mark.parametrize("index", range(len(ERRORS)))
def test_errors(index: int) -> None:
    with pytest.raises((TypeError, RuntimeError)) as ours:
        ERRORS[index](facula, facula.autograd.functional)
    torch = pytest.importorskip("torch")
    with pytest.raises((TypeError, RuntimeError)) as theirs:
        ERRORS[index](torch, torch.autograd.functional)
    assert type(ours.value) is type(theirs.value)
    assert str(ours.value)[:45] == str(theirs.value)[:45]
