"""Limiting gradients before an optimizer's step.

In: parameters. Out: their gradients, changed in place. It must never know about modules or optimizers.
"""

from __future__ import annotations

from typing import Any

from facula.engine.modes import no_grad
from facula.nn.functional import _operators as op
from facula.tensor.creation import tensor
from facula.tensor.tensor import Tensor

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def get_total_norm(
    tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all tensors together, as if they were one vector.

    Args:
        tensors: a tensor or an iterable of tensors.
        norm_type: the p of the norm; may be infinite. Default: 2.0
        error_if_nonfinite: raise when the norm is not finite. Default: False
        foreach: accepted; there is one implementation.

    Raises:
        RuntimeError: the norm is not finite, where that is an error.
    """
    tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    norm_type = float(norm_type)
    if not tensors:
        return tensor(0.0)
    with no_grad():
        device = tensors[0].device
        norms = [item.norm(norm_type) for item in tensors]
        norms = [norm if norm.device == device else norm.to(device) for norm in norms]
        total = _euclidean(norms) if norm_type == 2.0 else op.stack(norms).norm(norm_type)
        if error_if_nonfinite and not bool(total.isfinite()):
            raise RuntimeError(
                f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
                "clipped. To disable "
                "this error and scale the gradients by the non-finite norm anyway, set `error_if_nonfinite=False`"
            )
    return total


def _euclidean(norms: list[Any]) -> Any:
    """The norm of the norms; adding a few numbers up is faster than making a vector of them."""
    squares = norms[0] * norms[0]
    for norm in norms[1:]:
        squares = squares + norm * norm
    return squares.sqrt()


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Tensor, foreach: bool | None = None) -> None:
    """Scale the gradients by min(max_norm / (total_norm + 1e-6), 1), in place."""
    grads = _gradients([parameters] if isinstance(parameters, Tensor) else parameters)
    if not grads:
        return
    with no_grad():
        scale: Any = float(max_norm) / (total_norm + 1e-6)
        scale = scale.clamp(max=1.0)
        for grad in grads:
            grad.mul_(scale if scale.device == grad.device else scale.to(grad.device))


def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale gradients down, in place, so that their norm together is at most `max_norm`.

    Args:
        parameters: a tensor or an iterable of tensors with gradients.
        max_norm: the largest norm.
        norm_type: the p of the norm; may be infinite. Default: 2.0
        error_if_nonfinite: raise when the norm is not finite. Default: False
        foreach: accepted; there is one implementation.

    Returns:
        The norm before.

    Raises:
        RuntimeError: the norm is not finite, where that is an error.

    Example:
        >>> import facula as torch
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> torch.nn.utils.clip_grad_norm_([weight], max_norm=1.0)
        tensor(5.)
    """
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    else:
        given = parameters
        parameters = list(given)
        if not parameters and hasattr(given, "gi_frame"):
            import warnings

            warnings.warn("`parameters` is an empty generator, no gradient clipping will occur.", stacklevel=2)
    total = get_total_norm(_gradients(parameters), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Deprecated: `clip_grad_norm_`."""
    import warnings

    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of `torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Clip every element of the gradients to [-clip_value, clip_value], in place."""
    bound = float(clip_value)
    with no_grad():
        for grad in _gradients([parameters] if isinstance(parameters, Tensor) else parameters):
            grad.clamp_(min=-bound, max=bound)


def _gradients(parameters: Any) -> list[Tensor]:
    return [param.grad for param in parameters if param.grad is not None]
