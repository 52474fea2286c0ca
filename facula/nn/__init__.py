"""`torch.nn`: modules, parameters, initialisers and the functions beneath them.

Only `Module` and `Parameter` are loaded at once; every other name is, with its family, when it is first used.

In: names. Out: classes, functions and submodules.
"""

from __future__ import annotations

from typing import Any

from facula.nn import modules as _modules
from facula.nn.modules.module import Module
from facula.nn.parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter

_SUBMODULES = ("attention", "functional", "init", "modules", "parallel", "parameter", "utils")

__all__ = sorted(
    [
        "Buffer",
        "Parameter",
        "UninitializedBuffer",
        "UninitializedParameter",
        "DataParallel",
        "attention",
        "functional",
        "init",
        "parallel",
        "utils",
        *_modules.__all__,
    ]
)


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        from importlib import import_module

        value: Any = import_module(f"facula.nn.{name}")
    elif name == "DataParallel":
        from facula.nn.parallel import DataParallel as value
    elif name in _modules.__all__:
        value = getattr(_modules, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "modules", "parameter"]
