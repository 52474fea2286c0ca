"""Changing tensors in place, with autograd: what may be changed, and what the change means for the graph.

A tensor that is changed becomes the result of the operation's node. If it is a view, its base changes too: the base's
new node (`CopySlices`) passes the gradient of the untouched part through and sends the rest to the operation, and views
of the base find their way through it (`regenerate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula.core import errors
from facula.core.layout import Layout
from facula.core.promotion import can_cast
from facula.engine.graph import Node, edge_of, install_regenerate
from facula.engine.modes import modes
from facula.ops.define import FUNCTIONS, METHODS, install_in_place, publish
from facula.ops.elementwise import PointwiseOperator
from facula.ops.elementwise import install_in_place as install_pointwise
from facula.runtime.objects import TensorBase


def check_in_place(target: Any) -> None:
    """RuntimeError for leaves that require grad (and views of them) while recording."""
    if not isinstance(target, TensorBase):
        raise TypeError(f"an in-place operation needs a Tensor, not {type(target).__name__}")
    if modes.grad_enabled and target._base is not None and target._base._requires_grad and not target._requires_grad:
        raise RuntimeError(
            "A view was created in no_grad mode and is being modified inplace with grad mode enabled. Given that this use case is ambiguous "
            "and error-prone, it is forbidden. You can clarify your code by moving both the view and the inplace either both inside the "
            "no_grad block (if you don't want the inplace to be tracked) or both outside (if you want the inplace to be tracked)."
        )
    if target._requires_grad and modes.grad_enabled:
        if target._base is not None and target._base._requires_grad and target._base._node is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
        if target._node is None:
            raise RuntimeError(
                "a leaf Variable that requires grad is being used in an in-place operation. (Change it inside "
                "`with torch.no_grad():`, or work on a copy made by .clone().)"
            )


def rebase(target: Any, node: Node, self_edge: bool) -> None:
    """Make `target`, just changed in place, the result of `node`. `self_edge`: the node's first edge is the target's own."""
    base = target._base
    if base is None:
        known = target._requires_grad
        target._requires_grad, target._node, target._output = 1, node, 0
        if not known:
            _inform_views(target)
        return
    known = base._requires_grad
    others = node.edges[1:] if self_edge else node.edges
    slices = Node(
        CopySlices(node, target._layout, _offset(target, base), self_edge),
        (edge_of(base), *others),
        (base._layout,),
        (),
        (),
    )
    base._requires_grad, base._node, base._output = 1, slices, 0
    if not known:
        _inform_views(base)
    target._requires_grad = 1
    regenerate(target)


def _offset(view: Any, base: Any) -> int:
    return (view._data - base._data) // base._layout.dtype.itemsize  # type: ignore[no-any-return]


def _inform_views(base: Any) -> None:
    """Views made before the base required grad require it now. Found by asking who refers to the base (`view.py` lets the
    collector see such views): this is rare."""
    if not base._storage.views:
        return
    import gc

    for referrer in gc.get_referrers(base):
        if isinstance(referrer, TensorBase) and referrer._base is base:
            referrer._requires_grad = 1


def regenerate(view: Any) -> None:
    """Give a view the node that leads through its base as the base is now."""
    base = view._base
    view._base_node = base._node
    if base._requires_grad:
        info = StridedView(view._layout, _offset(view, base), base._layout)
        view._node, view._output = Node(info, (edge_of(base),), (view._layout,), (), ()), 0


class StridedView:
    """The operator of a regenerated view: its gradient goes to its places in a gradient of the base."""

    backward_name = "AsStridedBackward0"

    def __init__(self, layout: Layout, offset: int, base: Layout) -> None:
        self.layout, self.offset, self.base = layout, offset, base

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        whole = FUNCTIONS["torch"]["zeros"](self.base.shape, dtype=self.base.dtype, device=self.base.device)
        places = _places(whole, self.base, self.layout, self.offset)
        METHODS["copy_"](places, gradients[0])
        return [whole]


def _places(whole: Any, base: Layout, view: Layout, offset: int) -> Any:
    """The part of a dense gradient of the base that belongs to the view."""
    stride = view.stride
    if not base.contiguous:
        dense = base.dense().stride
        size_to_dense = {s: d for s, d, n in zip(base.stride, dense, base.shape, strict=True) if n != 1}
        stride = tuple(size_to_dense.get(s, s) for s in view.stride)
        rest, offset = offset, 0
        for step in sorted(size_to_dense, reverse=True):
            if step:
                offset += rest // step * size_to_dense[step]
                rest %= step
    return METHODS["as_strided"](whole, view.shape, stride, offset)


class CopySlices:
    """The operator of a base after one of its views was changed in place."""

    backward_name = "CopySlices"

    def __init__(self, inner: Node, layout: Layout, offset: int, self_edge: bool) -> None:
        self.inner, self.layout, self.offset, self.self_edge = inner, layout, offset, self_edge

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        contiguous = METHODS["contiguous"](METHODS["clone"](gradients[0]))
        places = _places(
            contiguous,
            gradients[0]._layout if gradients[0]._layout.contiguous else contiguous._layout,
            self.layout,
            self.offset,
        )
        results = list(self.inner.operator.backward(self.inner, [METHODS["clone"](places)]))
        if self.self_edge:
            own = results.pop(0)
            if own is None:
                METHODS["zero_"](places)
            else:
                METHODS["copy_"](places, own)
        else:
            METHODS["zero_"](places)
        return [contiguous, *results]


def pointwise_in_place(operator: PointwiseOperator, operands: Sequence[Any], numbers: dict[str, Any]) -> Any:
    """`target.name_(...)` for a pointwise operator."""
    target = operands[0]
    check_in_place(target)
    if not modes.grad_enabled or not any(isinstance(x, TensorBase) and x._requires_grad for x in operands):
        return operator(operands, numbers, target)
    given = {n: v for n, v in numbers.items() if v != operator.numbers[n]}
    plan = operator.plan(operands, given, target)
    recorded = operands
    if operator.saves_input(plan, operands, given, 0):  # the gradient names the value that is about to be overwritten
        recorded = [METHODS["clone"](target), *operands[1:]]
    modes.grad_enabled = False
    try:
        operator(operands, numbers, target)
    finally:
        modes.grad_enabled = True
    node = operator.record(plan, recorded, given, [target], written=True)
    rebase(target, node, node.operator.self_edge)
    return target


def derived_in_place(name: str, function: Callable[..., Any], function_too: bool = False) -> Callable[..., Any]:
    """The in-place form of an operator that has none of its own: compute beside, then take the result over."""

    def call(target: Any, *args: Any, **kwargs: Any) -> Any:
        check_in_place(target)
        recorded = modes.grad_enabled and target._requires_grad  # then gradients may name the value that is overwritten
        result = function(METHODS["clone"](target) if recorded else target, *args, **kwargs)
        if result._layout.shape != target._layout.shape:
            raise RuntimeError(
                f"{name}: the result has shape {list(result._layout.shape)}, which an in-place operation cannot give a tensor of "
                f"shape {list(target._layout.shape)}"
            )
        if not can_cast(result._layout.dtype, target._layout.dtype):
            raise errors.result_cast(result._layout.dtype, target._layout.dtype)
        enabled, modes.grad_enabled = modes.grad_enabled, False
        try:
            METHODS["copy_"](target, result)
        finally:
            modes.grad_enabled = enabled
        if result._requires_grad:
            rebase(target, result._node, True)
        return target

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"In-place version of `{name[:-1]}`."
    publish(name, call, method=True, namespaces=("torch",) if function_too else ())
    return call


install_in_place(check_in_place, rebase)
install_pointwise(pointwise_in_place)
install_regenerate(regenerate)
