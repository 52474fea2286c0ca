"""Normalisation of channels over the batch: (N, C, size) channel by channel, (N, C) as vectors across the channels.

Statistics are taken as for groups (see `norm`). A channel is never divided, so results are the same bits on any number of
threads. Running statistics are read and written where they lie.
"""

from typing import Any

from facula.kernel.language import (
    cast,
    f64,
    fma,
    host,
    i64,
    kernel,
    load,
    offset,
    ptr,
    specialise,
    splat,
    sqrt,
    store,
    tail_mask,
    unroll,
    vec,
)
from facula.ops.kernels.norm import affine_line, line_sums, slope_line
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import compute_type

DEPTH = 32
"""Samples of a channel that are summed before they are added to the others."""


@specialise
def batch_norm(code: str, training: bool, weighted: bool, running: bool) -> Any:
    """(N, C, size): each channel normalised over the batch, with its own (training) or the running statistics.

    Running statistics move by `momentum` towards the batch's, the variance unbiased. The range: channels.
    """
    T, C = KERNEL_TYPES[code], compute_type(code)
    total_of, both_of, affine = line_sums(code, "sum"), line_sums(code, "both"), affine_line(code)

    @kernel
    def batch_norm(
        out: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        new_mean: ptr(T),
        new_var: ptr(T),
        x: ptr(T),
        w: ptr(T),
        b: ptr(T),
        old_mean: ptr(T),
        old_var: ptr(T),
        momentum: f64,
        samples: i64,
        channels: i64,
        size: i64,
        eps: f64,
        lo: i64,
        hi: i64,
    ):
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
        out: ptr(T),
        by_w: ptr(T),
        by_b: ptr(T),
        grad: ptr(T),
        x: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        w: ptr(T),
        samples: i64,
        channels: i64,
        size: i64,
        lo: i64,
        hi: i64,
    ):
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
                line(
                    offset(out, at),
                    offset(grad, at),
                    offset(x, at),
                    cast(factor, C),
                    cast(along, C),
                    cast(constant, C),
                    size,
                )

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
        out: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        new_mean: ptr(T),
        new_var: ptr(T),
        x: ptr(T),
        w: ptr(T),
        b: ptr(T),
        old_mean: ptr(T),
        old_var: ptr(T),
        momentum: f64,
        samples: i64,
        channels: i64,
        size: i64,
        eps: f64,
        lo: i64,
        hi: i64,
    ):
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
        out: ptr(T),
        by_w: ptr(T),
        by_b: ptr(T),
        grad: ptr(T),
        x: ptr(T),
        means: ptr(C),
        scales: ptr(C),
        w: ptr(T),
        samples: i64,
        channels: i64,
        size: i64,
        lo: i64,
        hi: i64,
    ):
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
