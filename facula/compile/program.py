"""A recorded step as one native call: a table of launches that a kernel walks.

A row of the table: address of the kernel, n, grain, address of its slots. Guards are rows of another table: an address
and the word that must stand there.
"""

import ctypes
from collections.abc import Sequence
from typing import Any

from facula.compile.record import Instruction, root_of
from facula.kernel.language import as_pointer, call_extern, i64, kernel, offset, ptr
from facula.ops.dispatch import FAULT_ADDRESS
from facula.runtime.launch import _kept, make_builtin
from facula.runtime.native import OBJECT, as_int, bin_of, word

HOLD = 1 << 62


@kernel
def check_words(guards: ptr(i64), count: i64) -> i64:
    """1 if every guarded word is as recorded."""
    for k in range(count):
        if as_pointer(guards, ptr(i64))[2 * k][0] != guards[2 * k + 1]:
            return 0
    return 1


@kernel
def run_rows(rows: ptr(i64), count: i64, fault: ptr(i64)):
    """Launch after launch, until one notes a fault."""
    for k in range(count):
        row = offset(rows, 4 * k)
        if fault[0] != 0:
            return
        call_extern("facula_launch", None, as_pointer(row, ptr(i64))[0], as_pointer(row, ptr(i64))[3], row[1], row[2])


@kernel
def replay(self: OBJECT, arguments: OBJECT, count: i64) -> OBJECT:
    """replay(rows, count, guards, guard count, release, fault): -> True, or False if a guard fails and nothing was run."""
    if check_words(bin_of(word(arguments, 2)), as_int(word(arguments, 3))) == 0:
        return call_extern("PyBool_FromLong", OBJECT, i64(0))
    if as_int(word(arguments, 4)) != 0:
        state = call_extern("PyEval_SaveThread", OBJECT)
        run_rows(bin_of(word(arguments, 0)), as_int(word(arguments, 1)), bin_of(word(arguments, 5)))
        call_extern("PyEval_RestoreThread", None, state)
    else:
        run_rows(bin_of(word(arguments, 0)), as_int(word(arguments, 1)), bin_of(word(arguments, 5)))
    return call_extern("PyBool_FromLong", OBJECT, i64(1))


_builtin: list[Any] = []


def replayer() -> Any:
    """The native function."""
    if not _builtin:
        _builtin.append(make_builtin("replay", replay.address(), replay.__doc__ or ""))
    return _builtin[0]


class Program:
    """The instructions of a step, ready to run.

    inputs: for each input of the step, the storage it had while recording; slots that point into it are patched with the
    address of the input at hand.
    """

    def __init__(
        self, instructions: Sequence[Instruction], inputs: Sequence[Any], guards: Sequence[tuple[int, int]]
    ) -> None:
        self.count = len(instructions)
        self.rows = (ctypes.c_int64 * (4 * max(1, self.count)))()
        self.kept: list[Any] = []
        self.patches: list[tuple[Any, int, int, int]] = []  # (slots, which, input, bytes from the input's start)
        starts = {id(root_of(t._storage)): (k, t._data) for k, t in enumerate(inputs)}
        work = 0
        for row, instruction in enumerate(instructions):
            slots = (ctypes.c_int64 * max(1, len(instruction.slots)))()
            doubles = (ctypes.c_double * max(1, len(instruction.slots))).from_buffer(slots)
            for k, value in enumerate(instruction.slots):
                if isinstance(value, float):
                    doubles[k] = value
                else:
                    slots[k] = value
            for k, (storage, _) in enumerate(instruction.storages):
                if storage in starts:
                    which, start = starts[storage]
                    self.patches.append((slots, k, which, instruction.slots[k] - start))
            launch = instruction.launch
            self.kept.append((slots, launch))
            self.rows[4 * row : 4 * row + 4] = [launch.address, launch.n, launch.grain, ctypes.addressof(slots)]
            work += launch.n // max(1, launch.grain)
        self.release = int(work > 16)
        self.guards = (ctypes.c_int64 * (2 * max(1, len(guards))))(*[w for guard in guards for w in guard])
        self.guard_count = len(guards)
        self.addresses = [t._data for t in inputs]
        self.call = replayer()
        guard_table = (ctypes.addressof(self.guards), self.guard_count, self.release, FAULT_ADDRESS)
        self.arguments = (ctypes.addressof(self.rows), self.count, *guard_table)
        self.question = (ctypes.addressof(self.rows), 0, *guard_table)
        _kept.append(self.call)

    def holds(self) -> bool:
        """Whether the guarded words are as they were."""
        return self.call(*self.question)  # type: ignore[no-any-return]

    def run(self, inputs: Sequence[Any]) -> bool:
        """Run on these inputs; False, with nothing done, if a guard fails."""
        addresses = [t._data for t in inputs]
        if addresses != self.addresses:
            for slots, k, which, shift in self.patches:
                slots[k] = addresses[which] + shift
            self.addresses = addresses
        return self.call(*self.arguments)  # type: ignore[no-any-return]
