"""Instance normalisation layers.

In: (N, C, *size) or (C, *size). Out: the same, with the mean and variance of each channel of each sample taken out.

Source: Ulyanov et al., "Instance normalization: the missing ingredient for fast stylization", 2016.
"""

from __future__ import annotations

from typing import Any

from facula.nn import functional as F
from facula.nn.modules.batchnorm import _NormBase
from facula.tensor.tensor import Tensor

_LAZY = ("LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d")
__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from facula.nn.modules import _lazy_layers

        return getattr(_lazy_layers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _InstanceNorm(_NormBase):
    """Normalises each channel of each sample: y = (x - mean) / sqrt(var + eps) weight + bias.

    Args:
        num_features: the number of channels C.
        eps: added to the variance. Default: 1e-5
        momentum: the weight of a new batch in the running statistics. Default: 0.1
        affine: whether there are a weight (ones at first) and a bias (zeros). Default: False
        track_running_stats: keep running statistics and use them in evaluation. Default: False
        device, dtype: of parameters and statistics. Default: the current default device and dtype
        bias: whether there is a bias, given `affine`. Default: True

    Raises:
        ValueError: an input of other dimensions, or, when affine, of another number of channels.
    """

    _dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def _get_no_batch_dim(self) -> int:
        return self._dims[0]

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in self._dims:
            low, high = self._dims
            raise ValueError(f"expected {low}D or {high}D input (got {input.dim()}D input)")

    def _apply_instance_norm(self, input: Tensor) -> Tensor:
        return F.instance_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or not self.track_running_stats,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
        )

    def _handle_no_batch_input(self, input: Tensor) -> Tensor:
        return self._apply_instance_norm(input.unsqueeze(0)).squeeze(0)

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        feature_dim = input.dim() - self._get_no_batch_dim()
        if input.size(feature_dim) != self.num_features:
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={feature_dim} to match num_features ({self.num_features}), but got: "
                    f"{input.size(feature_dim)}."
                )
            import warnings

            warnings.warn(
                f"input's size at dim={feature_dim} does not match num_features. You can silence this warning by not "
                "passing in "
                "num_features, which is not used because affine=False",
                stacklevel=2,
            )
        if input.dim() == self._get_no_batch_dim():
            return self._handle_no_batch_input(input)
        return self._apply_instance_norm(input)

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
        # Checkpoints without a version have running statistics even where the layer tracks none.
        if local_metadata.get("version") is None and not self.track_running_stats:
            stale = [prefix + name for name in ("running_mean", "running_var") if prefix + name in state_dict]
            if stale:
                keys = " and ".join(f'"{key}"' for key in stale)
                kind = type(self).__name__
                error_msgs.append(
                    f"Unexpected running stats buffer(s) {keys} for {kind} with track_running_stats=False. If "
                    "state_dict is a checkpoint "
                    f"saved before 0.4.0, this may be expected because {kind} does not track running stats by default "
                    "since 0.4.0. Please "
                    "remove these keys from state_dict. If the running stats are actually needed, instead set "
                    f"track_running_stats=True in {kind} to enable them. See the documentation of {kind} for details."
                )
                for key in stale:
                    state_dict.pop(key)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class InstanceNorm1d(_InstanceNorm):
    __doc__ = f"{_InstanceNorm.__doc__}\n    Shape:\n        (N, C, L) or (C, L) -> the same\n    "
    _dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    __doc__ = f"{_InstanceNorm.__doc__}\n    Shape:\n        (N, C, H, W) or (C, H, W) -> the same\n    "
    _dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    __doc__ = f"{_InstanceNorm.__doc__}\n    Shape:\n        (N, C, D, H, W) or (C, D, H, W) -> the same\n    "
    _dims = (4, 5)
