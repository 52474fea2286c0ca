"""Convolutions and transposed convolutions in one, two and three dimensions.

All come down to three operators over one geometry: the convolution itself, its transpose (from outputs to inputs), and
the product that gives the gradient of its weights. Each is bilinear, and the gradients of each are the other two, so
convolutions can be differentiated any number of times.

In: tensors and torch's arguments. Out: contiguous tensors. Arguments are checked in `conv_arguments`; how the sums are
computed is known to `conv_geometry` and the kernels.
"""

from __future__ import annotations

from typing import Any

from facula.core.layout import register_cache
from facula.ops.conv_arguments import check_shapes, geometry_of, numbers, operands, same_padding
from facula.ops.conv_geometry import Geometry
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import check_devices
from facula.ops.view import permute, squeeze, unsqueeze

_FUNCTIONAL = ("torch", "torch.nn.functional")
_geometries: dict[Any, Geometry] = register_cache({})


# -- operators -------------------------------------------------------------------------------------------------------
def _adjoint(x: Any) -> Any:
    return METHODS["conj"](x) if x._layout.dtype.kind == "c" else x


def _bias_gradient(grad: Any) -> Any:
    dims = (0, *range(2, len(grad._layout.shape)))
    return FUNCTIONS["torch"]["sum"](grad, dims)


@operator("convolution_forward", function=False)
def _forward(input: Any, weight: Any, bias: Any, geometry: Geometry) -> Any:
    """(images, in_channels, *size) to (images, out_channels, *size)."""
    return geometry.forward(input, weight, bias)


@_forward.joint_gradient("input", "weight", "bias")
def _forward_gradient(grad: Any, input: Any, weight: Any, geometry: Geometry, needs: Any) -> Any:
    return (
        _transposed(grad, _adjoint(weight), None, geometry) if needs[0] else None,
        _weight_product(_adjoint(input), grad, geometry) if needs[1] else None,
        _bias_gradient(grad) if needs[2] else None,
    )


@operator("convolution_transposed", function=False)
def _transposed(input: Any, weight: Any, bias: Any, geometry: Geometry) -> Any:
    """(images, out_channels, *size) to (images, in_channels, *size)."""
    return geometry.transposed(input, weight, bias)


@_transposed.joint_gradient("input", "weight", "bias")
def _transposed_gradient(grad: Any, input: Any, weight: Any, geometry: Geometry, needs: Any) -> Any:
    return (
        _forward(grad, _adjoint(weight), None, geometry) if needs[0] else None,
        _weight_product(grad, _adjoint(input), geometry) if needs[1] else None,
        _bias_gradient(grad) if needs[2] else None,
    )


@operator("convolution_weight", function=False)
def _weight_product(input: Any, output: Any, geometry: Geometry) -> Any:
    """The weights' gradient: for each weight, the sum of the products of the elements it connects."""
    return geometry.weight_product(input, output)


@_weight_product.joint_gradient("input", "output")
def _weight_product_gradient(grad: Any, input: Any, output: Any, geometry: Geometry, needs: Any) -> Any:
    return (
        _transposed(_adjoint(output), grad, None, geometry) if needs[0] else None,
        _forward(_adjoint(input), grad, None, geometry) if needs[1] else None,
    )


for _defined in (_forward, _transposed):
    _defined.operator.backward_name = "ConvolutionBackward0"
_weight_product.operator.backward_name = "ConvolutionBackwardBackward0"


# -- any convolution -------------------------------------------------------------------------------------------------
def _convolve(
    function: str, dims: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any,
    output_padding: Any = None,
) -> Any:  # fmt: skip
    """Any public convolution; transposed if there is an `output_padding`."""
    key: Any = None
    geometry = None
    try:
        key = (
            input._layout, weight._layout, None if bias is None else bias._layout, stride, padding, dilation, groups,
            output_padding, dims,
        )  # fmt: skip
        geometry = _geometries.get(key)
    except (AttributeError, TypeError):  # not a tensor, or a list of numbers
        key = None
    if geometry is None:
        x, w, b = operands(function, input, weight, bias, dims)
        if len(x.shape) == dims + 1:
            args = stride, padding, dilation, groups, output_padding
            return squeeze(_convolve(function, dims, unsqueeze(input, 0), weight, bias, *args), 0)
        if isinstance(groups, bool) or not hasattr(groups, "__index__"):
            raise TypeError(f"{function}(): argument 'groups' must be int, not {type(groups).__name__}")
        own = len(w.shape) - 2
        stride, dilation = numbers(stride, own, function, "stride"), numbers(dilation, own, function, "dilation")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise RuntimeError(f"Invalid padding string: '{padding}'")
            padding = same_padding(w, stride, dilation) if padding == "same" else (0,) * own
        else:
            padding = numbers(padding, own, function, "padding")
        extra = (0,) * own if output_padding is None else numbers(output_padding, own, function, "output_padding")
        check_devices(function, (input, weight) if bias is None else (input, weight, bias))
        geometry = geometry_of(x, w, b, stride, padding, dilation, extra, int(groups), output_padding is not None)
        if key is not None:
            _geometries[key] = geometry
    return (_forward if output_padding is None else _transposed)(input, weight, bias, geometry)


