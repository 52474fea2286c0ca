"""gradcheck accepts right gradients and finds wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

import facula
from facula.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck


def leaf(*shape: int) -> Any:
    facula.manual_seed(0)
    return facula.randn(*shape, dtype=facula.float64).requires_grad_()


def test_right() -> None:
    assert gradcheck(lambda x, y: (x @ y).tanh(), (leaf(2, 3), leaf(3, 2)))
    assert gradcheck(lambda x: (x.sin(), x.sum(0)), (leaf(3, 2),))
    assert gradgradcheck(lambda x, y: (x @ y).tanh(), (leaf(2, 3), leaf(3, 2)))
    assert gradcheck(lambda x, n: x * n, (leaf(3), 2.0))


class Wrong(facula.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 3 * ctx.saved_tensors[0] * g


class WrongSecond(facula.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 3 * ctx.saved_tensors[0].detach() ** 2 * g


def test_wrong() -> None:
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(Wrong.apply, (leaf(3),))
    assert not gradcheck(Wrong.apply, (leaf(3),), raise_exception=False)
    assert gradcheck(WrongSecond.apply, (leaf(3),))
    with pytest.raises(GradcheckError):
        gradgradcheck(WrongSecond.apply, (leaf(3),))


def test_refuses() -> None:
    with pytest.raises(ValueError, match="at least one tensor input to require gradient"):
        gradcheck(lambda x: x, (facula.ones(2),))
    with pytest.warns(UserWarning, match="not a double precision"), pytest.raises(GradcheckError):
        gradcheck(lambda x: x.exp() * 1e4, (facula.ones(2, requires_grad=True),))
