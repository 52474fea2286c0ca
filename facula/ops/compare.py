"""Comparison, tests of numbers, logic and bits, element by element."""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.ops import scalar as sc
from facula.ops.define import FUNCTIONS, METHODS, composite
from facula.ops.elementwise import pointwise
from facula.ops.pointwise import abs


@pointwise(result="bool", aliases=("less",))
def lt(input: Any, other: Any) -> Any:
    """Truth where input < other."""
    return input < other


@pointwise(result="bool", aliases=("less_equal",))
def le(input: Any, other: Any) -> Any:
    """Truth where input <= other."""
    return input <= other


@pointwise(result="bool", aliases=("greater",))
def gt(input: Any, other: Any) -> Any:
    """Truth where input > other."""
    return input > other


@pointwise(result="bool", aliases=("greater_equal",))
def ge(input: Any, other: Any) -> Any:
    """Truth where input >= other."""
    return input >= other


@pointwise(result="bool")
def eq(input: Any, other: Any) -> Any:
    """Truth where both are equal."""
    return input == other


@pointwise(result="bool", aliases=("not_equal",))
def ne(input: Any, other: Any) -> Any:
    """Truth where they differ."""
    return input != other


@pointwise(result="bool", in_place=False)
def isnan(input: Any) -> Any:
    """Truth where not a number."""
    return sc.is_nan(input)


@pointwise(name="isinf", result="bool", in_place=False, method=False, function=False)
def _isinf(input: Any) -> Any:
    """Truth where plus or minus infinity."""
    return sc.absolute(input) == math.inf


@pointwise(result="bool", in_place=False)
def isfinite(input: Any) -> Any:
    """Truth where neither infinite nor NaN."""
    return (input - input) == 0


@pointwise(name="isposinf", result="bool", in_place=False, method=False, function=False)
def _isposinf(input: Any) -> Any:
    """Truth where plus infinity."""
    return input == math.inf


@pointwise(name="isneginf", result="bool", in_place=False, method=False, function=False)
def _isneginf(input: Any) -> Any:
    """Truth where minus infinity."""
    return input == -math.inf


def _only_for_floats(name: str, operator: Any) -> Any:
    def function(input: Any) -> Any:
        if input._layout.dtype.kind in "fc":
            return operator(input)
        return FUNCTIONS["torch"]["zeros_like"](input, dtype=dt.bool)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = operator.__doc__
    return composite(name, method=True, out=name != "isinf")(function)


isinf, isposinf, isneginf = (
    _only_for_floats(name, made) for name, made in (("isinf", _isinf), ("isposinf", _isposinf), ("isneginf", _isneginf))
)


@composite(method=True)
def isreal(input: Any) -> Any:
    """Truth where the imaginary part is zero."""
    if input._layout.dtype.kind != "c":
        return eq(input, input) | isnan(input) if input._layout.dtype.kind == "f" else eq(input, input)
    return eq(input.imag, 0)


@pointwise(result="bool")
def signbit(input: Any) -> Any:
    """Truth where the sign bit is set."""
    return sc.sign_bit(input)


@composite(method=True)
def isclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Any:
    """Truth where |input - other| <= atol + rtol * |other|."""
    if input._layout.dtype is not other._layout.dtype:
        raise RuntimeError(f"{input._layout.dtype.scalar_name} did not match {other._layout.dtype.scalar_name}")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not value >= 0:
            raise RuntimeError(f"{name} must be greater than or equal to zero, but got {value}")
    close = eq(input, other)
    if equal_nan and input._layout.dtype.kind in "fc":
        close = close | (isnan(input) & isnan(other))
    if rtol == 0 and atol == 0:
        return close
    exact = input._layout.dtype.kind in "iub"
    a, b = (input.to(dt.float64), other.to(dt.float64)) if exact else (input, other)
    gap = abs(a - b)
    return close | (isfinite(gap) & le(gap, atol + abs(rtol * b)))


@composite(method=True)
def allclose(input: Any, other: Any, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close (see `isclose`)."""
    return bool(METHODS["all"](isclose(input, other, rtol, atol, equal_nan)).item())


@composite(method=True)
def equal(input: Any, other: Any) -> bool:
    """Whether both have the same shape and elements."""
    if input._layout.shape != other._layout.shape:
        return False
    return bool(METHODS["all"](eq(input, other)).item())


# -- logic -----------------------------------------------------------------------------------------------------------
@pointwise(result="bool")
def logical_not(input: Any) -> Any:
    """Truth where zero."""
    return ~sc.truth(input)


@pointwise(result="bool", accepts="tensors")
def logical_and(input: Any, other: Any) -> Any:
    """Truth where both are not zero."""
    return sc.truth(input) & sc.truth(other)


@pointwise(result="bool", accepts="tensors")
def logical_or(input: Any, other: Any) -> Any:
    """Truth where either is not zero."""
    return sc.truth(input) | sc.truth(other)


@pointwise(result="bool", accepts="tensors")
def logical_xor(input: Any, other: Any) -> Any:
    """Truth where exactly one is not zero."""
    return sc.truth(input) ^ sc.truth(other)


@pointwise(integers=False)
def bitwise_not(input: Any) -> Any:
    """All bits inverted (bool: not)."""
    return ~input


@pointwise(integers=False, accepts="one")
def bitwise_and(input: Any, other: Any) -> Any:
    """Bits set in both (bool: and)."""
    return input & other


@pointwise(integers=False, accepts="one")
def bitwise_or(input: Any, other: Any) -> Any:
    """Bits set in either (bool: or)."""
    return input | other


@pointwise(integers=False, accepts="one")
def bitwise_xor(input: Any, other: Any) -> Any:
    """Bits set in exactly one (bool: exclusive or)."""
    return input ^ other


@pointwise(integers=False, accepts="one")
def bitwise_left_shift(input: Any, other: Any) -> Any:
    """input * 2 ** other, in integers."""
    return input << other


@pointwise(integers=False, accepts="one")
def bitwise_right_shift(input: Any, other: Any) -> Any:
    """input shifted right, keeping the sign."""
    return input >> other
