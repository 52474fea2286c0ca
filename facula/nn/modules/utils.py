"""Small helpers of the layers: arguments that are one number or a tuple of them.

In: numbers or iterables. Out: tuples. It must never know about tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple[Any, ...]]:
    def parse(x: Any) -> tuple[Any, ...]:
        if isinstance(x, Iterable):
            return tuple(x)
        return (x,) * n

    parse.__name__ = name
    return parse


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: tuple[Any, ...], n: int) -> tuple[Any, ...]:
    """The elements from last to first, each `n` times: the order in which `pad` takes its widths."""
    return tuple(x for x in reversed(t) for _ in range(n))


def _list_with_default(out_size: Any, defaults: list[int]) -> list[int]:
    """Sizes with None replaced by the last of `defaults`."""
    if isinstance(out_size, int):
        return [out_size]
    if len(defaults) <= len(out_size):
        raise ValueError(f"Input dimension should be at least {len(out_size) + 1}")
    return [v if v is not None else d for v, d in zip(out_size, defaults[-len(out_size) :])]


def consume_prefix_in_state_dict_if_present(state_dict: Any, prefix: str) -> None:
    """Strip `prefix` from the keys of a state dictionary, and of its metadata, in place.

    Example:
        >>> state = {"module.weight": 1}
        >>> consume_prefix_in_state_dict_if_present(state, "module.")
        >>> state
        {'weight': 1}
    """
    for key in list(state_dict.keys()):
        if key.startswith(prefix):
            state_dict[key[len(prefix) :]] = state_dict.pop(key)
    if hasattr(state_dict, "_metadata"):
        renamed = OrderedDict()
        for key, value in state_dict._metadata.items():
            # The metadata has keys without the dot as well: the module's own entry.
            if key == prefix.replace(".", "") and len(prefix) > 0:
                renamed[""] = value
            elif key.startswith(prefix):
                renamed[key[len(prefix) :]] = value
            else:
                renamed[key] = value
        for key in list(state_dict._metadata.keys()):
            del state_dict._metadata[key]
        state_dict._metadata.update(renamed)
