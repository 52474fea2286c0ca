"""Pooling functions composed of the pooling operators, and the choice between values and values with indices.

In: (N, C, *size) or (C, *size). Out: the same with other sizes. The formulas are with the layers of
`facula.nn.modules.pooling`.
"""

from __future__ import annotations

import math
from typing import Any

from facula.nn.functional import _operators as op
from facula.tensor.creation import arange
from facula.tensor.random import rand
from facula.tensor.tensor import Tensor


def _tuple(value: Any, n: int) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,) * n


def max_pool1d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window, and its index along the last dimension."""
    step = kernel_size if stride is None else stride
    return op.max_pool1d_with_indices(input, kernel_size, step, padding, dilation, ceil_mode)


def max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window; with `return_indices` also its index along the last dimension."""
    step = kernel_size if stride is None else stride
    if return_indices:
        return op.max_pool1d_with_indices(input, kernel_size, step, padding, dilation, ceil_mode)
    return op.max_pool1d(input, kernel_size, step, padding, dilation, ceil_mode)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window, and its index in the flattened plane."""
    step = kernel_size if stride is None else stride
    return op.max_pool2d_with_indices(input, kernel_size, step, padding, dilation, ceil_mode)


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window; with `return_indices` also its index in the flattened plane."""
    step = kernel_size if stride is None else stride
    if return_indices:
        return op.max_pool2d_with_indices(input, kernel_size, step, padding, dilation, ceil_mode)
    return op.max_pool2d(input, kernel_size, step, padding, dilation, ceil_mode)


def max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Tensor, Tensor]:
    """The maximum of each window, and its index in the flattened volume."""
    step = kernel_size if stride is None else stride
    return op.max_pool3d_with_indices(input, kernel_size, step, padding, dilation, ceil_mode)


def max_pool3d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of each window; with `return_indices` also its index in the flattened volume."""
    step = kernel_size if stride is None else stride
    if return_indices:
        return op.max_pool3d_with_indices(input, kernel_size, step, padding, dilation, ceil_mode)
    return op.max_pool3d(input, kernel_size, step, padding, dilation, ceil_mode)


def _adaptive_size(input: Tensor, output_size: Any, dims: int) -> list[int]:
    sizes = list(_tuple(output_size, dims))
    if len(input.shape) <= len(sizes):
        raise ValueError(f"Input dimension should be at least {len(sizes) + 1}")
    return [given if wanted is None else wanted for wanted, given in zip(sizes, input.shape[-dims:])]


def adaptive_max_pool1d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The maximum of each of `output_size` windows, and its index."""
    return op.adaptive_max_pool1d(input, _adaptive_size(input, output_size, 1))


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each of `output_size` windows; with `return_indices` also its index."""
    both = adaptive_max_pool1d_with_indices(input, output_size)
    return both if return_indices else both[0]


def adaptive_max_pool2d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The maximum of each of `output_size` windows, and its index."""
    return op.adaptive_max_pool2d(input, _adaptive_size(input, output_size, 2))


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each of `output_size` windows; with `return_indices` also its index."""
    both = adaptive_max_pool2d_with_indices(input, output_size)
    return both if return_indices else both[0]


def adaptive_max_pool3d_with_indices(
    input: Tensor, output_size: Any, return_indices: bool = False
) -> tuple[Tensor, Tensor]:
    """The maximum of each of `output_size` windows, and its index."""
    return op.adaptive_max_pool3d(input, _adaptive_size(input, output_size, 3))


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each of `output_size` windows; with `return_indices` also its index."""
    both = adaptive_max_pool3d_with_indices(input, output_size)
    return both if return_indices else both[0]


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each of `output_size` windows."""
    return op.adaptive_avg_pool1d(input, _adaptive_size(input, output_size, 1))


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each of `output_size` windows; None keeps the input's size."""
    return op.adaptive_avg_pool2d(input, _adaptive_size(input, output_size, 2))


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each of `output_size` windows; None keeps the input's size."""
    return op.adaptive_avg_pool3d(input, _adaptive_size(input, output_size, 3))


def _power_pool(
    input: Tensor, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool, dims: int, average: Any
) -> Tensor:
    window = _tuple(kernel_size, dims)
    step = window if stride is None else _tuple(stride, dims)
    means = average(input**norm_type, window, step, 0, ceil_mode)
    # The sign survives an odd power, whose root it would spoil.
    return ((means.sign() * means.abs().relu()) * math.prod(window)) ** (1.0 / norm_type)


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) over each window."""
    return _power_pool(input, norm_type, kernel_size, stride, ceil_mode, 1, op.avg_pool1d)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) over each window."""
    return _power_pool(input, norm_type, kernel_size, stride, ceil_mode, 2, op.avg_pool2d)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """(sum of x^p)^(1/p) over each window."""
    return _power_pool(input, norm_type, kernel_size, stride, ceil_mode, 3, op.avg_pool3d)


