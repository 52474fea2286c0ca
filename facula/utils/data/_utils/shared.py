"""Batches from a worker to the loader's process, tensors through shared memory.

What comes in, in the worker: any picklable object with tensors in it. What goes out, in the loader's process: the same
object, its tensors lying in the memory that the worker wrote: nothing is copied on the receiving side.

A message is a pickled header, a pickled body in which each tensor is a reference, and the small storages themselves.
Larger ones are copied into one *segment*: a file in `/dev/shm` (or the folder for temporary files) that both sides map.
The receiver removes the file's name as soon as it has mapped it. When the last tensor of a batch is gone its segment
goes back to the worker, whose next batch then needs no new pages, neither there nor here. Without shared memory, or
when it is full, everything travels inside the message.

This module must never know datasets, indices or who talks to whom.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import sys
from collections import deque
from typing import TYPE_CHECKING
from weakref import WeakSet

import facula
from facula.serialization.storages import borrow_storage, storage_bytes, storage_of, tensor_over

if TYPE_CHECKING:
    from typing import Any

    from facula import Tensor

ALIGNMENT = 64
INLINE_LIMIT = 1 << 15  # below this, mapping a file costs more than copying
FIRST_CLASS = 1 << 16


def _folders() -> list[str]:
    """Where segments may lie, best first. None on Windows: there a mapped file keeps its name."""
    if sys.platform == "win32":
        return []
    from tempfile import gettempdir

    return [folder for folder in ("/dev/shm", gettempdir()) if os.access(folder, os.W_OK | os.X_OK)]


def size_class(nbytes: int) -> int:
    """`nbytes` rounded up to an eighth of a power of two, so that batches of slightly different sizes share
    segments."""
    if nbytes <= FIRST_CLASS:
        return FIRST_CLASS
    step = 1 << (nbytes.bit_length() - 4)
    return -(-nbytes // step) * step


class Segment:
    """Memory that both processes have mapped: its number, its size and, until the other side has mapped it, its
    path."""

    __slots__ = ("memory", "number", "path", "size")

    def __init__(self, number: int, size: int, path: str | None, memory: mmap.mmap) -> None:
        self.number = number
        self.size = size
        self.path = path
        self.memory = memory


class SegmentWriter:
    """The worker's segments: makes them, and takes back the ones that the receiver has finished with.

    Args:
        prefix: starts the names of this worker's files; unique among live workers.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._folders = _folders()
        self._made = 0
        self._free: list[Segment] = []
        self._in_use: dict[int, Segment] = {}

    def give_back(self, released: list[tuple[int, bool]]) -> None:
        """The receiver has finished with these segments: (number, whether to keep it)."""
        for number, keep in released:
            segment = self._in_use.pop(number)
            segment.path = None
            if keep:
                self._free.append(segment)

    def acquire(self, nbytes: int) -> tuple[Segment | None, list[int]]:
        """A segment with room for `nbytes`, None if no folder has; and the numbers of segments that are no more."""
        dropped = []
        fitting = [segment for segment in self._free if nbytes <= segment.size <= 4 * nbytes + FIRST_CLASS]
        segment: Segment | None
        if fitting:
            segment = min(fitting, key=lambda each: each.size)
            self._free.remove(segment)
        else:
            if self._free:
                # None fits any more: the oldest makes way, or the free ones would fill up with sizes of the past.
                dropped.append(self._free.pop(0).number)
            segment = self._make(size_class(nbytes))
        if segment is not None:
            self._in_use[segment.number] = segment
        return segment, dropped

    def _make(self, size: int) -> Segment | None:
        for folder in self._folders:
            path = os.path.join(folder, f"{self._prefix}-{self._made}")
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            except OSError:
                continue
            try:
                # Claim the pages now: writing to a mapped page that a full /dev/shm can't provide kills the process.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(descriptor, 0, size)
                else:
                    os.truncate(descriptor, size)
                memory = mmap.mmap(descriptor, size)
            except (OSError, ValueError):
                os.unlink(path)
                continue
            finally:
                os.close(descriptor)
            self._made += 1
            return Segment(self._made - 1, size, path, memory)
        return None

    def remove_names(self) -> None:
        """Remove the files that the receiver never opened."""
        for segment in self._in_use.values():
            remove_name(segment.path)


def remove_name(path: str | None) -> None:
    """Unlink `path` if it is still there."""
    if path is not None:
        try:
            os.unlink(path)
        except OSError:
            pass


def remove_leftovers(prefix: str) -> None:
    """Unlink the files of a worker that was killed before it could do so itself."""
    for folder in _folders():
        for name in os.listdir(folder):
            if name.startswith(prefix):
                remove_name(os.path.join(folder, name))


