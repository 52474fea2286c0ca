"""Pooling over windows of planes: (planes, D, H, W) to (planes, OD, OH, OW); one and two dimensions have sizes of 1.

A task is one row of outputs. Outputs whose window lies inside the row are computed as vectors (taps `step` apart are
loaded in pairs and split where that is 2, gathered where it is more), those at the edges one by one. The maximum keeps
the place in the plane where it was found, first of equals, so that its gradient is one addition for each output. Gradients walk the planes
serially: results are the same bits on any number of threads.

The sizes are handed over as one block of numbers: see `Window`.
"""

import math
from typing import Any, NamedTuple

from facula.kernel.language import (
    Value,
    cast,
    f64,
    gather,
    host,
    i32,
    i64,
    iota,
    kernel,
    load,
    offset,
    ptr,
    select,
    shuffle,
    specialise,
    splat,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
    vec,
)
from facula.kernel.types import Type
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import compute_type


class Window(NamedTuple):
    """The geometry, each of three dimensions: sizes, output sizes, kernel, stride, padding, dilation; then the outputs
    [low, high) of a row whose window does not reach over an edge, whether padding counts, and the divisor (0: the count)."""

    size: tuple[int, ...]
    out: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    low: int
    high: int
    padded: int
    divisor: int

    def numbers(self) -> tuple[int, ...]:
        """In the order in which the kernels read them."""
        return (
            *self.size,
            *self.out,
            *self.kernel,
            *self.stride,
            *self.padding,
            *self.dilation,
            self.low,
            self.high,
            self.padded,
            self.divisor,
        )


COUNT = 22


def lowest_of(type: Type) -> Any:
    """What is below every value."""
    if type.kind == "f":
        return -math.inf
    return 0 if type.kind in "ub" else -(1 << (type.bits - 1))


def window_of(block: Value) -> list[Value]:
    """The numbers of a window."""
    return [load(block, i) for i in range(COUNT)]


def taps(line: Value, step: int, apart: Value, lanes: int, left: Value, width: int) -> list[Value]:
    """The first `width` taps of the windows of `lanes` neighbouring outputs, of which `left` exist, as vectors."""
    if step == 1:
        mask = tail_mask(lanes, left)
        return [load(line, k, lanes, mask) for k in range(width)]
    if step == 2:
        found = []
        for k in range(0, width, 2):
            reach = left * 2 if k + 1 < width else left * 2 - 1
            a = load(line, k, lanes, tail_mask(lanes, reach))
            b = load(line, k + lanes, lanes, tail_mask(lanes, reach - lanes))
            found.append(shuffle(a, b, range(0, 2 * lanes, 2)))
            if k + 1 < width:
                found.append(shuffle(a, b, range(1, 2 * lanes, 2)))
        return found
    places = iota(i64, lanes) * splat(apart, lanes)
    mask = tail_mask(lanes, left)
    return [gather(offset(line, k), places, mask) for k in range(width)]


def greater(a: Value, b: Value) -> Value:
    """Whether a takes the place of the maximum b: NaN always does."""
    return (a > b) | (a != a) if a.type.is_float else a > b


