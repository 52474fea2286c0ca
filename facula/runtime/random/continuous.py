"""Continuous distributions: uniform, normal, log-normal, exponential, Cauchy.

Each function here gives the kernel for one element type. All of them take (out, a, b, state, lo, hi): where to write,
the two parameters of the distribution as doubles, the generator's native state, and the range of elements to fill.
A stream has an order, so they are launched over the whole range at once.
They draw and round as PyTorch's CPU kernels do, so that the same seed gives the same numbers. Where PyTorch calls the C
library's double-precision functions, so do these; its single-precision normal numbers come from the short polynomials
below.

Sources: G. E. P. Box and M. E. Muller, "A note on the generation of random normal deviates", Ann. Math. Statist. 29
(1958); the polynomials of S. L. Moshier's Cephes library (logf, sinf, cosf).
This module must never know tensors or Python generators.
"""

import math
from typing import Any

from facula.kernel import math as math_library
from facula.kernel.language import (
    Type,
    as_pointer,
    bitcast,
    call_extern,
    ceil,
    f32,
    f64,
    fma,
    i32,
    i64,
    kernel,
    minimum,
    ptr,
    select,
    shuffle,
    specialise,
    sqrt,
    stack_array,
    store,
    u8,
    u32,
    ushr,
)
from facula.runtime.random import bits

NORMAL_BLOCK = 16
"""Contiguous tensors of at least this many elements get normal numbers in blocks: 8 radii, then 8 angles."""


