"""From a generator's raw words to integers and unit numbers: what all distributions share.

Comes in: the address of a generator's native state, which begins with the fields below. Goes out: vectors of integers
and of numbers in [0, 1), made from the generator's 32-bit words as PyTorch makes them. These are macros of the kernel
language: they run while a kernel compiles.
This module must never know which generator makes the words, nor tensors.
"""

from typing import Any

from facula.kernel.language import (
    as_pointer,
    bf16,
    call_address,
    f16,
    f32,
    f64,
    host,
    i32,
    i64,
    iota,
    load,
    ptr,
    reduce,
    stack_array,
    store,
    tail_mask,
    u8,
    u32,
    u64,
    ushr,
)

TAKE = 0
"""Where the address of the kernel stands that gives the next words, `take(state, out, n)`. Distributions call it
through the state: so any generator of words can stand behind them, and none is compiled into every one of them."""
SEED = 8
"""Where the seed stands (64-bit)."""
NORMAL = 16
"""Where the second normal number of the last Box-Muller pair waits (double), and after it whether there is one."""
HAS_NORMAL = 24
FOREIGN = 32
"""Eight bytes that PyTorch keeps (a cached single-precision normal): carried along, never used."""
RESULT = 40
"""Where a kernel leaves what it has to tell (64-bit)."""
PRIVATE = 64
"""Where the generator's own fields begin."""

CHUNK = 2048
"""Words turned into numbers at a time: enough to forget the call, few enough to stay in the first cache."""

MANTISSA_32 = (1 << 24) - 1
MANTISSA_64 = (1 << 53) - 1


def take(state: Any, words: Any, n: Any) -> Any:
    """Write the next n words to `words`."""
    call_address(load(as_pointer(state + TAKE, ptr(u8))), None, state, words, n)


def scratch() -> Any:
    """Room for one chunk of words."""
    return stack_array(u32, CHUNK)


def lanes32() -> int:
    """Numbers computed side by side where a number takes one word."""
    return host().lanes(4)


def lanes64() -> int:
    """The same where it takes two."""
    return host().lanes(8)


def word(words: Any, i: Any, lanes: Any) -> Any:
    """`lanes` consecutive words."""
    return load(words, i, lanes)


def long_word(words: Any, i: Any, lanes: Any) -> Any:
    """`lanes` consecutive 64-bit integers, each of two words, the first of which is the upper half."""
    pair = load(as_pointer(words, u64), i, lanes)
    return (pair << 32) | ushr(pair, 32)


def unit32(words: Any, i: Any, lanes: Any) -> Any:
    """Numbers in [0, 1) with 24 bits, one word each, in single precision."""
    return f32(i32(word(words, i, lanes) & MANTISSA_32)) * 2.0**-24


def unit64(words: Any, i: Any, lanes: Any) -> Any:
    """Numbers in [0, 1) with 53 bits, two words each, in double precision."""
    return f64(i64(long_word(words, i, lanes) & MANTISSA_64)) * 2.0**-53


def narrow(value: Any, to: Any) -> Any:
    """To the element type of a tensor. Double precision reaches the half types through single, as in PyTorch."""
    if value.type.element is f64 and to in (f16, bf16):
        value = f32(value)
    return to(value)


def first_lanes(lanes: Any, count: Any) -> Any:
    """Truth for the lanes that lie before `count`."""
    return tail_mask(lanes, count)


def numbers(lanes: Any) -> Any:
    """0, 1, 2, ... as 32-bit integers."""
    return iota(i32, lanes)


def count_true(truths: Any) -> Any:
    """How many lanes hold, as a 64-bit integer."""
    return reduce("add", i64(truths))


def put(out: Any, i: Any, value: Any, count: Any) -> Any:
    """Store a vector, or what of it lies before `count`."""
    lanes = value.type.lanes
    store(out, i, value, first_lanes(lanes, count) if lanes > 1 else None)
