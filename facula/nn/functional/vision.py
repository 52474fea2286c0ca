"""Functions that move pixels: interpolation, grids, pixel and channel shuffling, windows.

In: (N, C, *size). Out: the same in another geometry.
"""

from __future__ import annotations

import math
from typing import Any

from facula.nn.functional import _operators as op
from facula.tensor.creation import arange, linspace
from facula.tensor.tensor import Tensor


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(*, C r^2, H, W) -> (*, C, H r, W r); see `PixelShuffle`."""
    r = upscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            f"pixel_shuffle expects input to have at least 3 dimensions, but got input with {input.dim()} dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    if channels % (r * r):
        raise RuntimeError(
            "pixel_shuffle expects its input's 'channel' dimension to be divisible by the square of upscale_factor, "
            "but "
            f"input.size(-3)={channels} is not divisible by {r * r}"
        )
    out = channels // (r * r)
    n = len(batch)
    blocks = input.reshape(*batch, out, r, r, height, width)
    return blocks.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2).reshape(*batch, out, height * r, width * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(*, C, H r, W r) -> (*, C r^2, H, W); see `PixelUnshuffle`."""
    r = downscale_factor
    if input.dim() < 3:
        raise RuntimeError(
            f"pixel_unshuffle expects input to have at least 3 dimensions, but got input with {input.dim()} "
            "dimension(s)"
        )
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    for name, size in (("height", height), ("width", width)):
        if size % r:
            raise RuntimeError(
                f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                f"input.size({-2 if name == 'height' else -1})={size} is not divisible by {r}"
            )
    n = len(batch)
    blocks = input.reshape(*batch, channels, height // r, r, width // r, r)
    return blocks.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3).reshape(
        *batch, channels * r * r, height // r, width // r
    )


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Take the channels of `groups` groups in turn; see `ChannelShuffle`."""
    if input.dim() <= 2:
        raise RuntimeError(f"channel_shuffle expects input with > 2 dims, but got input with sizes {list(input.shape)}")
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of groups:{groups}")
    batch, channels, *spatial = input.shape
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and {groups} groups."
        )
    return input.reshape(batch, groups, channels // groups, *spatial).transpose(1, 2).reshape(input.shape)


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)  # type: ignore[return-value]


def _windows(size: int, kernel: int, dilation: int, padding: int, stride: int, device: Any) -> Tensor:
    """(kernel, number of windows): where each element of each window lies in the padded dimension."""
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    offsets = arange(kernel, device=device) * dilation
    return offsets.unsqueeze(1) + (arange(count, device=device) * stride).unsqueeze(0)


def unfold(input: Tensor, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """The windows of (N, C, H, W) or (C, H, W), as (N, C prod(kernel_size), L); see `Unfold`."""
    from facula.nn.functional.padding import pad

    batched = input if input.dim() == 4 else input.unsqueeze(0)
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (_pair(v) for v in (kernel_size, dilation, padding, stride))
    samples, channels, height, width = batched.shape
    rows = _windows(height, kh, dh, ph, sh, input.device)
    columns = _windows(width, kw, dw, pw, sw, input.device)
    if rows.size(1) < 1 or columns.size(1) < 1:
        raise RuntimeError(
            f"Given input with spatial size ({height}, {width}), kernel_size=({kh}, {kw}), dilation=({dh}, {dw}), "
            f"padding=({ph}, {pw}), "
            f"calculated shape of the array of sliding blocks as ({rows.size(1)}, {columns.size(1)}), but its "
            "components must be at least "
            "one."
        )
    padded = pad(batched, (pw, pw, ph, ph)) if ph or pw else batched
    blocks = padded[:, :, rows.reshape(-1)][:, :, :, columns.reshape(-1)]
    blocks = blocks.reshape(samples, channels, kh, rows.size(1), kw, columns.size(1)).permute(0, 1, 2, 4, 3, 5)
    result = blocks.reshape(samples, channels * kh * kw, rows.size(1) * columns.size(1))
    return result if input.dim() == 4 else result.squeeze(0)


def fold(
    input: Tensor, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """Sum windows (N, C prod(kernel_size), L) into (N, C, *output_size): the transpose of `unfold`."""
    batched = input if input.dim() == 3 else input.unsqueeze(0)
    (height, width), (kh, kw) = _pair(output_size), _pair(kernel_size)
    (dh, dw), (ph, pw), (sh, sw) = (_pair(v) for v in (dilation, padding, stride))
    samples, features, count = batched.shape
    if features % (kh * kw):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, but got input.size(1)="
            f"{features} and kernel_size=({kh}, {kw})."
        )
    rows = _windows(height, kh, dh, ph, sh, input.device)
    columns = _windows(width, kw, dw, pw, sw, input.device)
    if rows.size(1) * columns.size(1) != count:
        raise RuntimeError(
            f"Given output_size=({height}, {width}), kernel_size=({kh}, {kw}), dilation=({dh}, {dw}), padding=({ph}, "
            f"{pw}), "
            f"stride=({sh}, {sw}), expected size of input's dimension 2 to match the calculated number of sliding "
            "blocks "
            f"{rows.size(1)} * {columns.size(1)} = {rows.size(1) * columns.size(1)}, but got input.size(2)={count}."
        )
    channels = features // (kh * kw)
    wide = width + 2 * pw
    place = rows.reshape(kh, 1, -1, 1) * wide + columns.reshape(1, kw, 1, -1)
    place = place.reshape(1, 1, -1).expand(samples, channels, kh * kw * count)
    flat = batched.new_zeros((samples, channels, (height + 2 * ph) * wide))
    flat = flat.scatter_add(2, place, batched.reshape(samples, channels, kh * kw * count))
    image = flat.reshape(samples, channels, height + 2 * ph, wide)
    image = image.narrow(2, ph, height).narrow(3, pw, width)
    return image if input.dim() == 3 else image.squeeze(0)


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places that `grid_sample` must read for an affine map of an image.

    Args:
        theta: (N, 2, 3), or (N, 3, 4) for volumes.
        size: of the output, (N, C, H, W) or (N, C, D, H, W).
        align_corners: whether -1 and 1 are the centres of the corner pixels or their edges. Default: False

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3).
    """
    if align_corners is None:
        _warn_default("affine_grid")
        align_corners = False
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    dims = len(size) - 2
    if dims not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, respectively. Got size "
            f"{size}."
        )
    if theta.dim() != 3 or theta.shape[-2] != dims or theta.shape[-1] != dims + 1:
        raise ValueError(
            f"Expected a batch of {dims}D affine matrices of shape Nx{dims}x{dims + 1} for size {size}. Got "
            f"{theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    extents = list(size[2:])
    axes = []
    for position, extent in enumerate(reversed(extents)):
        shape = [1] * dims
        shape[dims - 1 - position] = extent
        axes.append(_axis(extent, align_corners, theta).reshape(shape).expand(extents))
    base = op.stack([*axes, theta.new_ones(extents)], -1).reshape(1, -1, dims + 1)
    return base.expand(size[0], -1, -1).bmm(theta.transpose(1, 2)).reshape(size[0], *extents, dims)


def _axis(extent: int, align_corners: bool, like: Tensor) -> Tensor:
    if extent <= 1:
        return like.new_zeros((extent,))
    points = linspace(-1, 1, extent, dtype=like.dtype, device=like.device)
    return points if align_corners else points * ((extent - 1) / extent)


def _warn_default(name: str) -> None:
    import warnings

    warnings.warn(
        f"Default {name} and {'grid_sample' if name == 'affine_grid' else 'affine_grid'} behavior has changed to "
        "align_corners=False "
        "since 1.3.0. Please specify align_corners=True if the old behavior is desired. See the documentation of "
        "grid_sample for details.",
        stacklevel=3,
    )


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Read an image or volume at the places that a grid names.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W).
        grid: (N, H_out, W_out, 2) or (N, D_out, H_out, W_out, 3); x, y(, z) in [-1, 1].
        mode: 'bilinear', 'nearest' or 'bicubic' (images only). Default: 'bilinear'
        padding_mode: what lies outside: 'zeros', 'border' or 'reflection'. Default: 'zeros'
        align_corners: whether -1 and 1 are the centres of the corner pixels or their edges. Default: False

    Raises:
        ValueError: an unknown mode or padding mode.
    """
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise ValueError(
            f"nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or 'reflection', but got: "
            f"'{padding_mode}'"
        )
    if align_corners is None:
        _warn_default("grid_sample")
        align_corners = False
    from facula.nn.functional.sampling import sample

    return sample(input, grid, mode, padding_mode, align_corners)


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Change the sizes of (N, C, *size).

    Args:
        input: with one to three sizes.
        size: the sizes wanted, or
        scale_factor: how many times the input's.
        mode: 'nearest', 'nearest-exact', 'linear' (one size), 'bilinear' and 'bicubic' (two), 'trilinear' (three) or
            'area'. Default:
            'nearest'
        align_corners: whether the corner elements of input and output lie on each other. Default: False
        recompute_scale_factor: use the exact ratio of the sizes instead of `scale_factor`. Default: False
        antialias: not supported together with any mode.

    Raises:
        ValueError: both or neither of `size` and `scale_factor`, sizes of another number, or arguments that the mode
            does not take.
        NotImplementedError: a mode that does not fit the number of sizes.
    """
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic | "
                "trilinear"
            )
    elif align_corners is None:
        align_corners = False
    dims = input.dim() - 2
    sizes, factors = _sizes_and_factors(input, size, scale_factor, dims, mode, recompute_scale_factor)
    if antialias:
        if not (mode in ("bilinear", "bicubic", "lanczos") and input.ndim == 4):
            raise ValueError(
                "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires a 4-D tensor as "
                "input"
            )
        raise NotImplementedError(
            "interpolate: antialias=True is not implemented; blur the input before, or use antialias=False"
        )
    if mode == "area":
        return getattr(op, f"adaptive_avg_pool{dims}d")(input, sizes)
    needed = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}.get(mode, dims)
    if (
        mode not in ("nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear")
        or dims not in (1, 2, 3)
        or needed != dims
    ):
        if dims in (1, 2, 3) and mode in ("linear", "bilinear", "trilinear"):
            raise NotImplementedError(f"Got {dims + 2}D input, but {mode} mode needs {needed + 2}D input")
        raise NotImplementedError(
            "Input Error: Only 3D, 4D and 5D input Tensors supported (got "
            f"{input.dim()}D) for the modes: nearest | linear | bilinear | bicubic | trilinear | area | nearest-exact "
            f"(got {mode})"
        )
    from facula.nn.functional.sampling import resize

    return resize(input, sizes, factors, mode, bool(align_corners))


