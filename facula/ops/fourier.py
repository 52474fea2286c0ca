"""Discrete Fourier transforms: torch.fft.

Three operators do the work, NumPy's on the host: complex to complex, real to the half of a Hermitian spectrum, and back.
They don't scale and don't resize by themselves; the gradient of each is one of the others. The public functions bring
lengths, dimensions and the three normalisations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import CPU
from facula.core.lazy import numpy as np
from facula.core.shapes import normalize_dim
from facula.ops.copy import convert
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import host_read
from facula.ops.linalg import fresh

FFT = ("torch.fft",)


def _host(x: Any) -> Any:
    own = x._layout
    if own.device is not CPU:
        return np.broadcast_to(np.zeros((), own.dtype.numpy_name), own.shape)
    host_read(x, "torch.fft")
    return METHODS["numpy"](x, force=True)


def _scaled(array: Any, scale: float) -> Any:
    return array if scale == 1.0 else array * scale


# -- the transforms --------------------------------------------------------------------------------------------------
@operator(name="fft_c2c", function=False)
def _complex(input: Any, dims: Any, scale: float, forward: bool) -> Any:
    """scale * sum over n of input[n] * exp(-+ 2 pi i k n / N) along every one of `dims`."""
    array = _host(input)
    if array.size and dims:
        transform = np.fft.fftn if forward else np.fft.ifftn
        array = transform(array, axes=dims, norm="backward" if forward else "forward")
    return fresh(_scaled(array, scale), input)


_complex.gradient(input=lambda grad, dims, scale, forward: _complex(grad, dims, scale, not forward))


@operator(name="fft_r2c", function=False)
def _from_real(input: Any, dims: Any, scale: float) -> Any:
    """The transform of real numbers; of the last of `dims` only the frequencies that are not negative."""
    array = _host(input)
    if array.size:
        array = np.fft.rfftn(array, axes=dims, norm="backward")
    else:
        shape = list(array.shape)
        shape[dims[-1]] = shape[dims[-1]] // 2 + 1
        array = np.zeros(shape, np.complex64)
    return fresh(_scaled(array, scale), input, input._layout.dtype.to_complex())


@_from_real.joint_gradient("input")
def _(grad: Any, input_layout: Any, dims: Any, scale: float) -> Any:
    """The frequencies that were left out have no gradient."""
    return (_complex(_resized(grad, dims[-1], input_layout.shape[dims[-1]]), dims, scale, False).real,)


@operator(name="fft_c2r", function=False)
def _to_real(input: Any, dims: Any, scale: float, n: int) -> Any:
    """The inverse transform of a spectrum whose other half along the last of `dims` mirrors this one, to length n."""
    array = _host(input)
    sizes = [array.shape[d] for d in dims[:-1]] + [n]
    if array.size:
        array = np.fft.irfftn(array, s=sizes, axes=dims, norm="forward")
    else:
        shape = list(array.shape)
        shape[dims[-1]] = n
        array = np.zeros(shape, np.float32)
    return fresh(_scaled(array, scale), input, input._layout.dtype.to_real())


@_to_real.joint_gradient("input")
def _(grad: Any, dims: Any, scale: float, n: int) -> Any:
    """Frequencies with a mirror image stand for two."""
    spectrum = _from_real(grad, dims, scale)
    axis, half = dims[-1], n // 2 + 1
    double = n - half
    weight = [1.0] + [2.0] * double + [1.0] * (half - 1 - double)
    shape = [1] * len(spectrum._layout.shape)
    shape[axis] = half
    weights = FUNCTIONS["torch"]["tensor"](weight, dtype=grad._layout.dtype, device=grad._layout.device)
    return (spectrum * weights.reshape(shape),)


# -- arguments -------------------------------------------------------------------------------------------------------
def _resized(x: Any, dim: int, n: int) -> Any:
    """Cut, or filled up with zeros, to n elements along a dimension."""
    size = x._layout.shape[dim]
    if size > n:
        return x.narrow(dim, 0, n)
    if size == n:
        return x
    shape = list(x._layout.shape)
    shape[dim] = n - size
    return FUNCTIONS["torch"]["cat"]((x, x.new_zeros(shape)), dim)


def _scale(norm: str | None, n: int, forward: bool) -> float:
    if norm not in (None, "backward", "ortho", "forward"):
        raise RuntimeError(f'Invalid normalization mode: "{norm}"')
    if norm == "ortho":
        return 1.0 / math.sqrt(n)
    return 1.0 / n if (norm == "forward") == forward else 1.0


def _checked(input: Any, what: str, kind: str) -> Any:
    """The input in the dtype that is transformed: `kind` 'c' complex, 'r' real, 's' a half spectrum, complex."""
    own = layout_of(input, f"fft_{what}")
    if own.dtype.kind == "c" and kind == "r":
        raise RuntimeError(f"{what} expects a real input tensor, but got {own.dtype.scalar_name}")
    dtype = own.dtype if own.dtype.kind in "fc" else dt.get_default_dtype()
    if dtype.to_real() not in (dt.float32, dt.float64):
        raise RuntimeError(f"Unsupported dtype {dtype.scalar_name}")
    if kind != "r":
        dtype = dtype.to_complex()
    return input if own.dtype is dtype else convert(input, dtype)


def _axis(shape: Sequence[int], dim: int) -> int:
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    return normalize_dim(dim, len(shape))


def _axes(shape: Sequence[int], s: Any, dim: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(dimensions, their lengths) from `s` and `dim`: by default all, or the last len(s)."""
    given = None if s is None else (s,) if isinstance(s, int) else tuple(s)
    named = None if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
    if named is None:
        if given is not None and len(given) > len(shape):
            raise RuntimeError(
                "Got shape with " + f"{len(given)} values but input tensor only has {len(shape)} dimensions."
            )
        named = tuple(range(len(shape) - len(given), len(shape))) if given is not None else tuple(range(len(shape)))
    dims = tuple([_axis(shape, d) for d in named])
    if len(set(dims)) != len(dims):
        raise RuntimeError("FFT dims must be unique")
    if given is not None and len(given) != len(dims):
        raise RuntimeError("When given, dim and shape arguments must have the same length")
    lengths = tuple([shape[d] if n == -1 else n for d, n in zip(dims, given or (-1,) * len(dims), strict=True)])
    return dims, lengths


def _check_length(n: int) -> None:
    if n < 1:
        raise RuntimeError(f"Invalid number of data points ({n}) specified")


def _to_lengths(x: Any, dims: Sequence[int], lengths: Sequence[int]) -> Any:
    for d, n in zip(dims, lengths, strict=True):
        _check_length(n)
        x = _resized(x, d, n)
    return x


def _complex_transform(input: Any, what: str, s: Any, dim: Any, norm: Any, forward: bool) -> Any:
    x = _checked(input, what, "c")
    dims, lengths = _axes(x._layout.shape, s, dim)
    x = _to_lengths(x, dims, lengths)
    return _complex(x, dims, _scale(norm, math.prod(lengths), forward), forward)


def _real_transform(input: Any, what: str, s: Any, dim: Any, norm: Any, forward: bool = True) -> Any:
    x = _checked(input, what, "r")
    dims, lengths = _axes(x._layout.shape, s, dim)
    if not dims:
        raise RuntimeError(f"{what} must transform at least one axis")
    x = _to_lengths(x, dims, lengths)
    return _from_real(x, dims, _scale(norm, math.prod(lengths), forward))


def _half_transform(input: Any, what: str, s: Any, dim: Any, norm: Any, forward: bool = False) -> Any:
    x = _checked(input, what, "s")
    shape = x._layout.shape
    dims, lengths = _axes(shape, s, dim)
    if not dims:
        raise RuntimeError(f"{what} must transform at least one axis")
    last = () if s is None else (s,) if isinstance(s, int) else tuple(s)
    n = 2 * (shape[dims[-1]] - 1) if not last or last[-1] == -1 else last[-1]
    _check_length(n)
    x = _to_lengths(x, dims, (*lengths[:-1], n // 2 + 1))
    if forward:
        x = x.conj()
    return _to_real(x, dims, _scale(norm, math.prod(lengths[:-1]) * n, forward), n)


# -- the public functions --------------------------------------------------------------------------------------------
_DOC = {
    "fft": "The discrete Fourier transform along `dim`, to complex numbers.",
    "ifft": "The inverse of `fft`.",
    "rfft": "The transform of a real signal: the n // 2 + 1 frequencies that are not negative.",
    "irfft": "The inverse of `rfft`, to n real numbers (by default 2 * (m - 1) from m frequencies).",
    "hfft": "The transform of a signal with Hermitian symmetry, given by its half, to n real numbers.",
    "ihfft": "The inverse of `hfft`.",
}
_REST = {
    "": " `n`: the length to which the signal is cut or filled up with zeros first. `norm`: 'backward' scales the inverse by 1 / n, "
    "'forward' the transform itself, 'ortho' both by 1 / sqrt(n).",
    "2": " In two dimensions, the last ones by default; `s` their lengths.",
    "n": " In several dimensions, all by default; `s` their lengths.",
}  # fmt: skip


def _transform(kind: str, x: Any, what: str, s: Any, dim: Any, norm: Any) -> Any:
    if kind in ("fft", "ifft"):
        return _complex_transform(x, what, s, dim, norm, kind == "fft")
    if kind == "rfft":
        return _real_transform(x, what, s, dim, norm)
    if kind == "ihfft":
        return _real_transform(x, what, s, dim, norm, False).conj()
    return _half_transform(x, what, s, dim, norm, kind == "hfft")


def _define(kind: str) -> None:
    def one(input: Any, n: int | None = None, dim: int = -1, norm: str | None = None) -> Any:
        return _transform(kind, input, kind, None if n is None else (n,), (dim,), norm)

    def two(input: Any, s: Any = None, dim: Any = (-2, -1), norm: str | None = None) -> Any:
        return _transform(kind, input, kind + "n", s, dim, norm)

    def several(input: Any, s: Any = None, dim: Any = None, norm: str | None = None) -> Any:
        return _transform(kind, input, kind + "n", s, dim, norm)

    for function, suffix in ((one, ""), (two, "2"), (several, "n")):
        function.__name__ = function.__qualname__ = f"fft_{kind}{suffix}"
        function.__doc__ = _DOC[kind] + _REST[suffix]
        public = composite(namespaces=FFT, out=True)(function)
        FUNCTIONS["torch.fft"][kind + suffix] = public
        del FUNCTIONS["torch.fft"][f"fft_{kind}{suffix}"]


for _kind in _DOC:
    _define(_kind)


# -- frequencies and the order of a spectrum -------------------------------------------------------------------------
def _frequencies(name: str, n: int, d: float, kwargs: dict[str, Any], numbers: Any) -> Any:
    requires_grad = kwargs.pop("requires_grad", False)
    dtype = kwargs.pop("dtype", None) or dt.get_default_dtype()
    device = kwargs.pop("device", None)
    for unused in ("layout", "pin_memory"):
        kwargs.pop(unused, None)
    if kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    made = FUNCTIONS["torch"]["tensor"](numbers, dtype=dtype, device=device) * (1.0 / (n * d) if n else math.inf)
    return made.requires_grad_() if requires_grad else made


@composite(namespaces=FFT, out=True)
def fftfreq(n: int, d: float = 1.0, **kwargs: Any) -> Any:
    """The frequencies of `fft`'s n results for samples d apart: 0, 1, ..., then the negative ones, over n * d."""
    return _frequencies("fft_fftfreq", n, d, kwargs, [*range((n + 1) // 2), *range(-(n // 2), 0)])


@composite(namespaces=FFT, out=True)
def rfftfreq(n: int, d: float = 1.0, **kwargs: Any) -> Any:
    """The frequencies of `rfft`'s n // 2 + 1 results for samples d apart."""
    return _frequencies("fft_rfftfreq", n, d, kwargs, list(range(n // 2 + 1)))


def _rolled(input: Any, dim: Any, inverse: bool) -> Any:
    shape = layout_of(input, "fft_fftshift").shape
    named = range(len(shape)) if dim is None else (dim,) if isinstance(dim, int) else dim
    dims = [_axis(shape, d) for d in named]
    return METHODS["roll"](input, [(shape[d] + 1) // 2 if inverse else shape[d] // 2 for d in dims], dims)


@composite(namespaces=FFT)
def fftshift(input: Any, dim: Any = None) -> Any:
    """The spectrum with the frequency 0 in the middle."""
    return _rolled(input, dim, False)


@composite(namespaces=FFT)
def ifftshift(input: Any, dim: Any = None) -> Any:
    """The inverse of `fftshift`."""
    return _rolled(input, dim, True)
