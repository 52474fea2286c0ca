"""Collating: one batch from a list of samples.

Comes in: samples of equal structure (tensors, NumPy arrays, numbers, strings, and mappings, sequences and named tuples
of those). Goes out: the same structure, its leaves stacked along a new first dimension. Sizes (n, *sample); dtypes are
the samples' own, float64 for Python floats, int64 for ints. This module must never know datasets or processes, nor
import
NumPy: where nobody has, no sample can come from it.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence
from copy import copy
from typing import TYPE_CHECKING

import facula
from facula.serialization.storages import stacked
from facula.tensor import creation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from facula import Tensor

    CollateMap = dict[type | tuple[type, ...], Callable[..., Any]]

default_collate_err_msg_format = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {}"
)


def _is_numpy_text_or_object(dtype: Any) -> bool:
    # As PyTorch: any of these letters anywhere in the type's string, so also in a structured one's.
    return any(letter in dtype.str for letter in "SaUO")


def _same_mapping(original: Mapping[Any, Any], values: dict[Any, Any]) -> Mapping[Any, Any]:
    """`values` as the type of `original`, which may carry more than its items; a plain dict if it can't be made."""
    try:
        if isinstance(original, MutableMapping):
            clone = copy(original)
            clone.update(values)
            return clone
        return type(original)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def _same_sequence(original: Sequence[Any], values: list[Any]) -> Sequence[Any]:
    """`values` as the type of `original`; a plain list if it can't be made (a `range`)."""
    try:
        if isinstance(original, MutableSequence):
            clone = copy(original)
            for position, value in enumerate(values):
                clone[position] = value
            return clone
        return type(original)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def _is_namedtuple(data: Any) -> bool:
    return isinstance(data, tuple) and hasattr(data, "_fields")


def default_convert(data: Any) -> Any:
    """Turn the NumPy arrays and scalars in `data` into tensors; everything else stays, tuples become lists.

    What a loader does to each sample when batching is off.

    >>> default_convert([0, "text"])
    [0, 'text']
    """
    cls = type(data)
    if isinstance(data, facula.Tensor):
        return data
    if cls.__module__ == "numpy" and cls.__name__ not in ("str_", "string_"):
        if cls.__name__ == "ndarray" and _is_numpy_text_or_object(data.dtype):
            return data
        return facula.as_tensor(data)
    if isinstance(data, Mapping):
        return _same_mapping(data, {key: default_convert(data[key]) for key in data})
    if _is_namedtuple(data):
        return cls(*(default_convert(item) for item in data))
    if isinstance(data, tuple):
        return [default_convert(item) for item in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _same_sequence(data, [default_convert(item) for item in data])
    return data


def collate(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    """Collate `batch` with a function per element type, going into mappings and sequences.

    Args:
        batch: samples of equal structure; the first one decides which function is used.
        collate_fn_map: from a type, or a tuple of types, to `function(batch, *, collate_fn_map)`. An exact type wins
            over a base class; among those the first in the map.

    Raises:
        TypeError: there is no function for an element's type.
        RuntimeError: sequences differ in length.

    >>> collate([{"a": 1}, {"a": 2}], collate_fn_map={int: lambda batch, *, collate_fn_map: sum(batch)})
    {'a': 3}
    """
    elem = batch[0]
    cls = type(elem)
    if collate_fn_map is not None:
        function = _find(cls, elem, collate_fn_map)
        if function is not None:
            return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(elem, Mapping):
        columns = {key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map) for key in elem}
        return _same_mapping(elem, columns)
    if _is_namedtuple(elem):
        return cls(*_collate_columns(batch, collate_fn_map))
    if isinstance(elem, Sequence):
        return _collate_sequences(batch, elem, collate_fn_map)
    raise TypeError(default_collate_err_msg_format.format(cls))


def _find(cls: type, elem: Any, collate_fn_map: CollateMap) -> Callable[..., Any] | None:
    function = collate_fn_map.get(cls)
    if function is None:
        for candidate, function in collate_fn_map.items():
            if isinstance(elem, candidate):
                return function
        return None
    return function


def _collate_sequences(batch: Sequence[Any], elem: Sequence[Any], collate_fn_map: CollateMap | None) -> Any:
    size = len(elem)
    for position, sample in enumerate(batch):
        if len(sample) != size:
            raise RuntimeError(
                "each element in list of batch should be of equal size; "
                f"sample 0 of the batch has {size} elements, sample {position} has {len(sample)}"
            )
    columns = _collate_columns(batch, collate_fn_map)
    return columns if isinstance(elem, tuple) else _same_sequence(elem, columns)


def _collate_columns(batch: Sequence[Any], collate_fn_map: CollateMap | None) -> list[Any]:
    return [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch, strict=False)]


