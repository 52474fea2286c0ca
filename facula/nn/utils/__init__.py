"""Tools around modules and parameters: clipping, vectors of parameters, batches of sequences.

In: names. Out: functions; a file is loaded when it is first needed.
"""

from __future__ import annotations

from typing import Any

_FAMILIES = {
    "clip_grad": "clip_grad_norm clip_grad_norm_ clip_grad_value_ clip_grads_with_norm_ get_total_norm",
    "convert_parameters": "parameters_to_vector vector_to_parameters",
    "fusion": "fuse_conv_bn_eval fuse_conv_bn_weights fuse_linear_bn_eval fuse_linear_bn_weights",
    "init": "skip_init",
    "_weight_norm": "remove_weight_norm weight_norm",
}
_HOMES = {name: family for family, names in _FAMILIES.items() for name in names.split()}
_FILES = (*_FAMILIES, "parametrizations", "parametrize", "rnn", "stateless")

__all__ = sorted(["parametrizations", "parametrize", "rnn", "stateless", *_HOMES])


def __getattr__(name: str) -> Any:
    from importlib import import_module

    # A function may have its file's name, and is what the name then means.
    if name in _HOMES:
        value = getattr(import_module(f"facula.nn.utils.{_HOMES[name]}"), name)
    elif name in _FILES:
        value = import_module(f"facula.nn.utils.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__]
