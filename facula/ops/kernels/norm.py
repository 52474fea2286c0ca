"""Normalisation over rows (layer, root mean square), groups of channels, and channels over the batch.

Rows take their mean and the sum of squares around it in two passes; groups and channels, which may not fit a cache, take
both in one pass around the mean of their beginning, which is near enough to lose nothing. (mean, 1 / deviation) are kept
for the gradient. Half precisions are computed in float32; sums run in float32 lanes over
fixed blocks and in float64 between them. Work is divided by rows, groups or channels, never by threads, so results are
the same bits on any number of them.
"""

import functools
from typing import Any

from facula.kernel.language import (
    Kernel, Value, cast, f64, fma, host, i64, kernel, load, offset, ptr, select, specialise, splat, sqrt, store, tail_mask,
    unroll, urem, vec,
)  # fmt: skip
from facula.kernel.language import reduce as fold
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import BLOCK, compute_type
from facula.ops.kernels.rows import added, folded

DEPTH = 32
"""Samples of a channel that are summed before they are added to the others."""


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
    ):  # fmt: skip
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
        out: ptr(T), parts: ptr(C), grad: ptr(T), x: ptr(T), means: ptr(C), scales: ptr(C), w: ptr(T), n: i64, rows: i64, per: i64,
        lo: i64, hi: i64,
    ):  # fmt: skip
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
        out: ptr(T), means: ptr(C), scales: ptr(C), x: ptr(T), w: ptr(T), b: ptr(T), groups: i64, each: i64, size: i64, eps: f64,
        lo: i64, hi: i64,
    ):  # fmt: skip
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
        out: ptr(T), by_w: ptr(C), by_b: ptr(C), grad: ptr(T), x: ptr(T), means: ptr(C), scales: ptr(C), w: ptr(T),
        groups: i64, each: i64, size: i64, lo: i64, hi: i64,
    ):  # fmt: skip
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
                line(offset(out, at), offset(grad, at), offset(x, at), cast(factor, C), cast(along, C), cast(constant, C), size)

    return group_norm_gradient


# -- channels over the batch -----------------------------------------------------------------------------------------
@specialise
def batch_norm(code: str, training: bool, weighted: bool, running: bool) -> Any:
    """(N, C, size): each channel normalised over the batch, with its own (training) or the running statistics.

    Running statistics move by `momentum` towards the batch's, the variance unbiased. The range: channels.
    """
    T, C = KERNEL_TYPES[code], compute_type(code)
    total_of, both_of, affine = line_sums(code, "sum"), line_sums(code, "both"), affine_line(code)

    @kernel
    def batch_norm(
        out: ptr(T), means: ptr(C), scales: ptr(C), new_mean: ptr(T), new_var: ptr(T), x: ptr(T), w: ptr(T), b: ptr(T),
        old_mean: ptr(T), old_var: ptr(T), momentum: f64, samples: i64, channels: i64, size: i64, eps: f64, lo: i64, hi: i64,
    ):  # fmt: skip
        count = cast(samples * size, f64)
        for c in range(lo, hi):
            mean = C(0.0)
            variance = f64(0)
            if training:
                first = offset(x, c * size)
                total, _ = total_of(first, first, C(0.0), size)
                near = cast(total / cast(size, f64), C)
                apart = f64(0)
                squares = f64(0)
                for s in range(0, samples):
                    p = offset(x, (s * channels + c) * size)
                    part, square = both_of(p, p, near, size)
                    apart = apart + part
                    squares = squares + square
                apart = apart / count
                squares = squares - apart * apart * count
                exact = cast(near, f64) + apart
                mean = cast(exact, C)
                variance = squares / count
                if running:
                    new_mean[c] = cast((1.0 - momentum) * cast(old_mean[c], f64) + momentum * exact, T)
                    new_var[c] = cast((1.0 - momentum) * cast(old_var[c], f64) + momentum * squares / (count - 1.0), T)
            else:
                mean = cast(old_mean[c], C)
                variance = cast(old_var[c], f64)
            scale = cast(1.0 / sqrt(variance + eps), C)
            means[c] = mean
            scales[c] = scale
            constant = C(0.0)
            if weighted:
                scale = scale * cast(w[c], C)
                constant = cast(b[c], C)
            constant = constant - mean * scale
            for s in range(0, samples):
                at = (s * channels + c) * size
                affine(offset(out, at), offset(x, at), scale, constant, size)

    return batch_norm


