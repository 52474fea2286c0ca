"""Softmax and its gradient: each row (or column) is read, normalised and written by one loop.

    rows      the normalised elements lie side by side: vectors along them
    columns   they lie `inner` elements apart: vectors across the others

Half precisions are computed in float32. A row's exponentials are summed in float32 lanes over fixed blocks, and the
blocks in float64; a row is never divided, so results are the same bits on any number of threads.
"""

import math
from typing import Any

from facula.kernel.language import (
    Value,
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
    udiv,
    unroll,
    urem,
    vec,
)
from facula.kernel.language import reduce as fold
from facula.kernel.math import exp_fast_nonpositive, log
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import BLOCK, compute_type

DEPTH = 64
"""Elements of a column that are summed before they are added to the others."""


def larger(a: Value, b: Value) -> Value:
    """The larger; `b` where `a` is NaN."""
    return select(a > b, a, b)


def folded(combine: Any, vectors: list[Value]) -> Value:
    """Vectors combined into one, as a balanced tree."""
    while len(vectors) > 1:
        vectors = [combine(vectors[i], vectors[i + 1]) for i in range(0, len(vectors) - 1, 2)] + vectors[
            len(vectors) & ~1 :
        ]
    return vectors[0]


def added(a: Value, b: Value) -> Value:
    """a + b, as a function."""
    return a + b


@specialise
def softmax_rows(code: str, logarithm: bool) -> Any:
    """out = softmax(x), or its logarithm, of rows of n elements. The range: rows."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes, count = host().lanes(C.itemsize), 4
    width = lanes * count
    keep = T is C and not logarithm

    @kernel
    def softmax_rows(out: ptr(T), x: ptr(T), n: i64, lo: i64, hi: i64):
        lowest = vec(C, lanes)(-math.inf)
        for row in range(lo, hi):
            p = offset(x, row * n)
            q = offset(out, row * n)
            tops = [lowest for _ in unroll(range(count))]
            main = n // width * width
            for i in range(0, main, width):
                for u in unroll(range(count)):
                    tops[u] = larger(cast(load(p, i + u * lanes, lanes), C), tops[u])
            for i in range(main, n, lanes):
                mask = tail_mask(lanes, n - i)
                tops[0] = larger(select(mask, cast(load(p, i, lanes, mask), C), lowest), tops[0])
            top = fold("max", folded(larger, tops))
            shift = splat(top, lanes)
            total = f64(0)
            for begin in range(0, n, BLOCK):
                stop = min(begin + BLOCK, n)
                sums = [vec(C, lanes)(0.0) for _ in unroll(range(count))]
                end = begin + (stop - begin) // width * width
                for i in range(begin, end, width):
                    for u in unroll(range(count)):
                        e = exp_fast_nonpositive(cast(load(p, i + u * lanes, lanes), C) - shift)
                        if keep:
                            store(q, i + u * lanes, e)
                        sums[u] = sums[u] + e
                for i in range(end, stop, lanes):
                    mask = tail_mask(lanes, stop - i)
                    e = exp_fast_nonpositive(cast(load(p, i, lanes, mask), C) - shift)
                    if keep:
                        store(q, i, e, mask)
                    sums[0] = sums[0] + select(mask, e, vec(C, lanes)(0.0))
                total = total + cast(fold("add", folded(added, sums)), f64)
            if logarithm:
                less = splat(cast(log(total), C), lanes)
                for i in range(0, main, width):
                    for u in unroll(range(count)):
                        store(q, i + u * lanes, cast(cast(load(p, i + u * lanes, lanes), C) - shift - less, T))
                for i in range(main, n, lanes):
                    mask = tail_mask(lanes, n - i)
                    store(q, i, cast(cast(load(p, i, lanes, mask), C) - shift - less, T), mask)
            else:
                factor = splat(cast(1.0 / total, C), lanes)
                if keep:
                    for i in range(0, main, width):
                        for u in unroll(range(count)):
                            store(q, i + u * lanes, load(q, i + u * lanes, lanes) * factor)
                    for i in range(main, n, lanes):
                        mask = tail_mask(lanes, n - i)
                        store(q, i, load(q, i, lanes, mask) * factor, mask)
                else:
                    for i in range(0, n, lanes):
                        mask = tail_mask(lanes, n - i)
                        e = exp_fast_nonpositive(cast(load(p, i, lanes, mask), C) - shift)
                        store(q, i, cast(e * factor, T), mask)

    return softmax_rows


COLUMNS = 2
"""Vectors of columns that a strip has."""


@specialise
def softmax_columns(code: str, logarithm: bool) -> Any:
    """The same where n elements lie `inner` apart. The range: strips of `COLUMNS` vectors of columns."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)
    width = lanes * COLUMNS
    keep = T is C and not logarithm

    @kernel
    def softmax_columns(out: ptr(T), x: ptr(T), n: i64, inner: i64, lo: i64, hi: i64):
        strips = udiv(inner + width - 1, i64(width))
        for task in range(lo, hi):
            column = urem(task, strips) * width
            base = udiv(task, strips) * n * inner + column
            p = offset(x, base)
            q = offset(out, base)
            masks = [tail_mask(lanes, inner - column - u * lanes) for u in unroll(range(COLUMNS))]
            tops = [vec(C, lanes)(-math.inf) for _ in unroll(range(COLUMNS))]
            for i in range(0, n):
                for u in unroll(range(COLUMNS)):
                    tops[u] = larger(cast(load(p, i * inner + u * lanes, lanes, masks[u]), C), tops[u])
            totals = [vec(C, lanes)(0.0) for _ in unroll(range(COLUMNS))]
            for begin in range(0, n, DEPTH):
                stop = min(begin + DEPTH, n)
                parts = [vec(C, lanes)(0.0) for _ in unroll(range(COLUMNS))]
                for i in range(begin, stop):
                    for u in unroll(range(COLUMNS)):
                        at = i * inner + u * lanes
                        e = exp_fast_nonpositive(cast(load(p, at, lanes, masks[u]), C) - tops[u])
                        if keep:
                            store(q, at, e, masks[u])
                        parts[u] = parts[u] + e
                for u in unroll(range(COLUMNS)):
                    totals[u] = totals[u] + parts[u]
            if logarithm:
                for u in unroll(range(COLUMNS)):
                    totals[u] = log(totals[u])
                for i in range(0, n):
                    for u in unroll(range(COLUMNS)):
                        at = i * inner + u * lanes
                        value = cast(load(p, at, lanes, masks[u]), C) - tops[u] - totals[u]
                        store(q, at, cast(value, T), masks[u])
            else:
                for u in unroll(range(COLUMNS)):
                    totals[u] = 1.0 / totals[u]
                for i in range(0, n):
                    for u in unroll(range(COLUMNS)):
                        at = i * inner + u * lanes
                        if keep:
                            e = load(q, at, lanes, masks[u])
                        else:
                            e = exp_fast_nonpositive(cast(load(p, at, lanes, masks[u]), C) - tops[u])
                        store(q, at, cast(e * totals[u], T), masks[u])

    return softmax_columns


