"""`LinearCrossEntropyLoss`: a last linear layer and its cross-entropy in one.

In: features and targets. Out: the loss. It must never know how the scores are computed.
"""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

from facula.nn import functional as F
from facula.nn.modules.linear import Linear
from facula.nn.modules.loss import _WeightedLoss
from facula.tensor.tensor import Tensor

__all__ = ["LinearCrossEntropyLoss", "LinearCrossEntropyOptions"]

LinearCrossEntropyOptions = namedtuple(
    "LinearCrossEntropyOptions",
    ("allow_retain_graph", "batch_chunk_size", "chunking_method", "acc_policy", "acc_dtype"),
    defaults=(False, None, "auto", "auto", None),
)


class LinearCrossEntropyLoss(_WeightedLoss):
    """A linear layer from features to class scores, followed by `CrossEntropyLoss`.

    Args:
        in_features: the features of the input.
        num_classes: how many classes there are.
        out_features: further dimensions of the scores. Default: none
        bias: whether the layer has a bias. Default: False
        device, dtype: of the layer's parameters. Default: the current default device and dtype
        weight, reduction, ignore_index, label_smoothing: those of `CrossEntropyLoss`.
        options: see `nn.functional.linear_cross_entropy`.

    Shape:
        (N, in_features) or (in_features), targets (N, *out_features) or () -> ()
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise RuntimeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}")
        if not 0 <= label_smoothing <= 1:
            raise RuntimeError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}")
        super().__init__(weight=weight, reduction=reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        rows = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)
        self.options = options

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return F.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )
