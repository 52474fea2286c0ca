"""Reading checkpoints in the form that PyTorch wrote before version 1.6: pickles one after another, then raw storages.

Comes in: such a file. Goes out: the object, with the same protection as for archives. This module must never know
archives.
"""

from __future__ import annotations

import struct
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from facula.serialization import rebuild
from facula.serialization.interpreter import Interpreter
from facula.serialization.locations import restore_function
from facula.serialization.names import Names
from facula.serialization.reading import _checked_reference, _text
from facula.serialization.storages import new_storage, storage_bytes
from facula.tensor.storage import TypedStorage, UntypedStorage

if TYPE_CHECKING:
    from typing import IO, Any

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001
_SIZE = struct.Struct("<q")


class _LegacyStorages:
    """Storages that are referred to before their bytes come: made at their declared size when the file can hold it."""

    def __init__(self, available: int, map_location: Any) -> None:
        self._available = available
        self._restore = restore_function(map_location)
        self.waiting: dict[str, tuple[Any, Any, int]] = {}  # key -> storage, dtype, elements

    def persistent_load(self, reference: Any) -> TypedStorage:
        if type(reference) is tuple and len(reference) == 6 and _text(reference[0]) == "storage":
            if reference[5] is not None:
                raise UnpicklingError("the checkpoint has views of storages, as PyTorch 0.1 wrote them; save it again")
            reference = reference[:5]
        if type(reference) is tuple and reference and _text(reference[0]) == "module":
            raise UnpicklingError(
                "the checkpoint holds a whole module with its source, as PyTorch wrote it before 1.6; "
                "load it with PyTorch and save its state_dict()"
            )
        kind, key, location, numel = _checked_reference(reference)
        found = self.waiting.get(key)
        if found is None:
            nbytes = numel * kind.dtype.itemsize
            if nbytes > self._available:
                raise RuntimeError(
                    f"storage {key!r} of the checkpoint has {nbytes} bytes, more than are left of the file "
                    f"({self._available}): it is damaged"
                )
            self._available -= nbytes
            storage = new_storage(nbytes)
            if self._restore(UntypedStorage._of(storage), location) != UntypedStorage._of(storage):
                raise RuntimeError(
                    "a checkpoint from before PyTorch 1.6 can be loaded to the CPU only: use map_location='cpu'"
                )
            found = self.waiting[key] = (storage, kind.dtype, numel)
        storage, dtype, _ = found
        return TypedStorage._of(storage, dtype)


def _refuse_reference(reference: Any) -> Any:
    raise UnpicklingError(f"unsupported persistent id encountered: {reference!r:.50}")


def read_legacy(file: IO[bytes], map_location: Any, weights_only: bool, encoding: str) -> Any:
    """The object of a file that is no archive.

    Raises:
        RuntimeError, UnpicklingError: it is none of PyTorch's files, is damaged, or is not allowed.
    """
    data = file.read()
    if data[257:262] == b"ustar":
        raise RuntimeError(
            "the file is a tar archive, as PyTorch wrote before version 0.1.10: load it with PyTorch and save it again"
        )
    if not data:
        raise EOFError("Ran out of input: the checkpoint is empty")
    names = Names(weights_only)

    def load(start: int, persistent_load: Any) -> tuple[Any, int]:
        machine = Interpreter(data, names, persistent_load, encoding, start)
        return machine.load(), machine.position

    magic, position = load(0, _refuse_reference)
    if magic != MAGIC_NUMBER:
        raise RuntimeError("Invalid magic number; corrupt file?")
    version, position = load(position, _refuse_reference)
    if version != PROTOCOL_VERSION:
        raise RuntimeError(f"Invalid protocol version: {version!r:.50}")
    system, position = load(position, _refuse_reference)
    is_little = system.get("little_endian", True) if type(system) is dict else True
    storages = _LegacyStorages(len(data) - position, map_location)
    result, position = load(position, storages.persistent_load)
    keys, position = load(position, _refuse_reference)
    _read_storages(data, position, keys, storages.waiting, is_little is not False)
    return result


def _read_storages(data: bytes, position: int, keys: Any, waiting: dict[str, Any], is_little: bool) -> None:
    import sys

    if type(keys) is not list or len(keys) != len(waiting):
        raise UnpicklingError("the checkpoint's list of storages does not fit its content")
    for key in keys:
        storage, dtype, numel = waiting.pop(_text(key) if type(key) in (str, bytes) else "", (None, None, None))
        if storage is None:
            raise UnpicklingError(f"storage key {key!r:.50} not found in the checkpoint")
        if position + _SIZE.size > len(data):
            raise EOFError("the checkpoint ends before its storages do")
        (size,) = _SIZE.unpack_from(data, position)
        position += _SIZE.size
        nbytes = numel * dtype.itemsize
        if size != numel:
            raise RuntimeError(f"storage {key!r} has {size} elements, expected {numel}: the checkpoint is damaged")
        if position + nbytes > len(data):
            raise EOFError(f"the checkpoint ends within storage {key!r}")
        storage_bytes(storage)[:] = data[position : position + nbytes]
        if is_little != (sys.byteorder == "little"):
            rebuild.swap_bytes(storage, dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize)
        position += nbytes
