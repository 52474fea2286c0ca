"""Operations with a gradient written by the user: `torch.autograd.Function`.

class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad

y = Square.apply(x)
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from facula.engine.graph import Node, edge_of, save, saved_output
from facula.engine.modes import modes
from facula.ops.define import FUNCTIONS
from facula.ops.inplace import check_in_place, rebase
from facula.runtime.objects import TensorBase, alias


class FunctionCtx:
    """What forward leaves for backward."""

    needs_input_grad: tuple[bool, ...] = ()
    materialize_grads = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors (inputs, outputs, or others) for backward, checked against later in-place changes."""
        self.to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for `jvp`."""
        self.saved_for_forward = tensors

    def mark_dirty(self, *tensors: Any) -> None:
        """Say which inputs forward changed in place."""
        self.dirty_tensors = tensors

    def mark_non_differentiable(self, *tensors: Any) -> None:
        """Say which outputs have no gradient."""
        self.non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """With False, gradients that did not arrive come as None instead of zeros."""
        self.materialize_grads = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """What `save_for_backward` kept."""
        reference = self.__dict__.get("_node")
        node = reference() if reference is not None else None
        if node is None:
            return tuple(self.__dict__.get("to_save", ()))
        return tuple(node.unpack())

    saved_variables = saved_tensors


class BackwardCFunction(FunctionCtx):
    """The type of the contexts that custom functions receive."""

    def name(self) -> str:
        return type(self).__name__


class _Custom:
    """The operator of a custom function's node."""

    def __init__(self, function: Any, ctx: Any) -> None:
        self.function, self.ctx = function, ctx
        self.backward_name = function.__name__ + "Backward"

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        ctx = self.ctx
        given = []
        for gradient, layout in zip(gradients, node.outputs, strict=True):
            if gradient is None and ctx.materialize_grads and layout is not None:
                gradient = FUNCTIONS["torch"]["zeros"](layout.shape, dtype=layout.dtype, device=layout.device)
            given.append(gradient)
        backward = self.function.backward
        if backward is Function.backward:
            backward = self.function.vjp
        result = backward(ctx, *given)
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        expected = len(ctx.needs_input_grad)
        if len(results) > expected and all(r is None for r in results[expected:]):
            results = results[:expected]
        if len(results) != expected:
            raise RuntimeError(
                f"function {self.backward_name} returned an incorrect number of gradients (expected {expected}, got {len(results)})"
            )
        for i, r in enumerate(results):
            if r is not None and not isinstance(r, TensorBase):
                raise RuntimeError(
                    f"expected Variable or None (got {type(r).__name__}) at position {i} of what {self.backward_name} returned"
                )
        return [r for r, position in zip(results, self.is_tensor, strict=True) if position]

    is_tensor: tuple[bool, ...] = ()


class Function:
    """Base class: implement `forward` (with ctx first, or without and a `setup_context`) and `backward`, call `apply`."""

    generate_vmap_rule = False
    _context_class: Any = None

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the outputs. Runs with recording off."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Where forward takes no ctx: keep here what backward needs."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the inputs (None for those without), given the gradients of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """Another name for `backward`."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The derivative in a direction, for forward mode."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd function with static "
            "forward method. (Example: https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run forward and, if an input requires grad, leave a node that runs backward."""
        kind = cls.__dict__.get("_context_class")
        if kind is None:
            kind = cls._context_class = type(cls.__name__ + "Backward", (BackwardCFunction,), {})
        ctx: Any = kind()
        ctx.needs_input_grad = tuple([isinstance(a, TensorBase) and bool(a._requires_grad) for a in args])
        recording = modes.grad_enabled and any(ctx.needs_input_grad)
        separate = cls.setup_context is not Function.setup_context
        enabled, modes.grad_enabled = modes.grad_enabled, False
        try:
            out = cls.forward(*args, **kwargs) if separate else cls.forward(ctx, *args, **kwargs)
            if separate:
                cls.setup_context(ctx, args, out)
        finally:
            modes.grad_enabled = enabled
        return _attach(cls, ctx, args, out) if recording else out


def _attach(cls: Any, ctx: Any, args: tuple[Any, ...], out: Any) -> Any:
    outputs = list(out) if isinstance(out, (tuple, list)) else [out]
    plain = {id(t) for t in getattr(ctx, "non_differentiable", ())}
    dirty = {id(t) for t in getattr(ctx, "dirty_tensors", ())}
    is_tensor = tuple([isinstance(a, TensorBase) for a in args])
    for a in args:
        if id(a) in dirty:
            if a._requires_grad and a._node is None:
                raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
            check_in_place(a)
    operator = _Custom(cls, ctx)
    operator.is_tensor = is_tensor
    edges = tuple([edge_of(a) for a in args if isinstance(a, TensorBase)])
    saved, versions = _saved(ctx, outputs)
    layouts = tuple([o._layout if isinstance(o, TensorBase) else None for o in outputs])
    node = Node(operator, edges, layouts, tuple(saved), tuple(versions))  # type: ignore[arg-type]
    ctx._node = weakref.ref(node)  # the node keeps the context, not the other way round
    inputs = {id(a) for a in args}
    for i, o in enumerate(outputs):
        if not isinstance(o, TensorBase) or id(o) in plain or o._layout.dtype.kind not in "fc":
            continue
        if id(o) in dirty:
            o._storage.version += 1
            rebase(o, node, False)
            o._output = i if o._base is None else o._output
        elif id(o) in inputs or o._requires_grad:
            outputs[i] = fresh = alias(o)
            fresh._requires_grad, fresh._node, fresh._output = 1, node, i
        else:
            o._requires_grad, o._node, o._output = 1, node, i
    ctx.__dict__.pop("to_save", None)
    if isinstance(out, tuple):
        return tuple(outputs)
    return outputs if isinstance(out, list) else outputs[0]


def _saved(ctx: Any, outputs: list[Any]) -> tuple[list[Any], list[Any]]:
    saved, versions = [], []
    for tensor in ctx.__dict__.get("to_save", ()):
        position = next((i for i, o in enumerate(outputs) if o is tensor), None)
        if position is not None and not tensor._requires_grad:
            value, version = saved_output(tensor, position)
        else:
            (value,), (version,) = save((tensor,))
        saved.append(value)
        versions.append(version)
    return saved, versions


def once_differentiable(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator for a `backward` that cannot be differentiated itself: doing so raises."""

    @functools.wraps(backward)
    def wrapper(ctx: Any, *gradients: Any) -> Any:
        enabled, modes.grad_enabled = modes.grad_enabled, False
        try:
            result = backward(ctx, *gradients)
        finally:
            modes.grad_enabled = enabled
        if not enabled or not any(isinstance(g, TensorBase) and g._requires_grad for g in gradients):
            return result
        results = result if isinstance(result, tuple) else (result,)
        marked = tuple([_Barrier.apply(r, *gradients) if isinstance(r, TensorBase) else r for r in results])
        return marked if isinstance(result, tuple) else marked[0]

    return wrapper


class _Barrier(Function):
    """Passes a value on; differentiating through it raises."""

    @staticmethod
    def forward(ctx: Any, value: Any, *others: Any) -> Any:
        return alias(value)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


class InplaceFunction(Function):
    """A function that may work in place; kept for old programs."""

    def __init__(self, inplace: bool = False) -> None:
        self.inplace = inplace
