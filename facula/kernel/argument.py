"""Angles reduced to a quarter turn: the first step of every trigonometric function.

Comes in: an angle of any size. Goes out: the remainder after a whole number of quarter (or half) turns and that
number. Up to about a million, three constants that add up to pi/2 are subtracted (Cody and Waite); beyond, an angle is
multiplied by exactly those bits of 2/pi that decide the result (Payne and Hanek, 1983), one lane after the other.

No `from __future__ import annotations` here: a kernel's annotations are types.
"""

# mypy: disable-error-code="no-untyped-def, valid-type, operator, arg-type"

from facula.kernel import types as ty
from facula.kernel import values
from facula.kernel.language import kernel
from facula.kernel.numeric import ROUNDER, fast_two_sum, two_product, two_sum
from facula.kernel.types import f64, i64, ptr, u64
from facula.kernel.values import Value, absolute, bitcast, cast, fma, select

# 2/pi in words of 64 bits, after one word of zeros for the angles that are not so large.
_TWO_OVER_PI = (
    0x0000000000000000, 0xA2F9836E4E441529, 0xFC2757D1F534DDC0, 0xDB6295993C439041, 0xFE5163ABDEBBC561,
    0xB7246E3A424DD2E0, 0x06492EEA09D1921C, 0xFE1DEB1CB129A73E, 0xE88235F52EBB4484, 0xE99C7026B45F7E41,
    0x3991D639835339F4, 0x9C845F8BBDF9283B, 0x1FF897FFDE05980F, 0xEF2F118B5A0A6D1F, 0x6D367ECF27CB09B7,
    0x4F463F669E5FEA2D, 0x7527BAC7EBE5F17B, 0x3D0739F78A5292EA, 0x6BFB5FB11F8D5D08, 0x56033046FC7B6BAB,
)  # fmt: skip

# pi/2 as a sum of numbers that each fill the significand.
HALF_PI = {
    ty.f32: (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
    ty.f64: (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33),
}


def _multiply_high(a: Value, b: Value) -> Value:
    """The upper 64 bits of a product of unsigned integers."""
    low = 0xFFFFFFFF
    a0, a1, b0, b1 = a & low, values.ushr(a, 32), b & low, values.ushr(b, 32)
    middle = a1 * b0 + values.ushr(a0 * b0, 32)
    other = a0 * b1 + (middle & low)
    return a1 * b1 + values.ushr(middle, 32) + values.ushr(other, 32)


@kernel
def reduce_each(angles: ptr(f64), quarters: ptr(i64), highs: ptr(f64), lows: ptr(f64), count: i64):
    """For each angle of at least 2**10: quarter turns (modulo 4), and the remainder as an unevaluated sum of two."""
    table = values.stack_array(u64, len(_TWO_OVER_PI))
    for k, word in values_of(_TWO_OVER_PI):
        table[k] = u64(word)
    for i in range(count):
        bits = bitcast(angles[i], i64)
        # angle = mantissa * 2**exponent; bits of 2/pi before `first` add whole turns only.
        mantissa = u64((bits & (2**52 - 1)) | 2**52)
        exponent = ((bits >> 52) & 2047) - 1075
        first = max(exponent - 2 + 64, 0)  # small angles come along in a vector; theirs is not used
        word = first >> 6
        shift = u64(first & 63)
        back = u64(64) - shift
        w = [shifted(table, word + k, shift, back) for k in range(3)]
        # The lowest 192 bits of mantissa * window: quarter turns modulo 4, with 190 bits behind the point.
        low = mantissa * w[2]
        carry = _multiply_high(mantissa, w[2])
        middle = mantissa * w[1] + carry
        carry = _multiply_high(mantissa, w[1]) + select(middle < carry, u64(1), u64(0))
        high = mantissa * w[0] + carry
        # Round to the nearest quarter; what is left is a signed fraction of 126 bits.
        quarter = i64(values.ushr(high + 2**61, 62)) & 3
        high = high << 2 | values.ushr(middle, 62)
        middle = middle << 2 | values.ushr(low, 62)
        negative = i64(high) < 0
        high = select(negative, ~high, high)
        middle = select(negative, ~middle, middle)
        # Three pieces of at most 43 bits convert exactly.
        a = f64(i64(values.ushr(high, 21))) * 2.0**-43
        b = f64(i64((high & (2**21 - 1)) << 22 | values.ushr(middle, 42))) * 2.0**-86
        c = f64(i64(middle & (2**42 - 1))) * 2.0**-128
        head, error = fast_two_sum(a, b)
        head, tail = fast_two_sum(head, error + c)
        product, rest = two_product(head, f64(HALF_PI[ty.f64][0]))
        rest = rest + (head * HALF_PI[ty.f64][1] + tail * HALF_PI[ty.f64][0])
        flip = negative ^ (bits < 0)
        quarters[i] = select(bits < 0, -quarter, quarter)
        product, rest = fast_two_sum(product, rest)
        highs[i] = select(flip, -product, product)
        lows[i] = select(flip, -rest, rest)


def values_of(items: tuple[int, ...]) -> list[tuple[int, int]]:
    """Pairs for a loop that is unrolled."""
    return list(enumerate(items))


def shifted(table: Value, word: Value, shift: Value, back: Value) -> Value:
    """64 bits of the table that start at any bit."""
    start, following = table[word], table[word + 1]
    return select(shift == 0, start, (start << shift) | values.ushr(following, back & 63))


def large_angle(x: Value) -> tuple[Value, Value, Value]:
    """(quarter turns modulo 4 as integers, remainder high, remainder low) lane by lane, for |x| >= 2**10; in f64.

    Infinity and NaN give remainders without meaning.
    """
    lanes = x.type.lanes
    angles = values.stack_array(f64, lanes)
    quarters = values.stack_array(i64, lanes)
    highs, lows = values.stack_array(f64, lanes), values.stack_array(f64, lanes)
    values.store(angles, 0, x if x.type.element is f64 else cast(x, f64))
    values.call_kernel(reduce_each, angles, quarters, highs, lows, lanes)
    return values.load(quarters, 0, lanes), values.load(highs, 0, lanes), values.load(lows, 0, lanes)


def quarter_turns(x: Value) -> tuple[Value, Value, Value]:
    """(quarter turns as integers, remainder in +-pi/4, its rounding error) of an f64 angle."""
    first, second, third = HALF_PI[f64]
    rounded = fma(x, 0.6366197723675814, ROUNDER[f64])
    count = rounded - ROUNDER[f64]
    head, lost = two_product(count, x.ops.constant(x.type, first))
    near = (x - head) - lost
    product, error = two_product(count, x.ops.constant(x.type, second))
    high, low = two_sum(near, -product)
    low = low - error - count * third
    high, low = fast_two_sum(high, low)
    quarters = bitcast(rounded, ty.i64)
    small = absolute(x) < 2.0**19

    def slow() -> tuple[Value, Value, Value]:
        far_quarters, far_high, far_low = large_angle(x)
        return select(small, quarters, far_quarters), select(small, high, far_high), select(small, low, far_low)

    return values.when(values.any_lane(~small), slow, lambda: (quarters, high, low))  # type: ignore[no-any-return]