def _sizes_and_factors(
    input: Tensor, size: Any, scale_factor: Any, dims: int, mode: str, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The output's sizes, and the factors that coordinates are to be scaled by (None: the ratio of the sizes)."""
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if recompute and size is not None:
        raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
    spatial = list(input.shape[2:])
    fit = "Please provide input tensor in (N, C, d1, d2, ...,dK) format and "
    if size is not None:
        if not isinstance(size, (list, tuple)):
            return [int(size)] * dims, [None] * dims
        if len(size) != dims:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial "
                "dimensions of "
                f"{spatial} and output size of {size}. {fit}output size in (o1, o2, ...,oK) format."
            )
        return [int(extent) for extent in size], [None] * dims
    factors = list(scale_factor) if isinstance(scale_factor, (list, tuple)) else [scale_factor] * dims
    if len(factors) != dims:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input with spatial "
            f"dimensions of {spatial} "
            f"and scale_factor of shape {scale_factor}. {fit}scale_factor in (s1, s2, ...,sK) format."
        )
    sizes = [math.floor(extent * factor) for extent, factor in zip(spatial, factors)]
    if recompute or mode == "area":
        return sizes, [None] * dims
    return sizes, [float(factor) for factor in factors]


def _deprecated_upsample(name: str) -> None:
    import warnings

    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=3)


def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """Deprecated: `interpolate`."""
    _deprecated_upsample("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated: `interpolate` with mode='nearest'."""
    _deprecated_upsample("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """Deprecated: `interpolate` with mode='bilinear' and aligned corners."""
    _deprecated_upsample("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)
