"""Attention weights: the softmax of rows of scores under a mask, in one loop for each row.

A row whose elements are all masked gives zeros. With `causal` query 0 sees the first `seen` keys, query i one more for each before it, and the
rest is not computed. Masks are read where they lie, whatever is broadcast over heads and batch.
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
    urem,
    vec,
)
from facula.kernel.language import reduce as fold
from facula.kernel.math import exp_fast_nonpositive
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import BLOCK, compute_type
from facula.ops.kernels.rows import larger


@specialise
def attention_weights(code: str, mask_code: str, causal: bool) -> Any:
    """out = softmax(x + mask) of rows of n scores. The range: rows (batch, head, query), of which the last two have `heads`
    and `queries`. mask_code: '' for none, 'b8' for one that tells what may be seen, else the type of what is added; its
    strides follow, innermost 1."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    M = KERNEL_TYPES[mask_code or code]
    lanes = host().lanes(C.itemsize)
    keep = T is C

    def score(p: Value, m: Value, i: Value, mask: Any) -> Value:
        value = cast(load(p, i, lanes, mask), C)
        if mask_code == "b8":
            value = select(load(m, i, lanes, mask), value, vec(C, lanes)(-math.inf))
        elif mask_code:
            value = value + cast(load(m, i, lanes, mask), C)
        return value

    @kernel
    def attention_weights(
        out: ptr(T),
        x: ptr(T),
        mask: ptr(M),
        n: i64,
        heads: i64,
        queries: i64,
        by_batch: i64,
        by_head: i64,
        by_query: i64,
        seen: i64,
        lo: i64,
        hi: i64,
    ):
        lowest = vec(C, lanes)(-math.inf)
        zeros = vec(C, lanes)(0.0)
        for row in range(lo, hi):
            p = offset(x, row * n)
            q = offset(out, row * n)
            query = urem(row, queries)
            m = mask
            if mask_code:
                rest = udiv(row, queries)
                m = offset(mask, udiv(rest, heads) * by_batch + urem(rest, heads) * by_head + query * by_query)
            end = n
            if causal:
                end = min(query + seen, n)
            main = end // lanes * lanes
            tail = tail_mask(lanes, end - main)
            peak = lowest
            for i in range(0, main, lanes):
                peak = larger(score(p, m, i, None), peak)
            if main < end:
                peak = larger(select(tail, score(p, m, main, tail), lowest), peak)
            top = fold("max", peak)
            top = select(top == -math.inf, C(0.0), top)
            shift = splat(top, lanes)
            total = f64(0)
            for begin in range(0, end, BLOCK):
                stop = min(begin + BLOCK, end)
                sums = zeros
                whole = begin + (stop - begin) // lanes * lanes
                for i in range(begin, whole, lanes):
                    e = exp_fast_nonpositive(score(p, m, i, None) - shift)
                    if keep:
                        store(q, i, e)
                    sums = sums + e
                if whole < stop:
                    rest_mask = tail_mask(lanes, stop - whole)
                    e = exp_fast_nonpositive(score(p, m, whole, rest_mask) - shift)
                    if keep:
                        store(q, whole, e, rest_mask)
                    sums = sums + select(rest_mask, e, zeros)
                total = total + cast(fold("add", sums), f64)
            factor = splat(cast(select(total == 0.0, f64(0), 1.0 / total), C), lanes)
            if keep:
                for i in range(0, main, lanes):
                    store(q, i, load(q, i, lanes) * factor)
                if main < end:
                    store(q, main, load(q, main, lanes, tail) * factor, tail)
            else:
                for i in range(0, end, lanes):
                    part = tail_mask(lanes, end - i)
                    e = exp_fast_nonpositive(score(p, m, i, part) - shift)
                    store(q, i, cast(e * factor, T), part)
            if causal:
                for i in range(end, n, lanes):
                    store(q, i, cast(zeros, T), tail_mask(lanes, n - i))

    return attention_weights
