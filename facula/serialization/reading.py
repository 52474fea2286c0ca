"""Reading a checkpoint without running anything that is in it.

Comes in: a file. Goes out: the object that was saved. Each storage is read once, straight into its memory, or with
`mmap` not at all until it is used. This module must never know how a checkpoint is written.
"""

from __future__ import annotations

import mmap as mapping
import os
import sys
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from facula.core.device import device
from facula.serialization import rebuild
from facula.serialization.archive import ArchiveReader
from facula.serialization.interpreter import Interpreter
from facula.serialization.locations import is_meta, restore_function
from facula.serialization.names import Names
from facula.serialization.storages import borrow_storage, new_storage, storage_bytes
from facula.tensor.storage import TypedStorage, UntypedStorage

if TYPE_CHECKING:
    from typing import IO, Any

BYTE_ORDERS = {b"little": "little", b"big": "big"}


class StorageLoader:
    """Gives the interpreter a checkpoint's storages.

    Args:
        archive: where their records are.
        map_location: as of `load`.
        memory: the mapped file, to read nothing now.
        byteorder: the order of bytes in the file.
    """

    def __init__(self, archive: ArchiveReader, map_location: Any, memory: mapping.mmap | None, byteorder: str) -> None:
        self._archive = archive
        self._restore = restore_function(map_location)
        self._to_meta = is_meta(map_location)
        self._memory = memory
        self._swap = byteorder != sys.byteorder
        self._loaded: dict[str, Any] = {}

    def persistent_load(self, reference: Any) -> TypedStorage:
        """The storage of a persistent id, `("storage", type, key, location, number of elements)`."""
        kind, key, location, numel = _checked_reference(reference)
        nbytes = numel * kind.dtype.itemsize
        name = f"data/{key}"
        record = self._archive.records.get(name)
        if record is None:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: the checkpoint is not complete")
        if nbytes > record.size:
            raise RuntimeError(
                f"record {name!r} of the checkpoint has {record.size} bytes, but {numel} elements of {kind.dtype} "
                f"need {nbytes}: the checkpoint is damaged"
            )
        storage = self._loaded.get(key)
        if storage is None:
            storage = self._loaded[key] = self._load(name, kind.dtype, record.size, location)
        return TypedStorage._of(storage, kind.dtype)

    def _load(self, name: str, dtype: Any, nbytes: int, location: str) -> Any:
        if self._to_meta:
            return new_storage(nbytes, device("meta"))
        offset = self._archive.records[name].offset
        itemsize = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
        if self._memory is not None and not self._swap and offset % max(dtype.itemsize, 1) == 0:
            storage = borrow_storage(self._memory, offset, nbytes)
        else:
            storage = new_storage(nbytes)
            self._archive.read_into(name, storage_bytes(storage))
            if self._swap:
                self._archive.check()
                rebuild.swap_bytes(storage, itemsize)
        restored = self._restore(UntypedStorage._of(storage), location)
        if not isinstance(restored, UntypedStorage):
            raise TypeError(f"map_location gave a {type(restored).__name__} for a storage, not a storage or None")
        return restored._storage


def _text(value: Any) -> Any:
    return value.decode("ascii", "replace") if type(value) is bytes else value


def _checked_reference(reference: Any) -> tuple[Any, str, str, int]:
    if type(reference) is not tuple or len(reference) != 5 or _text(reference[0]) != "storage":
        raise UnpicklingError(f"Only persistent_load of storage is allowed, but got {reference!r:.100}")
    kind, key, location, numel = reference[1], _text(reference[2]), _text(reference[3]), reference[4]
    if (
        type(kind) is not rebuild.StorageType
        or type(key) is not str
        or type(location) is not str
        or type(numel) is not int
        or not 0 <= numel < rebuild.MAX_NUMEL
    ):
        raise UnpicklingError(f"a storage is referred to by {reference!r:.200}")
    return kind, key, location, numel


def _byteorder(archive: ArchiveReader, default: str) -> str:
    if "byteorder" not in archive:
        return default
    order = BYTE_ORDERS.get(archive.read("byteorder"))
    if order is None:
        raise ValueError(f"Unknown endianness type: {archive.read('byteorder')!r:.50}")
    return order


def read_archive(
    file: IO[bytes],
    map_location: Any,
    weights_only: bool,
    encoding: str,
    map_flags: int | None,
    default_byteorder: str,
) -> Any:
    """The object in the archive that begins where `file` stands. `map_flags` maps the file instead of reading it."""
    archive = ArchiveReader(file)
    if "constants.pkl" in archive:
        raise RuntimeError(
            "the file is a TorchScript program, not a checkpoint: load it with PyTorch's torch.jit.load and save its "
            "state_dict() with torch.save"
        )
    memory = None
    if map_flags is not None:
        memory = map_file(file, map_flags)
    loader = StorageLoader(archive, map_location, memory, _byteorder(archive, default_byteorder))
    content = archive.read("data.pkl")
    try:
        return Interpreter(content, Names(weights_only, archive.check), loader.persistent_load, encoding).load()
    finally:
        archive.check()


def map_file(file: IO[bytes], flags: int) -> mapping.mmap:
    """The whole file as memory: private (writing changes nothing on disk) or shared."""
    shared = hasattr(mapping, "MAP_SHARED") and flags == mapping.MAP_SHARED
    access = mapping.ACCESS_WRITE if shared else mapping.ACCESS_COPY
    if not shared:
        return mapping.mmap(file.fileno(), 0, access=access)
    descriptor = os.open(file.name, os.O_RDWR)
    try:
        return mapping.mmap(descriptor, 0, access=access)
    finally:
        os.close(descriptor)