@specialise
def max_pool(code: str, index: str, width: int, step: int) -> Any:
    """The maximum of each window; `index` is the type of the places kept beside it, or ''.

    width: the taps of a window in a row if they are few and not dilated, else 0 (one tap at a time). step: the stride in a
    row if it is 1 or 2, else 0. The range: rows of outputs.
    """
    T, C = KERNEL_TYPES[code], compute_type(code)
    Index = KERNEL_TYPES[index or "i32"]
    lanes = host().lanes(max(C.itemsize, 4))
    static = width or 1

    @kernel
    def max_pool(out: ptr(T), places: ptr(Index), x: ptr(T), block: ptr(i64), lo: i64, hi: i64):
        D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW, DD, DH, DW, low, high, _, _ = window_of(block)
        lowest = lowest_of(C)
        rounds = i64(1)
        if width == 0:
            rounds = KW
        for task in range(lo, hi):
            oh = urem(task, OH)
            rest = udiv(task, OH)
            plane = udiv(rest, OD)
            top_d = urem(rest, OD) * SD - PD
            top_h = oh * SH - PH
            p = offset(x, plane * D * H * W)
            q = offset(out, task * OW)
            r = offset(places, task * OW)
            for ow in range(low, high, lanes):
                left = high - ow
                best = vec(C, lanes)(lowest)
                first = (max(top_d, 0) * H + max(top_h, 0)) * W + ow * SW - PW
                spread = iota(i32, lanes) * splat(cast(SW, i32), lanes)
                found = splat(cast(first, i32), lanes) + spread
                for kd in range(0, KD):
                    d = top_d + kd * DD
                    if (d >= 0) & (d < D):
                        for kh in range(0, KH):
                            h = top_h + kh * DH
                            if (h >= 0) & (h < H):
                                for round in range(0, rounds):
                                    start = (d * H + h) * W + ow * SW - PW + round * DW
                                    values = taps(offset(p, start), step, SW, lanes, left, static)
                                    for k in unroll(range(static)):
                                        value = cast(values[k], C)
                                        wins = greater(value, best)
                                        best = select(wins, value, best)
                                        if index:
                                            found = select(wins, splat(cast(start + k, i32), lanes) + spread, found)
                mask = tail_mask(lanes, left)
                store(q, ow, cast(best, T), mask)
                if index:
                    store(r, ow, cast(found, Index), mask)
            for side in unroll(range(2)):
                begin = i64(0) if side == 0 else high
                end = low if side == 0 else OW
                for ow in range(begin, end):
                    best_one = C(lowest)
                    place = i64(-1)
                    for kd in range(0, KD):
                        d = top_d + kd * DD
                        if (d >= 0) & (d < D):
                            for kh in range(0, KH):
                                h = top_h + kh * DH
                                if (h >= 0) & (h < H):
                                    for kw in range(0, KW):
                                        w = ow * SW - PW + kw * DW
                                        if (w >= 0) & (w < W):
                                            at = (d * H + h) * W + w
                                            value = cast(p[at], C)
                                            if greater(value, best_one) | (place < 0):
                                                best_one = value
                                                place = at
                    q[ow] = cast(best_one, T)
                    if index:
                        r[ow] = cast(place, Index)

    return max_pool


@specialise
def max_pool_gradient(code: str, index: str) -> Any:
    """Each output's gradient added where its maximum was found. The range: planes."""
    T, Index = KERNEL_TYPES[code], KERNEL_TYPES[index]
    lanes = host().lanes(T.itemsize)

    @kernel
    def max_pool_gradient(out: ptr(T), grad: ptr(T), places: ptr(Index), size: i64, count: i64, lo: i64, hi: i64):
        zeros = vec(T, lanes)(0)
        for plane in range(lo, hi):
            q = offset(out, plane * size)
            g = offset(grad, plane * count)
            r = offset(places, plane * count)
            main = size // lanes * lanes
            for i in range(0, main, lanes):
                store(q, i, zeros)
            for i in range(main, size):
                q[i] = T(0)
            for i in range(0, count):
                at = cast(r[i], i64)
                q[at] = q[at] + g[i]

    return max_pool_gradient


