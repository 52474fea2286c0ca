"""Loops over sorted boundaries and counts: distinct elements, binary search, counting into bins."""

from typing import Any

from facula.kernel.language import (
    bf16,
    f16,
    f32,
    f64,
    i32,
    i64,
    kernel,
    load,
    offset,
    ptr,
    select,
    specialise,
    store,
    udiv,
    urem,
)  # fmt: skip
from facula.kernel.values import cast
from facula.ops.kernels.pointwise import KERNEL_TYPES


@specialise
def distinct(code: str) -> Any:
    """The elements of a line that differ from the one before. values, counts: one for each; inverse: for each element
    of the line, at its place in `order`, which of them it is; total: how many. One piece: the line is walked in order."""
    memory = KERNEL_TYPES[code]
    compute = f32 if memory in (f16, bf16) else memory

    @kernel
    def distinct_kernel(
        values: ptr(memory), inverse: ptr(i64), counts: ptr(i64), total: ptr(i64), x: ptr(memory), order: ptr(i64),
        length: i64, lo: i64, hi: i64,
    ):  # fmt: skip
        found, run = i64(-1), i64(0)
        previous = cast(load(x), compute)
        for i in range(length):
            element = load(x, i)
            value = cast(element, compute)
            if (i == 0) | (value != previous):
                if i > 0:
                    store(counts, found, run)
                found = found + 1
                store(values, found, element)
                run = i64(0)
            previous = value
            run = run + 1
            store(inverse, load(order, i), found)
        store(counts, found, run)
        store(total, 0, found + 1)

    return distinct_kernel


@specialise
def search(code: str, right: bool, result: str, ordered: bool) -> Any:
    """For each value the place in its line of boundaries where it would be put: before equal ones, or after (right).
    `order` sorts the boundaries where they are not (ordered). per_line: how many values share a line of boundaries."""
    memory, out_type = KERNEL_TYPES[code], {"i32": i32, "i64": i64}[result]
    compute = f32 if memory in (f16, bf16) else memory

    @kernel
    def search_kernel(
        out: ptr(out_type), values: ptr(memory), boundaries: ptr(memory), order: ptr(i64), count: i64, lines: i64, per_line: i64,
        lo: i64, hi: i64,
    ):  # fmt: skip
        for i in range(lo, hi):
            start = urem(udiv(i, per_line), lines) * count
            line, places = offset(boundaries, start), offset(order, start)
            value = cast(load(values, i), compute)
            low, high = i64(0), count
            while low < high:
                middle = (low + high) >> 1
                place = middle
                if ordered:
                    place = load(places, middle)
                boundary = cast(load(line, place), compute)
                stop = boundary > value if right else boundary >= value
                low = select(stop, low, middle + 1)
                high = select(stop, middle, high)
            store(out, i, cast(low, out_type))

    return search_kernel


@specialise
def count_values(code: str, weights: str) -> Any:
    """counts[x[i]] += weight[i] (or 1, where `weights` is empty). One piece: elements are added in their order."""
    memory, kind = KERNEL_TYPES[code], KERNEL_TYPES[weights] if weights else i64

    @kernel
    def count_values_kernel(counts: ptr(kind), x: ptr(memory), weight: ptr(kind), length: i64, lo: i64, hi: i64):
        for i in range(length):
            place = cast(load(x, i), i64)
            if weights:
                store(counts, place, load(counts, place) + load(weight, i))
            else:
                store(counts, place, load(counts, place) + 1)

    return count_values_kernel


@specialise
def count_bins(code: str) -> Any:
    """How many elements lie in each of `bins` equal parts of [low, high]; the last part includes its end."""
    memory = KERNEL_TYPES[code]

    @kernel
    def count_bins_kernel(
        counts: ptr(memory), x: ptr(memory), length: i64, bins: i64, low: f64, high: f64, lo: i64, hi: i64
    ):
        first, last = cast(low, memory), cast(high, memory)
        for i in range(length):
            value = load(x, i)
            if (value >= first) & (value <= last):
                place = cast((value - first) * cast(bins, memory) / (last - first), i64)
                place = select(place >= bins, bins - 1, place)
                store(counts, place, load(counts, place) + cast(1, memory))

    return count_bins_kernel
