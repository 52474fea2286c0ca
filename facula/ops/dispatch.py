"""The one place where a kernel is called: operand tensors in, native call, and word to whoever records.

A `Launch` is what an operator's plan comes down to: the kernel's address, the size of its range, the grain below which
the range is not divided, and the slots after the operands' addresses. It is made once per combination of layouts.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from facula.core.layout import CPU, Layout
from facula.engine.modes import modes
from facula.runtime.objects import TensorBase, new_tensor

_native: list[Any] = []


def _launcher() -> Any:
    from facula.runtime.launch import builtin

    _native.append(builtin())
    return _native[0]


FAULT = (ctypes.c_int64 * 4)()
"""Where kernels note an index that is out of range: [how many, the first one, what it indexed]."""
FAULT_ADDRESS = ctypes.addressof(FAULT)
_fault_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fault_lock._at_fork_reinit)  # type: ignore[attr-defined]


class Launch:
    """A kernel with everything but the operands' addresses.

    kernel: a launchable kernel; n: size of its range; grain: as the thread pool's; tail: ints and floats after the
    operands' addresses; keep: objects whose memory the tail points into; fusion: for pointwise kernels, what the
    compiler needs to fuse them; fault: for kernels that note faults, a function (value, position) -> exception.
    """

    __slots__ = ("address", "fault", "fusion", "grain", "keep", "kernel", "n", "tail")

    def __init__(
        self, kernel: Any, n: int, grain: int, tail: tuple[Any, ...] = (), keep: Any = None, fusion: Any = None,
        fault: Callable[[int, int], Exception] | None = None,
    ) -> None:  # fmt: skip
        self.kernel, self.n, self.grain, self.tail, self.keep, self.fusion = kernel, n, grain, tail, keep, fusion
        self.fault = fault
        self.address = 0

    def __call__(self, operands: Sequence[Any], outputs: int = 1, numbers: tuple[Any, ...] = ()) -> None:
        """Run on tensors, the first `outputs` of which are written. `numbers` go between the addresses and the tail."""
        if self.n <= 0 or (operands and operands[0]._layout.device is not CPU):
            return
        if not self.address:
            (_native[0] if _native else _launcher())
            self.address = self.kernel.address()
        for t in operands:
            if t._layout.device is not CPU:
                check_devices("this operation", operands)
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but found at least two devices, cpu and {t._layout.device}!"
                )
        if modes.recorder is not None:
            modes.recorder.launch(self, operands, outputs, numbers)
        if self.fault is None:
            _native[0](self.address, self.n, self.grain, *[t._data for t in operands], *numbers, *self.tail)
        else:
            with _fault_lock:  # the record is one: no other thread's kernel writes there until this one's was looked at
                _native[0](self.address, self.n, self.grain, *[t._data for t in operands], *numbers, *self.tail)
                if FAULT[0]:
                    raise take_fault(self.fault)


def take_fault(fault: Callable[[int, int], Exception]) -> Exception:
    """The exception for the noted fault; the record is cleared."""
    value, position = FAULT[1], FAULT[2]
    FAULT[0] = 0
    return fault(value, position)


def run(launch: Launch, out: Layout, *inputs: Any, numbers: tuple[Any, ...] = ()) -> Any:
    """A new tensor of layout `out`, computed from `inputs`."""
    result = new_tensor(out)
    launch((result, *inputs), 1, numbers)
    return result


def check_devices(operation: str, tensors: Sequence[Any]) -> Any:
    """The common device of the operands; 0-d CPU tensors go along with any other."""
    owners = [t._layout for t in tensors if isinstance(t, TensorBase)]
    deciding = [own for own in owners if own.shape or own.device is not CPU] or owners
    if not deciding:
        return None
    device = deciding[0].device
    for own in deciding:
        if own.device is not device:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {device} and {own.device}! "
                f"(in {operation}; move one with .to('{device}'))"
            )
    return device


def host_read(tensor: Any, why: str) -> None:
    """Say that Python is about to look at a tensor's values: whoever records learns that the program depends on data."""
    if modes.recorder is not None:
        modes.recorder.host_read(tensor, why)


def host_write(tensor: Any) -> None:
    """Say that Python has written values into a tensor: in a recorded program they are constants."""
    if modes.recorder is not None:
        modes.recorder.host_write(tensor)