class _Packer(pickle.Pickler):
    """Pickles an object, setting its tensors' storages aside."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.storages: list[tuple[int, memoryview]] = []  # (where it goes, its bytes)
        self.nbytes = 0
        self._keep: list[Any] = []  # identities below stay valid while these live
        self._places: dict[int, tuple[int, int]] = {}
        self._references: dict[int, tuple[Any, ...]] = {}

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        if type(obj) is not facula.Tensor and not isinstance(obj, facula.nn.Parameter):
            return None
        found = self._references.get(id(obj))
        if found is None:
            found = self._reference(obj)
            if found is not None:
                self._references[id(obj)] = found
                self._keep.append(obj)
        return found

    def _reference(self, tensor: Any) -> tuple[Any, ...] | None:
        if tensor.requires_grad and not tensor.is_leaf:
            raise RuntimeError(
                "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
                "crossing process boundaries.  If you just want to transfer the data, call detach() on the tensor "
                "before serializing (e.g., putting it on the queue)."
            )
        if tensor.device.type != "cpu" or tensor.layout is not facula.strided:
            return None  # its own way of pickling
        plain = tensor.detach()
        storage, offset = storage_of(plain)
        if storage_bytes(storage).nbytes > 2 * plain.numel() * plain.dtype.itemsize + 4096:
            # A small view of something large, such as one row of a whole dataset: send what is seen only.
            plain = facula.clone(plain, memory_format=facula.contiguous_format)
            storage, offset = storage_of(plain)
        place, size = self._place(storage), tuple(plain.shape)
        is_parameter = isinstance(tensor, facula.nn.Parameter)
        geometry = (plain.dtype, offset, size, tuple(plain.stride()))
        return (len(self._references), *place, *geometry, tensor.requires_grad, is_parameter)

    def _place(self, storage: Any) -> tuple[int, int]:
        """Where a storage goes, and how long it is."""
        place = self._places.get(id(storage))
        if place is None:
            data = storage_bytes(storage)
            place = self._places[id(storage)] = (self.nbytes, data.nbytes)
            self.storages.append((self.nbytes, data))
            self.nbytes += -(-data.nbytes // ALIGNMENT) * ALIGNMENT
            self._keep.append(storage)
        return place


def pack(obj: Any, tag: Any, writer: SegmentWriter) -> bytes:
    """The message that carries `obj`; `tag` goes with it and is read first.

    Raises whatever pickling `obj` raises.
    """
    body = io.BytesIO()
    packer = _Packer(body)
    packer.dump(obj)
    segment: Segment | None = None
    dropped: list[int] = []
    if packer.nbytes > INLINE_LIMIT:
        segment, dropped = writer.acquire(packer.nbytes)
    if segment is None:
        tail = bytearray(packer.nbytes)
        _copy(packer.storages, memoryview(tail))
        header: tuple[Any, ...] = (tag, dropped, packer.nbytes, None)
    else:
        tail = bytearray()
        with memoryview(segment.memory) as view:
            _copy(packer.storages, view)
        header = (tag, dropped, 0, (segment.number, segment.size, segment.path))
    return b"".join((pickle.dumps(header, protocol=pickle.HIGHEST_PROTOCOL), body.getvalue(), tail))


def _copy(storages: list[tuple[int, memoryview]], target: memoryview) -> None:
    for place, data in storages:
        target[place : place + data.nbytes] = data


class Lease:
    """Held by the tensors of one batch; when the last is gone, the segment is free again."""

    __slots__ = ("__weakref__", "_finished", "number", "reusable")

    def __init__(self, number: int, finished: deque[tuple[int, bool]]) -> None:
        self.number = number
        self.reusable = True
        self._finished = finished
        _live_leases.add(self)

    def __del__(self) -> None:
        # May run in any thread and inside any other code: appending to a deque is all that is safe.
        self._finished.append((self.number, self.reusable))


_live_leases: WeakSet[Lease] = WeakSet()


def _forked() -> None:
    # A child made now sees these batches too, for how long we can't know: never write over them.
    for lease in list(_live_leases):
        lease.reusable = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forked)


class SegmentReader:
    """The receiver's view of one worker's segments.

    Args:
        keep: how many finished segments the worker may keep for its next batches.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._mapped: dict[int, mmap.mmap] = {}
        self._finished: deque[tuple[int, bool]] = deque()

    def unpack(self, message: bytes) -> tuple[Any, _Unpacker]:
        """The tag of `message`, and what will load the object."""
        stream = io.BytesIO(message)
        tag, dropped, inline, descriptor = pickle.load(stream)
        for number in dropped:
            del self._mapped[number]
        if descriptor is None:
            memory: Any = bytearray(message[len(message) - inline :])
            lease = None
        else:
            number, size, path = descriptor
            memory = self._mapped.get(number)
            if memory is None:
                memory = self._mapped[number] = self._map(path, size)
            lease = Lease(number, self._finished)
        return tag, _Unpacker(stream, memory, lease)

    @staticmethod
    def _map(path: str, size: int) -> mmap.mmap:
        descriptor = os.open(path, os.O_RDWR)
        try:
            os.unlink(path)
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def released(self) -> list[tuple[int, bool]]:
        """Segments that no tensor uses any more, for `SegmentWriter.give_back`; unmaps those not worth keeping."""
        gone = []
        while self._finished:
            number, reusable = self._finished.popleft()
            keep = reusable and len(self._mapped) <= self._keep
            if not keep:
                del self._mapped[number]
            gone.append((number, keep))
        return gone


class _Unpacker(pickle.Unpickler):
    """Loads an object whose tensors are references into `memory`."""

    def __init__(self, stream: io.BytesIO, memory: Any, lease: Lease | None) -> None:
        super().__init__(stream)
        self._memory = memory
        self._lease = lease
        self._tensors: dict[int, Tensor] = {}
        self._storages: dict[int, Any] = {}

    def persistent_load(self, reference: tuple[Any, ...]) -> Tensor:
        number, place, nbytes, dtype, offset, size, stride, requires_grad, is_parameter = reference
        tensor = self._tensors.get(number)
        if tensor is None:
            storage = self._storages.get(place) if nbytes else None
            if storage is None:
                storage = self._storages[place] = borrow_storage(self._memory, place, nbytes, self._lease)
            tensor = tensor_over(storage, dtype, offset, size, stride, requires_grad and not is_parameter)
            if is_parameter:
                tensor = facula.nn.Parameter(tensor, requires_grad=requires_grad)
            self._tensors[number] = tensor
        return tensor
