"""Products of integer matrices, which wrap around as integers do.

In: A with any strides, B with contiguous rows. Out: C, contiguous. There is no rounding and hence no order to keep; the
kernel is a plain loop with four rows of A to each vector of B.
"""

import functools

from facula.kernel.language import (
    Type,
    host,
    i64,
    kernel,
    load,
    minimum,
    ptr,
    splat,
    store,
    tail_mask,
    udiv,
    unroll,
    vec,
)

ROWS = 4


@functools.cache
def exact_kernel(T: Type) -> object:
    """C[batch, m, n] = A B for an integer type; one unit of the range is a group of four rows of one matrix."""
    lanes = host().lanes(T.itemsize)
    V = vec(T, lanes)

    @kernel
    def exact(
        c: ptr(T), a: ptr(T), b: ptr(T), m: i64, n: i64, k: i64, a_row: i64, a_column: i64, b_row: i64, a_batch: i64,
        b_batch: i64, lo: i64, hi: i64,
    ):  # fmt: skip
        groups = udiv(m + (ROWS - 1), ROWS)
        for unit in range(lo, hi):
            batch = udiv(unit, groups)
            i = (unit - batch * groups) * ROWS
            rows = minimum(ROWS, m - i)
            a_rows = [a + batch * a_batch + minimum(i + r, m - 1) * a_row for r in range(ROWS)]
            c_from = c + (batch * m + i) * n
            for j in range(0, n, lanes):
                mask = tail_mask(lanes, n - j)
                sums = [V(0) for _ in range(ROWS)]
                b_at, a_at = b + batch * b_batch + j, i64(0)
                for _ in range(k):
                    row = load(b_at, 0, lanes, mask)
                    for r in unroll(range(ROWS)):
                        sums[r] = sums[r] + splat(load(a_rows[r], a_at), lanes) * row
                    b_at = b_at + b_row
                    a_at = a_at + a_column
                for r in unroll(range(ROWS)):
                    if rows > r:
                        store(c_from + r * n, j, sums[r], mask)

    return exact
