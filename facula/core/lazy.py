"""Modules that cost time to import, imported at their first use.

NumPy alone would take most of the import budget of the whole package, and many programs never touch it. So nobody
below `facula` writes `import numpy`; they write `from facula.core.lazy import numpy as np`, and the first attribute
access imports it. After that access the proxy holds the attribute itself, so a later `np.asarray` is an ordinary
attribute lookup.

Comes in: a module's name. Goes out: an object that behaves as that module. Type checkers see the module itself.
This module must never know what any of those modules contain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
else:

    class LazyModule:
        """Stands for a module until one of its attributes is asked for; then imports it and forwards."""

        def __init__(self, name: str) -> None:
            self.__dict__["__name__"] = name

        def __getattr__(self, attribute: str) -> object:
            # Reached only while the attribute is not yet mirrored into this object's own dictionary.
            from importlib import import_module

            value = getattr(import_module(self.__name__), attribute)
            self.__dict__[attribute] = value
            return value

        def __dir__(self) -> list[str]:
            from importlib import import_module

            return dir(import_module(self.__name__))

        def __repr__(self) -> str:
            return f"<lazy module '{self.__name__}'>"

    numpy = LazyModule("numpy")

__all__ = ["numpy"]


def call_module(module: str, function: str) -> None:
    """Let the module object be called as the function of the same name in it.

    `facula.compile` and `facula.autograd.gradcheck` are functions to their users and modules to the import system, which
    sets the module under that name whenever it imports it.
    """
    from sys import modules
    from types import ModuleType

    def call(self: object, *args: object, **kwargs: object) -> object:
        return getattr(self, function)(*args, **kwargs)

    modules[module].__class__ = type("CallableModule", (ModuleType,), {"__call__": call})
