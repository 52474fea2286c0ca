"""Parametrizations that programs use: weight normalisation and spectral normalisation.

In: a module and the name of its weight. Out: the same module, with the weight parametrized.
"""

from __future__ import annotations

from typing import Any

from facula.engine.modes import no_grad
from facula.nn.functional.normalization import normalize
from facula.nn.modules.module import Module
from facula.nn.utils._weight_norm import _norm_except_dim
from facula.nn.utils.parametrize import register_parametrization
from facula.tensor.tensor import Tensor

__all__ = ["spectral_norm", "weight_norm"]


class _WeightNorm(Module):
    """weight = g v / |v|."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / _norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The length and the direction of a weight."""
        return _norm_except_dim(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Split a weight into its length, `parametrizations.NAME.original0`, and its direction, `original1`.

    Args:
        module: what has the weight; changed in place, and returned.
        name: of the weight. Default: 'weight'
        dim: the dimension that has a length for each index; None for one length. Default: 0

    State dictionaries with `NAME_g` and `NAME_v`, of the older form, can be loaded.

    Source: Salimans and Kingma, "Weight normalization", 2016.
    """
    register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state_dict: Any, prefix: str, *rest: Any) -> None:
        length, direction = f"{prefix}{name}_g", f"{prefix}{name}_v"
        if length in state_dict and direction in state_dict:
            state_dict[f"{prefix}parametrizations.{name}.original0"] = state_dict.pop(length)
            state_dict[f"{prefix}parametrizations.{name}.original1"] = state_dict.pop(direction)

    module._register_load_state_dict_pre_hook(rename)
    return module


class _SpectralNorm(Module):
    """weight / sigma, with sigma, its largest singular value, estimated by the power method."""

    _u: Any
    _v: Any

    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        dims = weight.dim()
        if not -dims <= dim < dims:
            raise IndexError(f"Dimension out of range (expected to be in range of [-{dims}, {dims - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % dims
        self.eps = eps
        if dims > 1:
            self.n_power_iterations = n_power_iterations
            with no_grad():
                matrix = self._reshape_weight_to_matrix(weight)
                rows, columns = matrix.shape
                left = matrix.new_empty((rows,)).normal_(0, 1)
                right = matrix.new_empty((columns,)).normal_(0, 1)
                self.register_buffer("_u", normalize(left, dim=0, eps=eps))
                self.register_buffer("_v", normalize(right, dim=0, eps=eps))
                self._power_method(matrix, 15)

    def _reshape_weight_to_matrix(self, weight: Tensor) -> Tensor:
        """`dim` as the rows, all other dimensions as the columns."""
        if self.dim != 0:
            weight = weight.permute(self.dim, *(d for d in range(weight.dim()) if d != self.dim))
        return weight.flatten(1)

    def _power_method(self, matrix: Tensor, iterations: int) -> None:
        with no_grad():
            for _ in range(iterations):
                self._u.copy_(normalize(matrix.mv(self._v), dim=0, eps=self.eps))
                self._v.copy_(normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.dim() == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = self._reshape_weight_to_matrix(weight)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # Copies: the next forward changes the vectors, and this one's backward still needs them.
        left, right = self._u.clone(), self._v.clone()
        return weight / (left * matrix.mv(right)).sum()

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """Divide a weight by its largest singular value.

    Args:
        module: what has the weight; changed in place, and returned.
        name: of the weight. Default: 'weight'
        n_power_iterations: steps of the power method at each reading in training. Default: 1
        eps: keeps its vectors finite. Default: 1e-12
        dim: the dimension of the outputs. Default: 0, and 1 for transposed convolutions

    Raises:
        ValueError: the module has no tensor of this name.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if dim is None:
        dim = 1 if getattr(module, "transposed", False) else 0
    return register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))
