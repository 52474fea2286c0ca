"""The arguments of convolutions: numbers for each dimension, the sizes that follow, and torch's complaints.

In: what a user passed, and layouts. Out: a `Geometry`. No tensor's values are looked at.

Source: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning" (2016), for the sizes.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.errors import sizes, wrong_type
from facula.core.layout import Layout
from facula.ops.conv_geometry import Geometry
from facula.ops.define import METHODS, layout_of
from facula.ops.kernels import conv as kernels
from facula.runtime.objects import TensorBase


def numbers(value: Any, dims: int, function: str, name: str) -> tuple[int, ...]:
    """An int, or as many as there are dimensions."""
    given = value if isinstance(value, (tuple, list)) else (value,)
    found = []
    for number in given:
        if isinstance(number, TensorBase) and number._layout.numel == 1:
            number = METHODS["item"](number)
        if isinstance(number, bool) or not hasattr(number, "__index__"):
            raise TypeError(f"{function}(): argument '{name}' must be tuple of ints, not {type(number).__name__}")
        found.append(number.__index__())
    if len(found) == 1:
        return tuple(found * dims)
    if len(found) != dims:
        raise RuntimeError(
            f"expected {name} to be a single integer value or a list of {dims} values to match the convolution "
            f"dimensions, but got {name}={sizes(found)}"
        )
    return tuple(found)


def _checknumbers(stride: Any, padding: Any, dilation: Any, output_padding: Any, groups: int) -> None:
    if groups <= 0:
        raise RuntimeError("non-positive groups is not supported")
    if any(p < 0 for p in padding):
        raise RuntimeError("negative padding is not supported")
    if any(p < 0 for p in output_padding):
        raise RuntimeError("negative output_padding is not supported")
    if any(s <= 0 for s in stride):
        raise RuntimeError("non-positive stride is not supported")
    if any(d < 0 for d in dilation):
        raise RuntimeError("dilation should be greater than zero")
    if any(d == 0 for d in dilation):
        raise RuntimeError("non-positive dilation is not supported")


def check_shapes(x: tuple[int, ...], w: tuple[int, ...], bias: Any, groups: int, transposed: bool) -> None:
    if len(x) != len(w):
        raise RuntimeError(
            f"Expected {len(w)}-dimensional input for {len(w)}-dimensional weight {sizes(w)}, but got "
            f"{len(x)}-dimensional input of size {sizes(x)} instead"
        )
    if w[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{sizes(w)} instead"
        )
    if w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of "
            f"size [{sizes(w)}] instead"
        )
    given = "transposed=1" if transposed else f"groups={groups}"
    channels = w[0] if transposed else w[1] * groups
    if x[1] != channels:
        raise RuntimeError(
            f"Given {given}, weight of size {sizes(w)}, expected input{sizes(x)} to have {channels} channels, but got "
            f"{x[1]} channels instead"
        )
    outputs = w[1] * groups if transposed else w[0]
    if bias is not None and bias.shape != (outputs,):
        given = "transposed=1, weight" if transposed else "weight"
        raise RuntimeError(
            f"Given {given} of size {sizes(w)}, expected bias to be 1-dimensional with {outputs} elements, but got "
            f"bias of size {sizes(bias.shape)} instead"
        )
    if 0 in w[2:]:
        raise RuntimeError(f"kernel size should be greater than zero, but got weight of size {sizes(w)}")


def _check_types(x: Layout, w: Layout, bias: Layout | None) -> None:
    if x.dtype is not w.dtype:
        raise RuntimeError(
            f"Input type ({_legacy(x.dtype)}) and weight type ({_legacy(w.dtype)}) should be the same or input "
            "should be a MKLDNN tensor and weight is a dense tensor"
        )
    if bias is not None and bias.dtype is not x.dtype:
        names = (own.scalar_name.lower() for own in (x.dtype, bias.dtype))
        raise RuntimeError("Input type ({}) and bias type ({}) should be the same".format(*names))


def _legacy(own: dt.dtype) -> str:
    return f"torch.{own.scalar_name}Tensor"


def _by(numbers: Any) -> str:
    return "(" + " x ".join(map(str, numbers)) + ")"


def geometry_of(
    x: Layout, w: Layout, bias: Layout | None, stride: Any, padding: Any, dilation: Any, output_padding: Any,
    groups: int, transposed: bool,
) -> Geometry:  # fmt: skip
    """The geometry for checked arguments; `padding` may be (before, all) for each dimension."""
    dims = len(w.shape) - 2
    before = tuple(p[0] if isinstance(p, tuple) else p for p in padding)
    total = [p[1] if isinstance(p, tuple) else 2 * p for p in padding]
    _checknumbers(stride, before, dilation, output_padding, groups)
    check_shapes(x.shape, w.shape, bias, groups, transposed)
    _check_types(x, w, bias)
    kernel = w.shape[2:]
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    if transposed:
        if any(o >= s and o >= d for o, s, d in zip(output_padding, stride, dilation, strict=True)):
            raise RuntimeError(_output_padding_message(output_padding, stride, dilation))
        large = [
            (size - 1) * s - p + r + o
            for size, s, p, r, o in zip(x.shape[2:], stride, total, reach, output_padding, strict=True)
        ]
        small: Any = x.shape[2:]
        channels = w.shape[1] * groups, w.shape[0]
        if any(size < 0 for size in large):
            raise RuntimeError(
                f"Given input size per channel: {_by(small)}. Calculated output size per channel: {_by(large)}. Output "
                "size is too small"
            )
    else:
        padded = [size + p for size, p in zip(x.shape[2:], total, strict=True)]
        if any(r > size for r, size in zip(reach, padded, strict=True)):
            raise RuntimeError(
                f"Calculated padded input size per channel: {_by(padded)}. Kernel size: {_by(reach)}. Kernel size "
                "can't be greater than actual input size"
            )
        large, channels = list(x.shape[2:]), (w.shape[1] * groups, w.shape[0])
        small = [(size - r) // s + 1 for size, r, s in zip(padded, reach, stride, strict=True)]
    one, zero = (1,) * (3 - dims), (0,) * (3 - dims)
    own = kernels.Sizes(
        x.dtype.code, x.shape[0], groups, *channels, (*one, *large), (*one, *small), (*one, *kernel), (*one, *stride),
        (*zero, *before), (*one, *dilation),
    )  # fmt: skip
    return Geometry(own, dims, x.dtype, x.device)


def _output_padding_message(output_padding: Any, stride: Any, dilation: Any) -> str:
    names = ("depth", "height", "width")[-len(stride) :]
    parts = [
        f"{what}_{name}: {number}"
        for what, numbers in (("output_padding", output_padding), ("stride", stride), ("dilation", dilation))
        for name, number in zip(names, numbers, strict=True)
    ]
    return "output padding must be smaller than either stride or dilation, but got " + " ".join(parts)


def same_padding(w: Layout, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
    """(before, all) of the padding that keeps sizes."""
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)]
    return tuple((total // 2, total) for total in totals)


def operands(function: str, input: Any, weight: Any, bias: Any, dims: int) -> tuple[Layout, Layout, Layout | None]:
    """The layouts of the operands, and torch's complaints about what is not a tensor of as many dimensions."""
    x, w = layout_of(input, function), layout_of(weight, function, 2, "weight")
    if bias is not None and not isinstance(bias, TensorBase):
        raise wrong_type(function, "bias", 3, "Tensor", bias)
    if len(w.shape) < 3:
        raise RuntimeError("weight should have at least three dimensions")
    if len(x.shape) not in (dims + 1, dims + 2):
        raise RuntimeError(
            f"Expected {dims + 1}D (unbatched) or {dims + 2}D (batched) input to {function}, but got input of size: "
            f"{sizes(x.shape)}"
        )
    return x, w, None if bias is None else bias._layout
