"""max, min, argmax, argmin: the extreme elements and where they stand."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout, layout, register_cache
from facula.core.shapes import normalize_dim, reduced_shape
from facula.ops.copy import copy_result
from facula.ops.define import FUNCTIONS, Operator, composite, layout_of
from facula.ops.dispatch import Launch
from facula.ops.kernels.extremum import Search, lanes_of, search_columns, search_rows
from facula.ops.reduce import shared_evenly
from facula.ops.reduction import (
    WORK,
    index_of,
    kept_and_reduced,
    numpy_names,
    reduction,
    result_type,
    walk_of,
    with_numpy_names,
)
from facula.runtime.objects import TensorBase, new_tensor


class Plan:
    """The layouts of the results and the launch that fills them."""

    __slots__ = ("indices", "launch", "values")

    def __init__(self, values: Layout | None, indices: Layout, launch: Launch) -> None:
        self.values, self.indices, self.launch = values, indices, launch


_plans: dict[Any, Plan] = register_cache({})


def _plan(name: str, own: Layout, dim: int, keepdim: bool, largest: bool, with_values: bool) -> Plan:
    dims = () if not own.shape else (dim,)
    if own.numel == 0 and dims and own.shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    if own.dtype is dt.bool and not with_values:
        raise RuntimeError(f"{name}(): does not support bool input")
    if own.dtype.kind == "c":
        raise NotImplementedError(f"\"{name}_cpu\" not implemented for '{own.dtype.scalar_name}'")
    indices = layout(reduced_shape(own.shape, dims, keepdim), None, dt.int64, own.device)
    kept_sizes, kept_strides, reduced_sizes, reduced_strides = kept_and_reduced(own, dims)
    shape = walk_of(kept_sizes, kept_strides, reduced_sizes, reduced_strides)
    code = "u8" if own.dtype is dt.bool else own.dtype.code
    search = Search(shape, largest, code, len(kept_sizes), with_values, reduced_sizes[-1] < 64)
    length, results = reduced_sizes[-1], indices.numel
    block = (ctypes.c_int64 * (2 + 2 * len(kept_sizes)))(length, reduced_strides[-1], *kept_sizes, *kept_strides)
    if shape == "columns":
        strips = -(-kept_sizes[-1] // lanes_of(search))
        tasks, kernel = results // max(1, kept_sizes[-1]) * strips, search_columns(search)
    else:
        tasks, kernel = results, search_rows(search)
    work = 4 * length * max(1, results // max(1, tasks))
    launch = Launch(kernel, tasks, max(1, WORK // max(1, work)), (ctypes.addressof(block),), block)
    return Plan(indices.with_dtype(own.dtype) if with_values else None, indices, launch)


def _search(name: str, input: Any, dim: Any, keepdim: bool, largest: bool, with_values: bool) -> Any:
    key = (input._layout, dim, keepdim, largest, with_values)
    plan = _plans.get(key)
    if plan is None:
        own = input._layout
        plan = _plans[key] = _plan(
            name, own, normalize_dim(index_of(dim, name), len(own.shape)), bool(keepdim), largest, with_values
        )
    indices = new_tensor(plan.indices)
    if plan.values is None:
        plan.launch((indices, input), 1)
        return indices
    values = new_tensor(plan.values)
    plan.launch((values, indices, input), 2)
    return values, indices


def to_selected(grad: Any, out1: Any, input_layout: Layout, dim: Any, keepdim: Any) -> Any:
    """The gradient of what picks one element along `dim`: to the element that was picked."""
    shape = input_layout.shape
    if not shape:
        return grad
    if not keepdim:
        grad, out1 = grad.unsqueeze(dim), out1.unsqueeze(dim)
    return grad.new_zeros(shape).scatter(dim, out1, grad)


def picker(name: str, function: Any) -> Operator:
    """An operator (input, dim, keepdim) -> (values, indices) that picks elements."""
    made = Operator(name, function)
    made.differentiable_outputs = (0,)
    made.gradient(input=to_selected)
    return made


_max_along = picker("max", lambda input, dim, keepdim: _search("max", input, dim, keepdim, True, True))
_min_along = picker("min", lambda input, dim, keepdim: _search("min", input, dim, keepdim, False, True))


@reduction(name="max", combine="max", needs_elements=True, public=False)
def _max_all(input: Any) -> Any:
    return input


@reduction(name="min", combine="min", needs_elements=True, public=False)
def _min_all(input: Any) -> Any:
    return input


_max_all.gradient(input=shared_evenly)
_min_all.gradient(input=shared_evenly)


def _forms(
    name: str, args: Sequence[Any], kwargs: dict[str, Any], all: Any, along: Operator, pair: str, out: Any
) -> Any:
    """(input), (input, dim, keepdim) or (input, other)."""
    if not kwargs and out is None and len(args) > 1 and type(args[1]) is int:  # the usual form, without further ado
        return result_type(name)(*along.call(args[0], args[1], len(args) > 2 and args[2]))
    numpy_names(kwargs)
    input, *rest = (kwargs.pop("input"), *args) if "input" in kwargs else args
    layout_of(input, name)
    if (rest and isinstance(rest[0], TensorBase)) or "other" in kwargs:
        other = rest[0] if rest else kwargs["other"]
        return FUNCTIONS["torch"][pair](input, other, **({} if out is None else {"out": out}))
    if not rest and not kwargs:
        found = all(input)
        return found if out is None else copy_result(out, found)
    dim, keepdim = (*rest, *(kwargs.pop(n) for n in ("dim", "keepdim")[len(rest) :] if n in kwargs), False)[:2]
    if kwargs or len(rest) > 2:
        raise TypeError(
            f"{name}() received an invalid combination of arguments - got an unexpected {', '.join(kwargs) or 'argument'}"
        )
    found = along.call(input, dim, keepdim)
    if out is not None:
        found = [copy_result(target, part) for target, part in zip(out, found, strict=True)]
    return result_type(name)(*found)


@composite(name="max", method=True)
def max_(*args: Any, out: Any = None, **kwargs: Any) -> Any:
    """max(input): the largest element. max(input, dim, keepdim=False): (values, indices) of the largest along a
    dimension, the first where several are equal. max(input, other): the larger of two tensors, element by element.

    >>> torch.max(torch.tensor([[1., 5.], [7., 2.]]), dim=1).indices
    tensor([1, 0])
    """
    return _forms("max", args, kwargs, _max_all, _max_along, "maximum", out)


@composite(name="min", method=True)
def min_(*args: Any, out: Any = None, **kwargs: Any) -> Any:
    """min(input): the smallest element. min(input, dim, keepdim=False): (values, indices) of the smallest along a
    dimension, the first where several are equal. min(input, other): the smaller of two tensors, element by element.

    >>> torch.min(torch.tensor([[1., 5.], [7., 2.]]), dim=1).indices
    tensor([0, 1])
    """
    return _forms("min", args, kwargs, _min_all, _min_along, "minimum", out)


def _arg(name: str, input: Any, dim: Any, keepdim: bool, largest: bool) -> Any:
    own = layout_of(input, name)
    if dim is None:
        if not own.numel:
            raise IndexError(f"{name}(): Expected reduction dim to be specified for input.numel() == 0.")
        found = _search(name, input.detach().reshape(-1), 0, False, largest, False)
        return found.reshape((1,) * len(own.shape)) if keepdim else found
    return _search(name, input, dim, keepdim, largest, False)


@composite(method=True, out=True)
@with_numpy_names
def argmax(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The index of the largest element: of all (counted row by row), or along `dim`; the first of equal ones.

    >>> torch.argmax(torch.tensor([[1., 5.], [7., 2.]]), dim=1)
    tensor([1, 0])
    """
    return _arg("argmax", input, dim, keepdim, True)


@composite(method=True, out=True)
@with_numpy_names
def argmin(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The index of the smallest element: of all (counted row by row), or along `dim`; the first of equal ones.

    >>> torch.argmin(torch.tensor([[1., 5.], [7., 2.]]), dim=1)
    tensor([0, 1])
    """
    return _arg("argmin", input, dim, keepdim, False)
