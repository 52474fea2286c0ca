"""Convolutions and transposed convolutions in one, two and three dimensions.

All come down to three operators over one geometry: the convolution itself, its transpose (from outputs to inputs), and
the product that gives the gradient of its weights. Each is bilinear, and the gradients of each are the other two, so
convolutions can be differentiated any number of times.

In: tensors and torch's arguments, checked here. Out: contiguous tensors. How the sums are computed is known to
`facula.ops.kernels.conv` alone.

Source: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning" (2016), for the sizes.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.errors import not_implemented, sizes, wrong_type
from facula.core.layout import CPU, Layout, layout, register_cache
from facula.ops.copy import contiguous, convert, copy_
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import Launch, check_devices
from facula.ops.kernels import conv as kernels
from facula.ops.view import permute, squeeze, unsqueeze
from facula.runtime import threads
from facula.runtime.objects import TensorBase, new_tensor, wrap

_FUNCTIONAL = ("torch", "torch.nn.functional")


# -- launches --------------------------------------------------------------------------------------------------------
class _Correlation:
    """A plan of `kernels.conv_plan` as launches on tensors."""

    def __init__(self, plan: Any) -> None:
        pack, main = plan.kernels
        tail = (plan.table_address,)
        self.plan = plan
        self.pack = Launch(pack, plan.packed_count, plan.pack_grain, tail, plan)
        self.main = Launch(main, plan.items, plan.grain, tail, plan)

    def __call__(self, y: Any, x: Any, w: Any, bias: Any) -> None:
        slots = threads.get_num_threads()
        workspace = new_tensor(layout((self.plan.workspace_bytes(slots),), None, dt.uint8, CPU))
        self.pack((workspace, w), 1, (slots,))
        self.main((y, workspace, x, x if bias is None else bias), 2, (slots, int(bias is not None)))


class _Depthwise:
    """A plan of `kernels.conv_depthwise` as a launch on tensors."""

    def __init__(self, plan: Any) -> None:
        self.main = Launch(plan.kernel, plan.items, plan.grain, (plan.table_address,), plan)

    def __call__(self, y: Any, x: Any, w: Any, bias: Any) -> None:
        self.main((y, x, w, x if bias is None else bias), 1, (int(bias is not None),))


class _DepthwiseWeight:
    """The same for the gradient of the weights."""

    def __init__(self, plan: Any) -> None:
        self.main = Launch(plan.weight_kernel, plan.groups, plan.weight_grain, (plan.table_address,), plan)

    def __call__(self, dw: Any, x: Any, dy: Any) -> None:
        self.main((dw, x, dy))


def _correlation(plan: Any) -> Any:
    return _Depthwise(plan) if isinstance(plan, kernels.Depthwise) else _Correlation(plan)


class _WeightProduct:
    """A plan of `kernels.conv_weight` as launches on tensors."""

    def __init__(self, plan: Any) -> None:
        free, main, collect = plan.kernels
        tail = (plan.table_address,)
        self.plan = plan
        self.free = Launch(free, 1, 1)
        self.main = Launch(main, plan.items, plan.grain, tail, plan)
        self.collect = Launch(collect, plan.pieces, plan.collect_grain, tail, plan)

    def __call__(self, dw: Any, x: Any, dy: Any) -> None:
        slots = threads.get_num_threads()
        workspace = new_tensor(layout((self.plan.workspace_bytes(slots),), None, dt.uint8, CPU))
        self.free((workspace,), 1, (slots,))
        self.main((workspace, x, dy), 1, (slots,))
        self.collect((dw, workspace), 1, (slots,))


class Geometry:
    """One convolution: its sizes, the layouts of its three tensors, and the plans that have been made for it.

    `inputs` are (images, in_channels, *size), `outputs` (images, out_channels, *size), `weights` (out_channels,
    in_channels / groups, *kernel). A transposed convolution goes from outputs to inputs.
    """

    def __init__(self, own: kernels.Sizes, dims: int, dtype: dt.dtype, device: Any) -> None:
        self.own, self.dims, self.dtype = own, dims, dtype
        self.inputs = layout((own.images, own.in_channels, *own.inputs[3 - dims :]), None, dtype, device)
        self.outputs = layout((own.images, own.out_channels, *own.outputs[3 - dims :]), None, dtype, device)
        self.weights = layout((own.out_channels, own.group_inputs, *own.kernel[3 - dims :]), None, dtype, device)
        self._made: dict[str, Any] = {}

    def forward(self, x: Any, w: Any, bias: Any) -> Any:
        """inputs and weights to outputs."""
        return self._compute("forward", self.outputs, (x, w, bias))

    def transposed(self, y: Any, w: Any, bias: Any) -> Any:
        """outputs and weights to inputs."""
        return self._compute("transposed", self.inputs, (y, w, bias))

    def weight_product(self, x: Any, y: Any) -> Any:
        """inputs and outputs to weights."""
        return self._compute("weight_product", self.weights, (x, y))

    def _compute(self, kind: str, result: Layout, operands: tuple[Any, ...]) -> Any:
        if result.device is not CPU or not result.numel:
            return new_tensor(result)
        if any(operand is not None and not operand._layout.numel for operand in operands):
            return self._nothing(result, operands)
        if self.dtype.kind == "c":
            return self._complex(kind, result, operands)
        own = _COMPUTED_IN.get(self.dtype)
        if own is None:
            raise not_implemented(f"slow_conv{self.dims}d_cpu", self.dtype)
        if own is not self.dtype:
            wide = tuple(None if operand is None else convert(operand, own) for operand in operands)
            return convert(self._at(own)._compute(kind, result.with_dtype(own), wide), self.dtype)
        out = new_tensor(result)
        found = self._made.get(kind)
        if found is None:
            found = self._made[kind] = getattr(self, "_make_" + kind)()
        found(out, *[None if operand is None else contiguous(operand) for operand in operands])
        return out

    def _at(self, dtype: dt.dtype) -> Geometry:
        """The same convolution of another element type."""
        found = self._made.get(dtype.code)
        if found is None:
            found = self._made[dtype.code] = Geometry(
                self.own._replace(dtype=dtype.code), self.dims, dtype, self.inputs.device
            )
        return found  # type: ignore[no-any-return]

    def _nothing(self, result: Layout, operands: tuple[Any, ...]) -> Any:
        """A sum over nothing, and the bias."""
        out = FUNCTIONS["torch"]["zeros"](result.shape, dtype=result.dtype)
        if len(operands) == 3 and operands[2] is not None:
            out = METHODS["add"](out, _beside_channels(operands[2], self.dims))
        return out

    def _complex(self, kind: str, result: Layout, operands: tuple[Any, ...]) -> Any:
        """(a + bi)(c + di) by four real convolutions."""
        real = self._at(self.dtype.to_real())
        (a, b), (c, d) = (tuple(contiguous(part) for part in _parts(operand)) for operand in operands[:2])
        biases: list[tuple[Any, ...]] = [(), ()]
        if len(operands) == 3:
            bias = operands[2]
            biases = [(None,), (None,)] if bias is None else [(contiguous(part),) for part in _parts(bias)]
        without = tuple(None for _ in biases[0])
        own = result.with_dtype(real.dtype)
        minus = METHODS["sub"](real._compute(kind, own, (a, c, *biases[0])), real._compute(kind, own, (b, d, *without)))
        plus = METHODS["add"](real._compute(kind, own, (a, d, *biases[1])), real._compute(kind, own, (b, c, *without)))
        out = new_tensor(result)
        for target, part in zip(_parts(out), (minus, plus), strict=True):
            copy_(target, part)
        return out

    def _make_forward(self) -> Any:
        return _correlation(kernels.forward(self.own))

    def _make_weight_product(self) -> Any:
        plan = kernels.weight_gradient(self.own)
        return _DepthwiseWeight(plan) if isinstance(plan, kernels.DepthwiseWeight) else _WeightProduct(plan)

    def _make_transposed(self) -> Any:
        gradient = kernels.input_gradient(self.own)
        parts = [_correlation(part) for part in gradient.parts]
        if not gradient.missing:

            def all_parts(out: Any, y: Any, w: Any, bias: Any) -> None:
                for part in parts:
                    part(out, y, w, bias)

            return all_parts

        def some_parts(out: Any, y: Any, w: Any, bias: Any) -> None:
            """Some inputs take part in no output: they are zero, or the bias."""
            METHODS["zero_"](out)
            if bias is not None:
                METHODS["add_"](out, _beside_channels(bias, self.dims))
            for part in parts:
                part(out, y, w, bias)

        return some_parts


_COMPUTED_IN = {
    dt.float32: dt.float32, dt.float64: dt.float64, dt.float16: dt.float32, dt.bfloat16: dt.float32,
    **dict.fromkeys((dt.uint8, dt.int8, dt.int16, dt.int32, dt.int64), dt.float64),
}  # fmt: skip


def _beside_channels(bias: Any, dims: int) -> Any:
    return METHODS["reshape"](bias, (-1, *(1 for _ in range(dims))))


def _parts(z: Any) -> tuple[Any, Any]:
    """The real and the imaginary parts of a complex tensor, as views outside autograd."""
    own = z._layout
    part = layout(own.shape, tuple(2 * stride for stride in own.stride), own.dtype.to_real(), own.device)
    return wrap(z._storage, z._data, part), wrap(z._storage, z._data + part.dtype.itemsize, part)


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


# -- arguments -------------------------------------------------------------------------------------------------------
_geometries: dict[Any, Geometry] = register_cache({})


def _numbers(value: Any, dims: int, function: str, name: str) -> tuple[int, ...]:
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
            f"expected {name} to be a single integer value or a list of {dims} values to match the convolution dimensions, "
            f"but got {name}={sizes(found)}"
        )
    return tuple(found)


def _check_numbers(stride: Any, padding: Any, dilation: Any, output_padding: Any, groups: int) -> None:
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


def _check_shapes(x: tuple[int, ...], w: tuple[int, ...], bias: Any, groups: int, transposed: bool) -> None:
    if len(x) != len(w):
        raise RuntimeError(
            f"Expected {len(w)}-dimensional input for {len(w)}-dimensional weight {sizes(w)}, but got {len(x)}-dimensional "
            f"input of size {sizes(x)} instead"
        )
    if w[0] < groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0, but got weight of size "
            f"{sizes(w)} instead"
        )
    if w[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be divisible by {groups} at dimension 0, but got weight of size "
            f"[{sizes(w)}] instead"
        )
    given = "transposed=1" if transposed else f"groups={groups}"
    channels = w[0] if transposed else w[1] * groups
    if x[1] != channels:
        raise RuntimeError(
            f"Given {given}, weight of size {sizes(w)}, expected input{sizes(x)} to have {channels} channels, but got {x[1]} "
            "channels instead"
        )
    outputs = w[1] * groups if transposed else w[0]
    if bias is not None and bias.shape != (outputs,):
        given = "transposed=1, weight" if transposed else "weight"
        raise RuntimeError(
            f"Given {given} of size {sizes(w)}, expected bias to be 1-dimensional with {outputs} elements, but got bias of "
            f"size {sizes(bias.shape)} instead"
        )
    if 0 in w[2:]:
        raise RuntimeError(f"kernel size should be greater than zero, but got weight of size {sizes(w)}")


def _check_types(x: Layout, w: Layout, bias: Layout | None) -> None:
    if x.dtype is not w.dtype:
        raise RuntimeError(
            f"Input type ({_legacy(x.dtype)}) and weight type ({_legacy(w.dtype)}) should be the same or input should be a "
            "MKLDNN tensor and weight is a dense tensor"
        )
    if bias is not None and bias.dtype is not x.dtype:
        names = (own.scalar_name.lower() for own in (x.dtype, bias.dtype))
        raise RuntimeError("Input type ({}) and bias type ({}) should be the same".format(*names))


def _legacy(own: dt.dtype) -> str:
    return f"torch.{own.scalar_name}Tensor"


def _by(numbers: Any) -> str:
    return "(" + " x ".join(map(str, numbers)) + ")"


def _plan(
    x: Layout, w: Layout, bias: Layout | None, stride: Any, padding: Any, dilation: Any, output_padding: Any, groups: int,
    transposed: bool,
) -> Geometry:  # fmt: skip
    """The geometry for checked arguments; `padding` may be (before, all) for each dimension."""
    dims = len(w.shape) - 2
    before = tuple(p[0] if isinstance(p, tuple) else p for p in padding)
    total = [p[1] if isinstance(p, tuple) else 2 * p for p in padding]
    _check_numbers(stride, before, dilation, output_padding, groups)
    _check_shapes(x.shape, w.shape, bias, groups, transposed)
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
                f"Given input size per channel: {_by(small)}. Calculated output size per channel: {_by(large)}. Output size "
                "is too small"
            )
    else:
        padded = [size + p for size, p in zip(x.shape[2:], total, strict=True)]
        if any(r > size for r, size in zip(reach, padded, strict=True)):
            raise RuntimeError(
                f"Calculated padded input size per channel: {_by(padded)}. Kernel size: {_by(reach)}. Kernel size can't be "
                "greater than actual input size"
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


def _same(w: Layout, stride: tuple[int, ...], dilation: tuple[int, ...]) -> Any:
    """(before, all) of the padding that keeps sizes."""
    if any(s != 1 for s in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    totals = [d * (k - 1) for d, k in zip(dilation, w.shape[2:], strict=True)]
    return tuple((total // 2, total) for total in totals)


def _operands(function: str, input: Any, weight: Any, bias: Any, dims: int) -> tuple[Layout, Layout, Layout | None]:
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


def _convolve(
    function: str, dims: int, input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any,
    output_padding: Any = None,
) -> Any:  # fmt: skip
    """Any public convolution; transposed if there is an `output_padding`."""
    try:
        key = (
            input._layout, weight._layout, None if bias is None else bias._layout, stride, padding, dilation, groups,
            output_padding, dims,
        )  # fmt: skip
        geometry = _geometries.get(key)
    except (AttributeError, TypeError):  # not a tensor, or a list of numbers
        key = geometry = None
    if geometry is None:
        x, w, b = _operands(function, input, weight, bias, dims)
        if len(x.shape) == dims + 1:
            args = stride, padding, dilation, groups, output_padding
            return squeeze(_convolve(function, dims, unsqueeze(input, 0), weight, bias, *args), 0)
        if isinstance(groups, bool) or not hasattr(groups, "__index__"):
            raise TypeError(f"{function}(): argument 'groups' must be int, not {type(groups).__name__}")
        own = len(w.shape) - 2
        stride, dilation = _numbers(stride, own, function, "stride"), _numbers(dilation, own, function, "dilation")
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise RuntimeError(f"Invalid padding string: '{padding}'")
            padding = _same(w, stride, dilation) if padding == "same" else (0,) * own
        else:
            padding = _numbers(padding, own, function, "padding")
        extra = (0,) * own if output_padding is None else _numbers(output_padding, own, function, "output_padding")
        check_devices(function, (input, weight) if bias is None else (input, weight, bias))
        geometry = _plan(x, w, b, stride, padding, dilation, extra, int(groups), output_padding is not None)
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
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
) -> Any:  # fmt: skip
    """(N, C_in, L) with weights (C_in, C_out / groups, K) to (N, C_out, L_out). See `conv_transpose2d`.

    >>> torch.conv_transpose1d(torch.tensor([[1., 2.]]), torch.ones(1, 1, 2), stride=2)
    tensor([[1., 1., 2., 2.]])
    """
    return _convolve("conv_transpose1d", 1, input, weight, bias, stride, padding, dilation, groups, output_padding)


@composite(namespaces=_FUNCTIONAL)
def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
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
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
    dilation: Any = 1,
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
        _check_shapes(x.shape, weight._layout.shape, None, groups, transposed)
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
