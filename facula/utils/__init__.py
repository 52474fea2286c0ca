"""The tools around training: `data`, and whatever else PyTorch keeps under `torch.utils`.

Each submodule is imported when its name is first used, so that `import facula` pays for none of them. This module must
never know what a submodule contains.
"""

from __future__ import annotations


def __getattr__(name: str) -> object:
    if not name.startswith("__"):
        from importlib import import_module

        path = f"{__name__}.{name}"
        try:
            return import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
