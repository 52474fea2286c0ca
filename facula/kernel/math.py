"""The elementary functions, as macros on kernel values.

Each takes a float32 or float64 value, scalar or vector, and gives one of the same type (cast narrower ones before).
One source serves every vector width, every processor and the interpreter: only arithmetic, comparisons and bit moves
are used. Polynomials were fitted with the Remez exchange algorithm to the functions named beside them; float32 and
float64 differ by their tables. Errors stay within 1 or 2 units in the last place, zeros keep their sign, and
infinities, NaN, subnormal numbers and overflow come out as IEEE 754 wants them.

Functions that are rarely hot compute float32 in float64, where they are simply right.
"""

from __future__ import annotations

import math as _math

from facula.kernel import types as ty
from facula.kernel.numeric import (
    BIAS,
    BITS,
    MANTISSA,
    ROUNDER,
    constant,
    element_type,
    fast_two_sum,
    in_double,
    polynomial,
    scale,
    two_product,
    two_sum,
)  # fmt: skip
from facula.kernel.trigonometry import acos, asin, atan, atan2, cos, sin, tan
from facula.kernel.types import f32, f64
from facula.kernel.values import Value, absolute, bitcast, cast, copysign, fma, maximum, minimum, rint, select, sqrt

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "constant",
    "cos",
    "cosh",
    "exp",
    "exp2",
    "exp_fast_nonpositive",
    "expm1",
    "in_double",
    "log",
    "log1p",
    "log2",
    "log10",
    "log_sigmoid",
    "logaddexp",
    "polynomial",
    "pow",
    "rsqrt",
    "sigmoid",
    "sin",
    "sinh",
    "tan",
    "tanh",
]  # fmt: skip

INFINITY = _math.inf
NAN = _math.nan

_LOG2_E = 1.4426950408889634
# log(2) as a sum: the first part has so few bits that products with exponents are exact.
_LN2 = {f32: (0.693145751953125, 1.428606765330187e-06), f64: (0.6931471805598903, 5.497923018708371e-14)}

# (exp(r) - 1 - r) / r**2 on +-log(2)/2
_EXP = {
    f32: (0.4999999341, 0.1666652011, 0.04166839374, 0.00836878026, 0.001381449601),
    f64: (
        0.5, 0.16666666666666682, 0.04166666666666609, 0.008333333333316921, 0.0013888888889117628,
        0.00019841269896672765, 2.48015869239212e-05, 2.7557234565731136e-06, 2.75575833480279e-07,
        2.51121424195317e-08, 2.0826375036129886e-09,
    ),
}  # fmt: skip
# the same, with the relative error of exp(r) - 1 made small
_EXPM1 = {
    f32: (0.5000000047, 0.1666666682, 0.04166635356, 0.008333273007, 0.00139411054, 0.0001991417719),
    f64: (
        0.5, 0.16666666666666666, 0.04166666666666669, 0.008333333333333338, 0.0013888888888871805,
        0.000198412698412453, 2.48015873503165e-05, 2.7557319277991426e-06, 2.7557251698520334e-07,
        2.5052047290237312e-08, 2.092165189741431e-09, 1.6093458169543102e-10,
    ),
}  # fmt: skip
# (2**r - 1) / r on +-1/2
_EXP2 = {
    f32: (0.6931471805, 0.2402265108, 0.05550410963, 0.009618036633, 0.001333342984, 0.0001546721661, 1.531522587e-5),
    f64: (
        0.6931471805599453, 0.24022650695910072, 0.05550410866482158, 0.009618129107628487, 0.0013333558146428458,
        0.0001540353039335373, 1.5252733804032363e-05, 1.3215486823261428e-06, 1.0178086034455807e-07,
        7.054891732709487e-09, 4.445525870856767e-10, 2.5737176572560766e-11, 1.3722616632903729e-12,
    ),
}  # fmt: skip
# f32: (log(1 + f) - f + f**2 / 2) / f**3;  f64: (2 atanh(s) - 2 s) / s**3 in s**2; both for 1 + f in sqrt(1/2)..sqrt(2)
_LOG = {
    f32: (
        0.3333331262, -0.2500000953, 0.2000211782, -0.166680006, 0.1421956713, -0.1240549997, 0.1188799434,
        -0.1167615824, 0.06747590302,
    ),
    f64: (
        0.6666666666666666, 0.40000000000006286, 0.2857142856907296, 0.2222222264875403, 0.18181775508093168,
        0.1538709767455335, 0.13249961409452013, 0.1325276101369952,
    ),
}  # fmt: skip
_SQRT_HALF_BITS = {f32: 0x3F3504F3, f64: 0x3FE6A09E667F3BCD}
# (tanh(x) - x) / x**3 in x**2 for |x| < 0.6
_TANH = (-0.3333333179, 0.1333324793, -0.0539524891, 0.0217344924, -0.008267174501, 0.002231103445)


