"""Copies, conversions and fills: the operators that move elements without computing with them."""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.layout import CPU, Layout, layout
from facula.core.strides import channels_last_stride, dense_stride_like
from facula.engine.modes import modes
from facula.ops.define import FUNCTIONS, composite, install_out, layout_of, publish
from facula.ops.elementwise import PointwiseOperator
from facula.ops.expression import variable
from facula.ops.inplace import check_in_place, rebase
from facula.runtime.objects import TensorBase, new_tensor

_conversions: dict[dt.dtype, PointwiseOperator] = {}
_copy = PointwiseOperator("copy", [variable("src")], ["src"], {}, "same", backward_name="CopyBackwards")
_copy.spreads = True
_fill = PointwiseOperator("fill", [variable("value")], ["value"], {}, "same")
_fill.spreads = True
_clone = PointwiseOperator("clone", [variable("input")], ["input"], {}, "same")


def convert(input: Any, to: dt.dtype) -> Any:
    """A copy with elements of another dtype; gradients are converted back."""
    operator = _conversions.get(to)
    if operator is None:
        operator = _conversions[to] = PointwiseOperator(
            "to_copy", [variable("input")], ["input"], {}, to, backward_name="ToCopyBackward0"
        )
    return operator((input,))


def _into(source: Any, target: Layout) -> Any:
    """A copy of `source` with the geometry `target`, differentiable."""
    out = new_tensor(target)
    plan = _copy.plan((source,), {}, out)
    plan.launch((out, source))
    if modes.grad_enabled and source._requires_grad and target.dtype.kind in "fc":
        node = _clone.record(plan, (source,), {}, (out,))
        out._requires_grad, out._node = 1, node
    return out


def strided_like(source: Layout, memory_format: Any) -> Layout:
    """The layout of a fresh tensor in a memory format: None or preserve_format keep a dense order of dimensions."""
    name = getattr(memory_format, "name", "preserve_format")
    if name == "contiguous_format":
        return source.dense()
    if name == "channels_last":
        return layout(source.shape, channels_last_stride(source.shape), source.dtype, source.device)
    return layout(source.shape, dense_stride_like(source.shape, source.stride), source.dtype, source.device)


