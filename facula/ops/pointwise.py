"""Arithmetic, comparison, logic and elementary mathematics, element by element: one body each."""

from __future__ import annotations

from typing import Any

from facula.ops import scalar as sc
from facula.ops.elementwise import pointwise

_BOOL_MINUS = (
    "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, use the `~` or "
    "`logical_not()` operator instead."
)


# -- arithmetic ------------------------------------------------------------------------------------------------------
@pointwise()
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input + alpha * other, broadcast.

    >>> torch.add(torch.tensor([1., 2.]), torch.tensor([3., 4.]), alpha=2)
    tensor([ 7., 10.])
    """
    return input + alpha * other


@pointwise(aliases=("subtract",), refuse_bool=_BOOL_MINUS)
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """input - alpha * other, broadcast."""
    return input - alpha * other


@pointwise(aliases=("multiply",))
def mul(input: Any, other: Any) -> Any:
    """input * other, broadcast."""
    return input * other


@pointwise(name="true_divide", result="float", function=True)
def true_divide(input: Any, other: Any) -> Any:
    """input / other, broadcast; integers give the default float dtype."""
    return input / other


@pointwise(name="neg", aliases=("negative",))
def neg(input: Any) -> Any:
    """-input."""
    return -input


@pointwise(result="float")
def exp(input: Any) -> Any:
    """e to the power of each element."""
    return sc.exp(input)


@pointwise(result="float")
def tanh(input: Any) -> Any:
    """Hyperbolic tangent."""
    return sc.tanh(input)


@pointwise(result="bool", aliases=("greater",))
def gt(input: Any, other: Any) -> Any:
    """Truth where input > other."""
    return input > other


@pointwise()
def relu(input: Any) -> Any:
    """max(input, 0)."""
    return sc.select(input > 0, input, sc.select(input != input, input, 0))


@relu.gradient
def _(grad: Any, out: Any) -> Any:
    return sc.select(out <= 0, 0.0, grad)


