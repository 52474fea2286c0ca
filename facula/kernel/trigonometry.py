"""Trigonometric functions and their inverses, as macros on kernel values (see `math`, which exports them)."""

from __future__ import annotations

import math as _math

from facula.kernel import types as ty
from facula.kernel.argument import HALF_PI, large_angle, quarter_turns
from facula.kernel.numeric import ROUNDER, constant, element_type, fast_two_sum, in_double, polynomial
from facula.kernel.types import f32, f64
from facula.kernel.values import Value, absolute, any_lane, bitcast, cast, copysign, fma, select, sqrt, when

INFINITY, NAN = _math.inf, _math.nan

# (sin(r) - r) / r**3 in r**2: f32 on +-pi/2, f64 on +-pi/4; (cos(r) - 1 + r**2 / 2) / r**4 on +-pi/4
SIN_HALF = (-0.1666666663, 0.00833333132, -0.0001984089349, 2.752658103e-6, -2.390848778e-8)
SIN = (
    -0.16666666666666666, 0.008333333333333323, -0.00019841269841255088, 2.7557319214199418e-06,
    -2.5052104913424496e-08, 1.6058366803324591e-10, -7.57870405973865e-13,
)  # fmt: skip
COS = (
    0.041666666666666664, -0.0013888888888888874, 2.4801587301571476e-05, -2.7557319215366015e-07,
    2.087675436366208e-09, -1.1470292954739518e-11, 4.738093875963522e-14,
)  # fmt: skip
# (asin(x) - x) / x**3 in x**2 for |x| <= 1/2; (atan(x) - x) / x**3 in x**2 for |x| <= sqrt(2) - 1
_ASIN = (
    0.16666666666666763, 0.07499999999970264, 0.044642857175119975, 0.03038194268364009, 0.02237221565998981,
    0.017351600093335497, 0.013980961466920804, 0.011397775680950411, 0.010786531403508836, 0.0036830317632285813,
    0.021763525352403095, -0.02107732913140751, 0.032676911743883416,
)  # fmt: skip
_ATAN = (
    -0.33333333333333326, 0.19999999999997675, -0.14285714285388904, 0.11111111088233398, -0.09090908146526597,
    0.07692282803647928, -0.06666227418835566, 0.05877028247584335, -0.05218445730105968, 0.04503716829082401,
    -0.03347833830059397, 0.015199079548205211,
)  # fmt: skip
_PI, _PI_LOW = 3.141592653589793, 1.2246467991473532e-16
_HALF_PI, _HALF_PI_LOW = 1.5707963267948966, 6.123233995736766e-17


def _half_turns(x: Value, quarter: bool) -> tuple[Value, Value]:
    """(r, sign bit) for f32: r = x - k pi in +-pi/2, and the parity of k, an integer (and a half, if quarter)."""
    first, second, third = HALF_PI[f32]
    if quarter:
        # n = 2 rint(x / pi - 1/2) + 1, an odd number of quarter turns
        rounded = fma(x, 0.3183098861837907, constant(x, -0.5)) + ROUNDER[f32]
        k = rounded - ROUNDER[f32]
        n = fma(k, 2.0, 1.0)
    else:
        rounded = fma(x, 0.3183098861837907, ROUNDER[f32])
        k = rounded - ROUNDER[f32]
        n = k + k
    if x.ops.target.has_fma:
        r = fma(n, -third, fma(n, -second, fma(n, -first, x)))
    else:
        wide = cast(n, f64)
        r = cast(cast(x, f64) - wide * 1.5707963267341256 - wide * 6.077100506506192e-11, f32)
    return r, bitcast(rounded, ty.i32) << 31


def _sin_f32(x: Value, quarter: bool) -> Value:
    r, sign = _half_turns(x, quarter)
    flip = ty.i32(-(2**31)) if quarter else None
    small = absolute(x) < 2.0**16

    def slow() -> tuple[Value, Value]:
        quarters, high, _ = large_angle(x)
        far = cast(high, f32)
        # A remainder within +-pi/4 after `quarters` quarter turns, as one within +-pi/2 after a suitable number.
        wanted = 1 if quarter else 0
        odd = (quarters & 1) != wanted
        shift = select(high < 0.0, constant(high, HALF_PI[f64][0]), constant(high, -HALF_PI[f64][0]))
        far = select(odd, cast(high + shift, f32), far)
        turned = quarters + select(
            odd, select(high < 0.0, constant(quarters, -1), constant(quarters, 1)), constant(quarters, 0)
        )
        far_sign = cast(turned >> 1, ty.i32) << 31
        return select(small, r, far), select(small, sign, far_sign)

    r, sign = when(any_lane(~small), slow, lambda: (r, sign))
    z = r * r
    result = fma(r * z, polynomial(z, SIN_HALF), r)
    bits = bitcast(result, ty.i32) ^ sign
    if flip is not None:
        bits = bits ^ flip
    result = bitcast(bits, x.type)
    special = absolute(x) < INFINITY
    if not quarter:
        result = select(x == 0.0, x, result)
    return select(special, result, constant(x, NAN))