# -- exponentials -------------------------------------------------------------------------------------------------
def _exp_parts(x: Value, tail: Value | None = None) -> tuple[Value, Value, Value]:
    """(p, n, bits) with exp(x + tail) = p * 2**n and n in the lowest of the bits."""
    element = x.type.element
    high, low = _LN2[element]
    rounded = fma(x, _LOG2_E, ROUNDER[element])
    n = rounded - ROUNDER[element]
    r = fma(n, -low, fma(n, -high, x))
    if tail is not None:
        r = r + tail
    p = fma(r * r, polynomial(r, _EXP[element]), r) + 1.0
    return p, n, bitcast(rounded, BITS[element])


def _beyond(x: Value) -> Value:
    """Infinity for what overflows, NaN for NaN."""
    return x * (3e38 if x.type.element is f32 else 1e308)


_EXP_RANGE = {f32: (-104.0, 88.72283935546875), f64: (-746.0, 709.782712893384)}


def exp(x: Value) -> Value:
    """e**x."""
    low, high = _EXP_RANGE[element_type(x)]
    p, n, bits = _exp_parts(select(x < low, constant(x, low), x))
    return select(x <= high, scale(p, n, bits), _beyond(x))


def exp_fast_nonpositive(x: Value) -> Value:
    """e**x for x <= 0 (or NaN), where results too small for a normal number may be zero: what a softmax needs."""
    element = element_type(x)
    p, _, bits = _exp_parts(x)
    scale = bitcast((bits << MANTISSA[element]) + (BIAS[element] << MANTISSA[element]), x.type)
    return select(x < (-87.0 if element is f32 else -708.0), constant(x, 0.0), p * scale)


def exp2(x: Value) -> Value:
    """2**x."""
    element = element_type(x)
    low, high = {f32: (-151.0, 128.0), f64: (-1076.0, 1024.0)}[element]
    clipped = select(x < low, constant(x, low), x)
    rounded = clipped + ROUNDER[element]
    n = rounded - ROUNDER[element]
    r = clipped - n
    p = fma(r, polynomial(r, _EXP2[element]), 1.0)
    return select(x < high, scale(p, n, bitcast(rounded, BITS[element])), _beyond(x))


def expm1(x: Value) -> Value:
    """e**x - 1, accurate near 0."""
    element = element_type(x)
    low, high = (-20.0 if element is f32 else -40.0), _EXP_RANGE[element][1]
    clipped = select(x < low, constant(x, low), select(x > high, constant(x, high), x))
    ln2_high, ln2_low = _LN2[element]
    rounded = fma(clipped, _LOG2_E, ROUNDER[element])
    n = rounded - ROUNDER[element]
    head = fma(n, -ln2_high, clipped)
    r = fma(n, -ln2_low, head)
    lost = fma(n, -ln2_low, head - r)
    p = fma(r * r, polynomial(r, _EXPM1[element]), lost) + r
    # Half of 2**n keeps n = 128 (1024) within range.
    half = bitcast(
        (bitcast(rounded, BITS[element]) << MANTISSA[element]) + ((BIAS[element] - 1) << MANTISSA[element]), x.type
    )
    result = fma(half, p, half - 0.5) * 2.0
    tiny = absolute(x) < 2.0**-60  # also keeps -0 and subnormal numbers
    return select(x <= high, select(tiny, x, result), _beyond(x))


