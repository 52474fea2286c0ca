"""Recording one run of a step: every kernel launch with its operands, and what the step does besides.

The step runs for real; the recorder listens where kernels are launched (`facula.ops.dispatch`), where Python looks at or
writes data, where leaves receive gradients, and where optimizers read hyperparameters. During the recording the allocator
works on bins of its own, so that the blocks the step took and gave back, in the order it did, are the compiled step's
memory plan.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from facula.engine.modes import modes
from facula.runtime import memory, native
from facula.runtime.objects import TensorBase


class Instruction(NamedTuple):
    """One launch: the kernel with its range, the words in its slots, and which storages the first of them point into."""

    launch: Any
    slots: tuple[Any, ...]
    storages: tuple[Any, ...]  # (id, address of the storage's start) per operand
    outputs: int


class Unsupported(Exception):
    """The step does something that a recording cannot repeat."""


class Busy(Exception):
    """A recording is going on in another thread: this call runs eagerly, a later one may be recorded."""


class Recorder:
    """Listens to one run."""

    def __init__(self) -> None:
        self.instructions: list[Instruction] = []
        self.storages: dict[int, Any] = {}  # weak: what was freed during the step belongs to the plan
        self.pinned: list[Any] = []
        self.prepare: list[Callable[[], None]] = []
        self.leaves: dict[int, Any] = {}
        self.found_gradients: dict[int, Any] = {}
        self.conditions: list[Callable[[], bool]] = []
        self.blocks: dict[int, list[int]] = {}
        self.extents: dict[int, int] = {}  # start of a storage -> the most bytes that one had there
        self.written: dict[int, Any] = {}
        self.problem: str | None = None

    # -- called from below ------------------------------------------------------------------------------------------
    def launch(self, launch: Any, operands: Sequence[Any], outputs: int, numbers: tuple[Any, ...]) -> None:
        storages = []
        for position, tensor in enumerate(operands):
            storage = root_of(tensor._storage)
            self._know(storage)
            storages.append((id(storage), storage.data))
            if position < outputs:
                self.written.setdefault(id(storage), weakref.ref(storage))
        slots = (*[t._data for t in operands], *numbers, *launch.tail)
        self.instructions.append(Instruction(launch, slots, tuple(storages), outputs))

    def reads(self, tensors: Sequence[Any]) -> None:
        """Tensors that the next launch finds through a table of addresses."""
        for tensor in tensors:
            storage = root_of(tensor._storage)
            self._know(storage)
            self.pinned.append(storage)

    def writes(self, tensors: Sequence[Any]) -> None:
        self.reads(tensors)
        for tensor in tensors:
            storage = root_of(tensor._storage)
            self.written.setdefault(id(storage), weakref.ref(storage))

    def each_call(self, prepare: Callable[[], None]) -> None:
        """Something to do before each call: reading a learning rate again."""
        self.prepare.append(prepare)

    def valid_while(self, condition: Callable[[], bool]) -> None:
        """A condition of everything recorded: once it fails, the step must be recorded anew."""
        self.conditions.append(condition)

    def leaf(self, leaf: Any) -> None:
        """A leaf is about to receive a gradient: the first, or one that is added to what it has."""
        if id(leaf) not in self.leaves:
            self.leaves[id(leaf)] = leaf
            self.found_gradients[id(leaf)] = leaf._grad

    def host_read(self, tensor: Any, why: str) -> None:
        """Python looks at data: what follows may depend on it."""
        self.refuse(f"it reads data in Python ({why})")

    def host_write(self, tensor: Any) -> None:
        """Python wrote constants into a tensor: they must stay there."""
        self.pinned.append(tensor._storage)

    def refuse(self, reason: str) -> None:
        if self.problem is None:
            self.problem = f"{reason}, at {_user_line()}"

    def _know(self, storage: Any) -> None:
        key = id(storage)
        known = self.storages.get(key)
        if known is None or known() is not storage:
            self.storages[key] = weakref.ref(storage)
        self.extents[storage.data] = max(self.extents.get(storage.data, 0), storage.nbytes)

    # -- the run ----------------------------------------------------------------------------------------------------
    def run(self, step: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the step while listening; gives its result. The blocks it used are ours afterwards."""
        if native.STATE[native.S_RECORDING]:
            raise Busy("another thread is recording")
        native.STATE[native.S_RECORDING] = native.thread_state()
        bins = memory.swap_bins({})
        modes.recorder = self
        modes.announce()
        try:
            result = step(*args, **kwargs)
        finally:
            modes.recorder = None
            modes.announce()
            native.STATE[native.S_RECORDING] = 0
            self.blocks = {size: _chain(first) for size, first in memory.swap_bins(bins).items()}
        for reference in self.storages.values():
            storage = reference()
            if storage is not None:
                self.pinned.append(storage)
        return result

    def discard(self) -> None:
        """Give the blocks of the plan back to everybody."""
        blocks, self.blocks = self.blocks, {}
        free = memory.swap_bins({})
        for size, addresses in blocks.items():
            for address in addresses:
                ctypes.c_int64.from_address(address).value = free.get(size, 0)
                free[size] = address
        memory.swap_bins(free)


def _chain(first: int) -> list[int]:
    """The addresses of free blocks, each of which begins with the address of the next. Replays write over that."""
    addresses = []
    while first:
        addresses.append(first)
        first = ctypes.c_int64.from_address(first).value
    return addresses


def root_of(storage: Any) -> Any:
    """The storage whose memory this one borrows, if it does."""
    while isinstance(storage.owner, type(storage)):
        storage = storage.owner
    return storage


def _user_line() -> str:
    """The file and line of the user's code that is running."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if f"{'/'}facula{'/'}" not in name.replace("\\", "/") or name.replace("\\", "/").rsplit("/facula/", 1)[
            1
        ].startswith("tests/"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "an unknown line"


def tensors_in(value: Any) -> list[Any]:
    """The tensors of nested lists, tuples and dicts, in order."""
    if isinstance(value, TensorBase):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for item in value for t in tensors_in(item)]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors_in(item)]
    return []


def rebuilt(value: Any, tensors: Any) -> Any:
    """The same nesting with other tensors."""
    if isinstance(value, TensorBase):
        return next(tensors)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(rebuilt(item, tensors) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(rebuilt(item, tensors) for item in value)
    if isinstance(value, dict):
        return {key: rebuilt(item, tensors) for key, item in value.items()}
    return value
