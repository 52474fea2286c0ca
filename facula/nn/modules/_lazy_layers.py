"""Convolutions and normalisations that learn their number of channels from the first input.

Each is the plain layer from its first call on. The arguments are those of the plain layer without the number of input
channels.
"""

from __future__ import annotations

from typing import Any

from facula.core.dtype import int64
from facula.nn.modules.batchnorm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from facula.nn.modules.conv import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from facula.nn.modules.instancenorm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from facula.nn.modules.lazy import LazyModuleMixin
from facula.nn.parameter import UninitializedBuffer, UninitializedParameter
from facula.tensor.creation import tensor
from facula.tensor.tensor import Tensor


class _LazyConv(LazyModuleMixin):
    """Mixed in before a convolution."""

    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        # No channels and no bias yet: the plain layer would draw its parameters.
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self._declare(out_channels, bias, device, dtype)

    def _declare(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        this: Any = self
        this.weight = UninitializedParameter(device=device, dtype=dtype)
        this.out_channels = out_channels
        if bias:
            this.bias = UninitializedParameter(device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw new weights, once there are any."""
        this: Any = self
        if not self.has_uninitialized_params() and this.in_channels != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Create the parameters for the channels of `input`."""
        this: Any = self
        if not self.has_uninitialized_params():
            return
        this.in_channels = self._get_in_channels(input)
        if this.in_channels % this.groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        first, second = this.out_channels, this.in_channels
        if this.transposed:
            first, second = second, first
        this.weight.materialize((first, second // this.groups, *this.kernel_size))
        if this.bias is not None:
            this.bias.materialize((this.out_channels,))
        self.reset_parameters()

    def _get_in_channels(self, input: Tensor) -> int:
        this: Any = self
        unbatched = len(this.kernel_size) + 1
        if input.dim() not in (unbatched, unbatched + 1):
            raise RuntimeError(
                f"Expected {unbatched}D (unbatched) or {unbatched + 1}D (batched) input to {type(self).__name__}, but "
                "got input of size: "
                f"{input.shape}"
            )
        return input.shape[0 if input.dim() == unbatched else 1]


class _LazyConvTranspose(_LazyConv):
    """Mixed in before a transposed convolution."""

    def __init__(
        self,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        LazyModuleMixin.__init__(
            self,
            0,
            0,
            kernel_size,
            stride,
            padding,
            output_padding,
            groups,
            False,
            dilation,
            padding_mode,
            device,
            dtype,
        )
        self._declare(out_channels, bias, device, dtype)


class LazyConv1d(_LazyConv, Conv1d):  # type: ignore[misc]
    """A `Conv1d` that learns `in_channels`."""

    cls_to_become = Conv1d


class LazyConv2d(_LazyConv, Conv2d):  # type: ignore[misc]
    """A `Conv2d` that learns `in_channels`."""

    cls_to_become = Conv2d


class LazyConv3d(_LazyConv, Conv3d):  # type: ignore[misc]
    """A `Conv3d` that learns `in_channels`."""

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, ConvTranspose1d):  # type: ignore[misc]
    """A `ConvTranspose1d` that learns `in_channels`."""

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, ConvTranspose2d):  # type: ignore[misc]
    """A `ConvTranspose2d` that learns `in_channels`."""

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, ConvTranspose3d):  # type: ignore[misc]
    """A `ConvTranspose3d` that learns `in_channels`."""

    cls_to_become = ConvTranspose3d


class _LazyNorm(LazyModuleMixin):
    """Mixed in before a batch or instance normalisation."""

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=False)
        this: Any = self
        this.affine = affine
        this.track_running_stats = track_running_stats
        if affine:
            this.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                this.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            this.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            this.running_var = UninitializedBuffer(device=device, dtype=dtype)
            this.num_batches_tracked = tensor(0, dtype=int64, device=device)

    def reset_parameters(self) -> None:
        """Set parameters and statistics to their initial values, once there are any."""
        this: Any = self
        if not self.has_uninitialized_params() and this.num_features != 0:
            super().reset_parameters()  # type: ignore[misc]

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Create parameters and statistics for the channels of `input`."""
        this: Any = self
        if not self.has_uninitialized_params():
            return
        this.num_features = input.shape[1]
        for value in (this.weight, this.bias, this.running_mean, this.running_var):
            if value is not None:
                value.materialize((this.num_features,))
        self.reset_parameters()


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):  # type: ignore[misc]
    """A `BatchNorm1d` that learns `num_features`."""

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):  # type: ignore[misc]
    """A `BatchNorm2d` that learns `num_features`."""

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):  # type: ignore[misc]
    """A `BatchNorm3d` that learns `num_features`."""

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):  # type: ignore[misc]
    """An `InstanceNorm1d` that learns `num_features`."""

    cls_to_become = InstanceNorm1d


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):  # type: ignore[misc]
    """An `InstanceNorm2d` that learns `num_features`."""

    cls_to_become = InstanceNorm2d


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):  # type: ignore[misc]
    """An `InstanceNorm3d` that learns `num_features`."""

    cls_to_become = InstanceNorm3d
