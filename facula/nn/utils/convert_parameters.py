"""All parameters as one vector, and back.

In: parameters, or a vector. Out: the vector, or the parameters changed to its parts.
"""

from __future__ import annotations

from collections.abc import Iterable

from facula.nn.functional import _operators as op
from facula.tensor.tensor import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """The elements of all parameters, one after the other.

    Raises:
        TypeError: the parameters lie on different devices.
    """
    parts = []
    device = None
    for param in parameters:
        device = _check_param_device(param, device)
        parts.append(param.reshape(-1))
    return op.cat(parts)


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give each parameter its part of `vec`; the parameters share its memory from then on.

    Raises:
        TypeError: `vec` is not a tensor, or the parameters lie on different devices.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {_typename(vec)}")
    device = None
    start = 0
    for param in parameters:
        device = _check_param_device(param, device)
        size = param.numel()
        param.data = vec[start : start + size].view_as(param).data
        start += size


def _check_param_device(param: Tensor, old_param_device: int | None) -> int:
    device = param.get_device() if param.device.type == "cuda" else -1
    if old_param_device is not None and device != old_param_device:
        raise TypeError("Found two parameters on different devices, this is currently not supported.")
    return device


def _typename(value: object) -> str:
    from facula.nn.modules._registry import typename

    return typename(value)