@specialise
def halves_gradient(code: str, average: bool) -> Any:
    """The gradient of pooling over disjoint windows of 2 by 2: every element is written once. The range: rows of windows."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(max(C.itemsize, 4))
    low, high = list(range(lanes // 2)), list(range(lanes // 2, lanes))
    first = [i for pair in zip(low, [lanes + i for i in low], strict=True) for i in pair]
    second = [i for pair in zip(high, [lanes + i for i in high], strict=True) for i in pair]

    @kernel
    def halves_gradient(
        out: ptr(T),
        grad: ptr(T),
        places: ptr(i32),
        H: i64,
        W: i64,
        OH: i64,
        OW: i64,
        lo: i64,
        hi: i64,
    ):
        zeros = vec(T, lanes)(0.0)
        for task in range(lo, hi):
            oh = urem(task, OH)
            plane = offset(out, udiv(task, OH) * H * W)
            g = offset(grad, task * OW)
            r = offset(places, task * OW)
            for ow in range(0, OW, lanes):
                left = OW - ow
                mask = tail_mask(lanes, left)
                value = load(g, ow, lanes, mask)
                found = splat(i32(0), lanes)
                spread = iota(i32, lanes) * 2
                if not average:
                    found = load(r, ow, lanes, mask)
                near = tail_mask(lanes, left * 2)
                far = tail_mask(lanes, left * 2 - lanes)
                for k in unroll(range(2)):
                    start = (oh * 2 + k) * W + ow * 2
                    if average:
                        even = cast(cast(value, C) * 0.25, T)
                        odd = even
                    else:
                        here = spread + splat(cast(start, i32), lanes)
                        even = select(found == here, value, zeros)
                        odd = select(found == here + 1, value, zeros)
                    store(plane, start, shuffle(even, odd, first), near)
                    store(plane, start + lanes, shuffle(even, odd, second), far)
                if (W & 1) != 0:
                    if ow + lanes >= OW:
                        plane[(oh * 2 + 1) * W - 1] = T(0)
                        plane[(oh * 2 + 2) * W - 1] = T(0)
            if (H & 1) != 0:
                if oh == OH - 1:
                    for i in range((H - 1) * W, H * W):
                        plane[i] = T(0)

    return halves_gradient


def extent(start: Value, size: Value, kernel_size: Value, padding: Value, padded: Value) -> tuple[Value, Value, Value]:
    """(first, last, how many count) of a window along one dimension."""
    stop = min_of(start + kernel_size, size + padding)
    first, last = max_of(start, 0), min_of(stop, size)
    return first, last, select(padded != 0, stop - start, last - first)


def min_of(a: Value, b: Any) -> Value:
    """The smaller integer."""
    return select(a < b, a, b)


def max_of(a: Value, b: Any) -> Value:
    """The larger integer."""
    return select(a > b, a, b)


@specialise
def avg_pool(code: str, width: int, step: int) -> Any:
    """The mean of each window. Arguments and range as of `max_pool`."""
    T, C = KERNEL_TYPES[code], compute_type(code)
    lanes = host().lanes(max(C.itemsize, 4))
    static = width or 1

    @kernel
    def avg_pool(out: ptr(T), x: ptr(T), block: ptr(i64), lo: i64, hi: i64):
        D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW, _, _, _, low, high, padded, divisor = window_of(block)
        rounds = i64(1)
        if width == 0:
            rounds = KW
        for task in range(lo, hi):
            oh = urem(task, OH)
            rest = udiv(task, OH)
            first_d, last_d, count_d = extent(urem(rest, OD) * SD - PD, D, KD, PD, padded)
            first_h, last_h, count_h = extent(oh * SH - PH, H, KH, PH, padded)
            p = offset(x, udiv(rest, OD) * D * H * W)
            q = offset(out, task * OW)
            inside = select(divisor != 0, divisor, count_d * count_h * KW)
            factor = splat(cast(1.0 / cast(inside, f64), C), lanes)
            for ow in range(low, high, lanes):
                left = high - ow
                total = vec(C, lanes)(0.0)
                for d in range(first_d, last_d):
                    for h in range(first_h, last_h):
                        for round in range(0, rounds):
                            start = (d * H + h) * W + ow * SW - PW + round
                            values = taps(offset(p, start), step, SW, lanes, left, static)
                            for k in unroll(range(static)):
                                total = total + cast(values[k], C)
                store(q, ow, cast(total * factor, T), tail_mask(lanes, left))
            for side in unroll(range(2)):
                begin = i64(0) if side == 0 else high
                end = low if side == 0 else OW
                for ow in range(begin, end):
                    first_w, last_w, count_w = extent(ow * SW - PW, W, KW, PW, padded)
                    one = C(0.0)
                    for d in range(first_d, last_d):
                        for h in range(first_h, last_h):
                            for w in range(first_w, last_w):
                                one = one + cast(p[(d * H + h) * W + w], C)
                    count = select(divisor != 0, divisor, count_d * count_h * count_w)
                    q[ow] = cast(one / cast(count, C), T)

    return avg_pool


@specialise
def avg_pool_gradient(code: str) -> Any:
    """Each output's gradient shared by its window. The range: planes."""
    T, C = KERNEL_TYPES[code], compute_type(code)

    @kernel
    def avg_pool_gradient(out: ptr(T), grad: ptr(T), block: ptr(i64), lo: i64, hi: i64):
        D, H, W, OD, OH, OW, KD, KH, KW, SD, SH, SW, PD, PH, PW, _, _, _, _, _, padded, divisor = window_of(block)
        for plane in range(lo, hi):
            q = offset(out, plane * D * H * W)
            for i in range(0, D * H * W):
                q[i] = cast(C(0.0), T)
            for row in range(0, OD * OH):
                first_d, last_d, count_d = extent(udiv(row, OH) * SD - PD, D, KD, PD, padded)
                first_h, last_h, count_h = extent(urem(row, OH) * SH - PH, H, KH, PH, padded)
                g = offset(grad, (plane * OD * OH + row) * OW)
                for ow in range(0, OW):
                    first_w, last_w, count_w = extent(ow * SW - PW, W, KW, PW, padded)
                    count = select(divisor != 0, divisor, count_d * count_h * count_w)
                    share = cast(g[ow], C) / cast(count, C)
                    for d in range(first_d, last_d):
                        for h in range(first_h, last_h):
                            for w in range(first_w, last_w):
                                at = (d * H + h) * W + w
                                q[at] = cast(cast(q[at], C) + share, T)

    return avg_pool_gradient


