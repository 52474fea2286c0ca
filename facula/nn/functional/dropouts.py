"""Dropout functions. In evaluation, and for p = 0, they return their input.

In: a tensor and a probability. Out: a tensor of the same shape. Random numbers are drawn one per element or per
channel, in PyTorch's order.
"""

from __future__ import annotations

from facula.nn.functional import _operators as op
from facula.tensor.tensor import Tensor


def _check(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero each element with probability p and scale the others by 1/(1 - p).

    Args:
        input: any shape.
        p: the probability. Default: 0.5
        training: whether anything happens at all. Default: True
        inplace: overwrite the input. Default: False

    Raises:
        ValueError: p is not between 0 and 1.
    """
    if p < 0.0 or p > 1.0:
        _check(p)
    return op.dropout_(input, p, training) if inplace else op.dropout(input, p, training)


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Dropout that keeps the mean and variance of SELU's outputs; see `dropout`."""
    _check(p)
    return op.alpha_dropout_(input, p, training) if inplace else op.alpha_dropout(input, p, training)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels (dimension 1)."""
    _check(p)
    function = op.feature_alpha_dropout_ if inplace else op.feature_alpha_dropout
    return function(input, p, training)


def _channels(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    return op.feature_dropout_(input, p, training) if inplace else op.feature_dropout(input, p, training)


def _channels_without_batch(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    batched = input.unsqueeze_(0) if inplace else input.unsqueeze(0)
    result = _channels(batched, p, training, inplace)
    return result.squeeze_(0) if inplace else result.squeeze(0)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, L) or (C, L); see `dropout`."""
    _check(p)
    dims = input.dim()
    if dims not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {dims}D input. Note that dropout1d exists to provide "
            "channel-wise "
            "dropout on inputs with 1 spatial dimension, a channel dimension, and an optional batch dimension (i.e. "
            "2D or 3D inputs)."
        )
    return (_channels if dims == 3 else _channels_without_batch)(input, p, training, inplace)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, H, W); an input of three dimensions is taken as (N, C, L). See `dropout`."""
    _check(p)
    dims = input.dim()
    if dims not in (3, 4):
        _warn(
            f"dropout2d: Received a {dims}-D input to dropout2d, which is deprecated and will result in an error in a "
            "future release. To "
            "retain the behavior and silence this warning, please use dropout instead. Note that dropout2d exists to "
            "provide channel-wise "
            "dropout on inputs with 2 spatial dimensions, a channel dimension, and an optional batch dimension (i.e. "
            "3D or 4D inputs)."
        )
    if dims == 3:
        _warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D dropout behavior is "
            "desired - input is "
            "interpreted as shape (N, C, L), where C is the channel dim. This behavior will change in a future "
            "release to interpret the "
            "input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D channel-wise dropout "
            "behavior, please switch "
            "to using dropout1d instead."
        )
    return _channels(input, p, training, inplace)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Zero whole channels of (N, C, D, H, W) or (C, D, H, W); see `dropout`."""
    _check(p)
    dims = input.dim()
    if dims not in (4, 5):
        _warn(
            f"dropout3d: Received a {dims}-D input to dropout3d, which is deprecated and will result in an error in a "
            "future release. To "
            "retain the behavior and silence this warning, please use dropout instead. Note that dropout3d exists to "
            "provide channel-wise "
            "dropout on inputs with 3 spatial dimensions, a channel dimension, and an optional batch dimension (i.e. "
            "4D or 5D inputs)."
        )
    return (_channels if dims == 5 else _channels_without_batch)(input, p, training, inplace)


def _warn(message: str) -> None:
    import warnings

    warnings.warn(message, stacklevel=3)
