"""Derivatives of the logarithm of the gamma function, and the greatest common divisor: macros and kernels."""

import math
from typing import Any

from facula.kernel.language import as_pointer, i64, kernel, load, offset, ptr, select, specialise
from facula.kernel.special import sin_pi
from facula.kernel.types import Type
from facula.kernel.values import Value, cast
from facula.ops.kernels.pointwise import KERNEL_TYPES

_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def _integer_power(x: Value, n: int) -> Value:
    result = None
    while n:
        if n & 1:
            result = x if result is None else result * x
        x = x * x
        n >>= 1
    assert result is not None
    return result


def _tail(x: Value, m: int, steps: int) -> Value:
    """The Hurwitz zeta function of an integer m at x by Euler-Maclaurin: so many terms, then the integral and corrections."""
    total = cast(0.0, x.type)
    for k in range(steps):
        total = total + 1.0 / _integer_power(x + float(k), m)
    a = x + float(steps)
    inverse = 1.0 / a
    power = _integer_power(inverse, m)
    total = total + power * a / float(m - 1) + power * 0.5
    factor, term = float(m), power * inverse
    for j, b in enumerate(_BERNOULLI):
        total = total + term * (b * factor / math.factorial(2 * j + 2))
        factor *= (m + 2 * j + 1) * (m + 2 * j + 2)
        term = term * inverse * inverse
    return total


def polygamma(n: int, x: Value) -> Value:
    """The n-th derivative of digamma, n >= 1."""
    if n == 1:  # reflected below 1/2, where the series would converge badly
        left = x < 0.5
        value = _tail(select(left, 1.0 - x, x), 2, 10)
        s = sin_pi(x)
        return select(left, (math.pi * math.pi) / (s * s) - value, value)
    return _tail(x, n + 1, 20) * float((-1) ** (n + 1) * math.factorial(n))


@specialise
def gcd(code: str) -> Any:
    """out[i] = the greatest common divisor of a[i] and b[i], by Euclid. Slots: out, a, b (dense)."""
    element: Type = KERNEL_TYPES[code]

    @kernel
    def gcd(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(element)))
        a = load(as_pointer(offset(slots, 1), ptr(element)))
        b = load(as_pointer(offset(slots, 2), ptr(element)))
        for i in range(lo, hi):
            x = cast(a[i], i64)
            y = cast(b[i], i64)
            x = select(x < 0, -x, x)
            y = select(y < 0, -y, y)
            while y != 0:
                rest = x - (x // y) * y
                x = y
                y = rest
            out[i] = cast(x, element)

    return gcd