def adaptive(index: Value, size: Value, count: Value) -> tuple[Value, Value]:
    """Where the window of an output begins and ends if `count` of them cover `size` elements."""
    return udiv(index * size, count), udiv((index + 1) * size + count - 1, count)


@specialise
def adaptive_pool(code: str, action: str) -> Any:
    """Windows that cover the plane whatever its size: 'max' (with places, i64), 'avg', or 'spread', the gradient of the mean.

    The range: planes. `out` has what is written; `size` are the sizes of the plane, `count` the numbers of windows.
    """
    T, C = KERNEL_TYPES[code], compute_type(code)

    @kernel
    def adaptive_pool(
        out: ptr(T),
        places: ptr(i64),
        x: ptr(T),
        D: i64,
        H: i64,
        W: i64,
        OD: i64,
        OH: i64,
        OW: i64,
        lo: i64,
        hi: i64,
    ):
        for plane in range(lo, hi):
            large = plane * D * H * W
            small = plane * OD * OH * OW
            if action == "spread":
                for i in range(0, D * H * W):
                    out[large + i] = cast(C(0.0), T)
            for row in range(0, OD * OH):
                first_d, last_d = adaptive(udiv(row, OH), D, OD)
                first_h, last_h = adaptive(urem(row, OH), H, OH)
                deep = (last_d - first_d) * (last_h - first_h)
                for ow in range(0, OW):
                    first_w, last_w = adaptive(ow, W, OW)
                    at_small = small + row * OW + ow
                    best = C(0) if action != "spread" else cast(x[at_small], C)
                    if action == "spread":
                        best = best / cast(deep * (last_w - first_w), C)
                    place = i64(-1)
                    for d in range(first_d, last_d):
                        for h in range(first_h, last_h):
                            line = (d * H + h) * W
                            for at in range(line + first_w, line + last_w):
                                if action == "max":
                                    value = cast(x[large + at], C)
                                    if greater(value, best) | (place < 0):
                                        best = value
                                        place = at
                                elif action == "avg":
                                    best = best + cast(x[large + at], C)
                                else:
                                    out[large + at] = cast(cast(out[large + at], C) + best, T)
                    if action == "max":
                        out[at_small] = cast(best, T)
                        places[at_small] = place
                    elif action == "avg":
                        out[at_small] = cast(best / cast(deep * (last_w - first_w), C), T)

    return adaptive_pool
