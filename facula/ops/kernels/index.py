"""Kernels that move elements to and from places given by index tensors.

Indices are checked where they are used: the first one out of range is written to the fault record (slot `fault`:
[count, value, position]) and nothing is read or written for it; the dispatcher raises afterwards.
"""

from typing import Any

from facula.kernel.language import (
    Value,
    as_pointer,
    atomic,
    call_extern,
    cast,
    host,
    i64,
    kernel,
    load,
    offset,
    ptr,
    select,
    specialise,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
)  # fmt: skip
from facula.ops.kernels.pointwise import KERNEL_TYPES


def record_fault(fault: Value, value: Value, position: Value) -> None:
    """Note an index out of range; the first one stays."""
    old = atomic("add", fault, i64(1))
    store(fault, 1, select(old == 0, value, fault[1]))
    store(fault, 2, select(old == 0, position, fault[2]))


def wrap_index(index: Value, size: Value) -> Value:
    """A negative index counts from the end."""
    return select(index < 0, index + size, index)


@specialise
def offsets(code: str, many: int) -> Any:
    """offsets[i] = sum over the index tensors of index_k[i] * stride_k, or -1 where one is out of range.

    Slots: out, addresses of the (dense, broadcast) indices, fault, then size and stride of each indexed dimension.
    """
    element = KERNEL_TYPES[code]

    @kernel
    def offsets(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(i64)))
        indices = [load(as_pointer(offset(slots, 1 + k), ptr(element))) for k in unroll(range(many))]
        fault = load(as_pointer(offset(slots, 1 + many), ptr(i64)))
        sizes = [slots[2 + many + 2 * k] for k in unroll(range(many))]
        strides = [slots[3 + many + 2 * k] for k in unroll(range(many))]
        for i in range(lo, hi):
            total = i64(0)
            for k in unroll(range(many)):
                given = cast(indices[k][i], i64)
                place = wrap_index(given, sizes[k])
                if (place < 0) | (place >= sizes[k]):
                    record_fault(fault, given, i64(k))
                    total = i64(-1)
                elif total >= 0:
                    total = total + place * strides[k]
            out[i] = total

    return offsets


@specialise
def move_rows(code: str, direction: str, rank: int) -> Any:
    """Rows of `rest` elements between a dense tensor (one row per offset) and places in a strided one.

    direction: 'take' (dense <- places), 'put' (places <- dense), 'add' (places += dense, serially in order).
    Slots: written, read, offsets, then the size of a row, and for rank 1 and more the geometry of a row in the
    strided tensor: sizes and strides, innermost last. For rank 0 the row is contiguous.
    """
    element = KERNEL_TYPES[code]
    lanes = host().lanes(max(2, element.itemsize))

    def transfer(target: Value, t: Value, source: Value, s: Value, width: int, mask: Any) -> None:
        value = load(source, s, width, mask)
        if direction == "add":
            value = (
                load(target, t, width, mask) + value if element.kind != "b" else load(target, t, width, mask) | value
            )
        store(target, t, value, mask)

    @kernel
    def move_rows(slots: ptr(i64), lo: i64, hi: i64):
        written = load(as_pointer(slots, ptr(element)))
        read = load(as_pointer(offset(slots, 1), ptr(element)))
        places = load(as_pointer(offset(slots, 2), ptr(i64)))
        width = slots[3]
        if rank == 0:
            for i in range(lo, hi):
                place = places[i]
                if place >= 0:
                    dense = i * width
                    source = place if direction == "take" else dense
                    target = dense if direction == "take" else place
                    main = width // lanes * lanes
                    for j in range(0, main, lanes):
                        transfer(written, target + j, read, source + j, lanes, None)
                    if main < width:
                        transfer(written, target + main, read, source + main, lanes, tail_mask(lanes, width - main))
        else:
            sizes = [slots[4 + d] for d in unroll(range(rank))]
            strides = [slots[4 + rank + d] for d in unroll(range(rank))]
            for i in range(lo, hi):
                place = places[i]
                if place >= 0:
                    for j in range(0, width):
                        rest = j
                        shift = place
                        for d in unroll(range(rank - 1, -1, -1)):
                            shift = shift + urem(rest, sizes[d]) * strides[d]
                            rest = udiv(rest, sizes[d])
                        dense = i * width + j
                        if direction == "take":
                            transfer(written, dense, read, shift, 1, None)
                        else:
                            transfer(written, shift, read, dense, 1, None)

    return move_rows


