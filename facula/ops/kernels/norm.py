"""Normalisation over rows (layer, root mean square) and groups of channels, and the loops that channels share with them.

Rows take their mean and the sum of squares around it in two passes; groups and channels, which may not fit a cache, take
both in one pass around the mean of their beginning, which is near enough to lose nothing. (mean, 1 / deviation) are kept
for the gradient. Half precisions are computed in float32; sums run in float32 lanes over
fixed blocks and in float64 between them. Work is divided by rows, groups or channels, never by threads, so results are
the same bits on any number of them.
"""

import functools
from typing import Any

from facula.kernel.language import (
    Kernel,
    Value,
    cast,
    f64,
    fma,
    host,
    i64,
    kernel,
    load,
    offset,
    ptr,
    select,
    specialise,
    splat,
    sqrt,
    store,
    tail_mask,
    unroll,
    urem,
    vec,
)
from facula.kernel.language import reduce as fold
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import BLOCK, compute_type
from facula.ops.kernels.rows import added, folded


@functools.cache
def line_sums(code: str, what: str) -> Kernel:
    """Sums along n neighbouring elements, in float64: 'sum' of x; 'squares' of x - mean; 'both' of x - mean and its square;
    'pair' of g and g * (x - mean)."""
    C = compute_type(code)
    lanes, count = host().lanes(C.itemsize), 4
    width = lanes * count

    @kernel(inline=True)
    def line_sums(p, g, mean, n):  # type: ignore[no-untyped-def]
        centre = splat(mean, lanes)
        zeros = vec(C, lanes)(0.0)
        first = f64(0)
        second = f64(0)
        for begin in range(0, n, BLOCK):
            stop = min(begin + BLOCK, n)
            sums = [zeros for _ in unroll(range(count))]
            products = [zeros for _ in unroll(range(count))]
            end = begin + (stop - begin) // width * width
            for i in range(begin, end, width):
                for u in unroll(range(count)):
                    x = cast(load(p, i + u * lanes, lanes), C)
                    if what == "sum":
                        sums[u] = sums[u] + x
                    elif what == "squares":
                        sums[u] = fma(x - centre, x - centre, sums[u])
                    elif what == "both":
                        sums[u] = sums[u] + (x - centre)
                        products[u] = fma(x - centre, x - centre, products[u])
                    else:
                        slope = cast(load(g, i + u * lanes, lanes), C)
                        sums[u] = sums[u] + slope
                        products[u] = fma(slope, x - centre, products[u])
            for i in range(end, stop, lanes):
                mask = tail_mask(lanes, stop - i)
                x = cast(load(p, i, lanes, mask), C)
                if what == "sum":
                    sums[0] = sums[0] + x
                elif what == "squares":
                    sums[0] = sums[0] + select(mask, (x - centre) * (x - centre), zeros)
                elif what == "both":
                    apart = select(mask, x - centre, zeros)
                    sums[0] = sums[0] + apart
                    products[0] = fma(apart, apart, products[0])
                else:
                    slope = cast(load(g, i, lanes, mask), C)
                    sums[0] = sums[0] + slope
                    products[0] = products[0] + slope * (x - centre)
            first = first + cast(fold("add", folded(added, sums)), f64)
            if what in ("pair", "both"):
                second = second + cast(fold("add", folded(added, products)), f64)
        return first, second

    return line_sums


@functools.cache
def affine_line(code: str) -> Kernel:
    """out = x * scale + shift along n neighbouring elements."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)

    @kernel(inline=True)
    def affine_line(out, p, scale, shift, n):  # type: ignore[no-untyped-def]
        factor = splat(scale, lanes)
        constant = splat(shift, lanes)
        main = n // (2 * lanes) * (2 * lanes)
        for i in range(0, main, 2 * lanes):
            for u in unroll(range(2)):
                store(out, i + u * lanes, cast(fma(cast(load(p, i + u * lanes, lanes), C), factor, constant), T))
        for i in range(main, n, lanes):
            mask = tail_mask(lanes, n - i)
            store(out, i, cast(fma(cast(load(p, i, lanes, mask), C), factor, constant), T), mask)
        return n

    return affine_line


@functools.cache
def slope_line(code: str) -> Kernel:
    """out = g * a + x * b + c along n neighbouring elements."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)

    def value(g: Value, p: Value, i: Value, mask: Any, a: Value, b: Value, c: Value) -> Value:
        return cast(fma(cast(load(g, i, lanes, mask), C), a, fma(cast(load(p, i, lanes, mask), C), b, c)), T)  # type: ignore[no-any-return]

    @kernel(inline=True)
    def slope_line(out, g, p, a, b, c, n):  # type: ignore[no-untyped-def]
        by_slope = splat(a, lanes)
        by_x = splat(b, lanes)
        constant = splat(c, lanes)
        main = n // (2 * lanes) * (2 * lanes)
        for i in range(0, main, 2 * lanes):
            for u in unroll(range(2)):
                store(out, i + u * lanes, value(g, p, i + u * lanes, None, by_slope, by_x, constant))
        for i in range(main, n, lanes):
            mask = tail_mask(lanes, n - i)
            store(out, i, value(g, p, i, mask, by_slope, by_x, constant), mask)
        return n

    return slope_line