@composite(method=True)
def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy; gradients pass through."""
    return _into(input, strided_like(layout_of(input, "clone"), memory_format))


@composite(method=True, function=False)
def contiguous(input: Any, memory_format: Any = None) -> Any:
    """The tensor itself if its elements lie row by row without gaps, else a copy that does."""
    source = input._layout
    if getattr(memory_format, "name", "") == "channels_last":
        wanted = layout(source.shape, channels_last_stride(source.shape), source.dtype, source.device)
        return input if wanted is source else _into(input, wanted)
    return input if source.contiguous else _into(input, source.dense())


def copy_(target: Any, src: Any, non_blocking: bool = False) -> Any:
    """Write the elements of `src` (broadcast, converted) into the tensor."""
    check_in_place(target)
    if not isinstance(src, TensorBase):
        raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
    if src._storage is target._storage and src._data == target._data and src._layout is target._layout:
        return target
    if src._storage is target._storage and target._storage.data:
        enabled, modes.grad_enabled = modes.grad_enabled, False
        source = clone(src)
        modes.grad_enabled = enabled
        if src._requires_grad:
            source._requires_grad, source._node, source._output = 1, src._node, src._output
    else:
        source = src
    needed = modes.grad_enabled and (target._requires_grad or source._requires_grad)
    plan = _copy.plan((source,), {}, target)
    if target._layout.device is not CPU and source._layout.device is CPU:
        return target
    if target._layout.device is CPU and source._layout.device is not CPU:
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    plan.launch((target, source))
    target._storage.version += 1
    if needed and target._layout.dtype.kind in "fc":
        node = _copy.record(plan, (source,), {}, (target,))
        if not source._requires_grad:
            node.edges = ()
            node.operator = _Nothing
        rebase(target, node, False)
    return target


class _Nothing:
    """The operator of a node that leads nowhere: its target was overwritten by what needs no gradient."""

    backward_name = "CopyBackwards"

    @staticmethod
    def backward(node: Any, gradients: Any) -> list[Any]:
        return []


def fill_(target: Any, value: Any) -> Any:
    """Write one number everywhere."""
    if isinstance(value, TensorBase):
        if value._layout.shape:
            raise RuntimeError(
                f"fill_ only supports 0-dimension value tensor but got tensor with {len(value._layout.shape)} dimensions."
            )
        return copy_(target, value)
    if not isinstance(value, (bool, int, float, complex)):
        raise TypeError(f"fill_(): argument 'value' (position 1) must be Number, not {type(value).__name__}")
    check_in_place(target)
    write_number(target, value)
    if modes.grad_enabled and target._requires_grad:
        plan = _copy.plan((target,), {}, target)
        node = _copy.record(plan, (detached(target),), {}, (target,))
        node.edges, node.operator = (), _Nothing
        rebase(target, node, False)
    return target


def detached(tensor: Any) -> Any:
    """An alias outside the graph."""
    from facula.runtime.objects import alias

    return alias(tensor)


def write_number(target: Any, value: Any) -> None:
    """Fill without autograd."""
    dtype = target._layout.dtype
    if dtype.kind == "f":
        value = float(value)
    elif dtype.kind in "iu":
        value = int(value)
        bits = 8 * dtype.itemsize
        if not -(1 << bits) < value < (1 << bits):
            raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    elif dtype.kind == "b":
        value = bool(value)
    _fill([value], None, target)


def zero_(target: Any) -> Any:
    """Write 0 everywhere."""
    return fill_(target, 0)


def fill(input: Any, value: Any) -> Any:
    """A copy with one number everywhere."""
    return fill_(clone(input), value)


def resize_as_(input: Any, the_template: Any, *, memory_format: Any = None) -> Any:
    """`resize_` to the shape of another tensor."""
    return resize_(input, the_template._layout.shape)


publish("fill", fill)
publish("resize_as_", resize_as_, method=True)
publish("copy_", copy_, method=True, namespaces=())
publish("fill_", fill_, method=True)
publish("zero_", zero_, method=True)


def resize_output(out: Any, shape: tuple[int, ...]) -> Any:
    """Give `out` a shape, as the out= argument of an operator: its memory grows if it must."""
    target = layout(shape, None, out._layout.dtype, out._layout.device)
    if out._layout.numel != 0 and out._layout.shape != shape:
        import warnings

        warnings.warn(
            f"An output with one or more elements was resized since it had shape {list(out._layout.shape)}, which does not match the "
            f"required output shape {list(shape)}. This behavior is deprecated, and in a future PyTorch release outputs will not be "
            "resized unless they have zero elements. You can explicitly reuse an out tensor t by resizing it, inplace, to zero elements "
            "with t.resize_(0).",
            UserWarning,
            stacklevel=3,
        )
    if target.nbytes > out._storage.nbytes:
        out._storage.resize(target.nbytes)
    out._data, out._layout = out._storage.data, target
    return out


def copy_result(out: Any, result: Any) -> Any:
    """The general out= form: resize, then copy."""
    from facula.core.errors import result_cast
    from facula.core.promotion import can_cast

    if not can_cast(result._layout.dtype, out._layout.dtype):
        raise result_cast(result._layout.dtype, out._layout.dtype)
    if out._layout.shape != result._layout.shape:
        resize_output(out, result._layout.shape)
    plan = _copy.plan((result,), {}, out)
    plan.launch((out, result))
    out._storage.version += 1
    return out


def resize_(input: Any, *sizes: Any) -> Any:
    """Another shape over the same storage, which grows if needed; elements keep their order in memory."""
    from facula.ops.view import sizes_of

    if input._requires_grad and modes.grad_enabled:
        raise RuntimeError("cannot resize variables that require grad")
    shape = sizes_of(sizes)
    target = layout(shape, None, input._layout.dtype, input._layout.device)
    offset = input._data - input._storage.data
    if offset + target.nbytes > input._storage.nbytes:
        input._storage.resize(offset + target.nbytes)
        input._data = input._storage.data + offset
    input._layout = target
    return input


publish("resize_", resize_, method=True, namespaces=())
FUNCTIONS.setdefault("internal", {})["resize_output"] = resize_output
FUNCTIONS["internal"]["copy_result"] = copy_result
install_out(copy_result)
