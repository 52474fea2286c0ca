"""Loops that apply scalar expressions to every element of strided operands.

A kernel is specialised on the expressions, the types, how each operand's innermost stride looks (c: 1, s: 0, g: any)
and the number of collapsed dimensions; sizes and strides are read at run time.
Slots: output addresses, input addresses, numbers, the address of the fault record if integers are divided, and for more
than one dimension the address of a geometry block: [size of the innermost dimension, sizes of the outer ones, then for every operand its outer strides and its inner one].
The range is elements (one dimension) or rows (more).
"""

from typing import Any, NamedTuple

from facula.kernel.language import (
    any_lane,
    as_pointer,
    atomic,
    bf16,
    f16,
    f32,
    f64,
    host,
    i64,
    kernel,
    load,
    offset,
    ptr,
    specialise,
    splat,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
    vec,
)  # fmt: skip
from facula.kernel.types import Type, b1, scalar_types
from facula.kernel.values import Value, cast
from facula.ops.expression import Expr, evaluate, nodes_in_order
from facula.ops.scalar import KERNEL

KERNEL_TYPES: dict[str, Type] = {**scalar_types, "b8": b1}


class Operand(NamedTuple):
    """What a kernel must know of an operand while it is compiled."""

    name: str
    code: str
    pattern: str  # c, s, g


class Signature(NamedTuple):
    """Everything that a pointwise kernel is specialised on."""

    expressions: tuple[Expr, ...]
    outputs: tuple[Operand, ...]
    inputs: tuple[Operand, ...]
    numbers: tuple[tuple[str, str], ...]  # (name, 'f' or 'i'): passed at each call
    compute: str
    rank: int
    stream: bool = False


def _compute_type(code: str) -> Type:
    type = KERNEL_TYPES[code]
    return f32 if type in (f16, bf16) else type


def _weight(signature: Signature) -> int:
    return sum(e.weight for e in signature.expressions)