@specialise
def along(code: str, index_code: str, action: str, rank: int) -> Any:
    """gather and scatter along one dimension.

    action: 'gather' (dense out[i] = x[...index...]), or for scatter 'set', 'add', 'multiply', 'amin', 'amax'.
    Slots: written, read, index, fault, size and stride (in the indexed tensor) of the dimension, then for `rank`
    dimensions of the index: sizes, strides of the index, of the indexed tensor with 0 at the dimension, of the source.
    The range is elements of the index tensor in row order; scatter runs serially, because indices may repeat.
    """
    element, index_type = KERNEL_TYPES[code], KERNEL_TYPES[index_code]

    @kernel
    def along(slots: ptr(i64), lo: i64, hi: i64):
        written = load(as_pointer(slots, ptr(element)))
        read = load(as_pointer(offset(slots, 1), ptr(element)))
        indices = load(as_pointer(offset(slots, 2), ptr(index_type)))
        fault = load(as_pointer(offset(slots, 3), ptr(i64)))
        size = slots[4]
        stride = slots[5]
        table = load(as_pointer(offset(slots, 6), ptr(i64)))
        sizes = [table[d] for d in unroll(range(rank))]
        index_strides = [table[rank + d] for d in unroll(range(rank))]
        indexed_strides = [table[2 * rank + d] for d in unroll(range(rank))]
        other_strides = [table[3 * rank + d] for d in unroll(range(rank))]
        for i in range(lo, hi):
            rest = i
            at_index = i64(0)
            at_indexed = i64(0)
            at_other = i64(0)
            for d in unroll(range(rank - 1, -1, -1)):
                step = urem(rest, sizes[d])
                rest = udiv(rest, sizes[d])
                at_index = at_index + step * index_strides[d]
                at_indexed = at_indexed + step * indexed_strides[d]
                at_other = at_other + step * other_strides[d]
            given = cast(indices[at_index], i64)
            if (given < 0) | (given >= size):
                record_fault(fault, given, i)
            else:
                place = at_indexed + given * stride
                if action == "gather":
                    written[at_other] = read[place]
                elif action == "set":
                    written[place] = read[at_other]
                elif action == "add":
                    written[place] = written[place] + read[at_other]
                elif action == "multiply":
                    written[place] = written[place] * read[at_other]
                elif action == "amin":
                    old = written[place]
                    new = read[at_other]
                    written[place] = select((new < old) | (new != new), new, old)
                else:
                    old = written[place]
                    new = read[at_other]
                    written[place] = select((new > old) | (new != new), new, old)

    return along


@specialise
def count_true() -> Any:
    """counts[block] = how many truth values are set in each block of 4096. The range is blocks."""

    @kernel
    def count_true(counts: ptr(i64), mask: ptr(KERNEL_TYPES["u8"]), n: i64, lo: i64, hi: i64):
        for block in range(lo, hi):
            total = i64(0)
            start = block * 4096
            stop = min(start + 4096, n)
            for i in range(start, stop):
                total = total + select(mask[i] != 0, i64(1), i64(0))
            counts[block] = total

    return count_true


@specialise
def positions_of_true() -> Any:
    """Flat positions of the truth values that are set, in order; `starts` tells where each block's go."""

    @kernel
    def positions_of_true(out: ptr(i64), mask: ptr(KERNEL_TYPES["u8"]), starts: ptr(i64), n: i64, lo: i64, hi: i64):
        for block in range(lo, hi):
            at = starts[block]
            start = block * 4096
            stop = min(start + 4096, n)
            for i in range(start, stop):
                if mask[i] != 0:
                    out[at] = i
                    at = at + 1

    return positions_of_true


@specialise
def triangle(code: str, upper: bool) -> Any:
    """tril / triu of a batch of row-major matrices: elements on the wrong side of diagonal `k` become 0. Range: rows."""
    element = KERNEL_TYPES[code]

    @kernel
    def triangle(out: ptr(element), x: ptr(element), rows: i64, columns: i64, k: i64, lo: i64, hi: i64):
        for row in range(lo, hi):
            base = row * columns
            edge = urem(row, rows) + k
            for j in range(0, columns):
                kept = j >= edge if upper else j <= edge
                out[base + j] = select(kept, x[base + j], element(0))

    return triangle


@specialise
def join_rows(many: int) -> Any:
    """cat of dense tensors: for each outer index, the rows of all tensors one after the other.

    Slots: out, the tensors, then a row's bytes in the result, and for each tensor its row's bytes and where it starts.
    The range is (outer index, tensor) pairs.
    """
    byte = KERNEL_TYPES["u8"]

    @kernel
    def join_rows(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(byte)))
        whole = slots[1 + many]
        for pair in range(lo, hi):
            outer = udiv(pair, i64(many))
            which = urem(pair, i64(many))
            source = as_pointer(slots, ptr(byte))[1 + which]
            width = slots[2 + many + 2 * which]
            start = slots[3 + many + 2 * which]
            call_extern("memcpy", ptr(byte), offset(out, outer * whole + start), offset(source, outer * width), width)

    return join_rows
