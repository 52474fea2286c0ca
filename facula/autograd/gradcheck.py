"""Gradients against finite differences: `gradcheck` for first derivatives, `gradgradcheck` for second ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd import grad
from facula.core import dtype as dt
from facula.core.lazy import call_module
from facula.ops.define import FUNCTIONS
from facula.runtime.objects import TensorBase


class GradcheckError(RuntimeError):
    """Analytical and numerical derivatives differ, or the function cannot be checked."""


def _tensors(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _differentiable(outputs: Any) -> list[Any]:
    return [o for o in _tensors(outputs) if isinstance(o, TensorBase) and o._requires_grad]


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3, raise_exception: bool = True,
    nondet_tol: float = 0.0, check_undefined_grad: bool = True, check_grad_dtypes: bool = False, check_batched_grad: bool = False,
    check_batched_forward_grad: bool = False, check_forward_ad: bool = False, check_backward_ad: bool = True, fast_mode: bool = False,
    masked: bool = False,
) -> bool:  # fmt: skip
    """Whether the derivatives of `func` at `inputs` (double precision, requiring grad) agree with finite differences.

    Args:
        eps: the step of the differences.
        atol, rtol: how far both may lie apart.
        raise_exception: raise GradcheckError, which tells where, instead of returning False.
    """
    given = _tensors(inputs)
    checked = [t for t in given if isinstance(t, TensorBase) and t._requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck expects at least one tensor input to require gradient, but none of the them have requires_grad=True."
        )
    try:
        for t in checked:
            if t._layout.dtype not in (dt.float64, dt.complex128):
                import warnings

                warnings.warn(
                    "an input requires gradient and is not a double precision floating point or complex: this check will likely fail",
                    stacklevel=2,
                )
        _check(func, given, checked, eps, atol, rtol)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def _check(
    func: Callable[..., Any], given: tuple[Any, ...], checked: list[Any], eps: float, atol: float, rtol: float
) -> None:
    torch = FUNCTIONS["torch"]
    outputs = _differentiable(func(*given))
    if not outputs:
        raise GradcheckError("no output of the function requires grad")
    for o in range(len(outputs)):
        out = _differentiable(func(*given))[o]  # anew: the differences below change the inputs in place
        analytical = []
        for place in range(out.numel()):
            weight = torch["zeros"](out.numel(), dtype=out.dtype)
            weight[place] = 1
            rows = grad(out, checked, weight.reshape(out.shape), retain_graph=True, allow_unused=True)
            analytical.append([None if r is None else r.detach().reshape(-1).tolist() for r in rows])
        for i, tensor in enumerate(checked):
            numerical = _numerical(func, given, tensor, o, eps)
            for column, values in enumerate(numerical):
                for row, value in enumerate(values):
                    known = analytical[row][i]
                    found = 0.0 if known is None else known[column]
                    if abs(found - value) > atol + rtol * abs(value):
                        raise GradcheckError(
                            f"Jacobian mismatch for output {o} with respect to input {i}: d out[{row}] / d in[{column}] is {found} "
                            f"analytically, {value} numerically"
                        )


def _numerical(
    func: Callable[..., Any], given: tuple[Any, ...], tensor: Any, output: int, eps: float
) -> list[list[float]]:
    """Central differences: for each element of the input, the derivative of each element of the output."""
    flat = tensor.detach().reshape(-1) if tensor.is_contiguous() else None
    if flat is None:
        raise GradcheckError("gradcheck needs contiguous inputs")
    columns = []
    for place in range(tensor.numel()):
        before = flat[place].item()
        sides = []
        for step in (eps, -eps):
            flat[place] = before + step
            sides.append(_differentiable(func(*given))[output].detach().reshape(-1).tolist())
        flat[place] = before
        columns.append([(up - down) / (2 * eps) for up, down in zip(*sides, strict=True)])
    return columns


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, *, eps: float = 1e-6, atol: float = 1e-5, rtol: float = 1e-3,
    gen_non_contig_grad_outputs: bool = False, raise_exception: bool = True, nondet_tol: float = 0.0, **options: Any,
) -> bool:  # fmt: skip
    """`gradcheck` of the gradient itself."""
    given = _tensors(inputs)
    outputs = _differentiable(func(*given))
    torch = FUNCTIONS["torch"]
    if grad_outputs is None:
        weights = [torch["randn"](o.shape, dtype=o.dtype).requires_grad_() for o in outputs]
    else:
        weights = list(_tensors(grad_outputs))

    def gradients(*args: Any) -> Any:
        arguments, incoming = args[: len(given)], args[len(given) :]
        wanted = [a for a in arguments if isinstance(a, TensorBase) and a._requires_grad]
        results = grad(_differentiable(func(*arguments)), wanted, list(incoming), create_graph=True, allow_unused=True)
        return tuple([r for r in results if r is not None and r._requires_grad])

    return gradcheck(gradients, (*given, *weights), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)


call_module(__name__, "gradcheck")
