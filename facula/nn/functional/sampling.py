"""Reading images between their pixels: the mathematics of `interpolate` and `grid_sample`.

Resizing works on one dimension after the other: each output element is a weighted sum of a few input elements, so it
is a gather and a
product. Sampling at free places gathers the neighbours of each place.

In: tensors and plain numbers. Out: tensors; everything is composed of differentiable operators.
"""

from __future__ import annotations

from typing import Any

from facula.nn.functional import _operators as op
from facula.tensor.creation import arange
from facula.tensor.tensor import Tensor

_CUBIC = -0.75


def resize(input: Tensor, sizes: list[int], factors: list[float | None], mode: str, align_corners: bool) -> Tensor:
    """(N, C, *size) -> (N, C, *sizes)."""
    result = input
    for position, (size, factor) in enumerate(zip(sizes, factors)):
        dim = position + 2
        extent = input.shape[dim]
        if size <= 0 or extent <= 0:
            raise RuntimeError(
                f"Input and output sizes should be greater than 0, but got input (size: {extent}) output (size: {size})"
            )
        if mode in ("nearest", "nearest-exact"):
            if size != extent or factor not in (None, 1.0):
                result = result.index_select(dim, _nearest(extent, size, factor, mode, input))
        else:
            result = _weighted(result, dim, extent, size, factor, mode, align_corners)
    return result


def _nearest(extent: int, size: int, factor: float | None, mode: str, input: Tensor) -> Tensor:
    step = extent / size if factor is None else 1.0 / factor
    shift = 0.5 if mode == "nearest-exact" else 0.0
    # In single precision, as the reference computes it: 1/3 must fall on the same side.
    places = (arange(size, device=input.device).float() + shift) * step
    return places.floor().long().clamp(max=extent - 1)


def _weighted(
    input: Tensor, dim: int, extent: int, size: int, factor: float | None, mode: str, align_corners: bool
) -> Tensor:
    if align_corners:
        step = (extent - 1) / (size - 1) if size > 1 else 0.0
    else:
        step = extent / size if factor is None else 1.0 / factor
    dtype = input.dtype
    steps = arange(size, device=input.device).to(dtype)
    if align_corners:
        places = steps * step
    else:
        places = (steps + 0.5) * step - 0.5
        if mode != "bicubic":
            places = places.clamp(min=0)
    first = places.floor()
    fraction = places - first
    base = first.long()
    shape = [1] * input.dim()
    shape[dim] = size
    if mode == "bicubic":
        weights = _cubic_weights(fraction)
        offsets: tuple[int, ...] = (-1, 0, 1, 2)
    else:
        weights = [1 - fraction, fraction]
        offsets = (0, 1)
    total: Any = None
    for offset, weight in zip(offsets, weights):
        part = input.index_select(dim, (base + offset).clamp(0, extent - 1)) * weight.reshape(shape)
        total = part if total is None else total + part
    return total


def _cubic_weights(t: Any) -> list[Any]:
    """Keys' cubic convolution with a = -0.75: the weights of the four neighbours at distance t from the second."""
    a = _CUBIC

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def sample(input: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    """The values of (N, C, *size) at the places of grid, (N, *out, dims)."""
    dims = input.dim() - 2
    _check(input, grid, dims, mode)
    extents = list(input.shape[2:])
    places = []
    for axis in range(dims):
        extent = extents[dims - 1 - axis]
        place = _to_pixels(grid[..., axis], extent, align_corners)
        if mode != "bicubic":
            place = _confine(place, extent, padding_mode, align_corners)
        places.append(place)
    places.reverse()
    reader = _Reader(input, extents, padding_mode, align_corners)
    if mode == "nearest":
        return reader.read([place.detach().round() for place in places])
    if mode == "bilinear":
        taps = [[(place.detach().floor() + k, _linear_weight(place, k)) for k in (0, 1)] for place in places]
    else:
        taps = []
        for place in places:
            first = place.detach().floor()
            taps.append([(first + k - 1, w) for k, w in enumerate(_cubic_weights(place - first))])
    return _combine(reader, taps, [], None)


def _linear_weight(place: Tensor, k: int) -> Tensor:
    fraction = place - place.detach().floor()
    return fraction if k else 1 - fraction


def _combine(reader: _Reader, taps: list[Any], chosen: list[Tensor], weight: Any) -> Tensor:
    """Sum over all combinations of one tap per dimension."""
    if not taps:
        return reader.read(chosen) * weight.unsqueeze(1)
    total: Any = None
    for place, factor in taps[0]:
        part = _combine(reader, taps[1:], [*chosen, place], factor if weight is None else weight * factor)
        total = part if total is None else total + part
    return total


def _check(input: Tensor, grid: Tensor, dims: int, mode: str) -> None:
    if dims not in (2, 3) or grid.dim() != input.dim():
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but got input with sizes "
            f"{list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with sizes "
            f"{list(input.shape)} and grid with "
            f"sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != dims:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {dims} in last dimension, but got grid with sizes "
            f"{list(grid.shape)}"
        )
    if mode == "bicubic" and dims != 2:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def _to_pixels(place: Any, extent: int, align_corners: bool) -> Tensor:
    if align_corners:
        return (place + 1) * ((extent - 1) / 2)
    return ((place + 1) * extent - 1) / 2


def _confine(place: Any, extent: int, padding_mode: str, align_corners: bool) -> Tensor:
    if padding_mode == "zeros":
        return place
    if padding_mode == "reflection":
        low, high = (0.0, extent - 1.0) if align_corners else (-0.5, extent - 0.5)
        span = high - low
        if span == 0:
            return place * 0
        distance = (place - low).abs()
        flips = (distance.detach() / span).floor()
        rest = distance - flips * span
        place = op.where(flips.remainder(2) == 0, rest + low, high - rest)
    return place.clamp(0, extent - 1)


class _Reader:
    """Gathers the elements of an image at whole places; those outside are zero or, for the other modes, moved
    inside.
    """

    def __init__(self, input: Tensor, extents: list[int], padding_mode: str, align_corners: bool) -> None:
        self.flat = input.reshape(input.shape[0], input.shape[1], -1)
        self.extents, self.padding_mode, self.align_corners = extents, padding_mode, align_corners

    def read(self, places: list[Tensor]) -> Tensor:
        index: Any = None
        inside: Any = None
        for place, extent in zip(places, self.extents):
            place = _confine(place, extent, self.padding_mode, self.align_corners)
            valid = (place >= 0) & (place <= extent - 1)
            inside = valid if inside is None else inside & valid
            whole = place.clamp(0, extent - 1).long()
            index = whole if index is None else index * extent + whole
        samples, channels, _ = self.flat.shape
        out = list(index.shape[1:])
        gathered = self.flat.gather(2, index.reshape(samples, 1, -1).expand(samples, channels, -1))
        gathered = gathered.reshape(samples, channels, *out)
        if self.padding_mode == "zeros":
            gathered = gathered * inside.unsqueeze(1).to(gathered.dtype)
        return gathered
