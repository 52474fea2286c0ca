"""A matrix product whose operands both run along k: C[m, n] = sum over k of A[m, k] B[n, k], as x @ W.T is.

In: rows of A and rows of B. Out: blocks of C. With few rows there is no reuse that would pay for packing B, so both are
read where they lie: vectors along k, one accumulator for each element of C, summed across its lanes at the end.
"""

import functools

from facula.kernel.language import (
    Type,
    Value,
    bitcast,
    f64,
    fma,
    host,
    i64,
    kernel,
    load,
    minimum,
    ptr,
    reduce,
    select,
    shuffle,
    splat,
    store,
    tail_mask,
    udiv,
    unroll,
    vec,
)  # fmt: skip
from facula.ops.kernels.gemm_blocks import operands, plus_and_problem
from facula.ops.kernels.gemm_tiles import ADD, RELU, SCALE


def sum_lanes(vectors: list[Value], lanes: int, zero: Value) -> Value:
    """Lane i of the result is the sum of the lanes of vectors[i]; at most `lanes` vectors.

    Halves are swapped between two vectors and added, so that each round halves the number of vectors.
    """
    padded: list[Value | None] = [*vectors, *[None] * (lanes - len(vectors))]
    half = lanes // 2
    while half:
        left = [i if i // half % 2 == 0 else lanes + i - half for i in range(lanes)]
        right = [i + half if i // half % 2 == 0 else lanes + i for i in range(lanes)]
        merged: list[Value | None] = []
        for i in range(half):
            a, b = padded[i], padded[i + half]
            if a is None and b is None:
                merged.append(None)
                continue
            a, b = zero if a is None else a, zero if b is None else b
            merged.append(shuffle(a, b, left) + shuffle(a, b, right))
        padded, half = merged, half // 2
    return zero if padded[0] is None else padded[0]


def columns_for(height: int, lanes: int, registers: int) -> int:
    """Rows of B that a tile takes beside `height` rows of A, so that accumulators and operands fit the registers."""
    columns = lanes
    while columns > 1 and height * columns + columns + 1 > registers:
        columns //= 2
    return columns


@functools.cache
def dot_tile(T: Type, lanes: int, height: int, width: int) -> object:
    """`height` x `columns` <= width dot products, then the epilogue that `flags` asks for."""
    V, C = vec(T, lanes), vec(T, width)

    @kernel
    def tile(
        a: ptr(T), a_row: i64, b: ptr(T), b_row: i64, c: ptr(T), c_row: i64, plus: ptr(T), plus_row: i64, k: i64,
        columns: i64, flags: i64, alpha: T,
    ):  # fmt: skip
        a_rows = [a + i * a_row for i in range(height)]
        b_rows = [b + minimum(columns - 1, j) * b_row for j in range(width)]  # missing rows repeat the last
        sums = [[V(0.0) for _ in range(width)] for _ in range(height)]
        whole = k // lanes * lanes
        for at in range(0, whole, lanes):
            row = [load(b_rows[j], at, lanes) for j in range(width)]
            for i in unroll(range(height)):
                factor = load(a_rows[i], at, lanes)
                for j in unroll(range(width)):
                    sums[i][j] = fma(factor, row[j], sums[i][j])
        if whole < k:
            rest = tail_mask(lanes, k - whole)
            row = [load(b_rows[j], whole, lanes, rest) for j in range(width)]
            for i in unroll(range(height)):
                factor = load(a_rows[i], whole, lanes, rest)
                for j in unroll(range(width)):
                    sums[i][j] = fma(factor, row[j], sums[i][j])
        exists = tail_mask(width, columns)
        together = lanes // width
        for first in unroll(range(0, height, together)):
            group = range(first, min(first + together, height))
            totals = sum_lanes([sums[i][j] for i in group for j in range(width)], lanes, V(0.0))
            for i in unroll(group):
                result = shuffle(totals, totals, range((i - first) * width, (i - first + 1) * width))
                target = c + i * c_row
                if (flags & SCALE) != 0:
                    result = result * splat(alpha, width)
                if (flags & ADD) != 0:
                    result = result + load(plus + i * plus_row, 0, width, exists)
                if (flags & RELU) != 0:
                    result = select(result < 0.0, C(0.0), result)
                store(target, 0, result, exists)

    return tile


@functools.cache
def dot_kernel(T: Type) -> object:
    """The launchable product, with operands as `product_kernel`; a unit of its range is a block of block_n columns of
    C, of one matrix of the batch."""
    lanes, registers = host().lanes(T.itemsize), host().registers
    tallest = 6 if registers == 32 else 3
    tiles = {
        h: (dot_tile(T, lanes, h, columns_for(h, lanes, registers)), columns_for(h, lanes, registers))
        for h in range(1, tallest + 1)
    }

    @kernel
    def dot(c: ptr(T), a: ptr(T), b: ptr(T), third: ptr(T), fourth: ptr(i64), lo: i64, hi: i64):
        plus, problem = plus_and_problem(a, third, fourth)
        (m, n, k, a_row, b_row, c_row, plus_row, a_batch, b_batch, c_batch, plus_batch, inner, a_outer, b_outer,
         block_n, flags) = [problem[i] for i in range(16)]  # fmt: skip
        alpha = T(bitcast(problem[16], f64))
        a, b = operands(a, b, flags)
        across = udiv(n + block_n - 1, block_n)
        for unit in range(lo, hi):
            batch = udiv(unit, across)
            j0 = (unit - batch * across) * block_n
            j1 = minimum(n, j0 + block_n)
            outer = udiv(batch, inner)
            within = batch - outer * inner
            a_base, b_from = a + outer * a_outer + within * a_batch, b + outer * b_outer + within * b_batch
            for i in range(0, m, tallest):
                rows = minimum(tallest, m - i)
                a_from, c_from = a_base + i * a_row, c + batch * c_batch + i * c_row
                plus_from = plus + batch * plus_batch + i * plus_row
                for h in unroll(range(tallest, 0, -1)):
                    if rows == h:
                        tile, wide = tiles[h]
                        for j in range(j0, j1, wide):
                            tile(
                                a_from, a_row, b_from + j * b_row, b_row, c_from + j, c_row, plus_from + j, plus_row, k,
                                minimum(j1 - j, wide), flags, alpha,
                            )  # fmt: skip

    return dot


CHAINS, CHUNK = 4, 4096


@functools.cache
def inner_kernel(T: Type) -> object:
    """c = the sum over k of a[k] b[k], both contiguous: pieces of 4096 in vectors, the pieces in f64. Range: 1."""
    lanes = host().lanes(T.itemsize)
    V, step = vec(T, lanes), lanes * CHAINS

    @kernel
    def inner(c: ptr(T), a: ptr(T), b: ptr(T), k: i64, lo: i64, hi: i64):
        total = f64(0.0)
        for at in range(0, k, CHUNK):
            end = minimum(at + CHUNK, k)
            sums = [V(0.0) for _ in range(CHAINS)]
            whole = at + (end - at) // step * step
            for i in range(at, whole, step):
                for u in unroll(range(CHAINS)):
                    sums[u] = fma(load(a, i + u * lanes, lanes), load(b, i + u * lanes, lanes), sums[u])
            for i in range(whole, end, lanes):
                rest = tail_mask(lanes, end - i)
                sums[0] = fma(load(a, i, lanes, rest), load(b, i, lanes, rest), sums[0])
            total = total + f64(reduce("add", (sums[0] + sums[1]) + (sums[2] + sums[3])))
        store(c, 0, T(total))

    return inner
