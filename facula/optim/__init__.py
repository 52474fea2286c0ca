"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from typing import Any

from facula.optim.adam import Adam, AdamW
from facula.optim.optimizer import Optimizer
from facula.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "lr_scheduler"]


def __getattr__(name: str) -> Any:
    if name == "lr_scheduler":
        from importlib import import_module

        return import_module("facula.optim.lr_scheduler")
    raise AttributeError(f"module 'torch.optim' has no attribute {name!r}")