def sigmoid(x: Value) -> Value:
    """1 / (1 + e**-x)."""
    element_type(x)
    e = exp(-absolute(x))
    return select(x < 0.0, e, constant(x, 1.0)) / (e + 1.0)


def log_sigmoid(x: Value) -> Value:
    """log(sigmoid(x)), without loss where the sigmoid is near 0 or 1."""
    return minimum(x, 0.0) - log1p(exp(-absolute(x)))


def tanh(x: Value) -> Value:
    """Hyperbolic tangent."""
    magnitude = absolute(x)
    if element_type(x) is f64:
        t = expm1(magnitude * -2.0)
        near = -t / (t + 2.0)
        e = t + 1.0
    else:
        z = x * x
        near = fma(magnitude * z, polynomial(z, _TANH), magnitude)
        e = exp_fast_nonpositive(magnitude * -2.0)
    far = 1.0 - (e + e) / (e + 1.0)
    return copysign(select(magnitude < 0.6, near, far), x)


# -- logarithms ---------------------------------------------------------------------------------------------------
def _split(x: Value) -> tuple[Value, Value]:
    """(m, e) with x = m * 2**e and m in sqrt(1/2)..sqrt(2), for normal x > 0; e as a float."""
    element = x.type.element
    shift = MANTISSA[element]
    bits = bitcast(x, BITS[element]) - _SQRT_HALF_BITS[element]
    m = bitcast((bits & ((1 << shift) - 1)) + _SQRT_HALF_BITS[element], x.type)
    return m, cast(bits >> shift, element)


def _normal(x: Value) -> tuple[Value, Value]:
    """(y, k) with x = y * 2**k and y normal, for x > 0."""
    element = x.type.element
    lift = MANTISSA[element] + 1
    small = x < 2.0 ** (1 - BIAS[element])
    return select(small, x * 2.0**lift, x), select(small, constant(x, -float(lift)), constant(x, 0.0))


def _log_parts(f: Value) -> Value:
    """t with log(1 + f) = f + t, for 1 + f in sqrt(1/2)..sqrt(2)."""
    if f.type.element is f32:
        return f * f * fma(f, polynomial(f, _LOG[f32]), -0.5)
    half_square = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    return fma(s, fma(z, polynomial(z, _LOG[f64]), half_square), -half_square)


def _log_special(x: Value, result: Value) -> Value:
    """The results outside 0 < x < infinity."""
    special = select(x < 0.0, constant(x, NAN), select(x == 0.0, constant(x, -INFINITY), x))
    return select((x > 0.0) & (x < INFINITY), result, special)


def log(x: Value) -> Value:
    """Natural logarithm."""
    high, low = _LN2[element_type(x)]
    y, k = _normal(x)
    m, e = _split(y)
    e = e + k
    f = m - 1.0
    return _log_special(x, fma(e, high, f + fma(e, low, _log_parts(f))))


def log1p(x: Value) -> Value:
    """log(1 + x), accurate near 0."""
    element = element_type(x)
    high, low = _LN2[element]
    u, lost = two_sum(constant(x, 1.0), x)
    m, e = _split(u)
    shift_down = bitcast(m, BITS[element]) - bitcast(u, BITS[element]) + (BIAS[element] << MANTISSA[element])
    shrink = bitcast(maximum(shift_down, 0), x.type)  # 2**-e
    f = fma(lost, shrink, m - 1.0)
    result = fma(e, high, f + fma(e, low, _log_parts(f)))
    special = select(x < -1.0, constant(x, NAN), select(x == -1.0, constant(x, -INFINITY), x))
    return select((x > -1.0) & (x < INFINITY) & (x != 0.0), result, special)


def _log_based(x: Value, scale: tuple[float, float], per_octave: tuple[float, float]) -> Value:
    """A logarithm of another base: (e * per_octave) + log(m) * scale, each constant in two parts."""
    y, k = _normal(x)
    m, e = _split(y)
    e = e + k
    f = m - 1.0
    t = _log_parts(f)
    whole, error = fast_two_sum(f, t)
    scaled, rest = two_product(whole, constant(x, scale[0]))
    rest = rest + fma(whole, scale[1], error * scale[0])
    base = e * per_octave[0]
    total, carried = two_sum(base, scaled)
    return _log_special(x, total + (carried + fma(e, per_octave[1], rest)))