# -- rows ------------------------------------------------------------------------------------------------------------
@specialise
def row_norm(code: str, centred: bool, weighted: bool, shifted: bool) -> Any:
    """Each row of n elements normalised (centred: layer norm; else by its root mean square), then times w, plus b.

    The range: rows.
    """
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)
    total_of, squares_of = line_sums(code, "sum"), line_sums(code, "squares")

    def value_at(p: Value, w: Value, b: Value, i: Value, mask: Any, centre: Value, factor: Value) -> Value:
        value = (cast(load(p, i, lanes, mask), C) - centre) * factor
        if weighted:
            value = value * cast(load(w, i, lanes, mask), C)
        if shifted:
            value = value + cast(load(b, i, lanes, mask), C)
        return cast(value, T)  # type: ignore[no-any-return]

    @kernel
    def row_norm(
        out: ptr(T), means: ptr(C), scales: ptr(C), x: ptr(T), w: ptr(T), b: ptr(T), n: i64, eps: f64, lo: i64, hi: i64
    ):
        count = cast(n, f64)
        main = n // lanes * lanes
        for row in range(lo, hi):
            p = offset(x, row * n)
            q = offset(out, row * n)
            mean = C(0.0)
            if centred:
                total, _ = total_of(p, p, C(0.0), n)
                mean = cast(total / count, C)
                means[row] = mean
            squares, _ = squares_of(p, p, mean, n)
            scale = cast(1.0 / sqrt(squares / count + eps), C)
            scales[row] = scale
            centre = splat(mean, lanes)
            factor = splat(scale, lanes)
            for i in range(0, main, lanes):
                store(q, i, value_at(p, w, b, i, None, centre, factor))
            if main < n:
                mask = tail_mask(lanes, n - main)
                store(q, main, value_at(p, w, b, main, mask, centre, factor), mask)

    return row_norm


@specialise
def row_norm_gradient(code: str, centred: bool, weighted: bool, shifted: bool) -> Any:
    """The gradient of the rows; and of w and b, summed over `per` rows each into two lines of `parts`. The range: blocks of rows."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)

    @kernel
    def row_norm_gradient(
        out: ptr(T),
        parts: ptr(C),
        grad: ptr(T),
        x: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        w: ptr(T),
        n: i64,
        rows: i64,
        per: i64,
        lo: i64,
        hi: i64,
    ):
        zeros = vec(C, lanes)(0.0)
        count = cast(n, f64)
        for block in range(lo, hi):
            by_w = offset(parts, block * 2 * n)
            by_b = offset(by_w, n)
            if weighted:
                for i in range(0, n, lanes):
                    store(by_w, i, zeros, tail_mask(lanes, n - i))
                    if shifted:
                        store(by_b, i, zeros, tail_mask(lanes, n - i))
            for row in range(block * per, min(block * per + per, rows)):
                p = offset(x, row * n)
                g = offset(grad, row * n)
                q = offset(out, row * n)
                factor = splat(scales[row], lanes)
                centre = zeros
                if centred:
                    centre = splat(means[row], lanes)
                first = f64(0)
                second = f64(0)
                for begin in range(0, n, BLOCK):
                    stop = min(begin + BLOCK, n)
                    sums = zeros
                    products = zeros
                    for i in range(begin, stop, lanes):
                        mask = tail_mask(lanes, stop - i)
                        slope = cast(load(g, i, lanes, mask), C)
                        normal = (cast(load(p, i, lanes, mask), C) - centre) * factor
                        if weighted:
                            store(by_w, i, load(by_w, i, lanes, mask) + slope * normal, mask)
                            if shifted:
                                store(by_b, i, load(by_b, i, lanes, mask) + slope, mask)
                            slope = slope * cast(load(w, i, lanes, mask), C)
                        if centred:
                            sums = sums + slope
                        products = products + slope * normal
                    first = first + cast(fold("add", sums), f64)
                    second = second + cast(fold("add", products), f64)
                less = splat(cast(first / count, C), lanes)
                along = splat(cast(second / count, C), lanes)
                for i in range(0, n, lanes):
                    mask = tail_mask(lanes, n - i)
                    slope = cast(load(g, i, lanes, mask), C)
                    if weighted:
                        slope = slope * cast(load(w, i, lanes, mask), C)
                    normal = (cast(load(p, i, lanes, mask), C) - centre) * factor
                    value = slope - normal * along
                    if centred:
                        value = value - less
                    store(q, i, cast(value * factor, T), mask)

    return row_norm_gradient


@specialise
def sum_parts(code: str, both: bool) -> Any:
    """The gradients of w and b out of the parts of `blocks` blocks. The range: strips of one vector of columns."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)

    @kernel
    def sum_parts(by_w: ptr(T), by_b: ptr(T), parts: ptr(C), n: i64, blocks: i64, lo: i64, hi: i64):
        for strip in range(lo, hi):
            i = strip * lanes
            mask = tail_mask(lanes, n - i)
            first = vec(C, lanes)(0.0)
            second = vec(C, lanes)(0.0)
            for block in range(0, blocks):
                first = first + load(parts, block * 2 * n + i, lanes, mask)
                if both:
                    second = second + load(parts, (block * 2 + 1) * n + i, lanes, mask)
            store(by_w, i, cast(first, T), mask)
            if both:
                store(by_b, i, cast(second, T), mask)

    return sum_parts


