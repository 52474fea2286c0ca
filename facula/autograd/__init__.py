"""Differentiation on request: `backward`, `grad`, custom functions, and the switches for recording."""

from __future__ import annotations

from typing import Any

from facula.engine.backward import run_backward
from facula.engine.modes import enable_grad, inference_mode, no_grad, set_grad_enabled
from facula.ops.define import FUNCTIONS
from facula.runtime.objects import TensorBase

__all__ = ["Function", "Variable", "backward", "enable_grad", "grad", "inference_mode", "no_grad", "set_grad_enabled"]

_HOMES = {
    "facula.autograd.function": ("Function", "once_differentiable"),
    "facula.autograd.gradcheck": ("gradcheck", "gradgradcheck", "GradcheckError"),
    "facula.autograd.anomaly_mode": ("detect_anomaly", "set_detect_anomaly"),
    "facula.tensor.tensor": ("Tensor",),
}
_WHERE = {name: home for home, names in _HOMES.items() for name in names}
_SUBMODULES = ("anomaly_mode", "function", "functional", "graph")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _WHERE:
        globals()[name] = found = getattr(import_module(_WHERE[name]), name)
        return found
    if name == "Variable":
        return import_module("facula.tensor.tensor").Tensor
    if name in _SUBMODULES:
        return import_module(f"facula.autograd.{name}")
    raise AttributeError(f"module 'torch.autograd' has no attribute {name!r}")


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (list, tuple)) else (x,)


def _weights(tensors: tuple[Any, ...], given: Any) -> list[Any]:
    """The incoming gradient of each root: given, or one for scalars."""
    weights = [None] * len(tensors) if given is None else list(_as_tuple(given))[: len(tensors)]
    if len(weights) != len(tensors):
        raise RuntimeError(f"got {len(tensors)} tensors and {len(weights)} gradients")
    for i, (tensor, weight) in enumerate(zip(tensors, weights, strict=True)):
        if not tensor._requires_grad:
            raise RuntimeError(f"element {i} of tensors does not require grad and does not have a grad_fn")
        if weight is None:
            if tensor._layout.numel != 1:
                raise RuntimeError(
                    "grad can be implicitly created only for scalar outputs "
                    f"(this one has shape {list(tensor._layout.shape)}: reduce it, for example with .sum(), or pass gradient=)"
                )
            weights[i] = FUNCTIONS["torch"]["ones_like"](tensor)
        elif weight._layout.shape != tensor._layout.shape:
            raise RuntimeError(
                f"Mismatch in shape: grad_output[{i}] has a shape of {weight.shape} and output[{i}] has a shape of {tensor.shape}."
            )
    return weights


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None, create_graph: bool = False, grad_variables: Any = None,
    inputs: Any = None,
) -> None:  # fmt: skip
    """Add the gradients of `tensors`, weighted by `grad_tensors`, to the `.grad` of the leaves they came from."""
    roots = _as_tuple(tensors)
    if inputs is not None:
        inputs = _as_tuple(inputs)
        if not inputs:
            raise RuntimeError("`inputs` argument to `backward()` cannot be empty.")
    weights = _weights(roots, grad_tensors)
    run_backward(roots, weights, create_graph if retain_graph is None else retain_graph, create_graph, inputs)


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None, create_graph: bool = False,
    only_inputs: bool = True, allow_unused: bool | None = None, is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of `outputs` with respect to `inputs`, as a tuple; nothing is accumulated.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(x * x, x)
    (tensor(6.),)
    """
    roots, wanted = _as_tuple(outputs), _as_tuple(inputs)
    if is_grads_batched:
        given = _as_tuple(grad_outputs)
        rows = [
            grad(
                outputs,
                inputs,
                tuple([g[i] for g in given]),
                True,
                create_graph,
                True,
                allow_unused,
                False,
                materialize_grads,
            )
            for i in range(given[0].shape[0])
        ]
        stack = FUNCTIONS["torch"]["stack"]
        return tuple([None if column[0] is None else stack(list(column)) for column in zip(*rows, strict=True)])
    if materialize_grads and allow_unused is False:
        raise ValueError(
            f"Expected allow_unused to be True or not passed when materialize_grads=True, but got: allow_unused={allow_unused}."
        )
    weights = _weights(roots, grad_outputs)
    for tensor in wanted:
        if not isinstance(tensor, TensorBase):
            raise TypeError("inputs argument to grad must be Tensors")
        if not tensor._requires_grad:
            raise RuntimeError("One of the differentiated Tensors does not require grad")
    results = run_backward(
        roots, weights, create_graph if retain_graph is None else retain_graph, create_graph, wanted, False
    )
    if materialize_grads:
        results = [
            FUNCTIONS["torch"]["zeros_like"](t) if r is None else r for t, r in zip(wanted, results, strict=True)
        ]
    elif not allow_unused and any(r is None for r in results):
        place = next(i for i, r in enumerate(results) if r is None)
        raise RuntimeError(
            f"The differentiated Tensor at index {place} appears to not have been used in the graph. Set allow_unused=True if this is the "
            "desired behavior."
        )
    return tuple(results)
