"""What the mathematics library is made of: polynomials, sums and products with their rounding errors, exponents.

Macros on kernel values; this module knows of no particular function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from facula.kernel import types as ty
from facula.kernel.errors import KernelError
from facula.kernel.types import Type, f32, f64
from facula.kernel.values import Value, bitcast, cast, fma, select

MANTISSA = {f32: 23, f64: 52}
"""Bits of the significand that are stored."""

BIAS = {f32: 127, f64: 1023}
"""The exponent field of 1."""

ROUNDER = {ty.f32: 1.5 * 2.0**23, ty.f64: 1.5 * 2.0**52}
"""Adding this to a small number rounds it to an integer, which then stands in the lowest bits."""

BITS = {ty.f32: ty.i32, ty.f64: ty.i64, ty.f16: ty.i16, ty.bf16: ty.i16}
"""The integer type as wide as a float."""


def two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b as a rounded sum and its exact error (Knuth)."""
    total = a + b
    seen = total - a
    return total, (a - (total - seen)) + (b - seen)


def fast_two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """The same for |a| >= |b| (Dekker)."""
    total = a + b
    return total, b - (total - a)


def two_product(a: Value, b: Value) -> tuple[Value, Value]:
    """a * b as a rounded product and its exact error."""
    product = a * b
    if a.ops.target.has_fma:
        return product, fma(a, b, -product)
    splitter = 2.0**27 + 1 if a.type.element is ty.f64 else 2.0**12 + 1

    def halves(x: Value) -> tuple[Value, Value]:
        wide = x * splitter
        high = wide - (wide - x)
        return high, x - high

    (ah, al), (bh, bl) = halves(a), halves(b)
    return product, ((ah * bh - product) + ah * bl + al * bh) + al * bl


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """sum of coefficients[k] * x**k, by Horner's rule."""
    total = x.ops.constant(x.type, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = fma(total, x, coefficient)
    return total  # type: ignore[no-any-return]


def constant(x: Value, number: float) -> Value:
    """`number` in the type and lanes of `x`."""
    return x.ops.constant(x.type, number)  # type: ignore[no-any-return]


def in_double(function: Callable[..., Value]) -> Callable[..., Value]:
    """Let a function of float64 serve float32 too, through a cast."""

    def widened(*operands: Value) -> Value:
        first = operands[0].type
        if element_type(operands[0]) is f64:
            return function(*operands)
        return cast(function(*(cast(x, f64) for x in operands)), first)  # type: ignore[no-any-return]

    widened.__name__, widened.__doc__ = function.__name__, function.__doc__
    widened.__wrapped__ = function  # type: ignore[attr-defined]
    return widened


def element_type(x: Value) -> Type:
    """float32 or float64; other types are refused."""
    element = x.type.element
    if element not in (f32, f64):
        raise KernelError(f"mathematical functions take f32 or f64, not {x.type}: cast it, f32(x)")
    return element


def scale(p: Value, n: Value, bits: Value) -> Value:
    """p * 2**n for p in 2**-12..2 and a whole number n, which the lowest bits of `bits` hold too.

    Subnormal results are rounded once.
    """
    element = p.type.element
    lift = 64 if element is f32 else 128
    small = n < 16.0 - BIAS[element]
    shift = MANTISSA[element]
    lifted = (bits + select(small, constant(bits, lift), constant(bits, 0))) << shift
    scaled = bitcast(bitcast(p, BITS[element]) + lifted, p.type)
    return scaled * select(small, constant(p, 2.0**-lift), constant(p, 1.0))
