"""Learning-rate schedules: objects that rewrite `group["lr"]` of an optimizer each time their `step()` is called."""

from __future__ import annotations

from facula.optim.lr_scheduler.base import LRScheduler
from facula.optim.lr_scheduler.compose import ChainedScheduler, SequentialLR
from facula.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from facula.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from facula.optim.lr_scheduler.decay import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from facula.optim.lr_scheduler.plateau import ReduceLROnPlateau

_LRScheduler = LRScheduler
"""The older name."""

__all__ = [
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LRScheduler",
    "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip
