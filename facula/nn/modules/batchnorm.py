"""Batch normalisation layers.

In: (N, C, ...). Out: the same, with each channel's mean and variance over the batch taken out; in evaluation, their
running averages.
They must never know how the statistics are computed.

Source: Ioffe and Szegedy, "Batch normalization", 2015.
"""

from __future__ import annotations

from typing import Any

from facula.core.dtype import int64
from facula.nn import functional as F
from facula.nn import init
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter
from facula.tensor.creation import empty, ones, tensor, zeros
from facula.tensor.tensor import Tensor

_LAZY = ("LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d")
__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from facula.nn.modules import _lazy_layers

        return getattr(_lazy_layers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _NormBase(Module):
    """What batch and instance normalisation have in common: parameters and running statistics."""

    _version = 2
    num_features: int
    eps: float
    momentum: float | None
    affine: bool
    track_running_stats: bool
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            param = Parameter(empty(num_features, device=device, dtype=dtype)) if wanted else None
            self.register_parameter(name, param)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", tensor(0, dtype=int64, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Forget the running statistics, and set weight to 1 and bias to 0."""
        self.reset_running_stats()
        if self.affine:
            init.ones_(self.weight)
            if self.bias is not None:
                init.zeros_(self.bias)

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        version = local_metadata.get("version")
        key = prefix + "num_batches_tracked"
        # Version 2 added num_batches_tracked; a checkpoint without it counts as one that has seen no batch yet.
        if (version is None or version < 2) and self.track_running_stats and key not in state_dict:
            count = self.num_batches_tracked
            state_dict[key] = count if count is not None and not count.is_meta else tensor(0, dtype=int64)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class _BatchNorm(_NormBase):
    """The forward of all batch normalisations."""

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        training = self.training
        momentum = self.momentum
        mean, var = self.running_mean, self.running_var
        average = 0.0 if momentum is None else momentum
        if training:
            if not self.track_running_stats:
                mean = var = None
            elif self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
                if momentum is None:
                    # A plain average over all batches so far.
                    average = 1.0 / float(self.num_batches_tracked)
        use_batch = training or (mean is None and var is None)
        return F.batch_norm(input, mean, var, self.weight, self.bias, use_batch, average, self.eps)


class BatchNorm1d(_BatchNorm):
    """Normalises each channel over the batch: y = (x - mean) / sqrt(var + eps) weight + bias.

    Args:
        num_features: the number of channels C.
        eps: added to the variance. Default: 1e-5
        momentum: the weight of a new batch in the running statistics; None averages all batches equally. Default: 0.1
        affine: whether there are a weight (ones at first) and a bias (zeros). Default: True
        track_running_stats: keep running statistics and use them in evaluation. Default: True
        device, dtype: of parameters and statistics. Default: the current default device and dtype
        bias: whether there is a bias, given `affine`. Default: True

    Shape:
        (N, C) or (N, C, L) -> the same

    Raises:
        ValueError: an input of other dimensions, or, in training, of one value per channel.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (2, 3):
            raise ValueError(f"expected 2D or 3D input (got {input.dim()}D input)")


class BatchNorm2d(_BatchNorm):
    """Normalises each channel over the batch and the image; the arguments are those of `BatchNorm1d`.

    Shape:
        (N, C, H, W) -> the same

    Example:
        >>> import facula as torch
        >>> torch.nn.BatchNorm2d(3)(torch.zeros(2, 3, 4, 4)).shape
        torch.Size([2, 3, 4, 4])
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 4:
            raise ValueError(f"expected 4D input (got {input.dim()}D input)")


class BatchNorm3d(_BatchNorm):
    """Normalises each channel over the batch and the volume; the arguments are those of `BatchNorm1d`.

    Shape:
        (N, C, D, H, W) -> the same
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() != 5:
            raise ValueError(f"expected 5D input (got {input.dim()}D input)")


class SyncBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics cover the batches of all processes of a group.

    Args:
        process_group: the group; the other arguments are those of `BatchNorm1d`. Default: all processes

    In a single process it is a batch normalisation of any dimension.

    Shape:
        (N, C, ...) -> the same
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)
        self.process_group = process_group

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2D input (got {input.dim()}D input)")
        if input.size(1) == 0:
            raise ValueError("SyncBatchNorm number of input channels should be non-zero")

    @classmethod
    def convert_sync_batchnorm(cls, module: Module, process_group: Any = None) -> Module:
        """Replace every batch normalisation in `module` by a synchronised one with the same parameters."""
        converted = module
        if isinstance(module, _BatchNorm):
            converted = cls(
                module.num_features,
                module.eps,
                module.momentum,
                module.affine,
                module.track_running_stats,
                process_group,
                bias=module.bias is not None,
            )
            if module.affine:
                converted.weight = module.weight
                converted.bias = module.bias
            converted.running_mean = module.running_mean
            converted.running_var = module.running_var
            converted.num_batches_tracked = module.num_batches_tracked
            converted.training = module.training
        for name, child in module.named_children():
            converted.add_module(name, cls.convert_sync_batchnorm(child, process_group))
        return converted