@specialise
def uniform(T: Type) -> Any:
    """Uniform on [a, b)."""
    wide = f64 if T is f64 else f32
    words_each = 2 if T is f64 else 1

    @kernel
    def fill_uniform(out: ptr(T), low: f64, high: f64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        lanes = bits.lanes64() if T is f64 else bits.lanes32()
        base, end = wide(low), wide(high)
        span = end - base
        # Rounding can reach the excluded end: such a number becomes the included one.
        last, first = wide(bits.narrow(end, T)), bits.narrow(base, T)
        for start in range(lo, hi, bits.CHUNK // words_each):
            count = minimum(hi - start, bits.CHUNK // words_each)
            bits.take(state, words, count * words_each)
            for i in range(0, count, lanes):
                unit = bits.unit64(words, i, lanes) if T is f64 else bits.unit32(words, i, lanes)
                value = bits.narrow(fma(unit, span, base), T)
                bits.put(out, start + i, select(wide(value) == last, first, value), count - i)

    return fill_uniform


_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
    2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_QUARTER_PI = (0.78515625, 2.4187564849853515625e-4, 3.77489497744594108e-8)
_SINE = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COSINE = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)


def _log(x: Any) -> Any:
    """Natural logarithm of x in [2**-24, 1], single precision."""
    raw = bitcast(x, i32)
    exponent = f32(ushr(raw, 23) - 126)
    mantissa = bitcast((raw & 0x007FFFFF) | 0x3F000000, f32)  # in [0.5, 1)
    small = mantissa < 0.707106781186547524
    exponent = select(small, exponent - 1.0, exponent)
    x = select(small, mantissa + mantissa, mantissa) - 1.0
    square = x * x
    y = fma(x, _LOG[0], f32(_LOG[1]))
    for coefficient in _LOG[2:]:
        y = fma(y, x, coefficient)
    y = fma(y * x, square, exponent * _LN2_LOW)
    y = y - square * 0.5
    return fma(exponent, _LN2_HIGH, x + y)


def _sine_cosine(x: Any) -> Any:
    """(sin x, cos x) for x in [0, 2 pi], single precision."""
    octant = (i32(x * (4 / math.pi)) + 1) & -2
    turns = f32(octant)
    for part in _QUARTER_PI:
        x = fma(turns, -part, x)
    square = x * x
    cosine = fma(fma(square, _COSINE[0], _COSINE[1]), square, _COSINE[2]) * square
    cosine = fma(cosine, square, square * -0.5) + 1.0
    sine = fma(fma(square, _SINE[0], _SINE[1]), square, _SINE[2]) * square
    sine = fma(sine, x, x)
    swapped = (octant & 2) != 0
    sine, cosine = select(swapped, cosine, sine), select(swapped, sine, cosine)
    sine_sign, cosine_sign = (octant & 4) << 29, ((octant + 2) & 4) << 29
    return bitcast(bitcast(sine, i32) ^ sine_sign, f32), bitcast(bitcast(cosine, i32) ^ cosine_sign, f32)


def _box_muller_32(words: Any, at: Any, blocks: Any, mean: Any, std: Any) -> Any:
    """The normal numbers of `blocks` blocks (1 or 2) from the words at `at`: one vector a block, in order."""
    vectors = [bits.unit32(words, at + NORMAL_BLOCK * k, NORMAL_BLOCK) for k in range(blocks)]
    first, last = vectors[0], vectors[-1]
    half, whole = NORMAL_BLOCK // 2, NORMAL_BLOCK
    lower = list(range(half)) + list(range(whole, whole + half))
    upper = [k + half for k in lower]
    width = half * blocks
    radius = sqrt(_log(1.0 - shuffle(first, last, lower[:width])) * -2.0)
    sine, cosine = _sine_cosine(shuffle(first, last, upper[:width]) * (2 * math.pi))
    a, b = fma(radius * cosine, std, mean), fma(radius * sine, std, mean)
    return [
        shuffle(a, b, [half * k + j for j in range(half)] + [width + half * k + j for j in range(half)])
        for k in range(blocks)
    ]


def _c_function(name: Any) -> Any:
    """A double-precision function of the C library: PyTorch's results, to the last bit, are those."""
    return lambda x: call_extern(name, f64, x)


c_log, c_log1p, c_exp = _c_function("log"), _c_function("log1p"), _c_function("exp")
c_sin, c_cos, c_tan = _c_function("sin"), _c_function("cos"), _c_function("tan")


@kernel
def _box_muller_64(block: ptr(f64), mean: f64, std: f64):
    """16 uniform numbers become 16 normal ones, in place."""
    for j in range(NORMAL_BLOCK // 2):
        radius = sqrt(c_log(1.0 - block[j]) * -2.0)
        angle = block[j + NORMAL_BLOCK // 2] * (2 * math.pi)
        block[j] = fma(radius * c_cos(angle), std, mean)
        block[j + NORMAL_BLOCK // 2] = fma(radius * c_sin(angle), std, mean)


@specialise
def normal_blocks(T: Type) -> Any:
    """Normal with mean a and deviation b, for a contiguous tensor of at least 16 elements.

    Whole blocks are made from the stream in order. If the number of elements is no multiple of 16, the last 16 are
    drawn anew, and what they overwrite was drawn for nothing: for float and double the words of the unfinished block,
    too.
    """
    if T is f64:
        return _normal_blocks_64

    blocks = 2
    spent = 1 if T is f32 else 0

    @kernel
    def fill_normal(out: ptr(T), a: f64, b: f64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        mean, std = f32(a), f32(b)
        whole = hi - (hi - lo) % NORMAL_BLOCK
        for start in range(lo, whole, bits.CHUNK):
            count = minimum(whole - start, bits.CHUNK)
            bits.take(state, words, count)
            for i in range(0, count, NORMAL_BLOCK * blocks):
                vectors = _box_muller_32(words, i, blocks, mean, std)
                store(out, start + i, bits.narrow(vectors[0], T))
                if count - i > NORMAL_BLOCK:
                    store(out, start + i + NORMAL_BLOCK, bits.narrow(vectors[1], T))
        if whole < hi:
            bits.take(state, words, (hi - whole) * spent)
            bits.take(state, words, i64(NORMAL_BLOCK))
            store(out, hi - NORMAL_BLOCK, bits.narrow(_box_muller_32(words, 0, 1, mean, std)[0], T))

    return fill_normal


@kernel
def _unit_doubles(out: ptr(f64), state: ptr(u8), lo: i64, hi: i64):
    """53-bit numbers in [0, 1)."""
    words = bits.scratch()
    lanes = bits.lanes64()
    for start in range(lo, hi, bits.CHUNK // 2):
        count = minimum(hi - start, bits.CHUNK // 2)
        bits.take(state, words, count * 2)
        for i in range(0, count, lanes):
            bits.put(out, start + i, bits.unit64(words, i, lanes), count - i)


@kernel
def _normal_blocks_64(out: ptr(f64), mean: f64, std: f64, state: ptr(u8), lo: i64, hi: i64):
    _unit_doubles(out, state, lo, hi)
    whole = hi - (hi - lo) % NORMAL_BLOCK
    for start in range(lo, whole, NORMAL_BLOCK):
        _box_muller_64(out + start, mean, std)
    if whole < hi:
        last = hi - NORMAL_BLOCK
        _unit_doubles(out, state, last, hi)
        _box_muller_64(out + last, mean, std)


@kernel
def _next_normal(state: ptr(u8)) -> f64:
    """One standard normal number; every other call takes the one that the call before it left."""
    waiting, waits = as_pointer(state + bits.NORMAL, f64), as_pointer(state + bits.HAS_NORMAL, i64)
    value = waiting[0]
    if waits[0] == 0:
        words = stack_array(u32, 4)
        bits.take(state, words, i64(4))
        radius = sqrt(c_log1p(-bits.unit64(words, 1, 1)) * -2.0)
        angle = bits.unit64(words, 0, 1) * (2 * math.pi)
        waiting[0] = radius * c_sin(angle)
        waits[0] = i64(1)
        value = radius * c_cos(angle)
    else:
        waiting[0] = f64(0)
        waits[0] = i64(0)
    return value


@specialise
def normal(T: Type) -> Any:
    """Normal with mean a and deviation b, one element after the other."""

    @kernel
    def fill_normal_singly(out: ptr(T), mean: f64, std: f64, state: ptr(u8), lo: i64, hi: i64):
        for i in range(lo, hi):
            out[i] = bits.narrow(fma(_next_normal(state), std, mean), T)

    return fill_normal_singly


@specialise
def log_normal(T: Type) -> Any:
    """exp of a normal number with mean a and deviation b."""

    @kernel
    def fill_log_normal(out: ptr(T), mean: f64, std: f64, state: ptr(u8), lo: i64, hi: i64):
        for i in range(lo, hi):
            out[i] = bits.narrow(c_exp(fma(_next_normal(state), std, mean)), T)

    return fill_log_normal


def _from_units(T: Any, transform: Any, vectors: bool = False) -> Any:
    """The kernel that writes transform(u, a, b) for one 53-bit unit number u an element.

    `vectors`: the transform takes vectors (the C library's functions do not).
    """

    @kernel
    def fill_transformed(out: ptr(T), a: f64, b: f64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        lanes = bits.lanes64() if vectors else 1
        for start in range(lo, hi, bits.CHUNK // 2):
            count = minimum(hi - start, bits.CHUNK // 2)
            bits.take(state, words, count * 2)
            for i in range(0, count, lanes):
                value = transform(bits.unit64(words, i, lanes), a, b)
                bits.put(out, start + i, bits.narrow(value, T), count - i)

    return fill_transformed


def alarm(unit: Any, T: Any) -> Any:
    """A number exponentially distributed with rate 1, in double precision, from a unit number.

    Double results are the C library's; for the shorter types a vectorised logarithm does, whose last bits they drop.
    """
    return -(c_log1p if T is f64 else math_library.log1p)(-unit)


@specialise
def exponential(T: Type) -> Any:
    """Exponential with rate a (b is ignored)."""
    return _from_units(T, lambda unit, rate, _: 1.0 / rate * alarm(unit, T), vectors=T is not f64)


@specialise
def cauchy(T: Type) -> Any:
    """Cauchy with median a and scale b."""
    return _from_units(T, lambda unit, median, scale: fma(scale, c_tan((unit - 0.5) * math.pi), median))


@specialise
def geometric(T: Type) -> Any:
    """Trials up to the first success of probability a (b is ignored): 1, 2, 3, ..."""
    return _from_units(T, lambda unit, p, _: ceil(c_log(unit) / c_log1p(-p)))
