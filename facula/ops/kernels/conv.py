"""Convolutions of contiguous arrays in one, two or three dimensions: forward, and the gradients of input and weights.

Each function here gives a plan for sizes; `plan.run(addresses...)` computes it. Fewer than three dimensions are three
whose first ones have size 1. A transposed convolution is the gradient of the input of a convolution, so it needs no
code.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from typing import NamedTuple

from facula.ops.kernels.conv_depthwise import Depthwise, DepthwiseWeight, applies
from facula.ops.kernels.conv_plan import Axis, Correlation
from facula.ops.kernels.conv_weight import WeightGradient

Axes = tuple[Axis, Axis, Axis]


class Sizes(NamedTuple):
    """A convolution. The tuples have three entries: depth, height, width. `padding` is that before the first element;
    what is added after the last one shows in `outputs`.
    """

    dtype: str
    images: int
    groups: int
    in_channels: int
    out_channels: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def group_inputs(self) -> int:
        """Input channels of a group."""
        return self.in_channels // self.groups

    @property
    def group_outputs(self) -> int:
        """Output channels of a group."""
        return self.out_channels // self.groups

    @property
    def taps(self) -> int:
        """Elements of a kernel for one pair of channels."""
        return self.kernel[0] * self.kernel[1] * self.kernel[2]


def _forward_axes(sizes: Sizes) -> Axes:
    found = []
    for size, outputs, kernel, stride, padding, dilation in zip(*sizes[5:], strict=True):
        taps = tuple((tap * dilation - padding, tap) for tap in range(kernel))
        found.append(Axis(size, outputs, stride, taps, 0, 1, outputs))
    return found[0], found[1], found[2]


def _gradient_axes(sizes: Sizes, axis: int) -> list[Axis]:
    """The parts of the input gradient along an axis: inputs whose number has one remainder modulo the stride."""
    size, outputs, kernel, stride, padding, dilation = (field[axis] for field in sizes[5:])
    parts = []
    for first in range(min(stride, size)):
        ahead = ((first + padding - tap * dilation, tap) for tap in range(kernel))
        taps = tuple(sorted((distance // stride, tap) for distance, tap in ahead if distance % stride == 0))
        parts.append(Axis(outputs, -(-(size - first) // stride), 1, taps, first, stride, size))
    return parts


def _correlation(
    sizes: Sizes, planes: int, channels: int, axes: Axes, weight_strides: tuple[int, int]
) -> Correlation | Depthwise:
    if applies(sizes.groups, planes, channels, axes):
        return Depthwise(sizes.dtype, sizes.images, sizes.groups, axes)
    return Correlation(sizes.dtype, sizes.images, sizes.groups, planes, channels, axes, weight_strides, sizes.kernel)


@functools.lru_cache(1024)
def forward(sizes: Sizes) -> Correlation | Depthwise:
    """y = conv(x, w) + bias: `run(x, w, bias, y)` with bias 0 for none."""
    strides = sizes.group_inputs * sizes.taps, sizes.taps
    return _correlation(sizes, sizes.group_inputs, sizes.group_outputs, _forward_axes(sizes), strides)


class InputGradient:
    """The gradient of the input: `run(dy, w, bias, dx)`. The bias, added to each channel of dx, serves transposed
    convolutions.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.parts = []
        self.missing = False
        item = 8 if sizes.dtype == "f64" else 4
        self.nbytes = sizes.images * sizes.in_channels * sizes.inputs[0] * sizes.inputs[1] * sizes.inputs[2] * item
        strides = sizes.taps, sizes.group_inputs * sizes.taps
        for axes in itertools.product(*(_gradient_axes(sizes, axis) for axis in range(3))):
            if all(axis.taps for axis in axes) and all(axis.outputs and axis.size for axis in axes):
                self.parts.append(_correlation(sizes, sizes.group_outputs, sizes.group_inputs, axes, strides))
            else:
                self.missing = True  # elements that no output reads
        self.sizes = sizes

    def run(self, dy: int, w: int, bias: int, dx: int) -> None:
        """Compute for contiguous arrays at these addresses (bias 0: none)."""
        if self.missing:
            self._fill(bias, dx)
        for part in self.parts:
            part.run(dy, w, bias, dx)

    def _fill(self, bias: int, dx: int) -> None:
        """dx where nothing is added: zero, or the bias."""
        if not bias:
            ctypes.memset(dx, 0, self.nbytes)
            return
        item = 8 if self.sizes.dtype == "f64" else 4
        channels = self.sizes.in_channels
        plane = self.nbytes // max(1, self.sizes.images * channels)
        for image in range(self.sizes.images):
            for channel in range(channels):
                value = ctypes.string_at(bias + channel * item, item)
                ctypes.memmove(dx + (image * channels + channel) * plane, value * (plane // item), plane)


@functools.lru_cache(1024)
def input_gradient(sizes: Sizes) -> InputGradient:
    """dx from dy and w, for the sizes of the forward convolution."""
    return InputGradient(sizes)


@functools.lru_cache(1024)
def weight_gradient(sizes: Sizes) -> WeightGradient | DepthwiseWeight:
    """dw from x and dy: `run(x, dy, dw)`."""
    axes = _forward_axes(sizes)
    if applies(sizes.groups, sizes.group_inputs, sizes.group_outputs, axes):
        return DepthwiseWeight(sizes.dtype, sizes.images, sizes.groups, axes)
    return WeightGradient(sizes.dtype, sizes.images, sizes.groups, sizes.group_inputs, sizes.group_outputs, axes)
