"""Discrete draws: integers in a range, Bernoulli, dropout, permutations, multinomial.

Each function gives the kernel for one element type (or two); it is launched over the whole range of elements [lo, hi)
at once, because a stream has an order. They draw and round as PyTorch's CPU kernels do, so that the same seed gives the
same numbers.

Comes in: the generator's native state and addresses of consecutive elements. This module must never know tensors or
Python generators.
"""

from typing import Any

from facula.kernel.language import (
    Type,
    as_pointer,
    ceil,
    f32,
    f64,
    i32,
    i64,
    kernel,
    load,
    minimum,
    ptr,
    select,
    specialise,
    stack_array,
    store,
    u8,
    u32,
    u64,
    urem,
)
from facula.runtime.random import bits


def _remainder(words: Any, divisor: Any) -> Any:
    """words % divisor, lane by lane, for words < 2**32 and 1 < divisor < 2**31.

    The quotient of two such integers, rounded to double precision and then down, is exact: where it is no integer it
    lies at least 2**-31 below the next one, which is more than its rounding error.
    """
    quotient = i32(f64(words) / f64(divisor))
    return i32(words) - quotient * i32(divisor)


@specialise
def integers32(T: Type) -> Any:
    """base + word % span with one word an element, for 1 <= span < 2**31 and the powers of two up to 2**32."""

    @kernel
    def fill_integers32(out: ptr(T), base: i64, span: i64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        lanes = bits.lanes64()
        power_of_two = (span & (span - 1)) == 0
        for start in range(lo, hi, bits.CHUNK):
            count = minimum(hi - start, bits.CHUNK)
            bits.take(state, words, count)
            if power_of_two:
                mask = u32(span - 1)
                for i in range(0, count, lanes):
                    value = i64(bits.word(words, i, lanes) & mask) + base
                    bits.put(out, start + i, _from_integer(value, T), count - i)
            else:
                for i in range(0, count, lanes):
                    value = i64(_remainder(bits.word(words, i, lanes), i32(span))) + base
                    bits.put(out, start + i, _from_integer(value, T), count - i)

    return fill_integers32


@specialise
def integers64(T: Type) -> Any:
    """base + draw % span with two words an element; a span of 0 stands for 2**64."""

    @kernel
    def fill_integers64(out: ptr(T), base: i64, span: i64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        power_of_two = (span & (span - 1)) == 0
        mask, divisor = u64(span - 1), u64(span)
        for start in range(lo, hi, bits.CHUNK // 2):
            count = minimum(hi - start, bits.CHUNK // 2)
            bits.take(state, words, count * 2)
            for i in range(count):
                draw = bits.long_word(words, i, 1)
                if power_of_two:
                    draw = draw & mask
                else:
                    draw = urem(draw, divisor)
                out[start + i] = _from_integer(i64(draw) + base, T)

    return fill_integers64


def _from_integer(value: Any, to: Any) -> Any:
    """64-bit integers to the element type; the half types are reached through single precision."""
    return bits.narrow(f32(value), to) if to.is_float and to is not f64 else to(value)


def _threshold(p: Any) -> Any:
    """The integer t such that k < t exactly if k * 2**-53 < p."""
    return i64(ceil(p * 2.0**53))


def _hits(words: Any, i: Any, lanes: Any, threshold: Any) -> Any:
    """Truth where a 53-bit number is below the threshold."""
    return i64(bits.long_word(words, i, lanes) & bits.MANTISSA_64) < threshold


@specialise
def bernoulli(T: Type) -> Any:
    """1 with probability p, else 0."""

    @kernel
    def fill_bernoulli(out: ptr(T), p: f64, _: f64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        lanes = bits.lanes64()
        threshold = _threshold(p)
        for start in range(lo, hi, bits.CHUNK // 2):
            count = minimum(hi - start, bits.CHUNK // 2)
            bits.take(state, words, count * 2)
            for i in range(0, count, lanes):
                bits.put(out, start + i, T(i32(_hits(words, i, lanes, threshold))), count - i)

    return fill_bernoulli


@specialise
def bernoulli_each(T: Type, P: Type) -> Any:
    """1 with a probability of its own for each element, else 0.

    RESULT is the number of elements whose probability is not in [0, 1]; what was drawn is then to be thrown away.
    """
    wide = f64 if P is f64 else f32
    words_each = 2 if P is f64 else 1

    @kernel
    def fill_bernoulli_each(out: ptr(T), probability: ptr(P), state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        lanes = bits.lanes64() if P is f64 else bits.lanes32()
        refused = i64(0)
        for start in range(lo, hi, bits.CHUNK // words_each):
            count = minimum(hi - start, bits.CHUNK // words_each)
            bits.take(state, words, count * words_each)
            for i in range(0, count, lanes):
                mask = bits.first_lanes(lanes, count - i)
                p = wide(load(probability, start + i, lanes, mask))
                refused = refused + bits.count_true(~((p >= 0.0) & (p <= 1.0)))
                unit = bits.unit64(words, i, lanes) if P is f64 else bits.unit32(words, i, lanes)
                store(out, start + i, T(i32(unit < p)), mask)
        as_pointer(state + bits.RESULT, i64)[0] = refused

    return fill_bernoulli_each


@specialise
def dropout(T: Type) -> Any:
    """noise = 1/keep with probability keep, else 0; out = x * noise. `noise` is what the gradient multiplies by."""
    wide = f64 if T is f64 else f32

    @kernel
    def fill_dropout(out: ptr(T), noise: ptr(T), x: ptr(T), keep: f64, state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        lanes = bits.lanes64()
        threshold = _threshold(keep)
        scale = wide(bits.narrow(1.0 / wide(keep), T))
        for start in range(lo, hi, bits.CHUNK // 2):
            count = minimum(hi - start, bits.CHUNK // 2)
            bits.take(state, words, count * 2)
            for i in range(0, count, lanes):
                mask = bits.first_lanes(lanes, count - i)
                factor = select(_hits(words, i, lanes, threshold), scale, wide(0.0))
                store(noise, start + i, T(factor), mask)
                store(out, start + i, T(wide(load(x, start + i, lanes, mask)) * factor), mask)

    return fill_dropout


@specialise
def leaky_noise(T: Type) -> Any:
    """For rrelu: noise uniform on [lower, upper] where x <= 0, else 1; out = x * noise. Only x <= 0 draws."""
    wide = f64 if T is f64 else f32

    @kernel
    def fill_leaky_noise(
        out: ptr(T), noise: ptr(T), x: ptr(T), lower: f64, upper: f64, state: ptr(u8), lo: i64, hi: i64
    ):
        words = stack_array(u32, 2)
        low = f64(wide(lower))
        span = f64(wide(upper)) - low
        for i in range(lo, hi):
            value = wide(x[i])
            factor = wide(1.0)
            if value <= 0.0:
                bits.take(state, words, i64(2))
                factor = wide(bits.unit64(words, 0, 1) * span + low)
            noise[i] = T(factor)
            out[i] = T(value * factor)

    return fill_leaky_noise


PERMUTATION_32 = (2**32 - 1) // 20
"""From this length on a permutation draws two words for each exchange."""


@specialise
def permutation(T: Type) -> Any:
    """0, 1, ..., n-1 in random order: element i changes places with one of those from i on (Fisher and Yates)."""

    @kernel
    def fill_permutation(out: ptr(T), state: ptr(u8), lo: i64, hi: i64):
        words = bits.scratch()
        picks = stack_array(i32, bits.CHUNK)
        lanes = bits.lanes64()
        for i in range(lo, hi):
            out[i] = _from_integer(i, T)
        for start in range(lo, hi - 1, bits.CHUNK):
            count = minimum(hi - 1 - start, bits.CHUNK)
            bits.take(state, words, count)
            for i in range(0, count, lanes):
                # Beyond the end the divisor could reach zero; what is computed there is not used.
                left = minimum(i32(hi - start - i), 2**30) - bits.numbers(lanes)
                store(picks, i, _remainder(bits.word(words, i, lanes), left))
            for i in range(count):
                here = out + (start + i)
                other = i64(picks[i])
                moved = here[0]
                here[0] = here[other]
                here[other] = moved

    return fill_permutation


@specialise
def long_permutation(T: Type) -> Any:
    """The same for n >= PERMUTATION_32."""

    @kernel
    def fill_long_permutation(out: ptr(T), state: ptr(u8), lo: i64, hi: i64):
        words = stack_array(u32, 2)
        for i in range(lo, hi):
            out[i] = _from_integer(i, T)
        for i in range(lo, hi - 1):
            bits.take(state, words, i64(2))
            here = out + i
            other = i64(urem(bits.long_word(words, 0, 1), u64(hi - i)))
            moved = here[0]
            here[0] = here[other]
            here[other] = moved

    return fill_long_permutation
