"""Numerical measures: distances, integrals and derivatives along a dimension, covariances, window functions."""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core import shapes
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, composite, layout_of
from facula.ops.inplace import derived_in_place
from facula.runtime.objects import TensorBase

torch = FUNCTIONS["torch"]


# -- distances -------------------------------------------------------------------------------------------------------
@composite(method=True, out=True)
def dist(input: Any, other: Any, p: float = 2) -> Any:
    """The p-norm of input - other, a single number."""
    return torch["norm"](views.reshape(input - other, (-1,)), p)


@composite()
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Any:
    """The p-norm distance of every row of x1 (..., P, M) to every row of x2 (..., R, M): a tensor (..., P, R)."""
    a, b = layout_of(x1, "cdist", 1, "x1"), layout_of(x2, "cdist", 2, "x2")
    for name, own in (("X1", a), ("X2", b)):
        if len(own.shape) < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {len(own.shape)}D")
        if own.dtype.kind != "f":
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {own.dtype.scalar_name}")
    if a.shape[-1] != b.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a.shape[-1]} X2: {b.shape[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    return torch["norm"](views.unsqueeze(x1, -2) - views.unsqueeze(x2, -3), p, dim=-1)


@composite(method=True, out=True)
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Each slice of a dimension scaled down to a p-norm of maxnorm, if its norm is larger."""
    count = len(layout_of(input, "renorm").shape)
    if p <= 0:
        raise RuntimeError("renorm: non-positive-norm not supported")
    if count < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {count} dimensions")
    if maxnorm < 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    dim = shapes.normalize_dim(dim, count)
    norms = torch["norm"](input, p, dim=tuple([d for d in range(count) if d != dim]), keepdim=True)
    return input * torch["where"](norms > maxnorm, maxnorm / (norms + 1e-7), 1.0)


derived_in_place("renorm_", renorm)


# -- integrals and derivatives ---------------------------------------------------------------------------------------
def _ends(y: Any, dim: int) -> tuple[Any, Any]:
    size = y._layout.shape[dim]
    return views._narrow(y, dim, 1, size - 1), views._narrow(y, dim, 0, size - 1)


def _trapezoids(name: str, y: Any, x: Any, dx: Any, dim: int) -> tuple[Any, int]:
    """The areas between neighbours along a dimension."""
    count = len(layout_of(y, name).shape)
    dim = shapes.normalize_dim(dim, count)
    if y._layout.dtype is dt.bool or (x is not None and x._layout.dtype is dt.bool):
        raise RuntimeError(f"{name}: received a bool input for `x` or `y`, but bool is not supported")
    if not y._layout.shape[dim]:
        return torch["zeros"](y._layout.shape, dtype=y._layout.dtype), dim
    right, left = _ends(y, dim)
    if x is None:
        return (left + right) * (dx / 2.0), dim
    if len(x._layout.shape) == 1:
        if x._layout.numel != y._layout.shape[dim]:
            raise RuntimeError("trapezoid: There must be one `x` value for each sample point")
        x = views._view(torch["clone"](x), tuple([-1 if d == dim else 1 for d in range(count)]))
    ahead, behind = _ends(x, dim - count + len(x._layout.shape))
    return (left + right) * (ahead - behind) / 2.0, dim


@composite()
def trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The integral of y along a dimension by the trapezoidal rule, with sample points x or spacing dx."""
    areas, dim = _trapezoids("trapezoid", y, x, dx, dim)
    return torch["sum"](areas, dim)


@composite()
def trapz(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The older name of `trapezoid`."""
    return trapezoid(y, x, dx=dx, dim=dim)


@composite()
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = 1, dim: int = -1) -> Any:
    """The running integral of y along a dimension by the trapezoidal rule."""
    areas, dim = _trapezoids("cumulative_trapezoid", y, x, dx, dim)
    return torch["cumsum"](areas, dim)


@composite()
def gradient(input: Any, *, spacing: Any = None, dim: Any = None, edge_order: int = 1) -> Any:
    """Derivatives along dimensions by central differences (one-sided at the edges): one tensor for each dimension.

    spacing: a number, one number or vector of coordinates for each dimension; default 1.
    """
    count = len(layout_of(input, "gradient").shape)
    dims = list(range(count)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    dims = [shapes.normalize_dim(d, count) for d in dims]
    for d in dims:
        if dims.count(d) > 1:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    if isinstance(spacing, (list, tuple)):
        if len(spacing) != len(dims):
            raise RuntimeError(
                f"torch.gradient expected spacing to be unspecified, a scalar, or a list of length equal to 'dim', got {len(spacing)}"
            )
        steps = list(spacing)
    else:
        steps = [1.0 if spacing is None else spacing] * len(dims)
    return tuple([_slope(input, d, step, edge_order) for d, step in zip(dims, steps, strict=True)])


def _slope(y: Any, dim: int, spacing: Any, edge_order: int) -> Any:
    size = y._layout.shape[dim]
    if size < edge_order + 1:
        raise RuntimeError(f"torch.gradient expected each dimension size to be at least {edge_order + 1}")

    def at(t: Any, start: int, length: int) -> Any:
        return views._narrow(t, dim, start, length)

    if isinstance(spacing, TensorBase) and spacing._layout.shape:
        places = views._view(spacing, tuple([-1 if d == dim else 1 for d in range(len(y._layout.shape))]))
        gaps = at(places, 1, size - 1) - at(places, 0, size - 1)
    else:
        gaps = torch["ones"](tuple([size - 1 if d == dim else 1 for d in range(len(y._layout.shape))])) * spacing
        gaps = gaps.to(y._layout.dtype) if y._layout.dtype.kind == "f" else gaps
    slopes = (at(y, 1, size - 1) - at(y, 0, size - 1)) / gaps
    before, after = at(gaps, 0, size - 2), at(gaps, 1, size - 2)
    middle = (at(slopes, 0, size - 2) * after + at(slopes, 1, size - 2) * before) / (before + after)
    first, last = at(slopes, 0, 1), at(slopes, size - 2, 1)
    if edge_order == 2:
        second = (at(slopes, 1, 1) - first) / (at(gaps, 0, 1) + at(gaps, 1, 1))
        second_last = (last - at(slopes, size - 3, 1)) / (at(gaps, size - 2, 1) + at(gaps, size - 3, 1))
        first, last = first - second * at(gaps, 0, 1), last + second_last * at(gaps, size - 2, 1)
    return torch["cat"]([first, middle, last], dim)


# -- statistics ------------------------------------------------------------------------------------------------------
@composite(method=True)
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of variables (rows) observed several times (columns)."""
    if len(input._layout.shape) > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {len(input._layout.shape)} dimensions"
        )
    if input._layout.dtype is dt.bool:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    if fweights is not None and fweights._layout.dtype.kind not in "iu":
        raise RuntimeError(
            f"cov(): expected fweights to have integral dtype but got fweights with {fweights._layout.dtype.scalar_name} dtype"
        )
    if aweights is not None and aweights._layout.dtype.kind != "f":
        raise RuntimeError(
            f"cov(): expected aweights to have floating point dtype but got aweights with {aweights._layout.dtype.scalar_name} dtype"
        )
    x = views.reshape(input, (1, -1)) if len(input._layout.shape) < 2 else input
    if x._layout.dtype.kind in "iu":
        x = x.to(dt.get_default_dtype())
    weights = fweights.to(x._layout.dtype) if fweights is not None else None
    if aweights is not None:
        weights = aweights if weights is None else weights * aweights
    total = float(x._layout.shape[1]) if weights is None else torch["sum"](weights)
    mean = torch["mean"](x, 1, keepdim=True) if weights is None else torch["sum"](x * weights, 1, keepdim=True) / total
    if weights is None or aweights is None or not correction:
        norm = total - correction
    else:
        norm = total - correction * torch["sum"](weights * aweights) / total
    centred = x - mean
    norm = max(norm, 0.0) if isinstance(norm, float) else torch["clamp"](norm, min=0)
    product = torch["matmul"](centred if weights is None else centred * weights, torch["conj"](views.t(centred)))
    return torch["squeeze"](product / norm)


@composite(method=True)
def corrcoef(input: Any) -> Any:
    """The correlation coefficients of variables (rows) observed several times (columns)."""
    table = cov(input)
    if not table._layout.shape:
        return table / table
    scale = torch["sqrt"](torch["real"](views.diagonal(table)))
    return table / views.unsqueeze(scale, 1) / views.unsqueeze(scale, 0)


# -- windows ---------------------------------------------------------------------------------------------------------
def _window(name: str, cosines: tuple[float, ...], doc: str) -> None:
    def function(
        window_length: int, periodic: bool = True, *args: Any, dtype: Any = None, layout: Any = None, device: Any = None,
        pin_memory: bool = False, requires_grad: bool = False,
    ) -> Any:  # fmt: skip
        terms = (args[0], -args[1] if len(args) > 1 else -0.46) if name == "hamming_window" and args else cosines
        return _shaped(name, window_length, periodic, dtype, device, requires_grad, lambda turn: _cosines(terms, turn))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    composite(name)(function)


def _cosines(terms: tuple[float, ...], turn: Any) -> Any:
    total = terms[0] + turn * 0
    for k, factor in enumerate(terms[1:], 1):
        total = total + factor * torch["cos"](turn * (2 * math.pi * k))
    return total


def _shaped(name: str, length: int, periodic: bool, dtype: Any, device: Any, requires_grad: bool, body: Any) -> Any:
    """A window from a function of the position, which runs from 0 to 1."""
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got window_length={length}")
    dtype = dtype or dt.get_default_dtype()
    if dtype.kind != "f":
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    if length <= 1:
        made = torch["ones"]((length,), dtype=dtype, device=device)
    else:
        turn = torch["arange"](length, dtype=dt.float64, device=device) / (length if periodic else length - 1)
        made = body(turn).to(dtype)
    return made.requires_grad_() if requires_grad else made


_window("hann_window", (0.5, -0.5), "(1 - cos(2 pi n / N)) / 2.")
_window("hamming_window", (0.54, -0.46), "alpha - beta cos(2 pi n / N), by default 0.54 and 0.46.")
_window("blackman_window", (0.42, -0.5, 0.08), "0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N).")


@composite()
def bartlett_window(
    window_length: int, periodic: bool = True, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """A triangle: 1 - |2 n / N - 1|."""
    return _shaped(
        "bartlett_window",
        window_length,
        periodic,
        dtype,
        device,
        requires_grad,
        lambda turn: 1.0 - torch["abs"](turn * 2.0 - 1.0),
    )


@composite()
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, *, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """i0(beta sqrt(1 - (2 n / N - 1) ** 2)) / i0(beta)."""

    def body(turn: Any) -> Any:
        place = turn * 2.0 - 1.0
        inside = torch["clamp"](1.0 - place * place, min=0)
        return torch["i0"](torch["sqrt"](inside) * beta) / torch["i0"](torch["tensor"](float(beta), dtype=dt.float64))

    return _shaped("kaiser_window", window_length, periodic, dtype, device, requires_grad, body)
