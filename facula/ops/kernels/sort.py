"""Loops that order the elements of lines.

Elements become unsigned keys whose order as integers is the order wanted (NaN after everything, -0 equal to 0, turned
round when descending). Short lines are sorted by insertion, long ones by a radix sort from the lowest digit: both keep
equal elements in their order. Keys of up to 32 bits share a 64-bit word with the element's index, so that a line is one
array of words; 64-bit keys have a second array for the indices.

Geometry block: [length, groups, lines, step of the input, step of the results, sizes of the other dimensions, their
strides in the input, their strides in the results]. The range: groups of lines, each with a part of the workspace.
"""

from typing import Any, NamedTuple

from facula.kernel.language import (
    Type,
    as_pointer,
    bitcast,
    f16,
    f32,
    f64,
    i32,
    i64,
    kernel,
    load,
    maximum,
    minimum,
    offset,
    ptr,
    select,
    specialise,
    stack_array,
    store,
    u8,
    u16,
    u32,
    u64,
    udiv,
    unroll,
    urem,
    ushr,
)  # fmt: skip
from facula.kernel.types import bf16
from facula.kernel.values import Value, cast
from facula.ops.kernels.pointwise import KERNEL_TYPES

SHORT = 48
"""Up to this length lines are sorted by insertion."""
LENGTH, GROUPS, LINES, STEP, OUT_STEP, HEADER = range(6)


class Order(NamedTuple):
    """What the kernel is specialised on: the dtype's code, the direction, how many other dimensions there are, bits of
    a radix digit (0: sort by insertion)."""

    input: str
    descending: bool
    rank: int
    digit: int


def key_type(code: str) -> Type:
    """The unsigned integer that orders elements of a dtype."""
    return {8: u8, 1: u8, 16: u16, 32: u32, 64: u64}[KERNEL_TYPES[code].bits]


def words_of(code: str, length: int) -> int:
    """64-bit words of workspace for a line."""
    return (4 if KERNEL_TYPES[code].bits == 64 else 2) * length


def key_of(element: Value, descending: bool) -> Value:
    """The key of an element (u32 or u64; the order of the integers is the order wanted)."""
    memory = element.type
    wide = u64 if memory.bits == 64 else u32
    if memory.kind == "f":
        if memory in (f16, bf16):
            element = cast(element, f32)
        bits_type = u64 if element.type is f64 else u32
        sign = 1 << (bits_type.bits - 1)
        bits = bitcast(element + 0.0, bits_type)
        key = bits ^ select((bits & sign) != 0, cast((1 << bits_type.bits) - 1, bits_type), cast(sign, bits_type))
        key = select(element != element, cast((1 << bits_type.bits) - 1, bits_type), key)
    elif memory.kind == "i":
        signed = i64 if memory.bits == 64 else i32
        key = bitcast(cast(element, signed), wide) ^ (1 << (wide.bits - 1))
    else:
        key = cast(element, wide)
    return ~key if descending else key  # type: ignore[no-any-return]


def key_bits(code: str) -> tuple[int, int]:
    """(lowest, highest) bit that keys of the dtype can differ in."""
    memory = KERNEL_TYPES[code]
    if memory.kind == "f":
        return (0, 64) if memory is f64 else (0, 32)
    return 0, 64 if memory.bits == 64 else 32


def places(index: Value, block: Value, rank: int) -> tuple[Value, Value]:
    """Offsets in (input, results) of the line with this number."""
    x, out = cast(0, i64), cast(0, i64)
    for d in range(rank - 1, -1, -1):
        place = index
        if d > 0:
            size = load(block, HEADER + d)
            place, index = urem(index, size), udiv(index, size)
        x = x + place * load(block, HEADER + rank + d)
        out = out + place * load(block, HEADER + 2 * rank + d)
    return x, out


