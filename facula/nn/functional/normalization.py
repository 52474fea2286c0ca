"""Normalisation functions: they check their arguments and call the operator.

In: tensors and statistics. Out: normalised tensors; running statistics are updated in place. They must never know
about modules.
"""

from __future__ import annotations

from typing import Any

from facula.nn.functional import _operators as op
from facula.tensor.tensor import Tensor


def _verify_batch_size(size: Any) -> None:
    """There must be more than one value per channel to take a variance of."""
    count = size[0]
    for extent in size[2:]:
        count *= extent
    if count == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {size}")


def _verify_spatial_size(size: Any) -> None:
    count = 1
    for extent in size[2:]:
        count *= extent
    if count == 1:
        raise ValueError(f"Expected more than 1 spatial element when training, got input size {size}")


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the batch.

    Args:
        input: (N, C, *).
        running_mean, running_var: (C); updated in training, used otherwise. May be None in training.
        weight, bias: (C), applied afterwards. Default: none
        training: use the batch's own statistics. Default: False
        momentum: the weight of the batch in the running statistics. Default: 0.1
        eps: added to the variance. Default: 1e-5

    Raises:
        ValueError: in training, one value per channel or an eps that is not positive.
    """
    if training:
        _verify_batch_size(input.size())
        if eps <= 0.0:
            raise ValueError(f"batch_norm eps must be positive during training, but got {eps}")
    elif eps < 0.0:
        raise ValueError(f"batch_norm eps must be non-negative, but got {eps}")
    return op.batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps, True)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample; the arguments are those of `batch_norm`.

    It is the batch normalisation of (1, N C, *), whose running statistics are averaged over the samples.
    """
    if not use_input_stats:
        return op.batch_norm(input, weight, bias, running_mean, running_var, False, momentum, eps, True)
    _verify_spatial_size(input.size())
    samples, channels, *spatial = input.shape
    mean = None if running_mean is None else running_mean.repeat(samples)
    var = None if running_var is None else running_var.repeat(samples)
    merged = input.reshape(1, samples * channels, *spatial)
    normalised = op.batch_norm(
        merged,
        None if weight is None else weight.repeat(samples),
        None if bias is None else bias.repeat(samples),
        mean,
        var,
        True,
        momentum,
        eps,
        True,
    )
    for running, updated in ((running_mean, mean), (running_var, var)):
        if running is not None and updated is not None:
            running.copy_(updated.view(samples, channels).mean(0))
    return normalised.view(input.shape)


def layer_norm(
    input: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions, whose shape is `normalized_shape`; see `LayerNorm`."""
    return op.layer_norm(input, normalized_shape, weight, bias, eps)


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Normalise over groups of channels of each sample; see `GroupNorm`."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received {input.dim()}")
    samples, channels, *spatial = input.size()
    _verify_batch_size([samples * channels // num_groups, num_groups, *spatial])
    return op.group_norm(input, num_groups, weight, bias, eps)


def rms_norm(input: Tensor, normalized_shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    """Divide by the root mean square over the last dimensions; see `RMSNorm`."""
    return op.rms_norm(input, normalized_shape, weight, eps)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """Divide by a power of the neighbouring channels' mean square; see `LocalResponseNorm`."""
    dim = input.dim()
    if dim < 3:
        raise ValueError(f"Expected 3D or higher dimensionality                          input (got {dim} dimensions)")
    if input.numel() == 0:
        return input
    from facula.nn.functional.padding import pad

    squares = pad(input * input, [0, 0] * (dim - 2) + [size // 2, (size - 1) // 2])
    channels = input.size(1)
    total = squares.narrow(1, 0, channels)
    for offset in range(1, size):
        total = total + squares.narrow(1, offset, channels)
    mean = total / size if input.is_floating_point() else total.div(size, rounding_mode="trunc")
    return input / (mean * alpha + k) ** beta


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """Divide by the p-norm along `dim`, or by `eps` where that is larger.

    Example:
        >>> import facula as torch
        >>> torch.nn.functional.normalize(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    denominator = input.norm(p, dim, keepdim=True).clamp_min(eps).expand_as(input)
    if out is None:
        return input / denominator
    return op.div(input, denominator, out=out)