@specialise
def batch_norm_gradient(code: str, training: bool, weighted: bool) -> Any:
    """The gradients of the input, of w and of b. The range: channels."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    pair, line = line_sums(code, "pair"), slope_line(code)

    @kernel
    def batch_norm_gradient(
        out: ptr(T), by_w: ptr(T), by_b: ptr(T), grad: ptr(T), x: ptr(T), means: ptr(C), scales: ptr(C), w: ptr(T),
        samples: i64, channels: i64, size: i64, lo: i64, hi: i64,
    ):  # fmt: skip
        count = cast(samples * size, f64)
        for c in range(lo, hi):
            mean = means[c]
            scale = cast(scales[c], f64)
            first = f64(0)
            second = f64(0)
            for s in range(0, samples):
                at = (s * channels + c) * size
                slope, product = pair(offset(x, at), offset(grad, at), mean, size)
                first = first + slope
                second = second + product
            by_w[c] = cast(second * scale, T)
            by_b[c] = cast(first, T)
            factor = scale
            if weighted:
                factor = factor * cast(w[c], f64)
            along = f64(0)
            constant = f64(0)
            if training:
                along = -second * factor * scale * scale / count
                constant = -first * factor / count - along * cast(mean, f64)
            for s in range(0, samples):
                at = (s * channels + c) * size
                line(offset(out, at), offset(grad, at), offset(x, at), cast(factor, C), cast(along, C), cast(constant, C), size)

    return batch_norm_gradient


COLUMNS = 4
"""Vectors of channels that a strip has."""


@specialise
def batch_norm_columns(code: str, training: bool, weighted: bool, running: bool) -> Any:
    """The same for (N, C): vectors across the channels. The range: strips of `COLUMNS` vectors."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)

    @kernel
    def batch_norm_columns(
        out: ptr(T), means: ptr(C), scales: ptr(C), new_mean: ptr(T), new_var: ptr(T), x: ptr(T), w: ptr(T), b: ptr(T),
        old_mean: ptr(T), old_var: ptr(T), momentum: f64, samples: i64, channels: i64, size: i64, eps: f64, lo: i64, hi: i64,
    ):  # fmt: skip
        count = cast(samples, f64)
        each = splat(cast(1.0 / count, C), lanes)
        small = splat(cast(eps, C), lanes)
        step = splat(cast(momentum, C), lanes)
        zeros = vec(C, lanes)(0.0)
        for strip in range(lo, hi):
            first = strip * (lanes * COLUMNS)
            p = offset(x, first)
            q = offset(out, first)
            masks = [tail_mask(lanes, channels - first - u * lanes) for u in unroll(range(COLUMNS))]
            centres = [zeros for _ in unroll(range(COLUMNS))]
            spreads = [zeros for _ in unroll(range(COLUMNS))]
            if training:
                for begin in range(0, samples, DEPTH):
                    parts = [zeros for _ in unroll(range(COLUMNS))]
                    for s in range(begin, min(begin + DEPTH, samples)):
                        for u in unroll(range(COLUMNS)):
                            parts[u] = parts[u] + cast(load(p, s * channels + u * lanes, lanes, masks[u]), C)
                    for u in unroll(range(COLUMNS)):
                        centres[u] = centres[u] + parts[u]
                for u in unroll(range(COLUMNS)):
                    centres[u] = centres[u] * each
                for begin in range(0, samples, DEPTH):
                    parts = [zeros for _ in unroll(range(COLUMNS))]
                    for s in range(begin, min(begin + DEPTH, samples)):
                        for u in unroll(range(COLUMNS)):
                            apart = cast(load(p, s * channels + u * lanes, lanes, masks[u]), C) - centres[u]
                            parts[u] = fma(apart, apart, parts[u])
                    for u in unroll(range(COLUMNS)):
                        spreads[u] = spreads[u] + parts[u]
                if running:
                    unbiased = splat(cast(1.0 / (count - 1.0), C), lanes)
                    for u in unroll(range(COLUMNS)):
                        at = first + u * lanes
                        known = cast(load(old_mean, at, lanes, masks[u]), C)
                        store(new_mean, at, cast(known + step * (centres[u] - known), T), masks[u])
                        known = cast(load(old_var, at, lanes, masks[u]), C)
                        store(new_var, at, cast(known + step * (spreads[u] * unbiased - known), T), masks[u])
                for u in unroll(range(COLUMNS)):
                    spreads[u] = spreads[u] * each
            else:
                for u in unroll(range(COLUMNS)):
                    centres[u] = cast(load(old_mean, first + u * lanes, lanes, masks[u]), C)
                    spreads[u] = cast(load(old_var, first + u * lanes, lanes, masks[u]), C)
            constants = [zeros for _ in unroll(range(COLUMNS))]
            for u in unroll(range(COLUMNS)):
                at = first + u * lanes
                spreads[u] = 1.0 / sqrt(spreads[u] + small)
                store(means, at, centres[u], masks[u])
                store(scales, at, spreads[u], masks[u])
                if weighted:
                    spreads[u] = spreads[u] * cast(load(w, at, lanes, masks[u]), C)
                    constants[u] = cast(load(b, at, lanes, masks[u]), C)
            for s in range(0, samples):
                for u in unroll(range(COLUMNS)):
                    at = s * channels + u * lanes
                    value = fma(cast(load(p, at, lanes, masks[u]), C) - centres[u], spreads[u], constants[u])
                    store(q, at, cast(value, T), masks[u])

    return batch_norm_columns


@specialise
def batch_norm_columns_gradient(code: str, training: bool, weighted: bool) -> Any:
    """The gradients of the input, of w and of b for (N, C). The range: strips of `COLUMNS` vectors."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(C.itemsize)

    @kernel
    def batch_norm_columns_gradient(
        out: ptr(T), by_w: ptr(T), by_b: ptr(T), grad: ptr(T), x: ptr(T), means: ptr(C), scales: ptr(C), w: ptr(T),
        samples: i64, channels: i64, size: i64, lo: i64, hi: i64,
    ):  # fmt: skip
        each = splat(cast(1.0 / cast(samples, f64), C), lanes)
        zeros = vec(C, lanes)(0.0)
        for strip in range(lo, hi):
            first = strip * (lanes * COLUMNS)
            p = offset(x, first)
            g = offset(grad, first)
            q = offset(out, first)
            masks = [tail_mask(lanes, channels - first - u * lanes) for u in unroll(range(COLUMNS))]
            centres = [load(means, first + u * lanes, lanes, masks[u]) for u in unroll(range(COLUMNS))]
            factors = [load(scales, first + u * lanes, lanes, masks[u]) for u in unroll(range(COLUMNS))]
            sums = [zeros for _ in unroll(range(COLUMNS))]
            products = [zeros for _ in unroll(range(COLUMNS))]
            for begin in range(0, samples, DEPTH):
                some = [zeros for _ in unroll(range(COLUMNS))]
                others = [zeros for _ in unroll(range(COLUMNS))]
                for s in range(begin, min(begin + DEPTH, samples)):
                    for u in unroll(range(COLUMNS)):
                        at = s * channels + u * lanes
                        slope = cast(load(g, at, lanes, masks[u]), C)
                        some[u] = some[u] + slope
                        others[u] = fma(slope, cast(load(p, at, lanes, masks[u]), C) - centres[u], others[u])
                for u in unroll(range(COLUMNS)):
                    sums[u] = sums[u] + some[u]
                    products[u] = products[u] + others[u]
            for u in unroll(range(COLUMNS)):
                at = first + u * lanes
                scale = factors[u]
                store(by_w, at, cast(products[u] * scale, T), masks[u])
                store(by_b, at, cast(sums[u], T), masks[u])
                if weighted:
                    factors[u] = factors[u] * cast(load(w, at, lanes, masks[u]), C)
                if training:
                    # value = factor * g + along * (x - centre) + constant
                    products[u] = -(products[u] * scale * scale * factors[u] * each)
                    sums[u] = -(sums[u] * factors[u] * each)
            for s in range(0, samples):
                for u in unroll(range(COLUMNS)):
                    at = s * channels + u * lanes
                    value = cast(load(g, at, lanes, masks[u]), C) * factors[u]
                    if training:
                        apart = cast(load(p, at, lanes, masks[u]), C) - centres[u]
                        value = value + fma(apart, products[u], sums[u])
                    store(q, at, cast(value, T), masks[u])

    return batch_norm_columns_gradient
