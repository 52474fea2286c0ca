"""Loops that combine elements along a dimension and keep every partial result.

    lines     vectors along the dimension: a scan inside the vector, then what came before it
    columns   vectors across the other dimensions, walking along this one
    strided   element by element

Slots: results, input, the address of a geometry block [length, step of the result, step of the input, sizes of the
other dimensions, their strides in the result, their strides in the input]. The range: lines, or strips of lines for columns.
"""

from typing import Any, NamedTuple

from facula.kernel.language import (
    as_pointer,
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
    select,
    shuffle,
    specialise,
    splat,
    store,
    tail_mask,
    udiv,
    urem,
    vec,
)  # fmt: skip
from facula.kernel.types import Type
from facula.kernel.values import Value, cast
from facula.ops.expression import Expr, evaluate
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import compute_type
from facula.ops.scalar import KERNEL


class Scan(NamedTuple):
    """What a scan is specialised on; `combine` is an expression of `a` (what came before) and `b`."""

    shape: str
    combine: Expr
    identity: Any
    input: str
    result: str
    rank: int


class Running(NamedTuple):
    """What a running extremum is specialised on."""

    shape: str
    largest: bool
    input: str
    rank: int


def accumulate_type(scan: Scan) -> Type:
    """float32 is accumulated in float64, the half precisions in float32."""
    own = KERNEL_TYPES[scan.result]
    return f32 if own in (f16, bf16) else f64 if own is f32 else own


def scan_lanes(scan: Scan) -> int:
    """Elements that one vector holds."""
    if scan.shape == "strided":
        return 1
    return host().lanes(max(2, accumulate_type(scan).itemsize, KERNEL_TYPES[scan.input].itemsize))


def running_lanes(running: Running) -> int:
    """Elements that one vector holds: indices are 64 bits wide."""
    return host().lanes(8) if running.shape == "columns" else 1


def _places(index: Value, block: Value, rank: int) -> tuple[Value, Value]:
    """Offsets in (result, input) of the line with this number."""
    out, x = cast(0, i64), cast(0, i64)
    for d in range(rank - 1, -1, -1):
        place = index
        if d > 0:
            size = load(block, 3 + d)
            place, index = urem(index, size), udiv(index, size)
        out = out + place * load(block, 3 + rank + d)
        x = x + place * load(block, 3 + 2 * rank + d)
    return out, x


@specialise
def scan_lines(scan: Scan) -> Any:
    """One line after the other."""
    memory, result, accumulate = KERNEL_TYPES[scan.input], KERNEL_TYPES[scan.result], accumulate_type(scan)
    lanes, rank = scan_lanes(scan), scan.rank

    def combined(a: Value, b: Value) -> Value:
        return evaluate([scan.combine], {"a": a, "b": b}, KERNEL)[0]  # type: ignore[no-any-return]

    def inside(v: Value, identity: Value) -> Value:
        """The scan of the lanes of one vector: in step k each lane takes what is 2^k lanes before it."""
        distance = 1
        while distance < lanes:
            before = shuffle(identity, v, [0 if i < distance else lanes + i - distance for i in range(lanes)])
            v = combined(before, v)
            distance *= 2
        return v

    @kernel
    def scan_lines_kernel(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(result)))
        x = load(as_pointer(offset(slots, 1), ptr(memory)))
        block = load(as_pointer(offset(slots, 2), ptr(i64)))
        length, out_step, step = load(block, 0), load(block, 1), load(block, 2)
        identity = cast(scan.identity, vec(accumulate, lanes))
        for line in range(lo, hi):
            places = _places(line, block, rank)
            p, q = offset(x, places[1]), offset(out, places[0])
            carry = cast(scan.identity, accumulate)
            if lanes == 1:
                for i in range(length):
                    carry = combined(carry, cast(load(p, i * step), accumulate))
                    store(q, i * out_step, cast(carry, result))
            else:
                main = length // lanes * lanes
                for i in range(0, main, lanes):
                    v = inside(cast(load(p, i, lanes), accumulate), identity)
                    v = combined(splat(carry, lanes), v)
                    store(q, i, cast(v, result))
                    carry = v[lanes - 1]
                for i in range(main, length, lanes):
                    mask = tail_mask(lanes, length - i)
                    v = inside(cast(load(p, i, lanes, mask), accumulate), identity)
                    store(q, i, cast(combined(splat(carry, lanes), v), result), mask)

    return scan_lines_kernel


