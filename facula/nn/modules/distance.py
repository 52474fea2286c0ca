"""Distances and similarities of pairs of vectors: `PairwiseDistance` and `CosineSimilarity`."""

from __future__ import annotations

from facula.nn import functional as F
from facula.nn.modules.module import Module
from facula.tensor.tensor import Tensor

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last dimension.

    Args:
        p: of the norm. Default: 2.0
        eps: keeps the gradient finite. Default: 1e-6
        keepdim: keep the last dimension, with size 1. Default: False

    Shape:
        (N, D) or (D), twice -> (N) or ()
    """

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)


class CosineSimilarity(Module):
    """x1 x2 / max(|x1| |x2|, eps) along a dimension.

    Args:
        dim: the dimension. Default: 1
        eps: keeps the quotient finite. Default: 1e-8

    Shape:
        (*, D, *), twice -> (*, *)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)
