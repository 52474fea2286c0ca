"""Products that are composed of matrix products.

In: tensors whose last dimension is the features. Out: the same with other features.
"""

from __future__ import annotations

from facula.tensor.tensor import Tensor


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T A x2 + b for each output feature.

    Args:
        input1, input2: (*, in1), (*, in2).
        weight: (out, in1, in2).
        bias: (out). Default: none

    Returns:
        (*, out).

    Raises:
        RuntimeError: sizes that do not fit.
    """
    if input1.dim() != input2.dim():
        raise RuntimeError(f"bilinear(): input dimensions do not match: got {input1.dim()} and {input2.dim()}")
    if input1.shape[:-1] != input2.shape[:-1]:
        raise RuntimeError(
            f"bilinear(): input batch dimensions do not match: got {list(input1.shape[:-1])} and "
            f"{list(input2.shape[:-1])}"
        )
    out, in1, in2 = weight.shape
    for position, (given, needed) in enumerate(((input1, in1), (input2, in2)), 1):
        if given.size(-1) != needed:
            raise RuntimeError(
                f"bilinear(): input{position} size does not match weight size: got {given.size(-1)} but expected "
                f"{needed}"
            )
    batch = input1.shape[:-1]
    left = input1.reshape(-1, in1) @ weight.permute(1, 0, 2).reshape(in1, out * in2)
    result = (left.reshape(-1, out, in2) * input2.reshape(-1, 1, in2)).sum(-1).reshape(*batch, out)
    return result if bias is None else result + bias


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distance of every pair of rows of (N, M), as N (N - 1) / 2 values.

    Raises:
        RuntimeError: the input is not a matrix, or p is negative.
    """
    if input.dim() != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.dim()}D")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    rows = input.size(0)
    first = [i for i in range(rows) for _ in range(i + 1, rows)]
    second = [j for i in range(rows) for j in range(i + 1, rows)]
    if not first:
        return input.reshape(-1)[:0]
    return (input[first] - input[second]).norm(p, -1)
