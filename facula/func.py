"""Functions of functions: `grad`, `vjp`, `jvp`, `jacrev`, `jacfwd`, `hessian`, `functional_call`.

Arguments may be nested lists, tuples and dicts of tensors. The transforms compose: they record what they compute, so that
one may be applied to the result of another.

    >>> torch.func.grad(torch.func.grad(torch.sin))(torch.tensor(1.0))
    tensor(-0.8415)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.autograd import grad as _gradient
from facula.engine.modes import enable_grad
from facula.nn.utils.stateless import functional_call
from facula.ops.define import FUNCTIONS
from facula.runtime.objects import TensorBase

__all__ = ["functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "vjp"]

_depth = [0]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, TensorBase):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in _leaves(item)]
    if isinstance(value, dict):
        return [t for item in value.values() for t in _leaves(item)]
    return []


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """The same nesting with each tensor replaced."""
    if isinstance(value, TensorBase):
        return function(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*[_mapped(function, item) for item in value])
    if isinstance(value, (list, tuple)):
        return type(value)([_mapped(function, item) for item in value])
    if isinstance(value, dict):
        return {key: _mapped(function, item) for key, item in value.items()}
    return value


class _Level:
    """One transform at work: fresh variables for its arguments, and results that forget it when it is the outermost."""

    def __init__(self, arguments: Any) -> None:
        self.outer = _depth[0] > 0 or any(t._requires_grad for t in _leaves(arguments))
        self.recording = enable_grad()

    def __enter__(self) -> _Level:
        _depth[0] += 1
        self.recording.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self.recording.__exit__(*exc)
        _depth[0] -= 1

    def variable(self, value: Any) -> Any:
        """Tensors to differentiate by."""
        return _mapped(lambda t: t.view_as(t) if t._requires_grad else t.detach().requires_grad_(), value)

    def result(self, value: Any) -> Any:
        """What leaves the transform."""
        return value if self.outer else _mapped(lambda t: t.detach(), value)

    @staticmethod
    def gradients(outputs: list[Any], variables: list[Any], weights: list[Any] | None = None) -> list[Any]:
        """Gradients of all variables, zero where nothing depends on them."""
        pairs = [
            (o, None if weights is None else w)
            for o, w in zip(outputs, weights or outputs, strict=True)
            if o._requires_grad
        ]
        zeros = FUNCTIONS["torch"]["zeros_like"]
        if not pairs:
            return [zeros(v) for v in variables]
        given = None if weights is None else [w for _, w in pairs]
        found = _gradient(
            [o for o, _ in pairs], variables, given, retain_graph=True, create_graph=True, allow_unused=True
        )
        return [zeros(v) if g is None else g for v, g in zip(variables, found, strict=True)]


def _chosen(args: tuple[Any, ...], argnums: int | tuple[int, ...]) -> Any:
    return args[argnums] if isinstance(argnums, int) else tuple([args[i] for i in argnums])


def _replaced(args: tuple[Any, ...], argnums: int | tuple[int, ...], values: Any) -> list[Any]:
    new = list(args)
    for i, value in zip(
        (argnums,) if isinstance(argnums, int) else argnums,
        (values,) if isinstance(argnums, int) else values,
        strict=True,
    ):
        new[i] = value
    return new


def grad_and_value(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives (gradient, value) of a function with one number as its result."""

    @functools.wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        with _Level((args, kwargs)) as level:
            variables = level.variable(_chosen(args, argnums))
            out = func(*_replaced(args, argnums, variables), **kwargs)
            aux = None
            if has_aux:
                if not isinstance(out, tuple) or len(out) != 2:
                    raise RuntimeError(
                        "grad_and_value(f)(*args): output of function f should be a tuple: (output, aux) if has_aux is True"
                    )
                out, aux = out
            if not isinstance(out, TensorBase):
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a tensor, got tensor with {type(out)}."
                )
            if out.dim() != 0:
                raise RuntimeError(
                    f"grad_and_value(f)(*args): Expected f(*args) to return a scalar tensor, got tensor with {out.dim()} dims. Maybe you "
                    "wanted to use the vjp or jacrev APIs instead?"
                )
            found = iter(level.gradients([out], _leaves(variables)))
            gradient = level.result(_mapped(lambda t: next(found), variables))
            return (gradient, (level.result(out), level.result(aux))) if has_aux else (gradient, level.result(out))

    return both


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `func`, by the arguments numbered `argnums`; with has_aux, (gradient, aux)."""
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """(func(*primals), f) where f(v) is the tuple of v^T J for each of the primals (and the aux, with has_aux)."""
    with _Level(primals) as level:
        variables = level.variable(primals)
        out = func(*variables)
        out, aux = out if has_aux else (out, None)

    def product(cotangents: Any) -> Any:
        with _Level((primals, cotangents)) as inner:
            found = iter(inner.gradients(_leaves(out), _leaves(variables), _leaves(cotangents)))
            result = _mapped(lambda t: next(found), variables)
            result = result if level.outer else inner.result(result)
        return tuple(result)

    return (level.result(out), product, level.result(aux)) if has_aux else (level.result(out), product)


def jvp(
    func: Callable[..., Any],
    primals: tuple[Any, ...],
    tangents: tuple[Any, ...],
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """(func(*primals), J v), by differentiating the product from the left (and the aux, with has_aux)."""
    with _Level((primals, tangents)) as level:
        variables = level.variable(primals)
        out = func(*variables)
        out, aux = out if has_aux else (out, None)
        outputs = _leaves(out)
        dual = [FUNCTIONS["torch"]["zeros_like"](o).requires_grad_() for o in outputs]
        left = level.gradients(outputs, _leaves(variables), dual)
        found = iter(level.gradients(left, dual, _leaves(tangents)))
        result = level.result(_mapped(lambda t: next(found), out))
    return (level.result(out), result, level.result(aux)) if has_aux else (level.result(out), result)


def jacrev(
    func: Callable[..., Any],
    argnums: int | tuple[int, ...] = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """A function that gives the Jacobian of `func`: output.shape + input.shape, row by row."""

    @functools.wraps(func)
    def jacobian(*args: Any) -> Any:
        with _Level(args) as level:
            variables = level.variable(_chosen(args, argnums))
            out = func(*_replaced(args, argnums, variables))
            out, aux = out if has_aux else (out, None)
            result = level.result(_mapped(lambda o: _rows(level, o, variables), out))
        return (result, level.result(aux)) if has_aux else result

    return jacobian


def _rows(level: _Level, out: Any, variables: Any) -> Any:
    torch = FUNCTIONS["torch"]
    rows = []
    for place in range(out.numel()):
        weight = torch["zeros"](out.numel(), dtype=out.dtype)
        weight[place] = 1
        rows.append(level.gradients([out], _leaves(variables), [weight.view(out.shape)]))
    columns = iter(range(len(_leaves(variables))))

    def column(variable: Any) -> Any:
        i = next(columns)
        return torch["stack"]([row[i] for row in rows]).view((*out.shape, *variable.shape))

    return _mapped(column, variables)


def jacfwd(
    func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *, randomness: str = "error"
) -> Callable[..., Any]:
    """The same numbers as `jacrev`."""
    return jacrev(func, argnums, has_aux=has_aux)


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """A function that gives the Jacobian of the Jacobian."""
    return jacfwd(jacrev(func, argnums), argnums)