def _unpool_output_size(input: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> list[int]:
    dims = len(kernel_size)
    default = [(input.shape[d - dims] - 1) * stride[d] + kernel_size[d] - 2 * padding[d] for d in range(dims)]
    if output_size is None:
        return default
    output_size = list(output_size)
    if len(output_size) == dims + 2:
        output_size = output_size[2:]
    if len(output_size) != dims:
        raise ValueError(
            f"output_size should be a sequence containing {dims} or {dims + 2} elements, but it has a length of "
            f"'{len(output_size)}'"
        )
    for d in range(dims):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < output_size[d] < high:
            raise ValueError(f'invalid output_size "{output_size}" (dim {d} must be between {low} and {high})')
    return output_size


def _unpool(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any, dims: int
) -> Tensor:
    window, pads = _tuple(kernel_size, dims), _tuple(padding, dims)
    step = window if stride is None else _tuple(stride, dims)
    size = _unpool_output_size(input, window, step, pads, output_size)
    if input.shape != indices.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            "tensor with shape: "
            f"{list(indices.shape)}"
        )
    leading = tuple(input.shape[:-dims])
    plane = math.prod(size)
    flat = input.new_zeros((*leading, plane))
    values = input.reshape(*leading, -1)
    return flat.scatter(-1, indices.reshape(*leading, -1), values).reshape(*leading, *size)


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima back where `max_pool1d` found them, zeros elsewhere."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 1)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima back where `max_pool2d` found them, zeros elsewhere."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 2)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Put maxima back where `max_pool3d` found them, zeros elsewhere."""
    return _unpool(input, indices, kernel_size, stride, padding, output_size, 3)


def _fractional(
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    samples: Tensor | None,
    dims: int,
) -> tuple[Tensor, Tensor]:
    """Windows at pseudo-random places: gathered, and reduced to their maxima.

    Source: Graham, "Fractional max-pooling", 2014.
    """
    name = f"fractional_max_pool{dims}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    extents = list(input.shape[-dims:])
    if output_size is None:
        output_size = [int(extent * ratio) for extent, ratio in zip(extents, _tuple(output_ratio, dims))]
    sizes, window = list(_tuple(output_size, dims)), _tuple(kernel_size, dims)
    for extent, size, kernel in zip(extents, sizes, window):
        if size + kernel - 1 > extent:
            raise RuntimeError(f"{name}_out(): pool size {kernel} too large relative to input size {extent}")
    batched = input if input.dim() == dims + 2 else input.unsqueeze(0)
    if samples is None:
        samples = rand(*batched.shape[:2], dims, dtype=input.dtype, device=input.device)
    index: Any = 0
    for axis in range(dims):
        # The samples of an image are given with the width first.
        which = dims - 1 - axis if dims == 2 else axis
        places = _starts(samples[:, :, which], extents[axis], sizes[axis], window[axis])
        places = places.unsqueeze(-1) + arange(window[axis], device=input.device)
        shape = [*places.shape[:2], *[1] * (2 * dims)]
        shape[2 + axis], shape[2 + dims + axis] = sizes[axis], window[axis]
        index = index * extents[axis] + places.reshape(shape)
    leading = list(batched.shape[:2])
    flat = batched.flatten(2)
    index = index.expand(*leading, *sizes, *window).reshape(*leading, *sizes, math.prod(window))
    values = flat.gather(2, index.flatten(2)).reshape(index.shape)
    maxima, position = values.max(-1)
    found = index.gather(-1, position.unsqueeze(-1)).squeeze(-1)
    return (maxima, found) if input.dim() == dims + 2 else (maxima.squeeze(0), found.squeeze(0))


def _starts(samples: Any, extent: int, size: int, kernel: int) -> Any:
    """(N, C, size): where each window begins."""
    last = extent - kernel
    if size == 1:
        return samples.new_zeros((*samples.shape, 1)).long() + last
    alpha = last / (size - 1)
    steps = arange(size - 1, device=samples.device).to(samples.dtype)
    begun = ((steps + samples.unsqueeze(-1)) * alpha).long() - (samples * alpha).long().unsqueeze(-1)
    return op.cat([begun, begun.new_full((*samples.shape, 1), last)], -1)


def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The maxima of windows at pseudo-random places, and their indices in the flattened plane."""
    return _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 2)


def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of windows at pseudo-random places; with `return_indices` also their indices."""
    both = _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 2)
    return both if return_indices else both[0]


def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The maxima of windows at pseudo-random places, and their indices in the flattened volume."""
    return _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 3)


def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """The maxima of windows at pseudo-random places; with `return_indices` also their indices."""
    both = _fractional(input, kernel_size, output_size, output_ratio, _random_samples, 3)
    return both if return_indices else both[0]
