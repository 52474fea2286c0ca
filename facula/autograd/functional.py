"""Derivatives of functions: Jacobians, Hessians, and their products with vectors, all by running backward.

The functions take tensors, or tuples of tensors, and give the same nesting. Products of a Jacobian with a vector from the
right come from differentiating the product from the left (Pearlmutter 1994).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd import grad
from facula.engine.modes import enable_grad
from facula.ops.define import FUNCTIONS
from facula.runtime.objects import TensorBase

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _tuple(value: Any, what: str, function: str) -> tuple[bool, tuple[Any, ...]]:
    single = not isinstance(value, tuple)
    values = (value,) if single else value
    for i, v in enumerate(values):
        if not isinstance(v, TensorBase):
            of = " of the user-provided function" if what == "outputs" else ""
            which = f"the given {what} has type" if single else f"the value at index {i} has type"
            raise TypeError(
                f"The {what}{of} given to {function} must be either a Tensor or a tuple of Tensors but {which} {type(v)}."
            )
    return single, values


def _fresh(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """Inputs to differentiate by: leaves of their own, or with create_graph results of the given ones."""
    made = []
    for t in inputs:
        if create_graph and t._requires_grad:
            made.append(t.view_as(t))
        else:
            made.append(t.detach().requires_grad_())
    return tuple(made)


def _vectors(v: Any, like: tuple[Any, ...], what: str, function: str) -> tuple[Any, ...]:
    """The vector of a product, checked against what it multiplies; 1 for a single number."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            single = "user-provided function returns" if what == "output" else "input to the user-provided function is"
            raise RuntimeError(f"The vector v can only be None if the {single} a single Tensor with a single element.")
        return (FUNCTIONS["torch"]["ones_like"](like[0]),)
    _, given = _tuple(v, "v", function)
    if len(given) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(given)}.")
    for i, (a, b) in enumerate(zip(given, like, strict=True)):
        if a.shape != b.shape:
            entry = f"Entry {i} of v" if len(like) > 1 else "v"
            raise RuntimeError(f"{entry} has invalid size: should be {b.shape} but got {a.shape}.")
    return given


def _filled(gradients: Any, like: tuple[Any, ...], strict: bool, message: str, create_graph: bool) -> tuple[Any, ...]:
    """Gradients with zeros where there is no dependence (RuntimeError with strict)."""
    found = []
    for i, (g, t) in enumerate(zip(gradients, like, strict=True)):
        if g is None:
            if strict:
                raise RuntimeError(message.format(i))
            g = FUNCTIONS["torch"]["zeros_like"](t)
        found.append(g if create_graph else g.detach())
    return tuple(found)


def _gradients(outputs: tuple[Any, ...], inputs: tuple[Any, ...], weights: tuple[Any, ...], graph: bool) -> Any:
    pairs = [(o, w) for o, w in zip(outputs, weights, strict=True) if o._requires_grad]
    if not pairs:
        return [None] * len(inputs)
    return grad(
        [o for o, _ in pairs], inputs, [w for _, w in pairs], retain_graph=True, create_graph=graph, allow_unused=True
    )


def _one(single: bool, values: tuple[Any, ...]) -> Any:
    return values[0] if single else values