def _term(logarithm: bool, grad: Value, y: Value) -> Value:
    """What is summed over a row for the gradient."""
    return grad if logarithm else grad * y


def _slope(logarithm: bool, grad: Value, y: Value, total: Value) -> Value:
    """The gradient of the input, given the row's sum."""
    return grad - exp_fast_nonpositive(y) * total if logarithm else y * (grad - total)


@specialise
def softmax_rows_gradient(code: str, logarithm: bool) -> Any:
    """The gradient of the input of a softmax, or of its logarithm, given its result y. The range: rows."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes, count = host().lanes(C.itemsize), 4
    width = lanes * count

    @kernel
    def softmax_rows_gradient(out: ptr(T), grad: ptr(T), y: ptr(T), n: i64, lo: i64, hi: i64):
        for row in range(lo, hi):
            g = offset(grad, row * n)
            p = offset(y, row * n)
            q = offset(out, row * n)
            total = f64(0)
            for begin in range(0, n, BLOCK):
                stop = min(begin + BLOCK, n)
                sums = [vec(C, lanes)(0.0) for _ in unroll(range(count))]
                end = begin + (stop - begin) // width * width
                for i in range(begin, end, width):
                    for u in unroll(range(count)):
                        at = i + u * lanes
                        sums[u] = sums[u] + _term(logarithm, cast(load(g, at, lanes), C), cast(load(p, at, lanes), C))
                for i in range(end, stop, lanes):
                    mask = tail_mask(lanes, stop - i)
                    sums[0] = sums[0] + _term(
                        logarithm, cast(load(g, i, lanes, mask), C), cast(load(p, i, lanes, mask), C)
                    )
                total = total + cast(fold("add", folded(added, sums)), f64)
            whole = splat(cast(total, C), lanes)
            main = n // lanes * lanes
            for i in range(0, main, lanes):
                value = _slope(logarithm, cast(load(g, i, lanes), C), cast(load(p, i, lanes), C), whole)
                store(q, i, cast(value, T))
            if main < n:
                mask = tail_mask(lanes, n - main)
                value = _slope(
                    logarithm, cast(load(g, main, lanes, mask), C), cast(load(p, main, lanes, mask), C), whole
                )
                store(q, main, cast(value, T), mask)

    return softmax_rows_gradient


@specialise
def softmax_columns_gradient(code: str, logarithm: bool) -> Any:
    """The same where n elements lie `inner` apart. The range: strips of `COLUMNS` vectors of columns."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)
    width = lanes * COLUMNS

    @kernel
    def softmax_columns_gradient(out: ptr(T), grad: ptr(T), y: ptr(T), n: i64, inner: i64, lo: i64, hi: i64):
        strips = udiv(inner + width - 1, i64(width))
        for task in range(lo, hi):
            column = urem(task, strips) * width
            base = udiv(task, strips) * n * inner + column
            g = offset(grad, base)
            p = offset(y, base)
            q = offset(out, base)
            masks = [tail_mask(lanes, inner - column - u * lanes) for u in unroll(range(COLUMNS))]
            totals = [vec(C, lanes)(0.0) for _ in unroll(range(COLUMNS))]
            for begin in range(0, n, DEPTH):
                stop = min(begin + DEPTH, n)
                parts = [vec(C, lanes)(0.0) for _ in unroll(range(COLUMNS))]
                for i in range(begin, stop):
                    for u in unroll(range(COLUMNS)):
                        at = i * inner + u * lanes
                        slope = cast(load(g, at, lanes, masks[u]), C)
                        parts[u] = parts[u] + _term(logarithm, slope, cast(load(p, at, lanes, masks[u]), C))
                for u in unroll(range(COLUMNS)):
                    totals[u] = totals[u] + parts[u]
            for i in range(0, n):
                for u in unroll(range(COLUMNS)):
                    at = i * inner + u * lanes
                    slope = cast(load(g, at, lanes, masks[u]), C)
                    value = _slope(logarithm, slope, cast(load(p, at, lanes, masks[u]), C), totals[u])
                    store(q, at, cast(value, T), masks[u])

    return softmax_columns_gradient
