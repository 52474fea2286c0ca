"""Convolutions whose groups are single channels (depthwise), with unit stride: forward, and the gradients.

There is no sum over many planes to amortise a padded copy or packed weights, so these read the input where it lies:
masks cut off what lies beside it. A tile is a column of vectors, some output rows high; each row of the input that it
loads serves all output rows that the kernel's height brings it to.
"""

import ctypes
import functools

from facula.kernel.language import (
    Kernel,
    Type,
    Value,
    as_pointer,
    fma,
    host,
    i32,
    i64,
    iota,
    kernel,
    load,
    ptr,
    reduce,
    splat,
    store,
    tail_mask,
    unroll,
    urem,
    vec,
)
from facula.ops.kernels.conv_plan import TARGET_WORK, TYPES, Axis, numbers
from facula.runtime import launch, threads

ROWS = 4
"""Output rows of a tile."""


class Field:
    """Indices into the table of numbers that describes a depthwise convolution."""

    channels, in_height, in_width, out_height, out_width, top, left, w_first, w_step, images, no_bias = range(11)


def _inside(start: Value, lanes: int, width: Value) -> Value:
    """Truth for lanes whose column start + lane lies in [0, width)."""
    columns = iota(i32, lanes) + splat(i32(start), lanes)
    return (columns >= 0) & (columns < splat(i32(width), lanes))


@functools.cache
def depthwise_kernel(T: Type, lanes: int, high: int, wide: int) -> Kernel:
    """Planes [lo, hi) of images x channels, each with its own kernel of high x wide taps."""

    @kernel
    def depthwise(y: ptr(T), x: ptr(T), w: ptr(T), bias: ptr(T), biased: i64, g: ptr(i64), lo: i64, hi: i64):
        width, height, out_width, out_height = (
            g[Field.in_width], g[Field.in_height], g[Field.out_width], g[Field.out_height],
        )  # fmt: skip
        for plane in range(lo, hi):
            channel = urem(plane, g[Field.channels])
            source, target = x + plane * height * width, y + plane * out_height * out_width
            weights = w + (channel * (high * wide) + g[Field.w_first])
            step = g[Field.w_step]
            factors = [splat(load(weights, step * t), lanes) for t in range(high * wide)]
            at_bias = as_pointer(g + g[Field.no_bias], T)
            if biased != 0:
                at_bias = bias + channel
            plus = splat(load(at_bias), lanes)
            for column in range(0, out_width, lanes):
                masks = [_inside(column + (g[Field.left] + j), lanes, width) for j in range(wide)]
                written = tail_mask(lanes, out_width - column)
                for row in range(0, out_height, ROWS):
                    sums = [plus for _ in range(ROWS)]
                    for r in unroll(range(ROWS + high - 1)):
                        from_row = row + (g[Field.top] + r)
                        there = (from_row >= 0) & (from_row < height)
                        reads = source + (from_row * width + (column + g[Field.left]))
                        for j in unroll(range(wide)):
                            mask = masks[j] & splat(there, lanes)
                            value = load(reads, j, lanes, mask)
                            for o in unroll(range(max(0, r - high + 1), min(ROWS, r + 1))):
                                sums[o] = fma(value, factors[(r - o) * wide + j], sums[o])
                    for o in unroll(range(ROWS)):
                        if out_height - row > o:
                            store(target, (row + o) * out_width + column, sums[o], written)

    return depthwise


