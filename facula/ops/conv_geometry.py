"""One convolution on tensors below autograd: its sizes, its three products, and the plans that compute them.

In: tensors whose shapes fit (`conv_arguments` has checked them), of any layout and dtype. Out: new contiguous tensors.
It knows nothing of gradients.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.errors import not_implemented
from facula.core.layout import CPU, Layout, layout
from facula.ops.copy import contiguous, convert, copy_
from facula.ops.define import FUNCTIONS, METHODS
from facula.ops.dispatch import Launch
from facula.ops.kernels import conv as kernels
from facula.runtime import threads
from facula.runtime.objects import new_tensor, wrap


# -- launches --------------------------------------------------------------------------------------------------------
class _Workspace:
    """The layout of the memory that a plan needs beside its operands, which depends on the number of threads."""

    def __init__(self, plan: Any) -> None:
        self.plan, self.slots = plan, 0

    def take(self) -> tuple[Any, int]:
        """(memory as a tensor, number of threads it serves)."""
        slots = min(threads.get_num_threads(), self.plan.items)
        if slots != self.slots:
            self.layout, self.slots = layout((self.plan.workspace_bytes(slots),), None, dt.uint8, CPU), slots
        return new_tensor(self.layout), slots


class _Correlation:
    """A plan of `kernels.conv_plan` as launches on tensors."""

    def __init__(self, plan: Any) -> None:
        pack, main = plan.kernels
        tail = (plan.table_address,)
        self.workspace = _Workspace(plan)
        self.pack = Launch(pack, plan.packed_count, plan.pack_grain, tail, plan)
        self.main = Launch(main, plan.items, plan.grain, tail, plan)

    def __call__(self, y: Any, x: Any, w: Any, bias: Any) -> None:
        workspace, slots = self.workspace.take()
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
        self.workspace = _Workspace(plan)
        self.free = Launch(free, 1, 1)
        self.main = Launch(main, plan.items, plan.grain, tail, plan)
        self.collect = Launch(collect, plan.pieces, plan.collect_grain, tail, plan)

    def __call__(self, dw: Any, x: Any, dy: Any) -> None:
        workspace, slots = self.workspace.take()
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
        found = self._made.get(kind)
        if found is None:
            return self._first(kind, result, operands)
        out = new_tensor(result)
        found(out, *[o if o is None or o._layout.contiguous else contiguous(o) for o in operands])
        return out

    def _first(self, kind: str, result: Layout, operands: tuple[Any, ...]) -> Any:
        """What needs no kernel, or another type's; else the kernel's plan is made."""
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
        self._made[kind] = getattr(self, "_make_" + kind)()
        return self._compute(kind, result, operands)

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
