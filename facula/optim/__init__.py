"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from typing import Any

from facula.optim.adam import Adam, AdamW
from facula.optim.optimizer import Optimizer
from facula.optim.sgd import SGD

__all__ = [
    "ASGD", "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop",
    "lr_scheduler", "swa_utils",
]  # fmt: skip

_HOMES = {
    "Adadelta": "adadelta", "Adagrad": "adagrad", "Adamax": "adam_variants", "NAdam": "adam_variants", "RAdam": "adam_variants",
    "RMSprop": "rmsprop", "ASGD": "asgd", "Rprop": "rprop", "LBFGS": "lbfgs",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in ("lr_scheduler", "swa_utils"):
        return import_module(f"facula.optim.{name}")
    if name in _HOMES:
        globals()[name] = found = getattr(import_module(f"facula.optim.{_HOMES[name]}"), name)
        return found
    raise AttributeError(f"module 'torch.optim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
