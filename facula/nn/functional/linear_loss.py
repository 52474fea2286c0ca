"""The cross-entropy of a linear layer's scores, as one function.

In: features, the layer's weight and bias, targets. Out: the loss. It must never know about modules.
"""

from __future__ import annotations

from typing import Any

from facula.nn.functional import _operators as op
from facula.nn.functional.loss import cross_entropy
from facula.tensor.tensor import Tensor


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """`cross_entropy` of the scores `linear(input, linear_weight, linear_bias)`.

    Args:
        input: (N, in) or (in).
        linear_weight: (classes, *out, in); with further dimensions `out` there is a score for each of their places.
        target: classes (N, *out) or (), or probabilities of the scores' shape.
        linear_bias: (classes, *out). Default: none
        weight, reduction, label_smoothing: those of `cross_entropy`.
        ignore_index: a target that counts for nothing. Default: -100, for targets that are classes
        options: how much memory may be traded for time; accepted, and the same result whatever they are.

    Raises:
        RuntimeError: shapes that do not fit, or `ignore_index` with targets that are probabilities.
    """
    if input.dim() not in (1, 2):
        raise RuntimeError(f"expected input with dimensionality 1 or 2, got {input.dim()}")
    if linear_weight.dim() < 2:
        raise RuntimeError(f"expected linear_weight with dimensionality at least 2, got {linear_weight.dim()}")
    classes, *out, features = linear_weight.shape
    if input.shape[-1] != features:
        raise RuntimeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {input.shape[-1]} and "
            f"{features}, "
            "respectively"
        )
    if linear_bias is not None and tuple(linear_bias.shape) != (classes, *out):
        raise RuntimeError(f"expected linear_bias shape {(classes, *out)}, got {tuple(linear_bias.shape)}")
    if out and input.dim() == 1:
        raise RuntimeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"(N, {features}), got unbatched input with shape {tuple(input.shape)}"
        )
    shape = (*input.shape[:-1], classes, *out)
    if tuple(target.shape) == shape and ignore_index is not None:
        raise RuntimeError("ignore_index cannot be specified when target contains probabilities")
    bias = None if linear_bias is None else linear_bias.reshape(-1)
    scores = op.linear(input, linear_weight.reshape(-1, features), bias).reshape(shape)
    return cross_entropy(
        scores,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
