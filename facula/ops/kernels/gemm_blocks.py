"""The kernels that the runtime launches for a matrix product: packing of B, and the product itself.

A product of a batch of matrices is cut into blocks of `block_m` x `block_n` of C, numbered across the batch; a launch
computes blocks [lo, hi). Matrices of the batch lie `batch` strides apart in groups of `inner`, groups `outer` strides.
The cut is the planner's (`gemm`), a function of the problem alone, and no sum depends on it.
"""

import functools

from facula.kernel.language import (
    Type,
    Value,
    as_pointer,
    bitcast,
    f64,
    host,
    i64,
    kernel,
    minimum,
    ptr,
    select,
    stack_array,
    udiv,
    urem,
)  # fmt: skip
from facula.ops.kernels.gemm_tiles import ADD, RELU, pack_rows, pack_transposed, tile_of

B_PACKED, B_LOCAL, B_TRANSPOSED, SWAPPED = 8, 16, 32, 64
"""Flags beside the tile's: `b` points to what `pack_kernel` made; each block packs B for itself; B is stored by
columns; the launch is given B first."""

LOCAL_B = 1 << 15  # elements of B that a block may pack on its own stack


@functools.cache
def pack_kernel(T: Type, vectors: int) -> object:
    """B[k, n] to panels of `vectors` vectors of columns, cut along k: [batch][piece of block_k][panel][k][width].

    One unit of the range is one panel of one piece.
    """
    lanes = host().lanes(T.itemsize)
    width = vectors * lanes
    by_rows, by_columns = pack_rows(T, lanes, width), pack_transposed(T, lanes, width)

    @kernel
    def pack_b(
        packed: ptr(T), b: ptr(T), n: i64, k: i64, b_apart: i64, b_batch: i64, inner: i64, b_outer: i64, block_k: i64,
        flags: i64, lo: i64, hi: i64,
    ):  # fmt: skip
        panels = udiv(n + (width - 1), width)
        pieces = udiv(k + block_k - 1, block_k)
        for unit in range(lo, hi):
            batch = udiv(unit, panels * pieces)
            inside = unit - batch * panels * pieces
            at = udiv(inside, panels) * block_k
            j = urem(inside, panels) * width
            deep = minimum(block_k, k - at)
            target = packed + (batch * k + at) * panels * width + j * deep
            columns = minimum(n - j, width)
            outer = udiv(batch, inner)
            source = b + outer * b_outer + (batch - outer * inner) * b_batch
            if (flags & B_TRANSPOSED) != 0:
                by_columns(source + j * b_apart + at, b_apart, target, deep, columns)
            else:
                by_rows(source + at * b_apart + j, b_apart, target, deep, columns)

    return pack_b


def plus_and_problem(a: Value, third: Value, fourth: Value) -> tuple[Value, Value]:
    """(what is added, the numbers): the numbers' address follows the operands, of which plus may be missing."""
    missing = fourth == fourth.type(0)
    return select(missing, a, third), select(missing, as_pointer(third, i64), fourth)


def operands(a: Value, b: Value, flags: Value) -> tuple[Value, Value]:
    """A and B in the planner's order."""
    turned = (flags & SWAPPED) != 0
    return select(turned, b, a), select(turned, a, b)


@functools.cache
def product_kernel(T: Type, height: int, vectors: int) -> object:
    """C = alpha * (A op(B)) + plus, in tiles of `height` rows by `vectors` vectors. A may have any strides.

    Launched on (C, A, B, plus, numbers), or (C, A, B, numbers, 0) when nothing is added.

    Inside a block, pieces of block_k are taken one after another; those after the first add to what C then holds.
    """
    lanes = host().lanes(T.itemsize)
    width = vectors * lanes
    tile = tile_of(T, lanes, height, vectors)
    by_rows, by_columns = pack_rows(T, lanes, width), pack_transposed(T, lanes, width)

    @kernel
    def pack_local(b: ptr(T), b_apart: i64, packed: ptr(T), k: i64, n: i64, flags: i64):
        for j in range(0, n, width):
            if (flags & B_TRANSPOSED) != 0:
                by_columns(b + j * b_apart, b_apart, packed + j * k, k, minimum(width, n - j))
            else:
                by_rows(b + j, b_apart, packed + j * k, k, minimum(width, n - j))

    @kernel
    def product(c: ptr(T), a: ptr(T), b: ptr(T), third: ptr(T), fourth: ptr(i64), lo: i64, hi: i64):
        plus, problem = plus_and_problem(a, third, fourth)
        (m, n, k, a_row, a_column, b_apart, c_row, plus_row, a_batch, b_batch, c_batch, plus_batch, inner, a_outer,
         b_outer, block_m, block_n, block_k, flags) = [problem[i] for i in range(19)]  # fmt: skip
        alpha = T(bitcast(problem[19], f64))
        a, b = operands(a, b, flags)
        across = udiv(n + block_n - 1, block_n)
        each = across * udiv(m + block_m - 1, block_m)
        padded = udiv(n + (width - 1), width) * width
        local = stack_array(T, LOCAL_B)
        for unit in range(lo, hi):
            batch = udiv(unit, each)
            inside = unit - batch * each
            down = udiv(inside, across)
            i0, j0 = down * block_m, (inside - down * across) * block_n
            i1, j1 = minimum(m, i0 + block_m), minimum(n, j0 + block_n)
            outer = udiv(batch, inner)
            within = batch - outer * inner
            a_base, b_base = a + outer * a_outer + within * a_batch, b + outer * b_outer + within * b_batch
            c_base, plus_base = c + batch * c_batch, plus + batch * plus_batch
            at = i64(0)
            while True:
                deep = minimum(block_k, k - at)
                b_from, b_row, b_panel = b_base + at * b_apart + j0, b_apart, i64(1)
                if (flags & B_TRANSPOSED) != 0:
                    b_from = b_base + at + j0 * b_apart
                if (flags & B_PACKED) != 0:
                    b_from, b_row, b_panel = b_base + at * padded + j0 * deep, i64(width), deep
                if (flags & B_LOCAL) != 0:
                    pack_local(b_from, b_apart, local, deep, j1 - j0, flags)
                    b_from, b_row, b_panel = local, i64(width), deep
                plus_from, plus_row_now, now = plus_base, plus_row, flags
                if at != 0:
                    plus_from, plus_row_now, now = c_base, c_row, flags | ADD
                if at + deep < k:
                    now = now & ~RELU
                for i in range(i0, i1, height):
                    a_from = a_base + i * a_row + at * a_column
                    c_from, plus_here = c_base + i * c_row, plus_from + i * plus_row_now
                    for j in range(j0, j1, width):
                        tile(
                            a_from, a_row, a_column, b_from + (j - j0) * b_panel, b_row, c_from + j, c_row,
                            plus_here + j, plus_row_now, deep, minimum(height, i1 - i), minimum(width, j1 - j), now,
                            alpha,
                        )  # fmt: skip
                at = at + deep
                if at >= k:
                    break

    return product
