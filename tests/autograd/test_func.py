"""torch.func: transforms of functions, against the reference implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import facula


def vector(t: Any) -> Any:
    return t.tensor([0.3, -1.2, 2.0], dtype=t.float64)


def loss(t: Any) -> Any:
    return lambda p, x: ((x @ p["w"] + p["b"]).tanh() ** 2).sum()


def parameters(t: Any) -> Any:
    return {"w": vector(t).view(3, 1), "b": t.tensor([0.5], dtype=t.float64)}


CALLS = {
    "grad": lambda t: t.func.grad(lambda x: x.sin().sum())(vector(t)),
    "nested": lambda t: t.func.grad(lambda x: t.func.grad(lambda y: (y**3 * x[0]).sum())(x).sum())(vector(t)),
    "twice": lambda t: t.func.grad(t.func.grad(t.sin))(t.tensor(1.0)),
    "argnums": lambda t: t.func.grad(lambda x, y: (x * y**2).sum(), argnums=(0, 1))(vector(t), vector(t) + 1),
    "aux": lambda t: t.func.grad(lambda x: ((x * x).sum(), x + 1), has_aux=True)(vector(t)),
    "value": lambda t: t.func.grad_and_value(lambda x: (x * x).sum())(vector(t)),
    "dicts": lambda t: list(t.func.grad(loss(t))(parameters(t), vector(t).view(1, 3)).values()),
    "vjp": lambda t: t.func.vjp(lambda x: x * x, vector(t))[1](vector(t)),
    "jvp": lambda t: t.func.jvp(lambda x: x.sin() * x, (vector(t),), (vector(t),)),
    "jacrev": lambda t: t.func.jacrev(lambda x: x.view(3, 1) * x)(vector(t)),
    "jacfwd": lambda t: t.func.jacfwd(lambda x, y: x.exp() * y, argnums=1)(vector(t), vector(t)),
    "hessian": lambda t: t.func.hessian(lambda x: (x**3).sum() * x[0])(vector(t)),
}


def arrays(value: Any) -> Any:
    return (
        [arrays(v) for v in value]
        if isinstance(value, (list, tuple))
        else (value.detach().numpy(), value.requires_grad)
    )


def equal(a: Any, b: Any) -> None:
    if isinstance(a, list):
        for x, y in zip(a, b, strict=True):
            equal(x, y)
        return
    np.testing.assert_allclose(a[0], b[0], rtol=1e-6 if a[0].dtype == np.float32 else 1e-9)
    assert a[1] == b[1]


@pytest.mark.parametrize("name", CALLS)
def test_values(name: str) -> None:
    torch = pytest.importorskip("torch")
    equal(arrays(CALLS[name](facula)), arrays(CALLS[name](torch)))


def test_functional_call() -> None:
    net = facula.nn.Linear(3, 1)
    given = {k: v.detach() * 2 for k, v in net.named_parameters()}
    x = facula.randn(4, 3)

    def total(p: Any) -> Any:
        return facula.func.functional_call(net, p, (x,)).sum()

    found = facula.func.grad(total)(given)
    assert found["bias"].tolist() == [4.0]
    np.testing.assert_allclose(found["weight"].numpy()[0], x.sum(0).numpy(), rtol=1e-5)


def test_errors() -> None:
    with pytest.raises(RuntimeError, match="scalar tensor"):
        facula.func.grad(lambda x: x)(facula.ones(2))