@specialise
def sort_lines(order: Order) -> Any:
    """Slots: values, indices, workspace, input, block."""
    memory, rank, digit = KERNEL_TYPES[order.input], order.rank, order.digit
    wide = memory.bits == 64
    low, high = key_bits(order.input)
    passes = [] if digit == 0 else list(range(low, high, digit))
    buckets = 1 << digit
    count = len(passes)

    @kernel(inline=True)
    def fill(words: ptr(u64), places_of: ptr(u64), p: ptr(memory), step: i64, length: i64):
        for i in range(length):
            key = key_of(load(p, i * step), order.descending)
            if wide:
                store(words, i, key)
                store(places_of, i, u64(i))
            else:
                store(words, i, (u64(key) << 32) | u64(i))

    @kernel(inline=True)
    def insertion(words: ptr(u64), places_of: ptr(u64), length: i64):
        for i in range(1, length):
            word = load(words, i)
            place = word
            if wide:
                place = load(places_of, i)
            j = i
            while j > 0:
                before = load(words, j - 1)
                if before <= word:
                    break
                store(words, j, before)
                if wide:
                    store(places_of, j, load(places_of, j - 1))
                j = j - 1
            store(words, j, word)
            if wide:
                store(places_of, j, place)

    @kernel
    def sort_lines_kernel(slots: ptr(i64), lo: i64, hi: i64):
        values_out = load(as_pointer(slots, ptr(memory)))
        indices_out = load(as_pointer(offset(slots, 1), ptr(i64)))
        workspace = load(as_pointer(offset(slots, 2), ptr(u64)))
        x = load(as_pointer(offset(slots, 3), ptr(memory)))
        block = load(as_pointer(offset(slots, 4), ptr(i64)))
        length, groups, lines = load(block, LENGTH), load(block, GROUPS), load(block, LINES)
        step, out_step = load(block, STEP), load(block, OUT_STEP)
        counts = stack_array(i64, max(1, buckets * count))
        for group in range(lo, hi):
            words = offset(workspace, group * length * (4 if wide else 2))
            other = offset(words, length)
            places_of, other_places = words, words
            if wide:
                places_of, other_places = offset(words, length * 2), offset(words, length * 3)
            for line in range(group, lines, groups):
                at = places(line, block, rank)
                p = offset(x, at[0])
                fill(words, places_of, p, step, length)
                a, b, pa, pb = words, other, places_of, other_places
                if digit == 0:
                    insertion(words, places_of, length)
                else:
                    for i in range(buckets * count):
                        store(counts, i, 0)
                    for i in range(length):
                        key = load(words, i)
                        if not wide:
                            key = ushr(key, 32)
                        for k in unroll(range(count)):
                            bucket = i64(ushr(key, passes[k]) & (buckets - 1)) + k * buckets
                            store(counts, bucket, load(counts, bucket) + 1)
                    for k in unroll(range(count)):
                        shift = passes[k] if wide else passes[k] + 32
                        first = i64(ushr(load(a, 0), shift) & (buckets - 1)) + k * buckets
                        if load(counts, first) < length:
                            total = i64(0)
                            for i in range(buckets):
                                here = load(counts, i + k * buckets)
                                store(counts, i + k * buckets, total)
                                total = total + here
                            for i in range(length):
                                word = load(a, i)
                                bucket = i64(ushr(word, shift) & (buckets - 1)) + k * buckets
                                to = load(counts, bucket)
                                store(counts, bucket, to + 1)
                                store(b, to, word)
                                if wide:
                                    store(pb, to, load(pa, i))
                            a, b = b, a
                            if wide:
                                pa, pb = pb, pa
                v, q = offset(values_out, at[1]), offset(indices_out, at[1])
                for i in range(length):
                    place = i64(load(pa, i)) if wide else i64(load(a, i) & 0xFFFFFFFF)
                    store(q, i * out_step, place)
                    store(v, i * out_step, load(p, place * step))

    return sort_lines_kernel


@specialise
def top_lines(order: Order) -> Any:
    """The first elements of each line in order, by insertion into a short sorted list. Slots: values, indices, input,
    block; the block has how many are wanted where sort has the number of groups. The range: lines."""
    memory, rank = KERNEL_TYPES[order.input], order.rank
    key_kind = u64 if memory.bits == 64 else u32
    most = TOP_MOST

    @kernel
    def top_lines_kernel(slots: ptr(i64), lo: i64, hi: i64):
        values_out = load(as_pointer(slots, ptr(memory)))
        indices_out = load(as_pointer(offset(slots, 1), ptr(i64)))
        x = load(as_pointer(offset(slots, 2), ptr(memory)))
        block = load(as_pointer(offset(slots, 3), ptr(i64)))
        length, wanted = load(block, LENGTH), load(block, GROUPS)
        step, out_step = load(block, STEP), load(block, OUT_STEP)
        keys = stack_array(key_kind, most)
        found = stack_array(i64, most)
        for line in range(lo, hi):
            at = places(line, block, rank)
            p = offset(x, at[0])
            last = key_kind(0)
            for i in range(length):
                key = key_of(load(p, i * step), order.descending)
                if (i < wanted) | (key < last):
                    j = minimum(i, wanted - 1)
                    while j > 0:
                        before = load(keys, j - 1)
                        if before <= key:
                            break
                        store(keys, j, before)
                        store(found, j, load(found, j - 1))
                        j = j - 1
                    store(keys, j, key)
                    store(found, j, i)
                    last = load(keys, minimum(i, wanted - 1))
            v, q = offset(values_out, at[1]), offset(indices_out, at[1])
            for i in range(wanted):
                place = load(found, i)
                store(q, i * out_step, place)
                store(v, i * out_step, load(p, place * step))

    return top_lines_kernel


TOP_MOST = 128
"""How many elements `top_lines` can find."""


@specialise
def pick_lines(code: str, what: str) -> Any:
    """One element of each sorted line: 'kth' (of rank k), 'median' (NaN if there is one), 'nanmedian' (of what is not
    NaN), 'mode' (the smallest of the most frequent). Slots: values, indices, sorted values, sorted indices, length, k."""
    memory = KERNEL_TYPES[code]
    compute = f32 if memory in (f16, bf16) else memory

    @kernel
    def pick_lines_kernel(
        values: ptr(memory), indices: ptr(i64), x: ptr(memory), order: ptr(i64), length: i64, k: i64, lo: i64, hi: i64
    ):
        for line in range(lo, hi):
            p = offset(x, line * length)
            rank = k
            if what == "mode":
                rank = i64(0)
                longest, run = i64(0), i64(0)
                for i in range(length):
                    run = run + 1
                    following = cast(load(p, minimum(i + 1, length - 1)), compute)
                    if (i == length - 1) | (cast(load(p, i), compute) != following):
                        if run > longest:
                            longest = run
                            rank = i
                        run = i64(0)
            elif what != "kth":
                known = length
                if compute.is_float:
                    while known > 0:
                        value = cast(load(p, known - 1), compute)
                        if value == value:
                            break
                        known = known - 1
                if what == "median":
                    rank = select(known < length, known, (length - 1) >> 1)
                else:
                    rank = maximum(known - 1, 0) >> 1
            store(values, line, load(p, rank))
            store(indices, line, load(offset(order, line * length), rank))

    return pick_lines_kernel
