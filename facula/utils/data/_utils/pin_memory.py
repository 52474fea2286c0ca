"""Copying the tensors of a batch into page-locked memory, from which an accelerator reads fast.

Comes in: a batch. Goes out: the same structure with its tensors pinned. This module must never know loaders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from facula.utils.data._utils.collate import _is_namedtuple, _same_mapping, _same_sequence

if TYPE_CHECKING:
    from typing import Any


def pin_memory(data: Any, device: Any = None) -> Any:
    """Pin whatever in `data` has a `pin_memory` method, going into mappings, named tuples and sequences."""
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, (str, bytes)):
        return data
    if isinstance(data, Mapping):
        return _same_mapping(data, {key: pin_memory(value, device) for key, value in data.items()})
    if _is_namedtuple(data):
        return type(data)(*(pin_memory(value, device) for value in data))
    if isinstance(data, Sequence):
        return _same_sequence(data, [pin_memory(value, device) for value in data])
    return data