def collate_tensor_fn(batch: Sequence[Tensor], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Stack tensors of one shape: n of shape (*s) give (n, *s)."""
    together = stacked(batch, facula.Tensor)
    if together is not None:
        return together
    elem = batch[0]
    for kind, special in (
        ("nested", getattr(elem, "is_nested", False)),
        ("sparse", elem.layout is not facula.strided),
    ):
        if special:
            raise RuntimeError(
                f"Batches of {kind} tensors are not currently supported by the default collate_fn; "
                "please provide a custom collate_fn to handle them appropriately."
            )
    return facula.stack(batch, 0)


def collate_numpy_array_fn(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    """Stack NumPy arrays of one shape into a tensor."""
    if _is_numpy_text_or_object(batch[0].dtype):
        raise TypeError(default_collate_err_msg_format.format(batch[0].dtype))
    return collate([facula.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Join NumPy scalars into a tensor of shape (n,) and their type."""
    import numpy as np

    return facula.as_tensor(np.array(batch))


def collate_float_fn(batch: Sequence[float], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Join Python floats into a float64 tensor of shape (n,)."""
    if set(map(type, batch)) == {float}:
        return facula.frombuffer(array("d", batch), dtype=facula.float64)
    return creation.tensor(batch, dtype=facula.float64)


def collate_int_fn(batch: Sequence[int], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """Join Python ints (or bools) into an int64 (or bool) tensor of shape (n,)."""
    if set(map(type, batch)) == {int}:
        try:
            # An array packs them in one go; looking at each for its type and shape takes several times as long.
            return facula.frombuffer(array("q", batch), dtype=facula.int64)
        except OverflowError:
            pass  # the usual way says what is wrong
    return creation.tensor(batch)


def collate_str_fn(batch: Iterable[Any], *, collate_fn_map: CollateMap | None = None) -> Any:
    """Leave strings as they are."""
    return batch


# Programs may add their own types, or replace a function.
default_collate_fn_map: CollateMap = {
    facula.Tensor: collate_tensor_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}
_own_types = set(default_collate_fn_map)
_numpy_is_registered = False


def _register_numpy() -> None:
    """Put NumPy's types where PyTorch has them: after tensors, before Python's own numbers, then the program's."""
    global _numpy_is_registered
    import numpy as np

    registered: CollateMap = {
        np.ndarray: collate_numpy_array_fn,
        (np.bool_, np.number, np.object_): collate_numpy_scalar_fn,
    }
    present = dict(default_collate_fn_map)
    default_collate_fn_map.clear()
    if facula.Tensor in present:
        default_collate_fn_map[facula.Tensor] = present.pop(facula.Tensor)
    default_collate_fn_map.update(registered)
    default_collate_fn_map.update(present)
    _own_types.update(registered)
    _numpy_is_registered = True


def tensors_collate_as_usual() -> bool:
    """Whether tensors are still stacked, and tuples of them still gone into: no program changed the map."""
    types = default_collate_fn_map
    return types.get(facula.Tensor) is collate_tensor_fn and types.keys() == _own_types


def default_collate(batch: list[Any]) -> Any:
    """Make one batch of a list of samples.

    Tensors and NumPy arrays are stacked; floats, ints and NumPy scalars become one-dimensional tensors; strings and
    bytes stay a list; mappings, named tuples and sequences are gone into (a tuple gives a list).

    Args:
        batch: samples of equal structure.

    Raises:
        TypeError: a sample's type is none of these.
        RuntimeError: tensors differ in shape, or sequences in length.

    >>> default_collate([(0, "a"), (1, "b")])
    [tensor([0, 1]), ('a', 'b')]
    """
    if not _numpy_is_registered and "numpy" in sys.modules:
        _register_numpy()
    return collate(batch, collate_fn_map=default_collate_fn_map)
