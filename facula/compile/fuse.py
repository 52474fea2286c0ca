"""Fusing a recorded step: pointwise launches whose result only another pointwise launch reads become one kernel.

Comes in: instructions in order, and the storages that outlive the step. Goes out: fewer instructions with the same effect.
A producer is moved to its consumer only if nothing in between writes what it reads, reads or writes what it writes; its
result is not stored at all when nobody else reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from facula.compile.record import Instruction
from facula.ops.dispatch import Launch
from facula.ops.expression import substitute, variable
from facula.ops.kernels.pointwise import KERNEL_TYPES, Operand, Signature, grain, pointwise

MOST_INPUTS = 10
MOST_WEIGHT = 160


class Range(NamedTuple):
    """Bytes of memory."""

    start: int
    stop: int

    def meets(self, other: Range) -> bool:
        return self.start < other.stop and other.start < self.stop


class Access(NamedTuple):
    """What an instruction touches. `everything`: it finds memory through tables, so it may touch whatever outlives the step."""

    reads: tuple[Range, ...]
    writes: tuple[Range, ...]
    everything: bool


def access(instruction: Instruction, extents: dict[int, int]) -> Access:
    """The whole storages of its operands; for flat pointwise launches just the elements."""
    signature = instruction.launch.fusion
    if _flat(signature):
        n = instruction.launch.n
        ranges = []
        for operand, address in zip((*signature.outputs, *signature.inputs), instruction.slots, strict=False):
            count = 1 if operand.pattern == "s" else n
            ranges.append(Range(address, address + count * KERNEL_TYPES[operand.code].itemsize))
        many = len(signature.outputs)
        return Access(tuple(ranges[many:]), tuple(ranges[:many]), False)
    ranges = [Range(start, start + extents.get(start, 1 << 62)) for _, start in instruction.storages]
    # What a general launch writes it may read as well (accumulating kernels).
    return Access(tuple(ranges), tuple(ranges[: instruction.outputs]), not instruction.storages)


def _flat(signature: Any) -> bool:
    """One dimension, every operand contiguous or a single element: what the fuser handles."""
    return (
        isinstance(signature, Signature) and signature.rank == 1 and len(signature.expressions) == len(signature.outputs)
        and all(o.pattern == "c" for o in signature.outputs) and all(o.pattern in "cs" for o in signature.inputs)
    )  # fmt: skip


def fuse(instructions: Sequence[Instruction], extents: dict[int, int], kept: Sequence[Range]) -> list[Instruction]:
    """The step with pointwise chains fused. `extents`: bytes of the storage at each start; `kept`: memory that is read after the step."""
    work: list[Instruction | None] = list(instructions)
    touched = [access(i, extents) for i in instructions]
    for at, consumer in enumerate(instructions):
        if not _flat(consumer.launch.fusion):
            continue
        while True:
            current = work[at]
            assert current is not None
            source = _producer(work, touched, at, current, kept)
            if source is None:
                break
            producer = work[source]
            assert producer is not None
            made = _joined(producer, current)
            if made is None:
                break
            work[at], work[source] = made, None
            touched[at] = access(made, extents)
            touched[source] = Access((), (), False)
    return [i for i in work if i is not None]


def _producer(
    work: list[Any], touched: list[Access], at: int, consumer: Instruction, kept: Sequence[Range]
) -> int | None:
    """The instruction that computed one of the consumer's contiguous inputs, if it may be moved here and its store dropped."""
    signature = consumer.launch.fusion
    outputs = len(signature.outputs)
    for k, operand in enumerate(signature.inputs):
        if operand.pattern != "c":
            continue
        address = consumer.slots[outputs + k]
        for before in range(at - 1, -1, -1):
            if work[before] is None:
                continue
            place = Range(address, address + consumer.launch.n * KERNEL_TYPES[operand.code].itemsize)
            if any(place.meets(w) for w in touched[before].writes) or touched[before].everything:
                if _movable(work, touched, before, at, address, operand, consumer, kept):
                    return before
                break
    return None