@in_double
def _log2_double(x: Value) -> Value:
    return _log_based(x, (_LOG2_E, 2.0355273740931033e-17), (1.0, 0.0))


def log2(x: Value) -> Value:
    """Logarithm to base 2; exact for powers of 2."""
    if element_type(x) is f32:
        return _log_based(x, (1.4426950216293335, 1.925963033500011e-08), (1.0, 0.0))
    return _log2_double(x)


@in_double
def log10(x: Value) -> Value:
    """Logarithm to base 10."""
    return _log_based(x, (0.4342944819032518, 1.098319650216765e-17), (0.30102999566395283, 2.8363394551044964e-14))


def logaddexp(a: Value, b: Value) -> Value:
    """log(e**a + e**b) without overflow."""
    larger = select((a > b) | (a != a), a, b)
    difference = absolute(a - b)
    return select(a == b, a + _LN2_WHOLE, larger + log1p(exp(-difference)))


_LN2_WHOLE = 0.6931471805599453


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x)."""
    element_type(x)
    return constant(x, 1.0) / sqrt(x)


# -- hyperbolic functions -----------------------------------------------------------------------------------------
@in_double
def sinh(x: Value) -> Value:
    """Hyperbolic sine."""
    magnitude = absolute(x)
    t = expm1(magnitude)
    near = (t + t / (t + 1.0)) * 0.5
    far = _half_exp(magnitude)
    return copysign(select(magnitude < 22.0, near, far), x)


def _half_exp(x: Value) -> Value:
    """exp(x) / 2 for x >= 0, without overflow before the result does."""
    clipped = select(x > 711.0, constant(x, 711.0), x)
    p, n, bits = _exp_parts(clipped)
    return select(x <= 710.4758600739439, scale(p, n - 1.0, bits - 1), _beyond(x))


@in_double
def cosh(x: Value) -> Value:
    """Hyperbolic cosine."""
    half = _half_exp(absolute(x))
    return half + 0.25 / half


@in_double
def asinh(x: Value) -> Value:
    """Inverse hyperbolic sine."""
    magnitude = absolute(x)
    large = magnitude > 2.0**28
    square = magnitude * magnitude
    inner = magnitude + square / (sqrt(square + 1.0) + 1.0)
    result = select(large, log(magnitude) + _LN2_WHOLE, log1p(select(large, constant(x, 0.0), inner)))
    return copysign(result, x)


@in_double
def acosh(x: Value) -> Value:
    """Inverse hyperbolic cosine; NaN below 1."""
    large = x > 2.0**28
    t = x - 1.0
    inner = t + sqrt(fma(t, t, t + t))
    result = select(large, log(x) + _LN2_WHOLE, log1p(select(large, constant(x, 0.0), inner)))
    return select(x < 1.0, constant(x, NAN), result)


@in_double
def atanh(x: Value) -> Value:
    """Inverse hyperbolic tangent; infinite at -1 and 1."""
    magnitude = absolute(x)
    result = log1p((magnitude + magnitude) / (1.0 - magnitude)) * 0.5
    return copysign(select(magnitude < 2.0**-60, magnitude, result), x)


# -- powers -------------------------------------------------------------------------------------------------------
# (atanh(s) - s - s**3 / 3) / s**5 in s**2, for s up to (sqrt(2) - 1) / (sqrt(2) + 1)
_ATANH_TAIL = (
    0.1999999999999999, 0.1428571428572259, 0.11111111108759553, 0.09090909436311712, 0.07692278351587961,
    0.06668162102656741, 0.058373376115094, 0.059951222467593414,
)  # fmt: skip


def _log2_double_double(x: Value) -> tuple[Value, Value]:
    """log2(x) of a normal f64 x > 0 as an unevaluated sum, to some 65 bits."""
    m, e = _split(x)
    # s = (m - 1) / (m + 1) in two parts
    above = m - 1.0
    below, below_low = two_sum(m, constant(m, 1.0))
    s = above / below
    product, error = two_product(s, below)
    s_low = ((above - product) - error - s * below_low) / below
    # atanh(s) = s + s**3 / 3 + s**5 * tail
    z, z_low = two_product(s, s)
    z_low = fma(s * 2.0, s_low, z_low)
    tail = z * z * s * polynomial(z, _ATANH_TAIL)
    cube, cube_low = two_product(z, s)
    cube_low = cube_low + fma(z, s_low, z_low * s)
    third, third_low = two_product(cube, constant(m, 0.3333333333333333))
    third_low = third_low + fma(cube_low, 0.3333333333333333, cube * 1.850371707708594e-17)
    third, third_low = fast_two_sum(third, third_low + tail)
    high, low = fast_two_sum(s, third)
    low = low + (third_low + s_low)
    high, low = fast_two_sum(high, low)
    # times 2 / log(2)
    scaled, rest = two_product(high, constant(m, 2.0 * _LOG2_E))
    rest = rest + fma(high, 2.0 * 2.0355273740931033e-17, low * (2.0 * _LOG2_E))
    total, carried = two_sum(e, scaled)
    return fast_two_sum(total, carried + rest)


def _pow_magnitude(x: Value, y: Value) -> Value:
    """|x| ** y in f64, zeros and infinities included."""
    magnitude = absolute(x)
    normal, k = _normal(magnitude)
    high, low = _log2_double_double(normal)
    high, error = two_sum(high, k)
    low = low + error
    bounded = select(y > 1e20, constant(y, 1e20), select(y < -1e20, constant(y, -1e20), y))
    whole, rest = two_product(bounded, high)
    rest = fma(bounded, low, rest)
    whole, rest = fast_two_sum(whole, rest)
    clipped = select(whole < -1100.0, constant(x, -1100.0), select(whole > 1100.0, constant(x, 1100.0), whole))
    rounded = clipped + ROUNDER[f64]
    n = rounded - ROUNDER[f64]
    r = (clipped - n) + select(clipped == whole, rest, constant(x, 0.0))
    p = fma(r, polynomial(r, _EXP2[f64]), 1.0)
    n = select(n < -1080.0, constant(n, -1080.0), n)
    once = select(n > 0.0, constant(n, 1.0), constant(n, 0.0))  # p * 2**1024 in two steps
    scaled = scale(p, n - once, bitcast(n - once + ROUNDER[f64], ty.i64)) * (once + 1.0)
    result = select(n > 1024.0, constant(x, INFINITY), scaled)
    rising = y > 0.0
    at_zero = select(rising, constant(x, 0.0), constant(x, INFINITY))
    at_infinity = select(rising, constant(x, INFINITY), constant(x, 0.0))
    result = select(magnitude == 0.0, at_zero, select(magnitude == INFINITY, at_infinity, result))
    return select((magnitude == 1.0) | (y == 0.0), constant(x, 1.0), result)


def pow(x: Value, y: Value) -> Value:
    """x**y as IEEE 754 defines it: x**0 and 1**y are 1, a negative x takes whole exponents only (else NaN)."""
    if element_type(x) is f32:
        return cast(_pow_float(cast(x, f64), cast(y, f64)), f32)  # type: ignore[no-any-return]
    return _pow_signed(x, y, _pow_magnitude(x, y))


def _pow_float(x: Value, y: Value) -> Value:
    """The same to the 50 bits that rounding to float32 needs: without the second halves."""
    magnitude = absolute(x)
    exponent = y * log2(magnitude)
    result = exp2(exponent)
    unit = (magnitude == 1.0) | (y == 0.0)
    return _pow_signed(x, y, select(unit, constant(x, 1.0), result))


def _pow_signed(x: Value, y: Value, result: Value) -> Value:
    """Sign and validity for a negative base, and NaN."""
    whole = rint(y) == y
    half = y * 0.5
    odd = whole & (rint(half) != half) & (absolute(y) < INFINITY)
    negative = bitcast(x, ty.i64) < 0
    result = select(negative & odd, -result, result)
    invalid = (x < 0.0) & ~whole & (absolute(x) < INFINITY)
    result = select(invalid, constant(x, NAN), result)
    unordered = ((x != x) | (y != y)) & (x != 1.0) & (y != 0.0)
    return select(unordered, x + y, result)
