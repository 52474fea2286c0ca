"""Pooling: the maximum or the mean of windows, in one, two and three dimensions.

In: (N, C, *size) or (C, *size). Out: the same with other sizes, and the places of the maxima where they are asked for.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import Layout, register_cache
from facula.engine.modes import modes
from facula.ops.copy import contiguous
from facula.ops.define import METHODS, composite, layout_of, operator
from facula.ops.dispatch import Launch
from facula.ops.kernels import pool as kernels
from facula.runtime.objects import new_tensor

_plans: dict[Any, Any] = register_cache({})

Sizes = tuple[int, ...]


def _dense(x: Any) -> Any:
    return x if x._layout.contiguous else contiguous(x)


def _several(value: Any, dims: int, name: str, what: str) -> Sizes:
    """A number for each dimension, from one for all or one each."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(given) == 1:
        given = given * dims
    if len(given) != dims:
        each = {1: "a single int, or a one-element tuple", 2: "a single int, or a tuple of two ints"}
        raise RuntimeError(f"{name}: {what} must either be {each.get(dims, 'a single int, or a tuple of three ints')}")
    return given


def _out_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    reach = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (reach + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (count - 1) * stride >= size + padding:
        count -= 1
    return count


def _shape(own: Layout, dims: int, name: str) -> Sizes:
    """The sizes of the planes; torch's error for a tensor that has none."""
    shape = own.shape
    if len(shape) not in (dims + 1, dims + 2) or 0 in shape[-dims - 1 :]:
        wanted = {1: "2D or 3D", 2: "3D or 4D", 3: "4D or 5D"}[dims]
        if dims > 1 and len(shape) not in (dims + 1, dims + 2):
            raise RuntimeError(f"non-empty {wanted} (batch mode) tensor expected for input")
        raise RuntimeError(
            ("" if dims > 1 else f"{name}: ")
            + f"Expected {wanted} (batch mode) tensor with optional 0 dim batch size for input, but got:{errors.sizes(shape)}"
        )
    return shape[-dims:]


class _Pool:
    """One combination of layout and window: output layout, the block of numbers, launches made on demand."""

    def __init__(
        self,
        own: Layout,
        dims: int,
        name: str,
        kernel: Sizes,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
        ceil_mode: bool,
        padded: bool,
        divisor: int,
    ) -> None:
        size = _shape(own, dims, name)
        if min(kernel) <= 0 or min(stride) <= 0 or min(dilation) <= 0:
            if 0 in stride:
                raise RuntimeError("stride should not be zero")
            what = "kernel size" if min(kernel) <= 0 else "stride" if min(stride) <= 0 else "dilation"
            raise RuntimeError(f"{what} should be greater than zero")
        for p, k, d in zip(padding, kernel, dilation, strict=True):
            if p < 0:
                raise RuntimeError(f"pad must be non-negative, but got pad: {p}")
            if p > ((k - 1) * d + 1) // 2:
                raise RuntimeError(
                    f"pad should be at most half of effective kernel size, but got pad={p}, kernel_size={k} and dilation={d}"
                )
        out = tuple(
            [
                _out_size(s, k, t, p, d, ceil_mode)
                for s, k, t, p, d in zip(size, kernel, stride, padding, dilation, strict=True)
            ]
        )
        if min(out) < 1:
            before = "x".join(map(str, (own.shape[-dims - 1], *size)))
            after = "x".join(map(str, (own.shape[-dims - 1], *out)))
            raise RuntimeError(
                f"Given input size: ({before}). Calculated output size: ({after}). Output size is too small"
            )
        lead = (1,) * (3 - dims)
        wide = own.shape[-1]
        few = kernel[-1] if kernel[-1] <= 3 and dilation[-1] == 1 else 0
        self.form = few, stride[-1] if stride[-1] in (1, 2) and (few or stride[-1] == 1) else 0
        low = min(-(-padding[-1] // stride[-1]), out[-1])
        reach = wide - 1 - (kernel[-1] - 1) * dilation[-1] + padding[-1]
        high = max(low, min(out[-1], reach // stride[-1] + 1))
        if self.form[1] == 0 and high - low < 6:  # gathers would not pay
            low = high = out[-1]
        self.window = kernels.Window(
            (*lead, *size),
            (*lead, *out),
            (*lead, *kernel),
            (*lead, *stride),
            (0,) * (3 - dims) + padding,
            (*lead, *dilation),
            low,
            high,
            int(padded),
            divisor,
        )
        numbers = self.window.numbers()
        self.block = (ctypes.c_int64 * len(numbers))(*numbers)
        self.out = own.with_shape((*own.shape[:-dims], *out))
        self.dense, self.code = own.dense(), own.dtype.code
        self.plane, self.count = math.prod(size), math.prod(out)
        self.planes = self.out.numel // self.count
        self.rows = self.planes * math.prod(self.window.out[:2])
        self.halves = (
            dims == 2
            and kernel == stride == (2, 2)
            and padding == (0, 0)
            and dilation == (1, 1)
            and not ceil_mode
            and not divisor
        )
        self.launches: dict[str, Launch] = {}

    def launch(self, kind: str) -> Launch:
        found = self.launches.get(kind)
        if found is None:
            found = self.launches[kind] = self._make(kind)
        return found

    def _make(self, kind: str) -> Launch:
        row = self.window.out[2] * math.prod(self.window.kernel)
        whole = max(1, 32768 // max(1, self.plane))
        if kind.startswith("max:"):
            kernel = kernels.max_pool(self.code, kind[4:], *self.form)
            return Launch(kernel, self.rows, max(1, 16384 // row), (ctypes.addressof(self.block),), self.block)
        if kind == "avg":
            kernel = kernels.avg_pool(self.code, *self.form)
            return Launch(kernel, self.rows, max(1, 16384 // row), (ctypes.addressof(self.block),), self.block)
        if self.halves and kind in ("max gradient:i32", "avg gradient"):
            (_, h, w), (_, oh, ow) = self.window.size, self.window.out
            return Launch(
                kernels.halves_gradient(self.code, kind == "avg gradient"),
                self.rows,
                max(1, 16384 // w),
                (h, w, oh, ow),
            )
        if kind.startswith("max gradient:"):
            return Launch(kernels.max_pool_gradient(self.code, kind[13:]), self.planes, whole, (self.plane, self.count))
        return Launch(
            kernels.avg_pool_gradient(self.code), self.planes, whole, (ctypes.addressof(self.block),), self.block
        )


_INDEX = {"i32": dt.int32, "i64": dt.int64}


def _pool(own: Layout, key: Any) -> _Pool:
    full = (own, key)
    plan = _plans.get(full)
    if plan is None:
        plan = _plans[full] = _Pool(own, *key)
    return plan  # type: ignore[no-any-return]


# -- the maximum -----------------------------------------------------------------------------------------------------
@operator("max_pool", function=False)
def _max_pool(input: Any, key: Any) -> Any:
    """The maxima alone."""
    plan = _pool(input._layout, key)
    out = new_tensor(plan.out)
    plan.launch("max:")((out, out, _dense(input)))
    return out


@operator("max_pool_with_places", function=False)
def _max_pool_with_places(input: Any, key: Any, index: str) -> Any:
    """(the maxima, where in the plane each was found)."""
    plan = _pool(input._layout, key)
    out, places = new_tensor(plan.out), new_tensor(plan.out.with_dtype(_INDEX[index]))
    plan.launch("max:" + index)((out, places, _dense(input)), 2)
    return out, places


_max_pool_with_places.operator.differentiable_outputs = (0,)


@operator("max_pool_backward", function=False)
def _max_pool_backward(upstream: Any, places: Any, source: Layout, key: Any, index: str) -> Any:
    """Each output's gradient, where its maximum was found."""
    plan = _pool(source, key)
    out = new_tensor(plan.dense)
    plan.launch("max gradient:" + index)((out, _dense(upstream), places))
    return out


_max_pool_with_places.gradient(
    input=lambda grad, out1, input_layout, key, index: _max_pool_backward(grad, out1, input_layout, key, index)
)
_max_pool_backward.gradient(upstream=lambda grad, places, key: _taken(grad, places, key[0]))


def _taken(x: Any, places: Any, dims: int) -> Any:
    """The elements of planes at their places."""
    lead, shape = x._layout.shape[:-dims], places._layout.shape
    picked = METHODS["gather"](x.reshape((*lead, -1)), -1, places.long().reshape((*lead, -1)))
    return picked.reshape(shape)


# -- the mean --------------------------------------------------------------------------------------------------------
@operator("avg_pool", function=False)
def _avg_pool(input: Any, key: Any) -> Any:
    plan = _pool(input._layout, key)
    out = new_tensor(plan.out)
    plan.launch("avg")((out, _dense(input)))
    return out


@operator("avg_pool_backward", function=False)
def _avg_pool_backward(upstream: Any, source: Layout, key: Any) -> Any:
    """Each output's gradient, shared by its window."""
    plan = _pool(source, key)
    out, given = new_tensor(plan.dense), _dense(upstream)
    launch = plan.launch("avg gradient")
    launch((out, given, given) if plan.halves else (out, given))
    return out


_avg_pool.gradient(input=lambda grad, input_layout, key: _avg_pool_backward(grad, input_layout, key))
_avg_pool_backward.gradient(upstream=lambda grad, key: _avg_pool(grad, key))


# -- windows that cover everything -----------------------------------------------------------------------------------
def _adaptive(own: Layout, dims: int, sizes: Sizes, name: str) -> Any:
    key = ("adaptive", own, dims, sizes)
    plan = _plans.get(key)
    if plan is None:
        shape = own.shape
        if len(shape) not in (dims + 1, dims + 2) or 0 in shape[-dims:]:
            wanted = {1: "2D or 3D", 2: "3D or 4D", 3: "4D or 5D"}[dims]
            raise RuntimeError(f"{name}(): Expected {wanted} tensor, but got {errors.sizes(shape)}")
        if min(sizes) < 0:
            raise RuntimeError(
                f"{name}(): elements of output_size must be greater than or equal to 0 but received {errors.sizes(sizes)}"
            )
        lead = (1,) * (3 - dims)
        numbers = (*lead, *shape[-dims:], *lead, *sizes)
        plan = _plans[key] = (own.with_shape((*shape[:-dims], *sizes)), own.dense(), math.prod(shape[:-dims]), numbers)
    return plan


def _adaptive_launch(own: Layout, dims: int, sizes: Sizes, name: str, action: str) -> Any:
    out, dense, planes, numbers = _adaptive(own, dims, sizes, name)
    key = ("adaptive launch", own, dims, sizes, action)
    launch = _plans.get(key)
    if launch is None:
        kernel = kernels.adaptive_pool(own.dtype.code, action)
        launch = _plans[key] = Launch(kernel, planes, max(1, 16384 // math.prod(own.shape[-dims:])), numbers)
    return launch, out, dense


@operator("adaptive_max_pool", function=False)
def _adaptive_max(input: Any, dims: int, sizes: Sizes, name: str) -> Any:
    launch, out, _ = _adaptive_launch(input._layout, dims, sizes, name, "max")
    result, places = new_tensor(out), new_tensor(out.with_dtype(dt.int64))
    launch((result, places, _dense(input)), 2)
    return result, places


@operator("adaptive_max_pool_backward", function=False)
def _adaptive_max_backward(upstream: Any, places: Any, source: Layout, dims: int) -> Any:
    key = ("adaptive max gradient", source, places._layout, dims)
    launch = _plans.get(key)
    if launch is None:
        plane, count = math.prod(source.shape[-dims:]), math.prod(places._layout.shape[-dims:])
        kernel = kernels.max_pool_gradient(source.dtype.code, "i64")
        launch = _plans[key] = Launch(kernel, math.prod(source.shape[:-dims]), max(1, 32768 // plane), (plane, count))
    out = new_tensor(source.dense())
    launch((out, _dense(upstream), places))
    return out


_adaptive_max.operator.differentiable_outputs = (0,)
_adaptive_max.gradient(
    input=lambda grad, out1, input_layout, dims: _adaptive_max_backward(grad, out1, input_layout, dims)
)
_adaptive_max_backward.gradient(upstream=lambda grad, places, dims: _taken(grad, places, dims))


@operator("adaptive_avg_pool", function=False)
def _adaptive_avg(input: Any, dims: int, sizes: Sizes, name: str) -> Any:
    launch, out, _ = _adaptive_launch(input._layout, dims, sizes, name, "avg")
    result = new_tensor(out)
    launch((result, result, _dense(input)))
    return result


@operator("adaptive_avg_pool_backward", function=False)
def _adaptive_avg_backward(upstream: Any, source: Layout, dims: int, sizes: Sizes, name: str) -> Any:
    launch, _, dense = _adaptive_launch(source, dims, sizes, name, "spread")
    result = new_tensor(dense)
    launch((result, result, _dense(upstream)))
    return result


_adaptive_avg.gradient(
    input=lambda grad, input_layout, dims, sizes, name: _adaptive_avg_backward(grad, input_layout, dims, sizes, name)
)
_adaptive_avg_backward.gradient(upstream=lambda grad, dims, sizes, name: _adaptive_avg(grad, dims, sizes, name))


# -- public functions ------------------------------------------------------------------------------------------------
_keys: dict[Any, Any] = {}


def _key(
    name: str,
    dims: int,
    kernel: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    padded: bool,
    divisor: int,
) -> Any:
    """The window in the form that plans are kept under."""
    k = _several(kernel, dims, name, "kernel_size")
    empty = stride is None or stride == [] or stride == ()
    s = k if empty else _several(stride, dims, name, "stride")
    return (
        dims,
        name,
        k,
        s,
        _several(padding, dims, name, "padding"),
        _several(dilation, dims, name, "dilation"),
        bool(ceil_mode),
        padded,
        divisor,
    )


def _known_key(*given: Any) -> Any:
    try:
        found = _keys.get(given)
    except TypeError:
        return _key(*given)
    if found is None:
        found = _keys[given] = _key(*given)
    return found


def _check_kind(input: Any, name: str, what: str) -> None:
    own = layout_of(input, name)
    if own.dtype.kind in "bc" or (own.dtype.kind in "iu" and what == "avg"):
        raise errors.not_implemented(name, own.dtype)


def _max_functions(dims: int) -> None:
    name = f"max_pool{dims}d"

    def pool(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        _check_kind(input, name, "max")
        key = _known_key(name, dims, kernel_size, stride, padding, dilation, ceil_mode, False, 0)
        if modes.grad_enabled and input._requires_grad:
            return _max_pool_with_places(input, key, "i32")[0]
        return _max_pool(input, key)

    def with_indices(
        input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> Any:
        _check_kind(input, name, "max")
        return _max_pool_with_places(
            input, _known_key(name, dims, kernel_size, stride, padding, dilation, ceil_mode, False, 0), "i64"
        )

    pool.__name__ = pool.__qualname__ = name
    with_indices.__name__ = with_indices.__qualname__ = f"{name}_with_indices"
    pool.__doc__ = (
        f"The maximum of each window of a (N, C, {'*' if dims > 1 else 'L'}) or (C, ...) tensor. `stride` is by default the window's size; "
        "padding is not taken as maximum; ceil_mode keeps windows that begin inside."
    )
    with_indices.__doc__ = f"(`{name}`, where in the flattened plane each maximum is)."
    composite(name)(pool)
    composite(with_indices.__name__, namespaces=("torch",) if dims == 1 else ("torch._C._nn",))(with_indices)

    adaptive_name = f"adaptive_max_pool{dims}d"

    def adaptive(input: Any, output_size: Any) -> Any:
        _check_kind(input, adaptive_name, "max")
        return _adaptive_max(input, dims, _several(output_size, dims, adaptive_name, "output_size"), adaptive_name)

    adaptive.__name__ = adaptive.__qualname__ = adaptive_name
    adaptive.__doc__ = "(the maxima of `output_size` windows that cover the plane, where in the plane each is)."
    composite(adaptive_name, namespaces=("torch",) if dims == 1 else ("torch._C._nn",))(adaptive)


def _avg_functions(dims: int) -> None:
    name = f"avg_pool{dims}d"

    def pool(
        input: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Any:
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        _check_kind(input, name, "avg")
        key = _known_key(
            name, dims, kernel_size, stride, padding, 1, ceil_mode, bool(count_include_pad), divisor_override or 0
        )
        if (
            key[2] == input._layout.shape[-dims:]
            and len(input._layout.shape) > dims
            and not divisor_override
            and not any(key[4])
        ):
            _pool(input._layout, key)
            return METHODS["mean"](input, tuple(range(-dims, 0)), True)
        return _avg_pool(input, key)

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (
        "The mean of each window. `stride` is by default the window's size; padding counts as zeros unless "
        "count_include_pad is false; divisor_override divides instead of the count."
    )
    composite(name, namespaces=("torch", "torch.nn.functional") if dims == 1 else ("torch.nn.functional",))(pool)

    adaptive_name = f"adaptive_avg_pool{dims}d"

    def adaptive(input: Any, output_size: Any) -> Any:
        _check_kind(input, adaptive_name, "avg")
        sizes = _several(output_size, dims, adaptive_name, "output_size")
        own = input._layout
        _adaptive(own, dims, sizes, adaptive_name)
        plane = own.shape[-dims:]
        if all(s == 1 for s in sizes) and dims > 1:
            return METHODS["mean"](input, tuple(range(-dims, 0)), True)
        if own.numel and all(s and p % s == 0 for p, s in zip(plane, sizes, strict=True)):
            window = tuple([p // s for p, s in zip(plane, sizes, strict=True)])
            return _avg_pool(input, _known_key(adaptive_name, dims, window, None, 0, 1, False, True, 0))
        return _adaptive_avg(input, dims, sizes, adaptive_name)

    adaptive.__name__ = adaptive.__qualname__ = adaptive_name
    adaptive.__doc__ = "The means of `output_size` windows that cover the plane."
    composite(adaptive_name, namespaces=("torch",) if dims == 1 else ("torch._C._nn",))(adaptive)


for _dims in (1, 2, 3):
    _max_functions(_dims)
    _avg_functions(_dims)


@_avg_pool.sample
@_max_pool.sample
def _(make: Any) -> Any:
    yield (make(2, 3, 8, 8), _key("pool", 2, 2, None, 0, 1, False, True, 0)), {}
    yield (make(2, 3, 9, 7), _key("pool", 2, 3, 2, 1, 1, False, True, 0)), {}


@_max_pool_with_places.sample
def _(make: Any) -> Any:
    yield (make(2, 3, 8, 8), _key("pool", 2, 2, None, 0, 1, False, True, 0), "i32"), {}
    yield (make(3, 9, 7), _key("pool", 2, 3, 2, 1, 1, True, True, 0), "i64"), {}