def _movable(
    work: list[Any], touched: list[Access], before: int, at: int, address: int, operand: Operand, consumer: Instruction, kept: Sequence[Range]
) -> bool:  # fmt: skip
    producer = work[before]
    signature = producer.launch.fusion
    if not _flat(signature) or len(signature.outputs) != 1 or producer.launch.n != consumer.launch.n:
        return False
    if producer.slots[0] != address or signature.outputs[0].code != operand.code:
        return False
    if not operand.code == signature.compute == consumer.launch.fusion.compute:
        return False
    result = touched[before].writes[0]
    for between in range(before + 1, at):
        seen = touched[between]
        if seen.everything or any(result.meets(r) for r in (*seen.reads, *seen.writes)):
            return False
        if any(w.meets(r) for w in seen.writes for r in touched[before].reads):
            return False
    if any(w.meets(r) and w.start != r.start for w in touched[at].writes for r in touched[before].reads):
        return False  # the consumer writes, at other places, over what the producer reads
    own = sum(r.meets(result) for r in touched[at].reads)
    same = sum(
        a == address
        for a in consumer.slots[len(consumer.launch.fusion.outputs) : len(touched[at].reads) + len(touched[at].writes)]
    )
    if own != same:
        return False
    overwritten = any(w.start <= result.start and w.stop >= result.stop for w in touched[at].writes)
    return overwritten or _dead_after(touched, at, result, kept)


def _dead_after(touched: list[Access], at: int, place: Range, kept: Sequence[Range]) -> bool:
    """Whether nothing after the consumer, nor after the step, reads this memory before it is written anew."""
    for later in range(at + 1, len(touched)):
        seen = touched[later]
        if seen.everything or any(place.meets(r) for r in seen.reads):
            return False
        if any(w.start <= place.start and w.stop >= place.stop for w in seen.writes):
            return True
    return not any(place.meets(k) for k in kept)


def _joined(producer: Instruction, consumer: Instruction) -> Instruction | None:
    """One instruction that computes the consumer with the producer's expression in place of its result."""
    p, c = producer.launch.fusion, consumer.launch.fusion
    outputs = len(c.outputs)
    names: dict[tuple[int, str, str], str] = {}
    operands: list[tuple[Operand, int, Any]] = []
    numbers: list[tuple[str, str]] = []
    values: list[Any] = []

    def rename(signature: Any, instruction: Instruction, many: int, mark: str, skip: int | None) -> dict[int, Any]:
        replaced: dict[int, Any] = {}
        for k, operand in enumerate(signature.inputs):
            address = instruction.slots[many + k]
            if address == skip and operand.pattern == "c":
                continue
            key = (address, operand.code, operand.pattern)
            if key not in names:
                names[key] = f"in{len(names)}"
                storage = instruction.storages[many + k]
                operands.append((Operand(names[key], operand.code, operand.pattern), address, storage))
            replaced[id(variable(operand.name))] = variable(names[key])
        first = many + len(signature.inputs)
        for k, (name, kind) in enumerate(signature.numbers):
            fresh = f"number{mark}{len(numbers)}"
            numbers.append((fresh, kind))
            values.append(instruction.slots[first + k])
            replaced[id(variable(name))] = variable(fresh)
        return replaced

    (inner,) = substitute(p.expressions, rename(p, producer, 1, "p", None))
    replacements = rename(c, consumer, outputs, "c", producer.slots[0])
    for k, operand in enumerate(c.inputs):
        if consumer.slots[outputs + k] == producer.slots[0] and operand.pattern == "c":
            replacements[id(variable(operand.name))] = inner
    expressions = tuple(substitute(c.expressions, replacements))
    if len(operands) > MOST_INPUTS or sum(e.weight for e in expressions) > MOST_WEIGHT:
        return None
    signature = Signature(
        expressions, c.outputs, tuple(o for o, _, _ in operands), tuple(numbers), c.compute, 1, c.stream and p.stream
    )
    launch = Launch(
        pointwise(signature),
        consumer.launch.n,
        grain(signature) & -64,
        (),
        (producer.launch, consumer.launch),
        signature,
    )
    launch.address = launch.kernel.address()
    slots = (*consumer.slots[:outputs], *[a for _, a, _ in operands], *values)
    storages = (*consumer.storages[:outputs], *[s for _, _, s in operands])
    return Instruction(launch, slots, storages, outputs)
