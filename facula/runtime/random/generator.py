"""Generators of random numbers on the CPU: a native state, and one kernel call for each draw.

Comes in: addresses of consecutive elements, their number and kernel type (`facula.kernel.language`), parameters. Goes
out: memory filled from the stream that PyTorch's generator gives for the same seed and the same calls.
Draws from one generator are serialised by its lock; a child process inherits the state as it stood at the fork.
This module must never know tensors; `facula.random` adds the methods that do.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import weakref
from typing import Any

from facula.core.device import device as Device
from facula.kernel.language import Kernel
from facula.runtime import launch, memory
from facula.runtime.objects import TensorBase
from facula.runtime.random import bits, mersenne

DEFAULT_SEED = 67280421310721
"""The seed of a generator that nobody has seeded."""

STATE_SIZE = 5056
"""Bytes of a saved state. The layout is PyTorch's, so that states travel both ways: seed (u64), words left in the block
plus one (i32), 1 (i32), words taken (u64), the key (624 x u64), then the cached normal numbers."""
_HEAD = struct.Struct("<QiiQ")
_TAIL = struct.Struct("<dddQQ")
_KEY = struct.Struct(f"<{mersenne.BLOCK}I")
_WIDE_KEY = struct.Struct(f"<{mersenne.BLOCK}Q")

LONG_DRAW = 1 << 17
"""Draws of at least this many elements let other Python threads run meanwhile."""

_block = memory.size_class(mersenne.STATE_BYTES)
_alive: weakref.WeakSet[Generator] = weakref.WeakSet()


class Generator:
    """A stream of random numbers.

    `device` is where its numbers are drawn; only the CPU has a stream here. The native state is made at the first draw,
    so seeding a generator compiles nothing.
    """

    __slots__ = ("__weakref__", "_device", "_lock", "_seed", "_state")

    def __init__(self, device: Any = "cpu") -> None:
        self._device = Device(device)
        if self._device.type != "cpu":
            raise RuntimeError(f"Generator: there are random streams for 'cpu' only, not for {self._device.type!r}")
        self._state, self._seed = 0, DEFAULT_SEED
        self._lock = threading.Lock()
        _alive.add(self)

    @property
    def device(self) -> Any:
        """Where the numbers are drawn."""
        return self._device

    def manual_seed(self, seed: int) -> Generator:
        """Restart the stream that belongs to `seed`, an integer in [-2**63, 2**64); gives the generator itself.

        Negative seeds stand for 2**64 + seed. Only the low 32 bits of the seed decide the stream.
        """
        if type(seed) is not int:
            if isinstance(seed, (bool, TensorBase)) or not hasattr(seed, "__index__"):
                raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
            seed = seed.__index__()
        if not -(1 << 63) <= seed < 1 << 64:
            raise ValueError("Overflow when unpacking long long")
        with self._lock:
            self._seed = seed & (1 << 64) - 1
            if self._state:
                self._restart()
        return self

    def seed(self) -> int:
        """Restart with a seed from the system's entropy; gives the seed."""
        seed = entropy()
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed with which the stream began."""
        return self._seed

    def get_offset(self) -> int:
        """RuntimeError: a position within the stream is known on GPUs only."""
        raise RuntimeError("CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """RuntimeError: a position within the stream can be set on GPUs only."""
        raise RuntimeError("CPU Generator does not use offset")

    # -- drawing --------------------------------------------------------------------------------------------------
    def draw(self, kernel: Kernel, n: int, *slots: int | float) -> None:
        """Run kernel(*slots, state, 0, n). Integers and addresses are given as int, doubles as float."""
        if n <= 0:
            return
        lock = self._lock
        lock.acquire()
        try:
            state = self._state or self._start()
            if n < LONG_DRAW:
                launch.launch(kernel.address(), n, n, *slots, state)
            else:
                _run_released(kernel.address(), n, *slots, state)
        finally:
            lock.release()

    def draw_checked(self, kernel: Kernel, n: int, *slots: int | float) -> int:
        """The same for kernels that leave a result."""
        if n <= 0:
            return 0
        with self._lock:
            state = self._state or self._start()
            _run_released(kernel.address(), n, *slots, state)
            return ctypes.c_int64.from_address(state + bits.RESULT).value

    def address(self) -> int:
        """Where the native state stands: the same as long as the generator lives."""
        with self._lock:
            return self._state or self._start()

    def _start(self) -> int:
        """Make the native state."""
        self._state = memory.allocate(_block)
        ctypes.c_uint64.from_address(self._state + bits.TAKE).value = mersenne.take.address()
        self._restart()
        return self._state

    def _restart(self) -> None:
        seed = self._seed - (1 << 64) if self._seed >> 63 else self._seed
        launch.launch(mersenne.seed_state.address(), mersenne.BLOCK, mersenne.BLOCK, self._state, seed)

    # -- saving ---------------------------------------------------------------------------------------------------
    def state_bytes(self) -> bytes:
        """The state, in PyTorch's layout."""
        with self._lock:
            state = self._state or self._start()
            key = _KEY.unpack(ctypes.string_at(state + mersenne.KEY, _KEY.size))
            position = ctypes.c_int64.from_address(state + mersenne.POSITION).value
            normal = ctypes.c_double.from_address(state + bits.NORMAL).value
            has_normal = ctypes.c_int64.from_address(state + bits.HAS_NORMAL).value
            foreign = ctypes.c_uint64.from_address(state + bits.FOREIGN).value
        left, taken = (1, 0) if position == mersenne.FRESH else (mersenne.BLOCK + 1 - position, position)
        head = _HEAD.pack(self._seed, left, 1, taken)
        return head + _WIDE_KEY.pack(*key) + _TAIL.pack(0.0, normal, 0.0, has_normal, foreign)

    def restore_bytes(self, saved: bytes) -> None:
        """Continue from a saved state. RuntimeError if the bytes are none."""
        if len(saved) != STATE_SIZE:
            raise RuntimeError(
                f"Expected a CPUGeneratorImplState of size {STATE_SIZE} but found the input RNG state size to be "
                f"{len(saved)}"
            )
        seed, left, seeded, taken = _HEAD.unpack_from(saved)
        if seeded != 1 or not 0 < left <= mersenne.BLOCK or taken > mersenne.BLOCK:
            raise RuntimeError("Invalid mt19937 state")
        key = _WIDE_KEY.unpack_from(saved, _HEAD.size)
        _, normal, _, has_normal, foreign = _TAIL.unpack_from(saved, _HEAD.size + _WIDE_KEY.size)
        if left == 1:
            position = mersenne.BLOCK if taken == mersenne.BLOCK else mersenne.FRESH
        else:
            position = taken
        with self._lock:
            state = self._state or self._start()
            self._seed = seed
            ctypes.memmove(state + mersenne.KEY, _KEY.pack(*(word & 0xFFFFFFFF for word in key)), _KEY.size)
            ctypes.c_int64.from_address(state + mersenne.POSITION).value = position
            ctypes.c_double.from_address(state + bits.NORMAL).value = normal
            ctypes.c_int64.from_address(state + bits.HAS_NORMAL).value = has_normal & 0xFFFFFFFF
            ctypes.c_uint64.from_address(state + bits.FOREIGN).value = foreign
            launch.launch(mersenne.temper_key.address(), mersenne.BLOCK, mersenne.BLOCK, state)

    def clone_state(self) -> Generator:
        """A new generator that continues this stream on its own."""
        twin = type(self)(self._device)
        with self._lock:
            twin._seed = self._seed
            if self._state:
                ctypes.memmove(twin._start(), self._state, mersenne.STATE_BYTES)
        return twin

    def __copy__(self) -> Generator:
        return self.clone_state()

    def __deepcopy__(self, memo: dict[int, Any]) -> Generator:
        twin = memo[id(self)] = self.clone_state()
        return twin

    def __del__(self, release: Any = memory.release, block: int = _block) -> None:
        if getattr(self, "_state", 0):
            release(self._state, block)


def entropy() -> int:
    """64 bits that nobody can foretell."""
    return int.from_bytes(os.urandom(8), "little")


_entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def _run_released(address: int, n: int, *slots: int | float) -> None:
    """function(slots, 0, n) without holding the interpreter's lock."""
    packed = struct.pack("<" + "".join("d" if isinstance(slot, float) else "q" for slot in slots), *slots)
    _entry(address)(packed, 0, n)


def _after_fork() -> None:
    """In a child: no thread of it holds a lock."""
    for generator in list(_alive):
        generator._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
