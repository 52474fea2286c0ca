"""Writing a checkpoint: any picklable object, its tensors' storages as records of their own.

Comes in: an object and a file. Goes out: an archive in PyTorch's format, in which every name is PyTorch's. This module
must never know how a checkpoint is read.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections import OrderedDict
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING

import facula
from facula.ops.define import FUNCTIONS
from facula.serialization import rebuild
from facula.serialization.archive import ArchiveWriter, AtomicFile, archive_name
from facula.serialization.locations import location_tag
from facula.serialization.storages import storage_bytes, storage_of
from facula.tensor.storage import TypedStorage, UntypedStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

HOUSE = "facula."


class StorageTable:
    """The storages of one checkpoint, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self.storages: dict[str, Any] = {}
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, Any] = {}

    def persistent_id(self, shared: Any) -> tuple[Any, ...]:
        """What stands in the pickle for a `TypedStorage` or an `UntypedStorage`."""
        storage = shared._storage
        dtype = getattr(shared, "dtype", facula.uint8)
        # Newer dtypes have no storage type of their own: their bytes count.
        kind = rebuild.UntypedStorage
        if isinstance(shared, TypedStorage):
            kind = rebuild.STORAGE_TYPE_OF.get(dtype, kind)
        address = storage.data
        if address and self._dtypes.setdefault(address, dtype) != dtype:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types: "
                f"{self._dtypes[address]} and {dtype}"
            )
        key = self._keys.get(id(storage))
        if key is None:
            key = self._keys[id(storage)] = str(len(self.storages))
            self.storages[key] = storage  # also keeps its identity
        return ("storage", kind, key, location_tag(storage), storage.nbytes // kind.dtype.itemsize)


def reduce_tensor(tensor: Any) -> tuple[Any, ...]:
    """How a tensor is pickled: a function of `rebuild` and its arguments."""
    if isinstance(tensor, facula.nn.Parameter):
        arguments: tuple[Any, ...] = (tensor.data, tensor.requires_grad, OrderedDict())
        attributes = _attributes(tensor)
        if attributes:
            return rebuild._rebuild_parameter_with_state, (*arguments, attributes)
        return rebuild._rebuild_parameter, arguments
    function, arguments = _reduce_plain(tensor)
    attributes = _attributes(tensor)
    if type(tensor) is facula.Tensor and not attributes:
        return function, arguments
    return rebuild._rebuild_from_type_v2, (function, type(tensor), arguments, attributes)


def _attributes(tensor: Any) -> dict[str, Any] | None:
    return getattr(tensor, "__dict__", None) or None


def _reduce_plain(tensor: Any) -> tuple[Any, tuple[Any, ...]]:
    dtype, size, stride = tensor.dtype, tuple(tensor.shape), tuple(tensor.stride())
    if tensor.device.type == "meta":
        return rebuild._rebuild_meta_tensor_no_storage, (dtype, size, stride, tensor.requires_grad)
    storage, offset = storage_of(tensor)
    typed = TypedStorage._of(storage, dtype)
    arguments: tuple[Any, ...] = (typed, offset, size, stride, tensor.requires_grad, OrderedDict())
    if dtype in rebuild.STORAGE_TYPE_OF:
        return rebuild._rebuild_tensor_v2, arguments
    return rebuild._rebuild_tensor_v3, (*arguments, dtype)


# What a module of PyTorch's has, in its order; ours make a dictionary of hooks when there is a hook.
_MODULE_STATE: dict[str, Callable[[], Any]] = {
    "training": lambda: True,
    "_parameters": dict,
    "_buffers": dict,
    "_non_persistent_buffers_set": set,
    "_backward_pre_hooks": OrderedDict,
    "_backward_hooks": OrderedDict,
    "_is_full_backward_hook": lambda: None,
    "_forward_hooks": OrderedDict,
    "_forward_hooks_with_kwargs": OrderedDict,
    "_forward_hooks_always_called": OrderedDict,
    "_forward_pre_hooks": OrderedDict,
    "_forward_pre_hooks_with_kwargs": OrderedDict,
    "_state_dict_hooks": OrderedDict,
    "_state_dict_pre_hooks": OrderedDict,
    "_load_state_dict_pre_hooks": OrderedDict,
    "_load_state_dict_post_hooks": OrderedDict,
    "_modules": dict,
}


def reduce_module(module: Any, protocol: int) -> Any:
    """How a module is pickled: as it says itself, its state completed to what PyTorch's modules expect."""
    reduced = module.__reduce_ex__(protocol)
    if not isinstance(reduced, tuple) or len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    own = reduced[2]
    state = {name: own[name] if name in own else make() for name, make in _MODULE_STATE.items()}
    for name in ("_parameters", "_buffers", "_modules"):
        state[name] = dict(state[name])
    return (*reduced[:2], {**state, **{name: own[name] for name in own if name not in state}}, *reduced[3:])


def _torch_name(obj: Any) -> bytes | None:
    """How a pickle refers to a class, function or constant of ours: by PyTorch's name. None for anything else."""
    if isinstance(obj, facula.dtype):
        return _reference("torch", obj.name)
    if isinstance(obj, rebuild.StorageType):
        return _reference(rebuild.TORCH_MODULES[obj.name], obj.name)
    name: str = obj.__qualname__
    short = name.rpartition(".")[2]
    if not isinstance(obj, type):
        # Operators go by the public namespace that has them; compiled ones don't know where they are.
        for home, namespace in (("torch.nn.functional", vars(facula.nn.functional)), ("torch", FUNCTIONS["torch"])):
            if namespace.get(short) is obj:
                return _reference(home, short)
    module = getattr(obj, "__module__", None)
    if not isinstance(module, str) or not module.startswith(HOUSE):
        return None
    if module == rebuild.__name__:
        return _reference(rebuild.TORCH_MODULES[name], name)
    return _reference(_HOMES.get(obj, "torch." + module.removeprefix(HOUSE)), name)


def _reference(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


_HOMES: dict[Any, str] = {
    facula.Tensor: "torch",
    facula.Size: "torch",
    facula.device: "torch",
    facula.Generator: "torch._C",
    facula.nn.Parameter: "torch.nn.parameter",
}
# Most of a large object: nothing to look at.
_ORDINARY = frozenset({str, int, float, bool, type(None), bytes, tuple, list, dict})
_NAMED = (type, FunctionType, BuiltinFunctionType, facula.dtype, rebuild.StorageType)


class NameTable:
    """Lets a pickler write names that aren't where the objects are.

    A pickler insists on the name under which it can import an object. So each of ours is given to it as a persistent
    id, a number drawn at random; afterwards `resolve` puts the wanted reference in the place of each number.
    """

    def __init__(self) -> None:
        # Little-endian in the pickle: two bytes that count, five random ones, and one that makes it eight bytes long.
        self._mark = os.urandom(5) + b"A"
        self._numbers: dict[int, int] = {}
        self._references: list[bytes] = []

    def number_of(self, obj: Any) -> int | None:
        """The number that stands for `obj`, None if it isn't ours."""
        number = self._numbers.get(id(obj))
        if number is None:
            reference = _torch_name(obj)
            if reference is None:
                return None
            count = len(self._references).to_bytes(2, "little")
            number = self._numbers[id(obj)] = int.from_bytes(count + self._mark, "little")
            self._references.append(reference)
        return number

    def resolve(self, data: bytes, memo: int) -> bytes:
        """`data` with references. Repeated ones go by the pickle's memo, in which `memo` entries are taken."""
        seen: dict[int, int] = {}

        def reference(match: re.Match[bytes]) -> bytes:
            number = int.from_bytes(match[1], "little")
            entry = seen.get(number)
            if entry is not None:
                return b"h%c" % entry if entry < 256 else b"j" + entry.to_bytes(4, "little")
            entry = seen[number] = memo + len(seen)
            put = b"q%c" % entry if entry < 256 else b"r" + entry.to_bytes(4, "little")
            return self._references[number] + put

        return re.sub(b"\x8a\x08(..)" + re.escape(self._mark) + b"Q", reference, data, flags=re.DOTALL)


def pickled(obj: Any, storages: StorageTable, pickle_module: Any, protocol: int) -> bytes:
    """`obj` as a pickle in PyTorch's names; its storages go to `storages`."""
    buffer = io.BytesIO()
    names = NameTable()

    class TorchPickler(pickle_module.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            kind = type(obj)
            if kind in _ORDINARY:
                return None
            if kind is TypedStorage or kind is UntypedStorage:
                return storages.persistent_id(obj)
            return names.number_of(obj) if isinstance(obj, _NAMED) else None

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, facula.Tensor):
                return reduce_tensor(obj)
            if isinstance(obj, facula.nn.Module):
                return reduce_module(obj, 2)
            if obj is facula.strided:
                return rebuild._get_layout, ("torch.strided",)
            return NotImplemented

    # Protocol 4 writes lengths of whole frames, which `resolve` would change. Protocol 2 is what PyTorch writes.
    pickler = TorchPickler(buffer, protocol=min(protocol, 3))
    pickler.dump(obj)
    return names.resolve(buffer.getvalue(), len(pickler.memo.copy()))


def write_checkpoint(
    obj: Any, file: IO[bytes], name: str, pickle_module: Any, protocol: int, checksum: bool, byteorder: bool
) -> None:
    """Write `obj` as an archive whose records lie in the folder `name`."""
    storages = StorageTable()
    content = pickled(obj, storages, pickle_module, protocol)
    archive = ArchiveWriter(file, name, checksum)
    archive.write_record("data.pkl", content)
    if byteorder:
        archive.write_record("byteorder", sys.byteorder.encode())
    on_cpu = [_on_cpu(storage) for storage in storages.storages.values()]
    archive.write_records([f"data/{key}" for key in storages.storages], [storage_bytes(storage) for storage in on_cpu])
    archive.write_record("version", b"3\n")
    archive.write_record(".data/serialization_id", archive.content_hash().encode())
    archive.finish()


def _on_cpu(storage: Any) -> Any:
    return storage if str(storage.device) == "cpu" else storage.cpu()


def write_path(obj: Any, path: str, *options: Any) -> None:
    """Write `obj` to a file, which appears complete or not at all."""
    with AtomicFile(path) as file:
        write_checkpoint(obj, file, archive_name(os.fspath(path)), *options)
