"""Rows of a table by index, the sums of gradients of the rows, and reductions of bags of rows.

Indices out of range go to the fault record, and nothing is read for them. A gradient's rows are divided into bands of the
table: each band is cleared and then walks all indices in order, so results are the same bits on any number of threads.
"""

import math
from typing import Any

from facula.kernel.language import (
    cast,
    f64,
    host,
    i64,
    kernel,
    load,
    offset,
    ptr,
    select,
    specialise,
    splat,
    store,
    tail_mask,
    vec,
)
from facula.ops.kernels.index import record_fault
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import compute_type


@specialise
def take_rows(code: str, index: str) -> Any:
    """out[i] = table[indices[i]], rows of `width` elements. The range: indices."""
    T, Index = KERNEL_TYPES[code], KERNEL_TYPES[index]
    lanes = host().lanes(T.itemsize)

    @kernel
    def take_rows(
        out: ptr(T), table: ptr(T), indices: ptr(Index), fault: ptr(i64), rows: i64, width: i64, lo: i64, hi: i64
    ):
        main = width // lanes * lanes
        for i in range(lo, hi):
            given = cast(indices[i], i64)
            if (given < 0) | (given >= rows):
                record_fault(fault, given, i)
            else:
                p = offset(table, given * width)
                q = offset(out, i * width)
                for j in range(0, main, lanes):
                    store(q, j, load(p, j, lanes))
                if main < width:
                    mask = tail_mask(lanes, width - main)
                    store(q, main, load(p, main, lanes, mask), mask)

    return take_rows


@specialise
def add_rows(code: str, index: str, scaled: bool) -> Any:
    """out[indices[i]] += grad[i], into zeros; rows `padding` get nothing. The range: bands of `band` rows of the table.

    scaled: each row is divided by how often its index occurs, which `counts` (one for each row) is used for.
    """
    T, C, Index = KERNEL_TYPES[code], compute_type(code), KERNEL_TYPES[index]
    lanes = host().lanes(T.itemsize)

    @kernel
    def add_rows(
        out: ptr(T),
        counts: ptr(i64),
        grad: ptr(T),
        indices: ptr(Index),
        count: i64,
        rows: i64,
        width: i64,
        padding: i64,
        band: i64,
        lo: i64,
        hi: i64,
    ):
        zeros = vec(T, lanes)(0.0)
        main = width // lanes * lanes
        for piece in range(lo, hi):
            first = piece * band
            last = min(first + band, rows)
            begin = first * width
            end = last * width
            whole = begin + (end - begin) // lanes * lanes
            for j in range(begin, whole, lanes):
                store(out, j, zeros)
            for j in range(whole, end):
                out[j] = cast(C(0.0), T)
            if scaled:
                for row in range(first, last):
                    counts[row] = i64(0)
                for i in range(0, count):
                    row = cast(indices[i], i64)
                    if (row >= first) & (row < last):
                        counts[row] = counts[row] + 1
            for i in range(0, count):
                row = cast(indices[i], i64)
                if (row >= first) & (row < last) & (row != padding):
                    p = offset(grad, i * width)
                    q = offset(out, row * width)
                    if scaled:
                        factor = cast(1.0 / cast(counts[row], f64), C)
                        for j in range(0, width, lanes):
                            mask = tail_mask(lanes, width - j)
                            value = cast(load(p, j, lanes, mask), C) * splat(factor, lanes)
                            store(q, j, cast(cast(load(q, j, lanes, mask), C) + value, T), mask)
                    else:
                        for j in range(0, main, lanes):
                            store(q, j, cast(cast(load(q, j, lanes), C) + cast(load(p, j, lanes), C), T))
                        if main < width:
                            mask = tail_mask(lanes, width - main)
                            value = cast(load(q, main, lanes, mask), C) + cast(load(p, main, lanes, mask), C)
                            store(q, main, cast(value, T), mask)

    return add_rows


@specialise
def reduce_bags(code: str, index: str, mode: str, weighted: bool) -> Any:
    """out[b] = the sum, mean or max of table[indices[i]] for offsets[b] <= i < offsets[b + 1]. The range: bags.

    `bag_of` gets the bag of each index, `sizes` how many rows each bag has (without those at `padding`); for the maximum, `places` the row that each element
    came from, -1 for none.
    """
    T, C, Index = KERNEL_TYPES[code], compute_type(code), KERNEL_TYPES[index]
    lanes = host().lanes(max(C.itemsize, 4))

    @kernel
    def reduce_bags(
        out: ptr(T),
        sizes: ptr(i64),
        places: ptr(i64),
        bag_of: ptr(i64),
        table: ptr(T),
        indices: ptr(Index),
        offsets: ptr(Index),
        weights: ptr(T),
        fault: ptr(i64),
        rows: i64,
        width: i64,
        count: i64,
        bags: i64,
        padding: i64,
        ended: i64,
        lo: i64,
        hi: i64,
    ):
        for bag in range(lo, hi):
            first = cast(offsets[bag], i64)
            last = count
            if bag + 1 < bags:
                last = cast(offsets[bag + 1], i64)
            if first > count:
                record_fault(fault, first, i64(-1))
            first = select(first < 0, i64(0), first)
            last = select(last > count, count, last)
            held = i64(0)
            for i in range(first, last):
                row = cast(indices[i], i64)
                bag_of[i] = bag
                if (row < 0) | (row >= rows):
                    record_fault(fault, row, i)
                elif row != padding:
                    held = held + 1
            sizes[bag] = held
            if bag + 2 == bags:  # with an offset that ends the last bag, what lies beyond is in none
                for i in range(last, select(ended != 0, count, last)):
                    bag_of[i] = i64(-1)
            for j in range(0, width, lanes):
                mask = tail_mask(lanes, width - j)
                total = vec(C, lanes)(-math.inf if mode == "max" else 0.0)
                found = vec(i64, lanes)(-1)
                for i in range(first, last):
                    row = cast(indices[i], i64)
                    if (row >= 0) & (row < rows) & (row != padding):
                        value = cast(load(table, row * width + j, lanes, mask), C)
                        if mode == "max":
                            wins = (value > total) | (found < 0)
                            total = select(wins, value, total)
                            found = select(wins, splat(row, lanes), found)
                        elif weighted:
                            total = total + value * splat(cast(weights[i], C), lanes)
                        else:
                            total = total + value
                if mode == "mean":
                    total = total / splat(cast(select(held > 0, held, i64(1)), C), lanes)
                if mode == "max":
                    total = select(found < 0, vec(C, lanes)(0.0), total)
                    store(places, bag * width + j, found, mask)
                store(out, bag * width + j, cast(total, T), mask)

    return reduce_bags
