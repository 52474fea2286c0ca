"""Writing a checkpoint: any picklable object, its tensors' storages as records of their own.

Comes in: an object and a file. Goes out: an archive in PyTorch's format, in which every name is PyTorch's. This module
must never know how a checkpoint is read.
"""

from __future__ import annotations

import io
import os
import pickletools
import sys
from collections import OrderedDict
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING

import facula
from facula.serialization import rebuild
from facula.serialization.archive import ArchiveWriter, AtomicFile, archive_name
from facula.serialization.locations import location_tag
from facula.serialization.storages import storage_bytes, storage_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import IO, Any

HOUSE = "facula."


class _StorageReference:
    """Pickled as a persistent id: which record a tensor's elements are in."""

    __slots__ = ("dtype", "storage")

    def __init__(self, storage: Any, dtype: Any) -> None:
        self.storage = storage
        self.dtype = dtype


class StorageTable:
    """The storages of one checkpoint, numbered in the order in which they are met."""

    def __init__(self) -> None:
        self.storages: dict[str, Any] = {}
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, Any] = {}

    def persistent_id(self, reference: _StorageReference) -> tuple[Any, ...]:
        storage, dtype = reference.storage, reference.dtype
        kind = rebuild.STORAGE_TYPE_OF.get(dtype, rebuild.UntypedStorage)
        # Newer dtypes have no storage type of their own: their bytes count.
        itemsize = dtype.itemsize if kind is not rebuild.UntypedStorage else 1
        address = _address(storage)
        if address and self._dtypes.setdefault(address, dtype) != dtype:
            raise RuntimeError(
                "Cannot save multiple tensors or storages that view the same data as different types: "
                f"{self._dtypes[address]} and {dtype}"
            )
        key = self._keys.get(id(storage))
        if key is None:
            key = self._keys[id(storage)] = str(len(self.storages))
            self.storages[key] = storage  # also keeps its identity
        return ("storage", kind, key, location_tag(storage), _nbytes(storage) // itemsize)


def _address(storage: Any) -> int:
    pointer = getattr(storage, "data", 0)
    return pointer if isinstance(pointer, int) else 0


def _nbytes(storage: Any) -> int:
    nbytes = storage.nbytes
    return nbytes() if callable(nbytes) else nbytes


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
    reference = _StorageReference(storage, dtype)
    arguments: tuple[Any, ...] = (reference, offset, size, stride, tensor.requires_grad, OrderedDict())
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


def _torch_name(module: str, name: str) -> tuple[str, str]:
    """Where PyTorch keeps what facula keeps in `module` under `name`."""
    if module == rebuild.__name__:
        return rebuild.TORCH_MODULES[name], name
    if module.startswith("facula.core.") or name == "Tensor":
        return "torch", name  # dtypes, devices, sizes
    if name == "Generator":
        return "torch._C", name
    public = _public_module(module, name)
    return "torch." + public.removeprefix(HOUSE), name


def _public_module(module: str, name: str) -> str:
    """A function of `facula.ops` goes by the public module that exports it."""
    if not module.startswith(("facula.ops.", "facula.nn.functional.", "facula.tensor.")):
        return module
    functional = facula.nn.functional
    found = getattr(functional, name, None)
    if getattr(found, "__module__", None) == module:
        return functional.__name__
    return module


def pickled(obj: Any, storages: StorageTable, pickle_module: Any, protocol: int) -> bytes:
    """`obj` as a pickle in PyTorch's names; its storages go to `storages`."""
    buffer = io.BytesIO()
    names: set[tuple[str, str]] = set()

    class TorchPickler(pickle_module.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return storages.persistent_id(obj) if type(obj) is _StorageReference else None

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, facula.Tensor):
                return reduce_tensor(obj)
            if isinstance(obj, facula.nn.Module):
                return reduce_module(obj, 2)
            if isinstance(obj, (type, FunctionType, BuiltinFunctionType)):
                if getattr(obj, "__module__", None) and obj.__module__.startswith(HOUSE):
                    names.add((obj.__module__, obj.__qualname__))
            elif isinstance(obj, (facula.dtype, rebuild.StorageType)):
                name = obj.__reduce__()
                if obj.__module__.startswith(HOUSE):
                    names.add((obj.__module__, name))
                return name
            elif obj is facula.strided:
                return rebuild._get_layout, ("torch.strided",)
            return NotImplemented

    # Protocol 4 writes lengths of whole frames, which renaming would change. Protocol 2 is what PyTorch writes.
    TorchPickler(buffer, protocol=min(protocol, 3)).dump(obj)
    return _renamed(buffer.getvalue(), names)


def _renamed(data: bytes, names: set[tuple[str, str]]) -> bytes:
    """The pickle with facula's module names replaced by PyTorch's.

    A name stands in the stream once, as `c<module>\\n<name>\\n`; later uses refer to the memo. Should a string of the
    program's contain the very same bytes, the stream is taken apart to find the right place.
    """
    for module, name in names:
        written = f"c{module}\n{name}\n".encode()
        wanted = "c{}\n{}\n".format(*_torch_name(module, name)).encode()
        if data.count(written) == 1:
            data = data.replace(written, wanted)
        else:
            data = _renamed_slowly(data, module, name, wanted)
    return data


def _renamed_slowly(data: bytes, module: str, name: str, wanted: bytes) -> bytes:
    pieces, at, after = [], 0, False
    for opcode, argument, position in pickletools.genops(data):
        if position is None:
            continue
        if after:
            at, after = position, False
        if opcode.name == "GLOBAL" and argument == f"{module} {name}":
            pieces += [data[at:position], wanted]
            after = True
    return b"".join([*pieces, data[at:]])


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
