"""Normalisation layers that need no batch: layer, group, root mean square and local response normalisation.

In: any tensor of their shape. Out: the same, normalised. They must never know how the statistics are computed.
"""

from __future__ import annotations

import numbers
from typing import Any

from facula.nn import functional as F
from facula.nn import init
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter
from facula.tensor.creation import empty
from facula.tensor.tensor import Tensor

__all__ = ["CrossMapLRN2d", "GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LocalResponseNorm(Module):
    """x / (k + alpha / size sum of the squares of `size` neighbouring channels)^beta.

    Args:
        size: how many channels are summed.
        alpha, beta, k: of the formula. Default: 1e-4, 0.75, 1.0

    Shape:
        (N, C, *) -> the same

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` of images, under its older name.

    Shape:
        (N, C, H, W) -> the same
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)


class LayerNorm(Module):
    """Normalises over the last dimensions: y = (x - mean) / sqrt(var + eps) weight + bias.

    Args:
        normalized_shape: the shape of these dimensions; an int for the last one.
        eps: added to the variance. Default: 1e-5
        elementwise_affine: whether there are a weight (ones at first) and a bias (zeros) of this shape. Default: True
        bias: whether there is a bias, given `elementwise_affine`. Default: True
        device, dtype: of the parameters. Default: the current default device and dtype

    Shape:
        (*, normalized_shape) -> the same

    Example:
        >>> import facula as torch
        >>> torch.nn.LayerNorm(10)(torch.zeros(20, 5, 10)).shape
        torch.Size([20, 5, 10])

    Source: Ba et al., "Layer normalization", 2016.
    """

    normalized_shape: tuple[int, ...]
    weight: Any
    bias: Any

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, wanted in (("weight", elementwise_affine), ("bias", elementwise_affine and bias)):
            param = Parameter(empty(self.normalized_shape, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, param)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        if self.elementwise_affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(Module):
    """Normalises over groups of channels of each sample: y = (x - mean) / sqrt(var + eps) weight + bias.

    Args:
        num_groups: into how many groups the channels are split.
        num_channels: how many channels there are.
        eps: added to the variance. Default: 1e-5
        affine: whether each channel has a weight (one at first) and a bias (zero). Default: True
        device, dtype: of the parameters. Default: the current default device and dtype
        bias: whether there is a bias, given `affine`. Default: True

    Shape:
        (N, C, *) -> the same

    Raises:
        ValueError: `num_groups` does not divide `num_channels`.

    Source: Wu and He, "Group normalization", 2018.
    """

    weight: Any
    bias: Any

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups != 0:
            raise ValueError(f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})")
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            param = Parameter(empty(num_channels, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, param)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to 1 and bias to 0."""
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={bias}"


class RMSNorm(Module):
    """Divides by the root mean square over the last dimensions: y = x / sqrt(mean(x^2) + eps) weight.

    Args:
        normalized_shape: the shape of these dimensions; an int for the last one.
        eps: added to the mean. Default: the smallest step of the input's type at 1
        elementwise_affine: whether there is a weight (ones at first) of this shape. Default: True
        device, dtype: of the weight. Default: the current default device and dtype

    Shape:
        (*, normalized_shape) -> the same

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """

    normalized_shape: tuple[int, ...]
    weight: Any

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        if elementwise_affine:
            self.weight = Parameter(empty(self.normalized_shape, device=device, dtype=dtype))
        else:
            self.register_parameter("weight", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set weight to 1."""
        if self.elementwise_affine:
            init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
