"""Complex numbers: making them, taking them apart. (Arithmetic is the pointwise operators' own: `kernels/complex.py`.)"""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout
from facula.ops import pointwise as pw
from facula.ops import scalar as sc
from facula.ops.define import METHODS, composite, layout_of
from facula.ops.elementwise import pointwise
from facula.ops.inplace import derived_in_place
from facula.ops.view import select, view


@view(method=False)
def view_as_real(layout: Layout) -> Any:
    """A complex tensor's memory as real numbers, with a last dimension of 2."""
    _need_complex("view_as_real", layout)
    return (*layout.shape, 2), (*[2 * s for s in layout.stride], 1), 0, layout.dtype.to_real()


@view(method=False)
def view_as_complex(layout: Layout) -> Any:
    """Real numbers whose last dimension is 2 as complex numbers over the same memory."""
    if layout.dtype.kind != "f":
        raise RuntimeError(
            f"view_as_complex is only supported for floating point tensors, but got a tensor of scalar type: {layout.dtype.scalar_name}"
        )
    if not layout.shape:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if layout.shape[-1] != 2:
        raise RuntimeError("Tensor must have a last dimension of size 2")
    if layout.stride[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in layout.stride[:-1]):
        raise RuntimeError("Tensor must have a stride divisible by 2 for all but last dimension")
    return layout.shape[:-1], [s // 2 for s in layout.stride[:-1]], 0, layout.dtype.to_complex()


view_as_real.gradient(lambda grad, layout: _complex(select(grad, -1, 0), select(grad, -1, 1)))
view_as_complex.gradient(lambda grad, layout: view_as_real(grad))


@view(name="real", method=False, function=False)
def _real(layout: Layout) -> Any:
    return layout.shape, [2 * s for s in layout.stride], 0, layout.dtype.to_real()


@view(name="imag", method=False, function=False)
def _imaginary(layout: Layout) -> Any:
    return layout.shape, [2 * s for s in layout.stride], 1, layout.dtype.to_real()


@pointwise(name="complex", result="complex", method=False, in_place=False, function=False, accepts="tensors")
def _complex(real: Any, imag: Any) -> Any:
    return sc.complex_pair(real, imag)


_real.gradient(lambda grad, layout: _complex(grad, grad * 0))
_imaginary.gradient(lambda grad, layout: _complex(grad * 0, grad))
for _operator in (_real, _imaginary, view_as_real):

    @_operator.sample
    def _(make: Any) -> Any:
        yield (make(2, 3, dtype=dt.complex64),), {}


@view_as_complex.sample
def _(make: Any) -> Any:
    yield (make(3, 2),), {}


def _need_complex(name: str, layout: Layout) -> None:
    if layout.dtype.kind != "c":
        raise RuntimeError(f"{name} is only supported for complex tensors")


@composite(method=False)
def real(input: Any) -> Any:
    """The real parts, as a view; a real tensor itself."""
    return _real(input) if layout_of(input, "real").dtype.kind == "c" else input


@composite(method=False)
def imag(input: Any) -> Any:
    """The imaginary parts, as a view. RuntimeError for real tensors."""
    if layout_of(input, "imag").dtype.kind != "c":
        raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")
    return _imaginary(input)


@composite(out=True)
def complex(real: Any, imag: Any) -> Any:
    """real + i imag, of two real tensors of one floating-point dtype.

    >>> torch.complex(torch.tensor([1., 2.]), torch.tensor([3., 4.]))
    tensor([1.+3.j, 2.+4.j])
    """
    a, b = layout_of(real, "complex", 1, "real").dtype, layout_of(imag, "complex", 2, "imag").dtype
    for dtype in (a, b):
        if dtype not in (dt.float16, dt.float32, dt.float64):
            raise RuntimeError(
                f"Expected both inputs to be Half, Float or Double tensors but got {a.scalar_name} and {b.scalar_name}"
            )
    if a is not b:
        raise RuntimeError(
            f"Expected object of scalar type {a.scalar_name} but got scalar type {b.scalar_name} for second argument"
        )
    return _complex(real, imag)


@composite(out=True)
def polar(abs: Any, angle: Any) -> Any:
    """Complex numbers of given length and angle: abs * (cos(angle) + i sin(angle))."""
    layout_of(abs, "polar", 1, "abs")
    layout_of(angle, "polar", 2, "angle")
    return complex(abs * pw.cos(angle), abs * pw.sin(angle))


@pointwise(name="conj_physical", function=False, method=False, in_place=False)
def _conjugated(input: Any) -> Any:
    return sc.conjugate(input)


@composite(method=True)
def conj(input: Any) -> Any:
    """The complex conjugate; a real tensor itself."""
    return _conjugated(input) if layout_of(input, "conj").dtype.kind == "c" else input


@composite(method=True, out=True)
def conj_physical(input: Any) -> Any:
    """The complex conjugate, in memory of its own."""
    return _conjugated(input) if layout_of(input, "conj_physical").dtype.kind == "c" else METHODS["clone"](input)


derived_in_place("conj_physical_", conj_physical, True)


@composite(method=True)
def resolve_conj(input: Any) -> Any:
    """The tensor itself: conjugates are always computed here."""
    return input


@composite(method=True)
def resolve_neg(input: Any) -> Any:
    """The tensor itself: negation is always computed here."""
    return input


@composite(method=False)
def adjoint(input: Any) -> Any:
    """The conjugate transpose of the last two dimensions."""
    return conj(METHODS["transpose"](input, -2, -1))


@composite(method=True, out=True)
def angle(input: Any) -> Any:
    """The angle of complex numbers in radians; of real numbers 0 or pi."""
    if layout_of(input, "angle").dtype.kind == "c":
        return pw.atan2(_imaginary(input), _real(input))
    return _real_angle(input)


@pointwise(name="real_angle", result="float", function=False, method=False, in_place=False)
def _real_angle(input: Any) -> Any:
    return sc.select(sc.is_nan(input), input, sc.select(input < 0, math.pi, sc.sign(input) * 0.0))