@functools.cache
def depthwise_weight_kernel(T: Type, lanes: int, high: int, wide: int) -> Kernel:
    """The weights' gradient of channels [lo, hi)."""
    V = vec(T, lanes)

    @kernel
    def depthwise_weight(dw: ptr(T), x: ptr(T), dy: ptr(T), g: ptr(i64), lo: i64, hi: i64):
        width, height, out_width, out_height = (
            g[Field.in_width], g[Field.in_height], g[Field.out_width], g[Field.out_height],
        )  # fmt: skip
        for channel in range(lo, hi):
            sums = [V(0.0) for _ in range(high * wide)]
            for image in range(g[Field.images]):
                plane = image * g[Field.channels] + channel
                source, gradient = x + plane * height * width, dy + plane * out_height * out_width
                for column in range(0, out_width, lanes):
                    masks = [_inside(column + (g[Field.left] + j), lanes, width) for j in range(wide)]
                    read = tail_mask(lanes, out_width - column)
                    for row in range(0, out_height, ROWS):
                        rows = [
                            load(
                                gradient,
                                (row + o) * out_width + column,
                                lanes,
                                read & splat(out_height - row > o, lanes),
                            )
                            for o in range(ROWS)
                        ]
                        for r in unroll(range(ROWS + high - 1)):
                            from_row = row + (g[Field.top] + r)
                            there = (from_row >= 0) & (from_row < height)
                            reads = source + (from_row * width + (column + g[Field.left]))
                            for j in unroll(range(wide)):
                                value = load(reads, j, lanes, masks[j] & splat(there, lanes))
                                for o in unroll(range(max(0, r - high + 1), min(ROWS, r + 1))):
                                    t = (r - o) * wide + j
                                    sums[t] = fma(value, rows[o], sums[t])
            for t in unroll(range(high * wide)):
                dw[channel * (high * wide) + t] = reduce("add", sums[t])

    return depthwise_weight


def applies(groups: int, planes: int, channels: int, axes: tuple[Axis, Axis, Axis]) -> bool:
    """Whether these kernels can compute a correlation along `axes` (see `conv_plan`)."""
    depth, rows, columns = axes
    if planes != 1 or channels != 1 or groups < 16 or depth != Axis(1, 1, 1, ((0, 0),), 0, 1, 1):
        return False
    if any(axis.stride != 1 or axis.step != 1 or axis.start != 0 for axis in (rows, columns)):
        return False
    for axis in (rows, columns):
        shifts = [shift for shift, _ in axis.taps]
        if shifts != list(range(shifts[0], shifts[0] + len(shifts))):
            return False
    return len(rows.taps) * len(columns.taps) + ROWS + 3 <= host().registers


class Depthwise:
    """A plan for a forward convolution, or for an input gradient with the taps in reverse order."""

    def __init__(self, dtype: str, images: int, groups: int, axes: tuple[Axis, Axis, Axis]) -> None:
        self.dtype, self.images, self.groups = TYPES[dtype], images, groups
        _, rows, columns = axes
        self.taps = len(rows.taps), len(columns.taps)
        total = self.taps[0] * self.taps[1]
        reverse = rows.taps[0][1] > rows.taps[-1][1] or columns.taps[0][1] > columns.taps[-1][1]
        widest = host().lanes(self.dtype.itemsize)
        self.lanes = widest // 2 if host().vector_bits == 512 and columns.outputs <= widest // 2 else widest
        self.table = numbers([
            groups, rows.size, columns.size, rows.outputs, columns.outputs, rows.taps[0][0], columns.taps[0][0],
            total - 1 if reverse else 0, -1 if reverse else 1, images, 11, 0,
        ])  # fmt: skip
        self.table_address = ctypes.addressof(self.table)
        self.items = images * groups
        self.work = self.items * rows.outputs * columns.outputs * total
        self.grain = max(1, self.items * TARGET_WORK // (4 * max(1, self.work)))
        self.weight_grain = max(1, groups * TARGET_WORK // (4 * max(1, self.work)))

    @functools.cached_property
    def kernel(self) -> Kernel:
        """depthwise(y, x, w, bias, biased, table) over `items`."""
        return depthwise_kernel(self.dtype, self.lanes, *self.taps)

    @functools.cached_property
    def weight_kernel(self) -> Kernel:
        """depthwise_weight(dw, x, dy, table) over `groups`."""
        return depthwise_weight_kernel(self.dtype, self.lanes, *self.taps)

    def run(self, x: int, w: int, bias: int, y: int) -> None:
        """Compute for contiguous arrays at these addresses (bias 0: none)."""
        threads.install()
        launch.launch(self.kernel.address(), self.items, self.grain, y, x, w, bias, int(bias != 0), self.table_address)


class DepthwiseWeight(Depthwise):
    """A plan for the weights' gradient, for the axes of the forward convolution."""

    def run(self, x: int, dy: int, dw: int) -> None:  # type: ignore[override]
        """Compute for contiguous arrays at these addresses."""
        threads.install()
        run = launch.launch
        run(self.weight_kernel.address(), self.groups, self.weight_grain, dw, x, dy, self.table_address)