# -- public functions ------------------------------------------------------------------------------------------------
@composite(namespaces=_FUNCTIONAL)
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """(N, C_in, L) with weights (C_out, C_in / groups, K) to (N, C_out, L_out); N may be missing. See `conv2d`.

    >>> torch.conv1d(torch.tensor([[1., 2., 3.]]), torch.tensor([[[1., 1.]]]))
    tensor([[3., 5.]])
    """
    return _convolve("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@composite(namespaces=_FUNCTIONAL)
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """out[n, o] = bias[o] + sum over c of input[n, c] cross-correlated with weight[o, c].

    input: (N, C_in, H, W) or (C_in, H, W); weight: (C_out, C_in / groups, K_h, K_w); bias: (C_out,) or None. stride,
    padding (zeros on both sides) and dilation (the distance between taps) are ints or pairs; padding may also be
    'valid' (none) or 'same' (the output has the size of the input; stride 1). With groups, the channels are cut into as
    many parts that are convolved apart. The output has (H + 2 * padding - dilation * (K_h - 1) - 1) // stride + 1 rows.
    RuntimeError for shapes or dtypes that don't fit.

    >>> torch.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2)).shape
    torch.Size([1, 1, 2, 2])
    """
    return _convolve("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@composite(namespaces=_FUNCTIONAL)
def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """(N, C_in, D, H, W) with weights (C_out, C_in / groups, K_d, K_h, K_w); N may be missing. See `conv2d`.

    >>> torch.conv3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 2, 2, 2)).shape
    torch.Size([1, 1, 2, 2, 2])
    """
    return _convolve("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


@composite(namespaces=_FUNCTIONAL)
def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """(N, C_in, L) with weights (C_in, C_out / groups, K) to (N, C_out, L_out). See `conv_transpose2d`.

    >>> torch.conv_transpose1d(torch.tensor([[1., 2.]]), torch.ones(1, 1, 2), stride=2)
    tensor([[1., 1., 2., 2.]])
    """
    return _convolve("conv_transpose1d", 1, input, weight, bias, stride, padding, dilation, groups, output_padding)


@composite(namespaces=_FUNCTIONAL)
def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The transpose of a convolution as a linear map, which goes from its outputs to its inputs.

    input: (N, C_in, H, W) or (C_in, H, W); weight: (C_in, C_out / groups, K_h, K_w). The output has
    (H - 1) * stride - 2 * padding + dilation * (K_h - 1) + output_padding + 1 rows; `output_padding`, smaller than the
    stride or the dilation, chooses among the sizes that a strided convolution maps to H.

    >>> torch.conv_transpose2d(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3), stride=2).shape
    torch.Size([1, 1, 5, 5])
    """
    return _convolve("conv_transpose2d", 2, input, weight, bias, stride, padding, dilation, groups, output_padding)


@composite(namespaces=_FUNCTIONAL)
def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """(N, C_in, D, H, W) with weights (C_in, C_out / groups, K_d, K_h, K_w). See `conv_transpose2d`.

    >>> torch.conv_transpose3d(torch.ones(1, 1, 2, 2, 2), torch.ones(1, 1, 2, 2, 2), stride=2).shape
    torch.Size([1, 1, 4, 4, 4])
    """
    return _convolve("conv_transpose3d", 3, input, weight, bias, stride, padding, dilation, groups, output_padding)


@composite()
def convolution(
    input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, output_padding: Any,
    groups: int,
) -> Any:  # fmt: skip
    """Any convolution of batched input; the number of dimensions is that of the weights."""
    dims = len(layout_of(weight, "convolution", 2, "weight").shape) - 2
    x = layout_of(input, "convolution")
    if dims > 0 and len(x.shape) != dims + 2:
        check_shapes(x.shape, weight._layout.shape, None, groups, transposed)
    extra = output_padding if transposed else None
    return _convolve("convolution", dims, input, weight, bias, stride, padding, dilation, groups, extra)


@composite(namespaces=_FUNCTIONAL)
def conv_tbc(input: Any, weight: Any, bias: Any, pad: int = 0) -> Any:
    """A convolution over time: (T, N, C_in) with weights (K, C_in, C_out) to (T + 2 * pad - K + 1, N, C_out).

    >>> torch.conv_tbc(torch.ones(3, 1, 2), torch.ones(2, 2, 1), torch.zeros(1)).shape
    torch.Size([2, 1, 1])
    """
    found = conv1d(permute(input, (1, 2, 0)), permute(weight, (2, 1, 0)), bias, padding=pad)
    return permute(found, (2, 0, 1))
