"""Loops that find the largest or smallest element along a dimension and where it stands.

Forms of the walk are those of `kernels/reduce.py`. NaN beats everything; of equal elements the first wins.
Slots: values (or none), indices (i64), input, the address of a geometry block
[length, step, kept sizes, kept strides]. The range: results for rows, strips of results for columns.
"""

from typing import Any, NamedTuple

from facula.kernel.language import (
    as_pointer,
    host,
    i32,
    i64,
    iota,
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
    unroll,
    urem,
    vec,
)  # fmt: skip
from facula.kernel.types import Type
from facula.kernel.values import Value, cast
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import compute_type, walked


class Search(NamedTuple):
    """What the kernel is specialised on: shape ('rows', 'columns', 'strided'), largest or smallest, the dtype's code,
    how many dimensions are kept, whether the values are wanted beside the indices, whether the dimension is but a few
    vectors long."""

    shape: str
    largest: bool
    input: str
    kept_rank: int
    with_values: bool
    short: bool


def lanes_of(search: Search) -> int:
    """Elements that are compared side by side."""
    return 1 if search.shape == "strided" else host().lanes(max(4, compute_type(search.input).itemsize))


def _beats(search: Search, a: Value, b: Value) -> Value:
    """Whether a is more extreme than b."""
    better = a > b if search.largest else a < b
    return better | ((a != a) & (b == b)) if a.type.is_float else better  # type: ignore[no-any-return]


def _ties(a: Value, b: Value) -> Value:
    return (a == b) | ((a != a) & (b != b)) if a.type.is_float else a == b  # type: ignore[no-any-return]


def _joined(search: Search, a: tuple[Value, Value], b: tuple[Value, Value]) -> tuple[Value, Value]:
    """The better of two (values, indices); of equal ones that with the smaller index."""
    second = _beats(search, b[0], a[0]) | (_ties(b[0], a[0]) & (b[1] < a[1]))
    return select(second, b[0], a[0]), select(second, b[1], a[1])


def _folded(search: Search, best: Value, place: Value) -> tuple[Value, Value]:
    """The best lane."""
    lanes = best.type.lanes
    while lanes > 1:
        half = lanes // 2
        low = [shuffle(v, v, range(half)) for v in (best, place)]
        high = [shuffle(v, v, range(half, lanes)) for v in (best, place)]
        best, place = _joined(search, (low[0], low[1]), (high[0], high[1]))
        lanes = half
    return best, place


def _index_type(type: Type) -> Type:
    return i32 if type.itemsize <= 4 else i64


@specialise
def search_rows(search: Search) -> Any:
    """One result after the other, vectors along the dimension (or elements, where they lie apart)."""
    memory, compute, lanes, kept_rank = (
        KERNEL_TYPES[search.input],
        compute_type(search.input),
        lanes_of(search),
        search.kept_rank,
    )
    index, with_values, inputs = _index_type(compute), search.with_values, 1 + search.with_values
    count = 1 if search.short else 4 if lanes > 1 else 2
    width = lanes * count

    @kernel
    def search_rows_kernel(slots: ptr(i64), lo: i64, hi: i64):
        found = load(as_pointer(slots, ptr(memory)))
        places = load(as_pointer(offset(slots, inputs - 1), ptr(i64)))
        x = load(as_pointer(offset(slots, inputs), ptr(memory)))
        block = load(as_pointer(offset(slots, inputs + 1), ptr(i64)))
        length, step = load(block, 0), load(block, 1)
        for row in range(lo, hi):
            p = offset(x, walked(row, block, 2, 2 + kept_rank, kept_rank))
            first = splat(cast(load(p), compute), lanes)
            best = [first for _ in unroll(range(count))]
            place = [cast(0, vec(index, lanes)) for _ in unroll(range(count))]
            main = length // width * width
            for i in range(0, main, width):
                for u in unroll(range(count)):
                    at = i + u * lanes
                    if lanes > 1:
                        value = cast(load(p, at, lanes), compute)
                    else:
                        value = cast(load(p, at * step), compute)
                    better = _beats(search, value, best[u])
                    best[u] = select(better, value, best[u])
                    place[u] = select(better, splat(index(at), lanes) + iota(index, lanes), place[u])
            for i in range(main, length, lanes):
                if lanes > 1:
                    mask = tail_mask(lanes, length - i)
                    value = cast(load(p, i, lanes, mask), compute)
                    better = _beats(search, value, best[0]) & mask
                else:
                    value = cast(load(p, i * step), compute)
                    better = _beats(search, value, best[0])
                best[0] = select(better, value, best[0])
                place[0] = select(better, splat(index(i), lanes) + iota(index, lanes), place[0])
            joined = (best[0], place[0])
            for u in unroll(range(1, count)):
                joined = _joined(search, joined, (best[u], place[u]))
            winner, where = _folded(search, joined[0], joined[1])
            if with_values:
                store(found, row, cast(winner, memory))
            store(places, row, cast(where, i64))

    return search_rows_kernel


@specialise
def search_columns(search: Search) -> Any:
    """A vector of results at a time, walking down the dimension."""
    memory, compute, lanes, above = (
        KERNEL_TYPES[search.input],
        compute_type(search.input),
        lanes_of(search),
        search.kept_rank - 1,
    )
    index, with_values, inputs = _index_type(compute), search.with_values, 1 + search.with_values

    @kernel
    def search_columns_kernel(slots: ptr(i64), lo: i64, hi: i64):
        found = load(as_pointer(slots, ptr(memory)))
        places = load(as_pointer(offset(slots, inputs - 1), ptr(i64)))
        x = load(as_pointer(offset(slots, inputs), ptr(memory)))
        block = load(as_pointer(offset(slots, inputs + 1), ptr(i64)))
        length, step, columns = load(block, 0), load(block, 1), load(block, 2 + above)
        strips = udiv(columns + lanes - 1, lanes)
        for task in range(lo, hi):
            row = udiv(task, strips)
            first = urem(task, strips) * lanes
            mask = tail_mask(lanes, columns - first)
            p = offset(x, first + walked(row, block, 2, 3 + above, above))
            best = cast(load(p, 0, lanes, mask), compute)
            place = cast(0, vec(index, lanes))
            for i in range(1, length):
                value = cast(load(p, i * step, lanes, mask), compute)
                better = _beats(search, value, best)
                best = select(better, value, best)
                place = select(better, splat(index(i), lanes), place)
            if with_values:
                store(found, row * columns + first, cast(best, memory), mask)
            store(places, row * columns + first, cast(place, i64), mask)

    return search_columns_kernel
