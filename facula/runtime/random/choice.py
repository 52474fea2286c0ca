"""Drawing categories by their probabilities: what torch.multinomial is made of.

Rows of probabilities are C-contiguous. Each function gives the kernel for the element type of the probabilities; it is
launched over the whole range of rows [lo, hi) at once, because a stream has an order.
This module must never know tensors or Python generators.
"""

from typing import Any

from facula.kernel.language import (
    Type,
    as_pointer,
    f32,
    f64,
    i64,
    kernel,
    ptr,
    specialise,
    stack_array,
    store,
    u8,
    u32,
)
from facula.runtime.random import bits
from facula.runtime.random.continuous import alarm

NEGATIVE, INFINITE, EMPTY = 1, 2, 3
"""What RESULT may say of a row: an entry below zero or NaN, an infinite one, none above zero. 0: nothing is wrong."""


@specialise
def check_rows(T: Type) -> Any:
    """RESULT says what is wrong with the rows; a bad entry anywhere outweighs an empty row."""
    wide = f64 if T is f64 else f32

    @kernel
    def check_probabilities(probabilities: ptr(T), categories: i64, state: ptr(u8), lo: i64, hi: i64):
        found = i64(0)
        for row in range(lo, hi):
            total = wide(0.0)
            for j in range(categories):
                p = wide(probabilities[row * categories + j])
                total = total + p
                if (p < 0.0) | (p != p):
                    found = i64(NEGATIVE)
                if p == float("inf"):
                    found = i64(INFINITE)
            if (total == 0.0) & (found == 0):
                found = i64(EMPTY)
        as_pointer(state + bits.RESULT, i64)[0] = found

    return check_probabilities


@specialise
def choose_one(T: Type) -> Any:
    """One category for each row of checked probabilities: the largest p/q, where q is exponential with rate 1.

    This is the exponential race: the first of independent alarms that ring at rates p.
    """
    wide = f64 if T is f64 else f32

    @kernel
    def fill_choice(out: ptr(i64), probabilities: ptr(T), categories: i64, state: ptr(u8), lo: i64, hi: i64):
        words, alarms = bits.scratch(), stack_array(wide, bits.CHUNK // 2)
        lanes = 1 if T is f64 else bits.lanes64()
        for row in range(lo, hi):
            best, winner = wide(-1.0), i64(0)
            for start in range(0, categories, bits.CHUNK // 2):
                count = min(categories - start, bits.CHUNK // 2)
                bits.take(state, words, count * 2)
                for i in range(0, count, lanes):
                    store(alarms, i, wide(bits.narrow(alarm(bits.unit64(words, i, lanes), T), T)))
                for i in range(count):
                    p = wide(probabilities[row * categories + start + i])
                    score = wide(bits.narrow(p / alarms[i], T))
                    if (score > best) | ((score != score) & (best == best)):
                        best, winner = score, start + i
            out[row] = winner

    return fill_choice


@specialise
def choose_many(T: Type) -> Any:
    """`samples` categories for each row, with replacement, by bisecting the cumulative distribution.

    `cumulative` is room for one row of it (doubles for T double, else floats). RESULT is what is wrong with the first
    bad row, where it stops.
    """
    wide = f64 if T is f64 else f32

    @kernel
    def fill_choices(
        out: ptr(i64), probabilities: ptr(T), cumulative: ptr(wide), categories: i64, samples: i64, state: ptr(u8),
        lo: i64, hi: i64,
    ):  # fmt: skip
        words = stack_array(u32, 2)
        found = i64(0)
        for row in range(lo, hi):
            total = wide(0.0)
            for j in range(categories):
                p = wide(probabilities[row * categories + j])
                if (found == 0) & ~(p >= 0.0):
                    found = i64(NEGATIVE)
                if (found == 0) & (p == float("inf")):
                    found = i64(INFINITE)
                total = total + p
                cumulative[j] = total
            if (found == 0) & ~(total > 0.0):
                found = i64(EMPTY)
            if found != 0:
                break
            for j in range(categories):
                cumulative[j] = cumulative[j] / total
            cumulative[categories - 1] = wide(1.0)
            for s in range(samples):
                bits.take(state, words, i64(2))
                unit = bits.unit64(words, 0, 1)
                low, high = i64(0), categories
                while low < high:
                    middle = (low + high) >> 1
                    if f64(cumulative[middle]) < unit:
                        low = middle + 1
                    else:
                        high = middle
                out[row * samples + s] = low
        as_pointer(state + bits.RESULT, i64)[0] = found

    return fill_choices