def grain(signature: Signature) -> int:
    """Elements that are worth handing to another thread: some 20 microseconds of work."""
    return max(2048, 98304 // (2 + _weight(signature)))


def divisors(signature: Signature) -> list[Expr]:
    """What integers are divided by: the kernel notes a fault where it is 0 (floats give infinities and NaN instead)."""
    if signature.compute[0] not in "iu":
        return []
    found = [
        n.arguments[1]
        for n in nodes_in_order(signature.expressions)
        if n.operation in ("floordiv", "mod", "truncdiv", "fmod")
    ]
    return [e for e in dict.fromkeys(found) if not e.number]


@specialise
def pointwise(signature: Signature) -> Any:
    """The launchable kernel for a signature."""
    compute = _compute_type(signature.compute)
    operands = signature.outputs + signature.inputs
    types = [KERNEL_TYPES[o.code] for o in operands]
    widest = max([compute.itemsize, *(t.itemsize for t in types)])
    strided = any(o.pattern == "g" for o in operands)
    lanes = 1 if strided else host().lanes(max(widest, 2))
    outputs, rank, count = len(signature.outputs), signature.rank, len(operands)
    unrolled = 2 if _weight(signature) <= 8 and lanes > 1 else 1
    step = lanes * unrolled
    numbers = signature.numbers
    divided_by = divisors(signature)
    fault_slot = count + len(numbers)
    block_slot = fault_slot + bool(divided_by)

    def addresses(slots: Value) -> list[Value]:
        return [load(as_pointer(offset(slots, k), ptr(types[k]))) for k in range(count)]

    def numbers_of(slots: Value) -> dict[str, Value]:
        found = {}
        for k, (name, kind) in enumerate(numbers):
            slot = offset(slots, count + k)
            value = load(as_pointer(slot, f64)) if kind == "f" else load(slot)
            found[name] = splat(cast(value, compute), lanes)
        return found

    def constants(slots: Value, pointers: list[Value]) -> dict[int, Value]:
        """Inputs that are the same for a whole row, read once; under -1 the fault record."""
        read = {
            k: splat(cast(load(pointers[k]), compute), lanes)
            for k in range(outputs, count) if operands[k].pattern == "s"
        }  # fmt: skip
        if divided_by:
            read[-1] = load(as_pointer(offset(slots, fault_slot), ptr(i64)))
        return read

    def body(
        pointers: list[Value], strides: Any, fixed: dict[int, Value], given: dict[str, Value], i: Value, mask: Any
    ) -> None:
        environment = dict(given)
        for k in range(outputs, count):
            if k in fixed:
                value = fixed[k]
            elif operands[k].pattern == "g":
                value = cast(load(pointers[k], i * strides[k]), compute)
            else:
                value = cast(load(pointers[k], i, lanes, mask), compute)
            environment[operands[k].name] = value
        results = evaluate([*signature.expressions, *divided_by], environment, KERNEL)
        for divisor in results[outputs:]:
            zero = divisor == 0
            failed = any_lane(zero if mask is None or zero.type.lanes == 1 else zero & mask)
            atomic("or", fixed[-1], cast(failed, i64))
        for k, value in enumerate(results[:outputs]):
            if not isinstance(value, Value):
                value = cast(value, vec(compute, lanes))
            value = cast(value, types[k])
            if value.type.lanes == 1 and lanes > 1:
                value = splat(value, lanes)
            if operands[k].pattern == "g":
                store(pointers[k], i * strides[k], value)
            else:
                store(pointers[k], i, value, mask, stream=signature.stream and mask is None and unrolled * lanes > 1)

    def geometry(block: Value) -> tuple[Any, list[Any], list[list[Any]]]:
        sizes = [load(block, d) for d in range(rank)]
        strides = [[load(block, rank + k * rank + d) for d in range(rank)] for k in range(count)]
        return sizes[0], sizes[1:], strides

    if rank == 1:

        @kernel
        def pointwise_flat(slots: ptr(i64), lo: i64, hi: i64):
            pointers = addresses(slots)
            given = numbers_of(slots)
            fixed = constants(slots, pointers)
            strides = [None] * count
            if strided:
                block = load(as_pointer(offset(slots, block_slot), ptr(i64)))
                strides = [load(block, 1 + k) for k in unroll(range(count))]
            main = lo + (hi - lo) // step * step
            for i in range(lo, main, step):
                for u in unroll(range(unrolled)):
                    body(pointers, strides, fixed, given, i + u * lanes, None)
            if lanes > 1:
                for i in range(main, hi, lanes):
                    body(pointers, strides, fixed, given, i, tail_mask(lanes, hi - i))

        return pointwise_flat

    @kernel
    def pointwise_rows(slots: ptr(i64), lo: i64, hi: i64):
        starts = addresses(slots)
        given = numbers_of(slots)
        block = load(as_pointer(offset(slots, block_slot), ptr(i64)))
        inner, outer, strides = geometry(block)
        innermost = [strides[k][rank - 1] for k in unroll(range(count))]
        for row in range(lo, hi):
            rest = row
            shifts = [i64(0) for k in unroll(range(count))]
            for d in unroll(range(rank - 2, -1, -1)):
                index = rest
                if d > 0:
                    index = urem(rest, outer[d])
                    rest = udiv(rest, outer[d])
                for k in unroll(range(count)):
                    shifts[k] = shifts[k] + index * strides[k][d]
            pointers = [offset(starts[k], shifts[k]) for k in unroll(range(count))]
            fixed = constants(slots, pointers)
            main = inner // step * step
            for i in range(0, main, step):
                for u in unroll(range(unrolled)):
                    body(pointers, innermost, fixed, given, i + u * lanes, None)
            if lanes > 1:
                for i in range(main, inner, lanes):
                    body(pointers, innermost, fixed, given, i, tail_mask(lanes, inner - i))

    return pointwise_rows