def _detached(outputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    return outputs if create_graph else tuple([o.detach() for o in outputs])


_INDEPENDENT = (
    "The output of the user-provided function is independent of input {}. This is not allowed in strict mode."
)


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v^T J): the product of a vector of the outputs' shapes with the Jacobian.

    >>> torch.autograd.functional.vjp(lambda x: x * x, torch.tensor([1., 2.]), torch.ones(2))
    (tensor([1., 4.]), tensor([2., 4.]))
    """
    with enable_grad():
        single, given = _tuple(inputs, "inputs", "vjp")
        own = _fresh(given, create_graph)
        single_out, outputs = _tuple(func(*own), "outputs", "vjp")
        weights = _vectors(v, outputs, "output", "vjp")
        result = _filled(_gradients(outputs, own, weights, create_graph), own, strict, _INDEPENDENT, create_graph)
        return _one(single_out, _detached(outputs, create_graph)), _one(single, result)


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), J v): the product of the Jacobian with a vector of the inputs' shapes."""
    with enable_grad():
        _, given = _tuple(inputs, "inputs", "jvp")
        own = _fresh(given, create_graph)
        direction = _vectors(v, own, "input", "jvp")
        single_out, outputs = _tuple(func(*own), "outputs", "jvp")
        dual = tuple([FUNCTIONS["torch"]["zeros_like"](o).requires_grad_() for o in outputs])
        left = _gradients(outputs, own, dual, True)
        parts = [(g, d) for g, d in zip(left, direction, strict=True) if g is not None]
        right = _gradients(tuple([g for g, _ in parts]), dual, tuple([d for _, d in parts]), create_graph)
        message = "The output of the user-provided function at index {} is independent of the inputs. This is not allowed in strict mode."
        result = _filled(right, outputs, strict, message, create_graph)
        return _one(single_out, _detached(outputs, create_graph)), _one(single_out, result)


def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """All derivatives of the outputs by the inputs: a tensor of shape output.shape + input.shape for each pair.

    With tuples of outputs and inputs the result is a tuple (per output) of tuples (per input). `vectorize` and `strategy`
    are accepted; rows are computed one after the other.
    """
    with enable_grad():
        single, given = _tuple(inputs, "inputs", "jacobian")
        own = _fresh(given, create_graph)
        single_out, outputs = _tuple(func(*own), "outputs", "jacobian")
        stack = FUNCTIONS["torch"]["stack"]
        found = []
        for o, out in enumerate(outputs):
            message = f"Output {o} of the user-provided function is independent of input {{}}. This is not allowed in strict mode."
            rows = []
            for place in range(out.numel()):
                weight = FUNCTIONS["torch"]["zeros"](out.numel(), dtype=out.dtype)
                weight[place] = 1
                row = _gradients((out,), own, (weight.view(out.shape),), create_graph)
                rows.append(_filled(row, own, strict, message, create_graph))
            columns = []
            for i, t in enumerate(own):
                shape = (*out.shape, *t.shape)
                columns.append(
                    stack([row[i] for row in rows]).view(shape)
                    if rows
                    else FUNCTIONS["torch"]["zeros"](shape, dtype=t.dtype)
                )
            found.append(_one(single, tuple(columns)))
        return _one(single_out, tuple(found))


def _scalar(func: Callable[..., Any], arguments: tuple[Any, ...], function: str) -> Any:
    out = func(*arguments)
    _, outputs = _tuple(out, "outputs", function)
    if len(outputs) != 1 or isinstance(out, tuple):
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if out.numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {function} should contain a single element")
    return out.squeeze()


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False, vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:  # fmt: skip
    """All second derivatives of a function with one number as its result: input.shape + input.shape for each pair.

    >>> torch.autograd.functional.hessian(lambda x: (x ** 3).sum(), torch.tensor([1., 2.]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    single, _ = _tuple(inputs, "inputs", "hessian")

    def gradient(*arguments: Any) -> Any:
        found = jacobian(lambda *a: _scalar(func, a, "hessian"), arguments, create_graph=True, strict=strict)
        return found[0] if single else found

    return jacobian(gradient, inputs, create_graph=create_graph, strict=strict)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), v^T H): the product of a vector with the Hessian of a function with one number as its result."""
    with enable_grad():
        single, given = _tuple(inputs, "inputs", "vhp")
        own = _fresh(given, create_graph)
        direction = _vectors(v, own, "input", "vhp")
        out = _scalar(func, own, "vhp")
        first = _filled(
            _gradients((out,), own, (FUNCTIONS["torch"]["ones_like"](out),), True), own, strict, _INDEPENDENT, True
        )
        result = _filled(_gradients(first, own, direction, create_graph), own, strict, _INDEPENDENT, create_graph)
        return _one(True, _detached((out,), create_graph)), _one(single, result)


def hvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(func(*inputs), H v). The Hessian is symmetric: the same numbers as `vhp`."""
    return vhp(func, inputs, v, create_graph, strict)