@specialise
def scan_columns(scan: Scan) -> Any:
    """A strip of lines side by side."""
    memory, result, accumulate = KERNEL_TYPES[scan.input], KERNEL_TYPES[scan.result], accumulate_type(scan)
    lanes, above = scan_lanes(scan), scan.rank - 1

    def combined(a: Value, b: Value) -> Value:
        return evaluate([scan.combine], {"a": a, "b": b}, KERNEL)[0]  # type: ignore[no-any-return]

    @kernel
    def scan_columns_kernel(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(result)))
        x = load(as_pointer(offset(slots, 1), ptr(memory)))
        block = load(as_pointer(offset(slots, 2), ptr(i64)))
        length, out_step, step, columns = load(block, 0), load(block, 1), load(block, 2), load(block, 3 + above)
        strips = udiv(columns + lanes - 1, lanes)
        for task in range(lo, hi):
            first = urem(task, strips) * lanes
            mask = tail_mask(lanes, columns - first)
            places = _row_places(udiv(task, strips), block, above)
            p, q = offset(x, places[1] + first), offset(out, places[0] + first)
            carry = cast(scan.identity, vec(accumulate, lanes))
            for i in range(length):
                carry = combined(carry, cast(load(p, i * step, lanes, mask), accumulate))
                store(q, i * out_step, cast(carry, result), mask)

    return scan_columns_kernel


def _row_places(index: Value, block: Value, above: int) -> tuple[Value, Value]:
    """As `_places`, for all dimensions but the last."""
    rank = above + 1
    out, x = cast(0, i64), cast(0, i64)
    for d in range(above - 1, -1, -1):
        place = index
        if d > 0:
            size = load(block, 3 + d)
            place, index = urem(index, size), udiv(index, size)
        out = out + place * load(block, 3 + rank + d)
        x = x + place * load(block, 3 + 2 * rank + d)
    return out, x


@specialise
def running_extremum(running: Running) -> Any:
    """The largest (or smallest) so far and where it stands, the last of equal ones; NaN stays. Slots: values, indices,
    input, block; the results lie alike."""
    memory, compute = KERNEL_TYPES[running.input], compute_type(running.input)
    lanes, rank, columnar = running_lanes(running), running.rank, running.shape == "columns"

    def wins(value: Value, best: Value) -> Value:
        better = value >= best if running.largest else value <= best
        return (value != value) | ((best == best) & better) if compute.is_float else better

    @kernel
    def running_extremum_kernel(slots: ptr(i64), lo: i64, hi: i64):
        values_out = load(as_pointer(slots, ptr(memory)))
        indices_out = load(as_pointer(offset(slots, 1), ptr(i64)))
        x = load(as_pointer(offset(slots, 2), ptr(memory)))
        block = load(as_pointer(offset(slots, 3), ptr(i64)))
        length, out_step, step = load(block, 0), load(block, 1), load(block, 2)
        strips = i64(1)
        if columnar:
            strips = udiv(load(block, 2 + rank) + lanes - 1, lanes)
        for task in range(lo, hi):
            mask = None
            if columnar:
                first = urem(task, strips) * lanes
                mask = tail_mask(lanes, load(block, 2 + rank) - first)
                places = _row_places(udiv(task, strips), block, rank - 1)
                p, start = offset(x, places[1] + first), places[0] + first
            else:
                places = _places(task, block, rank)
                p, start = offset(x, places[1]), places[0]
            best = cast(load(p, 0, lanes, mask), compute)
            place = cast(0, vec(i64, lanes))
            for i in range(length):
                value = cast(load(p, i * step, lanes, mask), compute)
                better = wins(value, best)
                best = select(better, value, best)
                place = select(better, splat(i, lanes), place)
                store(values_out, start + i * out_step, cast(best, memory), mask)
                store(indices_out, start + i * out_step, place, mask)

    return running_extremum_kernel
