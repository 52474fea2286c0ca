"""The Mersenne Twister MT19937 as kernels: every random number in facula begins as one of its 32-bit words.

Comes in: the address of a native state (its fields below) and a buffer. Goes out: the generator's next words, in order.
This module must never know distributions, element types or Python generators.

The twist is computed for a whole block of 624 words at a time, a vector of them per step, and the tempered words wait
in the state until somebody takes them.

Source: M. Matsumoto and T. Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random
number generator", ACM TOMACS 8 (1998); seeding as in their mt19937ar of 2002.
"""

from typing import Any

from facula.kernel.language import (
    as_pointer,
    f64,
    host,
    i64,
    kernel,
    load,
    minimum,
    ptr,
    store,
    tail_mask,
    u8,
    u32,
    ushr,
)
from facula.runtime.random import bits

BLOCK = 624
"""Words that one twist yields."""

KEY = bits.PRIVATE
"""Where the 624 words of the recurrence stand in the state; the first few are repeated behind them."""
WORDS = KEY + 4 * (BLOCK + 16)
"""Where the tempered words of the current block stand."""
POSITION = WORDS + 4 * BLOCK
"""Where the number of words taken from the block stands (64-bit): 624 after the last, FRESH right after seeding."""
STATE_BYTES = POSITION + 8

FRESH = BLOCK + 1

_MIDDLE = 397
_MATRIX = 0x9908B0DF
_UPPER = 0x80000000
_LOWER = 0x7FFFFFFF


def _twist(current: Any, following: Any, distant: Any) -> Any:
    """The recurrence: x[k + 624] from x[k], x[k + 1] and x[k + 397]."""
    mixed = (current & _UPPER) | (following & _LOWER)
    return distant ^ ushr(mixed, 1) ^ ((mixed & 1) * _MATRIX)


def _temper(word: Any) -> Any:
    """The output transform."""
    word = word ^ ushr(word, 11)
    word = word ^ ((word << 7) & 0x9D2C5680)
    word = word ^ ((word << 15) & 0xEFC60000)
    return word ^ ushr(word, 18)


@kernel
def seed_state(state: ptr(u8), seed: i64, lo: i64, hi: i64):
    """Start the sequence that belongs to `seed`, whose low 32 bits decide it. Launched over [0, BLOCK)."""
    key = as_pointer(state + KEY, u32)
    word = u32(seed)
    key[lo] = word
    for i in range(lo + 1, hi):
        word = (word ^ ushr(word, 30)) * 1812433253 + u32(i)
        key[i] = word
    as_pointer(state + POSITION, i64)[0] = i64(FRESH)
    as_pointer(state + bits.NORMAL, f64)[0] = f64(0)
    as_pointer(state + bits.HAS_NORMAL, i64)[0] = i64(0)
    as_pointer(state + bits.FOREIGN, i64)[0] = i64(0)
    as_pointer(state + bits.SEED, i64)[0] = seed


@kernel
def refill(state: ptr(u8)):
    """Twist the key once and temper it: 624 new words."""
    key, words = as_pointer(state + KEY, u32), as_pointer(state + WORDS, u32)
    lanes = host().lanes(4)
    # The last words of a block need the first new ones: those are repeated behind the block as soon as they exist,
    # so that a vector may read across its end.
    first = _twist(load(key, 0, lanes), load(key, 1, lanes), load(key, _MIDDLE, lanes))
    store(key, 0, first)
    store(key, BLOCK, first)
    store(words, 0, _temper(first))
    for k in range(lanes, 224 + lanes, lanes):
        new = _twist(load(key, k, lanes), load(key, k + 1, lanes), load(key, k + _MIDDLE, lanes))
        store(key, k, new)
        store(words, k, _temper(new))
    for k in range(224 + lanes, BLOCK, lanes):
        new = _twist(load(key, k, lanes), load(key, k + 1, lanes), load(key, k + (_MIDDLE - BLOCK), lanes))
        store(key, k, new)
        store(words, k, _temper(new))


@kernel
def temper_key(state: ptr(u8), lo: i64, hi: i64):
    """Recompute the tempered words of the current block, after the key was replaced. Launched over [0, BLOCK)."""
    key, words = as_pointer(state + KEY, u32), as_pointer(state + WORDS, u32)
    lanes = host().lanes(4)
    for k in range(lo, hi, lanes):
        store(words, k, _temper(load(key, k, lanes)))


@kernel
def take(state: ptr(u8), out: ptr(u32), n: i64):
    """Write the next n words to `out`."""
    words, position_field = as_pointer(state + WORDS, u32), as_pointer(state + POSITION, i64)
    lanes = host().lanes(4)
    position = position_field[0]
    done = i64(0)
    while done < n:
        if position >= BLOCK:
            refill(state)
            position = i64(0)
        count = minimum(BLOCK - position, n - done)
        for k in range(0, count, lanes):
            mask = tail_mask(lanes, count - k)
            store(out, done + k, load(words, position + k, lanes, mask), mask)
        done = done + count
        position = position + count
    position_field[0] = position