def _sin_cos_f64(x: Value) -> tuple[Value, Value, Value]:
    """(sine, cosine of the remainder, quarter turns)."""
    quarters, r, low = quarter_turns(x)
    z = r * r
    sine = r + fma(r * z, polynomial(z, SIN), low * fma(z, -0.5, 1.0))
    half = z * 0.5
    head = 1.0 - half
    cosine = head + (((1.0 - head) - half) + fma(z * z, polynomial(z, COS), -(r * low)))
    return sine, cosine, quarters


def _choose(quarters: Value, sine: Value, cosine: Value, x: Value) -> Value:
    value = select((quarters & 1) != 0, cosine, sine)
    return bitcast(bitcast(value, ty.i64) ^ ((quarters & 2) << 62), x.type)


def sin(x: Value) -> Value:
    """Sine of an angle in radians, of any size."""
    if element_type(x) is f32:
        return _sin_f32(x, False)
    sine, cosine, quarters = _sin_cos_f64(x)
    result = select(x == 0.0, x, _choose(quarters, sine, cosine, x))
    return select(absolute(x) < INFINITY, result, constant(x, NAN))


def cos(x: Value) -> Value:
    """Cosine of an angle in radians, of any size."""
    if element_type(x) is f32:
        return _sin_f32(x, True)
    sine, cosine, quarters = _sin_cos_f64(x)
    return select(absolute(x) < INFINITY, _choose(quarters + 1, sine, cosine, x), constant(x, NAN))


@in_double
def tan(x: Value) -> Value:
    """Tangent of an angle in radians, of any size."""
    sine, cosine, quarters = _sin_cos_f64(x)
    odd = (quarters & 1) != 0
    result = select(odd, -cosine, sine) / select(odd, sine, cosine)
    return select(absolute(x) < INFINITY, select(x == 0.0, x, result), constant(x, NAN))


def _asin_parts(x: Value) -> tuple[Value, Value, Value]:
    """(a, t, near): asin(|x|) = a + t if near (|x| <= 1/2), else pi/2 - 2 (a + t)."""
    magnitude = absolute(x)
    near = magnitude <= 0.5
    z = select(near, magnitude * magnitude, (1.0 - magnitude) * 0.5)
    root = sqrt(z)
    a = select(near, magnitude, root)
    t = a * z * polynomial(z, _ASIN)
    # The square root's own rounding error; harmless where it is infinite (x = 1).
    correction = select(root > 0.0, fma(-root, root, z) / (root + root), root * 0.0)
    return a, t + select(near, magnitude * 0.0, correction), near


@in_double
def asin(x: Value) -> Value:
    """Arc sine; NaN outside -1..1."""
    a, t, near = _asin_parts(x)
    whole, error = fast_two_sum(constant(x, _HALF_PI), a * -2.0)
    far = whole + fma(t, -2.0, error + _HALF_PI_LOW)
    return copysign(select(near, a + t, far), x)


@in_double
def acos(x: Value) -> Value:
    """Arc cosine; NaN outside -1..1."""
    a, t, near = _asin_parts(x)
    negative = x < 0.0
    signed, low = select(negative, -a, a), select(negative, -t, t)
    whole, error = fast_two_sum(constant(x, _HALF_PI), -signed)
    middle = whole + (error + (_HALF_PI_LOW - low))
    doubled = (a + t) * 2.0
    back = (_PI - a * 2.0) + (_PI_LOW - t * 2.0)
    return select(near, middle, select(negative, back, doubled))


def _arc(a: Value, b: Value) -> Value:
    """atan(a / b) for a, b >= 0, not both 0 or infinite."""
    low, middle = a <= b * 0.41421356237309503, a <= b * 2.414213562373095
    above = select(low, a, select(middle, a - b, -b))
    below = select(low, b, select(middle, a + b, a))
    t = above / below
    z = t * t
    base = select(low, constant(a, 0.0), select(middle, constant(a, _HALF_PI / 2), constant(a, _HALF_PI)))
    base_low = select(low, constant(a, 0.0), select(middle, constant(a, _HALF_PI_LOW / 2), constant(a, _HALF_PI_LOW)))
    whole, error = fast_two_sum(base, t)
    exact = select(low, t, whole)
    return exact + (select(low, t * 0.0, error + base_low) + t * z * polynomial(z, _ATAN))


@in_double
def atan(x: Value) -> Value:
    """Arc tangent."""
    magnitude = absolute(x)
    result = _arc(select(magnitude > 1e300, constant(x, 1e300), magnitude), constant(x, 1.0))
    return select(x == x, copysign(result, x), x)


@in_double
def atan2(y: Value, x: Value) -> Value:
    """The angle of the point (x, y), in -pi..pi, with the signs of zeros honoured."""
    a, b = absolute(y), absolute(x)
    both_infinite = (a == INFINITY) & (b == INFINITY)
    larger = select(a > b, a, b)
    scale = select(larger > 1e300, constant(x, 0.125), select(larger < 1e-280, constant(x, 1e25), constant(x, 1.0)))
    a, b = select(both_infinite, constant(x, 1.0), a * scale), select(both_infinite, constant(x, 1.0), b * scale)
    angle = select(a == 0.0, a, _arc(a, b))
    backwards = bitcast(x, ty.i64) < 0
    angle = select(backwards, (_PI - angle) + _PI_LOW, angle)
    return select((x == x) & (y == y), copysign(angle, y), x + y)
