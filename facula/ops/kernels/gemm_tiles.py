"""The innermost pieces of a matrix product: one register tile of C, and the packing of panels.

In: pointers and strides of panels that some caller has chosen. Out: a tile of C, or a packed panel. Nothing here knows
how a product is cut into tiles, which operand is whose, or how many threads there are.

A tile keeps `height` x `vectors` vector accumulators in registers and walks along k: each step loads `vectors` vectors
of a row of B and multiplies them by `height` broadcast values of a column of A. B is read along its rows, so B must be
row-major or packed; A may have any strides.
"""

import functools

from facula.kernel.language import (
    Type,
    Value,
    fma,
    host,
    i64,
    kernel,
    load,
    minimum,
    offset,
    ptr,
    select,
    shuffle,
    splat,
    store,
    tail_mask,
    unroll,
    vec,
)  # fmt: skip

ADD, RELU, SCALE = 1, 2, 4
"""Flags of a tile: add what `plus` points to; clamp below at zero; multiply by alpha first."""


def transpose(rows: list[Value], lanes: int) -> list[Value]:
    """`lanes` vectors of `lanes` values, transposed by log2(lanes) rounds of two-vector shuffles."""
    half = lanes // 2
    while half:
        even = [i if i // half % 2 == 0 else lanes + i - half for i in range(lanes)]
        odd = [i + half if i // half % 2 == 0 else lanes + i for i in range(lanes)]
        swapped = list(rows)
        for i in range(lanes):
            if i // half % 2 == 0:
                swapped[i] = shuffle(rows[i], rows[i + half], even)
                swapped[i + half] = shuffle(rows[i], rows[i + half], odd)
        rows, half = swapped, half // 2
    return rows


def rows_apart(pointer: Value, step: Value, count: int) -> list[Value]:
    """`count` addresses that lie `step` elements apart."""
    found = [pointer]
    for _ in range(count - 1):
        found.append(offset(found[-1], step))
    return found


@functools.cache
def tile_kernel(T: Type, lanes: int, height: int, vectors: int, masked: bool, masked_loads: bool) -> object:
    """C[height, columns] = alpha * (sum over k of A[:, k] B[k, :]) + plus, as far as `flags` asks for it.

    `masked`: the last vector of each row is cut off at `columns`. `masked_loads`: so are the loads from B, which is
    then not padded.
    """
    V = vec(T, lanes)
    last = vectors - 1

    @kernel
    def tile(
        a: ptr(T), a_row: i64, a_column: i64, b: ptr(T), b_row: i64, c: ptr(T), c_row: i64, plus: ptr(T), plus_row: i64,
        k: i64, columns: i64, flags: i64, alpha: T,
    ):  # fmt: skip
        masks = [None] * vectors
        if masked:
            masks[last] = tail_mask(lanes, columns - last * lanes)
        sums = [[V(0.0) for _ in range(vectors)] for _ in range(height)]
        a_rows = rows_apart(a, a_row, height)
        at = i64(0)
        for _ in range(k):
            row = [load(b, v * lanes, lanes, masks[v] if masked_loads else None) for v in range(vectors)]
            for i in unroll(range(height)):
                factor = splat(load(a_rows[i], at), lanes)
                for v in unroll(range(vectors)):
                    sums[i][v] = fma(factor, row[v], sums[i][v])
            b = b + b_row
            at = at + a_column
        if (flags & SCALE) != 0:
            scale = splat(alpha, lanes)
            for i in unroll(range(height)):
                for v in unroll(range(vectors)):
                    sums[i][v] = sums[i][v] * scale
        if (flags & ADD) != 0:
            plus_rows = rows_apart(plus, plus_row, height)
            for i in unroll(range(height)):
                for v in unroll(range(vectors)):
                    sums[i][v] = sums[i][v] + load(plus_rows[i], v * lanes, lanes, masks[v])
        if (flags & RELU) != 0:
            for i in unroll(range(height)):
                for v in unroll(range(vectors)):
                    sums[i][v] = select(sums[i][v] < 0.0, V(0.0), sums[i][v])
        c_rows = rows_apart(c, c_row, height)
        for i in unroll(range(height)):
            for v in unroll(range(vectors)):
                store(c_rows[i], v * lanes, sums[i][v], masks[v])

    return tile


def reads_edges() -> bool:
    """Whether B may be read where it lies even if its rows end within a vector: masked loads are cheap."""
    return host().vector_bits >= 256


@functools.cache
def tile_of(T: Type, lanes: int, tallest: int, widest: int) -> object:
    """A tile of up to tallest x widest*lanes, whose numbers of rows and columns are known at run time only.

    Where masks cost nothing every tile is masked; elsewhere whole tiles have kernels of their own.
    """
    kinds = (True,) if host().vector_bits == 512 else (False, True)
    parts = [1 << bit for bit in range((tallest - 1).bit_length() - 1, -1, -1)]
    tiles = {
        (h, v, masked): tile_kernel(T, lanes, h, v, masked, masked and reads_edges())
        for h in (tallest, *parts)
        for v in range(1, widest + 1)
        for masked in kinds
    }

    @kernel
    def tile_any(
        a: ptr(T), a_row: i64, a_column: i64, b: ptr(T), b_row: i64, c: ptr(T), c_row: i64, plus: ptr(T), plus_row: i64,
        k: i64, rows: i64, columns: i64, flags: i64, alpha: T,
    ):  # fmt: skip
        for v in unroll(range(widest, 0, -1)):
            for masked in unroll(kinds):
                if columns > (v - 1) * lanes if masked else columns == v * lanes:
                    for h in unroll((tallest, *parts)):
                        if rows == tallest if h == tallest else (rows & h) != 0:
                            tiles[h, v, masked](
                                a, a_row, a_column, b, b_row, c, c_row, plus, plus_row, k, columns, flags, alpha
                            )
                            if h == tallest:
                                return
                            a, c, plus = a + h * a_row, c + h * c_row, plus + h * plus_row
                    return

    return tile_any


@functools.cache
def pack_transposed(T: Type, lanes: int, width: int) -> object:
    """packed[k, width] from `rows` <= width rows of source, each contiguous along k.

    Missing rows repeat the last one: what they yield is never stored. Writes up to one vector beyond the panel unless
    `width` is a multiple of `lanes`.
    """
    exact = width % lanes == 0

    @kernel
    def block(source: ptr(T), apart: i64, packed: ptr(T), rows: i64, count: i64):
        """One block of lanes x lanes; `count` <= lanes columns of it exist."""
        mask = tail_mask(lanes, count)
        read = []
        at = source
        for r in unroll(range(lanes)):
            read = [*read, load(at, 0, lanes, mask)]
            at = at + select(rows > r + 1, apart, i64(0))
        columns = transpose(read, lanes)
        if count == lanes:
            for i in unroll(range(lanes)):
                store(packed, i * width, columns[i])
        else:
            for i in unroll(range(lanes)):
                if count > i:
                    store(packed, i * width, columns[i])

    @kernel
    def pack(source: ptr(T), apart: i64, packed: ptr(T), k: i64, rows: i64):
        for first in range(0, width, lanes):
            group = source + minimum(first, rows - 1) * apart
            present = rows - minimum(first, rows - 1)
            for at in range(0, k, lanes):
                block(group + at, apart, packed + first + at * width, present, minimum(k - at, lanes))

    assert exact or width < lanes
    return pack


@functools.cache
def pack_rows(T: Type, lanes: int, width: int) -> object:
    """packed[k, width] from rows of source that are `apart`; of each, `columns` <= width values exist."""
    vectors = -(-width // lanes)

    @kernel
    def pack(source: ptr(T), apart: i64, packed: ptr(T), k: i64, columns: i64):
        if columns == width and width % lanes == 0:
            for _ in range(k):
                values = [load(source, v * lanes, lanes) for v in range(vectors)]
                for v in unroll(range(vectors)):
                    store(packed, v * lanes, values[v])
                source = source + apart
                packed = packed + width
        else:
            masks = [tail_mask(lanes, minimum(columns, width) - v * lanes) for v in range(vectors)]
            for _ in range(k):
                values = [load(source, v * lanes, lanes, masks[v]) for v in range(vectors)]
                for v in unroll(range(vectors)):
                    store(packed, v * lanes, values[v])
                source = source + apart
                packed = packed + width

    return pack
