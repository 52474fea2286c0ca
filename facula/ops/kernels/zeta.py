"""The Hurwitz zeta function for kernels: a macro on float32 or float64 values, vectors or not, computed in float64."""

from __future__ import annotations

import math
from fractions import Fraction

from facula.kernel.math import pow
from facula.kernel.numeric import constant, in_double
from facula.kernel.values import Value, floor, select

_STEPS = 14
"""Terms that are added one by one before the asymptotic series."""


def _bernoulli(count: int) -> list[float]:
    """B(2k) / (2k)! for k = 1..count."""
    numbers = [Fraction(1)]
    for m in range(1, 2 * count + 1):
        numbers.append(-sum((math.comb(m + 1, k) * b for k, b in enumerate(numbers)), Fraction(0)) / (m + 1))
    return [float(numbers[2 * k] / math.factorial(2 * k)) for k in range(1, count + 1)]


_COEFFICIENTS = _bernoulli(10)


def _zeta(s: Value, q: Value) -> Value:
    """sum over k of (k + q) ** -s, by the Euler-Maclaurin formula (DLMF 25.11.5)."""
    total = constant(q, 0.0)
    at = q
    for _ in range(_STEPS):
        total = total + pow(at, -s)
        at = at + 1.0
    power = pow(at, -s)
    total = total + power * at / (s - 1.0) + power * 0.5
    factor, inverse = s, 1.0 / at
    scaled = power * inverse
    for k, coefficient in enumerate(_COEFFICIENTS):
        total = total + scaled * factor * coefficient
        factor = factor * (s + float(2 * k + 1)) * (s + float(2 * k + 2))
        scaled = scaled * inverse * inverse
    return total


@in_double
def zeta(s: Value, q: Value) -> Value:
    """The Hurwitz zeta function: infinite at s = 1 and at the poles q = 0, -1, ..., NaN for s < 1, and for q below -13,
    where the series is not summed, or below 0 with a broken s."""
    infinite, nan = constant(q, math.inf), constant(q, math.nan)
    result = _zeta(s, q)
    result = select((q < 0.0) & ((floor(s) != s) | (q < 1.0 - _STEPS)), nan, result)
    result = select((q <= 0.0) & (floor(q) == q), infinite, result)
    result = select(q == math.inf, constant(q, 0.0), result)
    return select(s == 1.0, infinite, select(s > 1.0, result, nan))