# -- groups of channels ----------------------------------------------------------------------------------------------
@specialise
def group_norm(code: str, weighted: bool, shifted: bool) -> Any:
    """Groups of `each` channels of `size` elements, normalised, then times w, plus b of the channel. The range: groups."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    total_of, both_of, affine = line_sums(code, "sum"), line_sums(code, "both"), affine_line(code)

    @kernel
    def group_norm(
        out: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        x: ptr(T),
        w: ptr(T),
        b: ptr(T),
        groups: i64,
        each: i64,
        size: i64,
        eps: f64,
        lo: i64,
        hi: i64,
    ):
        n = each * size
        count = cast(n, f64)
        for group in range(lo, hi):
            p = offset(x, group * n)
            q = offset(out, group * n)
            start = min(n, BLOCK)
            total, _ = total_of(p, p, C(0.0), start)
            near = cast(total / cast(start, f64), C)
            apart, squares = both_of(p, p, near, n)
            apart = apart / count
            mean = cast(cast(near, f64) + apart, C)
            scale = cast(1.0 / sqrt(squares / count - apart * apart + eps), C)
            means[group] = mean
            scales[group] = scale
            if weighted or shifted:
                first = urem(group, groups) * each
                for c in range(0, each):
                    factor = scale
                    if weighted:
                        factor = factor * cast(w[first + c], C)
                    constant = -mean * factor
                    if shifted:
                        constant = constant + cast(b[first + c], C)
                    affine(offset(q, c * size), offset(p, c * size), factor, constant, size)
            else:
                affine(q, p, scale, -mean * scale, n)

    return group_norm


@specialise
def group_norm_gradient(code: str, weighted: bool) -> Any:
    """The gradient of groups; `by_w` and `by_b` get each channel's sums for the gradients of w and b. The range: groups."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    pair, line = line_sums(code, "pair"), slope_line(code)

    @kernel
    def group_norm_gradient(
        out: ptr(T),
        by_w: ptr(C),
        by_b: ptr(C),
        grad: ptr(T),
        x: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        w: ptr(T),
        groups: i64,
        each: i64,
        size: i64,
        lo: i64,
        hi: i64,
    ):
        n = each * size
        count = cast(n, f64)
        for group in range(lo, hi):
            mean = means[group]
            scale = cast(scales[group], f64)
            first_channel = urem(group, groups) * each
            first = f64(0)
            second = f64(0)
            for c in range(0, each):
                at = group * n + c * size
                slope, product = pair(offset(x, at), offset(grad, at), mean, size)
                by_w[group * each + c] = cast(product * scale, C)
                by_b[group * each + c] = cast(slope, C)
                factor = f64(1)
                if weighted:
                    factor = cast(w[first_channel + c], f64)
                first = first + slope * factor
                second = second + product * factor
            along = -second * scale * scale * scale / count
            constant = -first * scale / count - along * cast(mean, f64)
            for c in range(0, each):
                at = group * n + c * size
                factor = scale
                if weighted:
                    factor = factor * cast(w[first_channel + c], f64)
                line(
                    offset(out, at),
                    offset(grad, at),
                    offset(x, at),
                    cast(factor, C),
                    cast(along, C),
                    cast(constant, C),
                    size,
                )

    return group_norm_gradient
