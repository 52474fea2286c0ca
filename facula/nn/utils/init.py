"""Making a module without initialising its parameters."""

from __future__ import annotations

from typing import Any

from facula.nn.modules.module import Module

__all__ = ["skip_init"]


def skip_init(module_cls: type[Module], *args: Any, **kwargs: Any) -> Module:
    """Construct a module whose parameters and buffers keep whatever their memory held.

    Args:
        module_cls: a class whose constructor takes `device`.
        *args, **kwargs: its arguments; `device` is where the module ends up. Default: the CPU

    Raises:
        RuntimeError: `module_cls` is not a module class, or its constructor takes no `device`.

    """
    if not issubclass(module_cls, Module):
        raise RuntimeError(f"Expected a Module; got {module_cls}")
    code = module_cls.__init__.__code__
    takes_any = bool(code.co_flags & 0x08)
    if "device" not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] and not takes_any:
        raise RuntimeError("Module must support a 'device' arg to skip initialization")
    device = kwargs.pop("device", "cpu")
    return module_cls(*args, **kwargs, device="meta").to_empty(device=device)
