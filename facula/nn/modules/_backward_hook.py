"""Backward hooks of modules, made of hooks on nodes of the autograd graph.

The arguments and the results of a hooked module each pass through one identity node; what flows through these two
nodes in the backward
is what the hooks are given.

In: a module, its hooks, the tensors that enter and leave it. Out: the same tensors behind an identity node.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from facula.engine.modes import is_grad_enabled
from facula.nn.modules._hooks import _WrappedHook
from facula.ops.define import operator
from facula.runtime.objects import wrap
from facula.tensor.tensor import Tensor

_DOCS = "https://docs.pytorch.org/docs/main/generated/torch.nn.Module.html#torch.nn.Module.register_full_backward_hook"


@operator(name="module_boundary", function=False)
def _boundary(tensors: Any) -> tuple[Any, ...]:
    """The same tensors behind one node, whose hooks see all of their gradients together."""
    return tuple(wrap(tensor._storage, tensor._data, tensor._layout) for tensor in tensors)


@_boundary.joint_gradient("tensors")
def _boundary_gradient(grads: Any) -> tuple[Any, ...]:
    return (grads,)


class BackwardHook:
    """The hooks of one call of one module, from the backward through its results to that through its arguments."""

    def __init__(self, module: Any, user_hooks: list[Callable[..., Any]], user_pre_hooks: list[Callable[..., Any]]):
        self.module = module
        self.user_hooks = user_hooks
        self.user_pre_hooks = user_pre_hooks
        self.grad_outputs: Any = None
        self.n_inputs = -1
        self.n_outputs = -1
        self.input_tensors_index: list[int] | None = None
        self.output_tensors_index: list[int] | None = None

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.n_inputs = len(args)
        args, self.input_tensors_index = _through_identity(args, self._on_grad_input)
        return args

    def setup_output_hook(self, result: Any) -> Any:
        if not isinstance(result, (Tensor, tuple)):
            warnings.warn(
                "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but received "
                f"{type(result)}",
                stacklevel=2,
            )
            return result
        results = result if isinstance(result, tuple) else (result,)
        self.n_outputs = len(results)
        results, self.output_tensors_index = _through_identity(results, self._on_grad_output)
        return results if isinstance(result, tuple) else results[0]

    def _on_grad_output(self, _: Any, grad_output: tuple[Any, ...]) -> Any:
        assert self.output_tensors_index is not None
        grads = _scatter(self.output_tensors_index, grad_output, self.n_outputs)
        for hook in self.user_pre_hooks:
            changed = hook(self.module, grads)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(grads):
                raise RuntimeError(
                    f"Backward pre hook returned an invalid number of grad_output, got {len(changed)}, but expected "
                    f"{len(grads)}"
                )
            grads = changed
        self.grad_outputs = grads
        if self.input_tensors_index is None:
            self._fire_without_grad_input()
        if self.user_pre_hooks:
            return tuple(grads[i] for i in self.output_tensors_index)
        return None

    def _fire_without_grad_input(self) -> None:
        warnings.warn(
            "Full backward hook is firing when gradients are computed with respect to module outputs since no inputs "
            "require "
            f"gradients. See {_DOCS} for more details.",
            stacklevel=5,
        )
        none = (None,) * self.n_inputs
        for hook in self.user_hooks:
            returned = hook(self.module, none, self.grad_outputs)
            if returned is not None and not (isinstance(returned, tuple) and all(grad is None for grad in returned)):
                raise RuntimeError(
                    "Backward hook for Modules where no input requires gradient should always return None or None for "
                    "all gradients."
                )
        self.grad_outputs = None

    def _on_grad_input(self, grad_input: tuple[Any, ...], _: Any) -> Any:
        if self.grad_outputs is None:
            raise RuntimeError(
                "Module backward hook for grad_input is called before the grad_output one. This happens because the "
                "gradient in your "
                "nn.Module flows to the Module's input without passing through the Module's output. Make sure that "
                "the output depends "
                "on the input and that the loss is computed based on the output."
            )
        assert self.input_tensors_index is not None
        grads = _scatter(self.input_tensors_index, grad_input, self.n_inputs)
        for hook in self.user_hooks:
            changed = hook(self.module, grads, self.grad_outputs)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if len(changed) != len(grads):
                raise RuntimeError(
                    f"Backward hook returned an invalid number of grad_input, got {len(changed)}, but expected "
                    f"{len(grads)}"
                )
            grads = changed
        self.grad_outputs = None
        return tuple(grads[i] for i in self.input_tensors_index)


def _scatter(indices: list[int], values: tuple[Any, ...], size: int) -> tuple[Any, ...]:
    places: list[Any] = [None] * size
    for index, value in zip(indices, values):
        places[index] = value
    return tuple(places)


def _through_identity(args: tuple[Any, ...], hook: Callable[..., Any]) -> tuple[tuple[Any, ...], list[int] | None]:
    """Pass the tensors among `args` through one node that calls `hook`; None when nothing is recorded."""
    if not is_grad_enabled():
        return args, None
    indices = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]
    if not indices:
        return args, None
    outputs = _boundary([args[i] for i in indices])
    outputs[0].grad_fn.register_hook(hook)
    replaced = list(args)
    for index, out in zip(indices, outputs):
        replaced[index] = out
    if hasattr(args, "_fields"):
        return type(args)(*replaced), indices
    return tuple(replaced), indices


def hook_last_node(module: Any, hooks: list[Callable[..., Any]], args: tuple[Any, ...], result: Any) -> None:
    """The older backward hooks: on the node of the result's first tensor, wherever that node stands."""
    first = result
    while not isinstance(first, Tensor):
        first = next(v for v in first.values() if isinstance(v, Tensor)) if isinstance(first, dict) else first[0]
    node = first.grad_fn
    if node is None:
        return
    for hook in hooks:
        node.register_hook(_WrappedHook(hook, module))
    reason = _incomplete(args, result, node)
    if reason:
        warnings.warn(reason, FutureWarning, stacklevel=2)


def _incomplete(args: Any, result: Any, node: Any) -> str | None:
    """Why a hook on `node` will not see all of the module's gradients, if so."""
    results = result if isinstance(result, tuple) else (result,)
    inputs = args if isinstance(args, tuple) else (args,)
    if not all(isinstance(item, Tensor) for item in results):
        return (
            "Using non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors is "
            "deprecated and "
            "will be removed in future versions. This hook will be missing some of the grad_output. Please use "
            "register_full_backward_hook to get the documented behavior."
        )
    if not all(isinstance(item, Tensor) for item in inputs):
        return (
            "Using non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of "
            "Tensors is "
            "deprecated and will be removed in future versions. This hook will be missing some of the grad_input. "
            "Please use "
            "register_full_backward_hook to get the documented behavior."
        )
    if len({item.grad_fn for item in results if item.grad_fn is not None}) > 1:
        return (
            "Using a non-full backward hook when outputs are generated by different autograd Nodes is deprecated and "
            "will be removed "
            "in future versions. This hook will be missing some grad_output. Please use register_full_backward_hook "
            "to get the "
            "documented behavior."
        )
    expected = {item.grad_fn for item in inputs if item.grad_fn is not None}
    if expected != {edge[0] for edge in node.next_functions}:
        return (
            "Using a non-full backward hook when the forward contains multiple autograd Nodes is deprecated and will "
            "be removed in "
            "future versions. This hook will be missing some grad_input. Please use register_full_backward_hook to "
            "get the "
            "documented behavior."
        )
    return None
