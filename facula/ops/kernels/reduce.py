"""Loops that combine the elements along some dimensions of a strided tensor into one.

A kernel is specialised on the scalar expressions (what is done to an element, how two partial results combine, what
becomes of the last one), the types, the number of collapsed dimensions, and the form of the walk:

    rows      the reduced elements lie side by side: vectors along them
    columns   the kept elements lie side by side: vectors across them, one row after the other
    strided   neither: element by element

Float sums are taken in float32 lanes over fixed blocks, and the blocks are added in float64: accurate, and the same
bits however many threads work, because the partition follows the sizes alone. A reduction with few results is divided into
chunks whose partial results a second kernel combines.

Slots: result, input, kept operands (dense, of the shape of the result), numbers (f64), the address of a geometry block.
The range: results for rows, strips of results for columns.
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
    stack_array,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
    vec,
)  # fmt: skip
from facula.kernel.types import Type
from facula.kernel.values import Value, cast
from facula.ops.expression import Expr, evaluate
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.scalar import KERNEL

BLOCK = 2048
"""Elements of a row that are summed in float32 before they go into a float64."""
DEPTH = 32
"""Rows of a column that are summed in float32 before they go into a float64."""


class Form(NamedTuple):
    """Everything that a reduction kernel is specialised on.

    map: of the element `input`, the kept operands and the numbers. combine: of `a` and `b`. finish: of `a`, the count
    `n`, the kept operands and the numbers; None in partial kernels. Types: input -> compute (map) -> accumulate (in a
    block) -> total (between blocks, finish) -> result. short: rows of a few vectors, not worth several accumulators.
    """

    shape: str
    map: Expr
    combine: Expr
    finish: Expr | None
    identity: Any
    input: str
    kept: tuple[tuple[str, str], ...]
    numbers: tuple[str, ...]
    compute: str
    accumulate: str
    total: str
    result: str
    kept_rank: int
    reduced_rank: int
    partial: bool
    short: bool = False


def compute_type(code: str) -> Type:
    """The type that elements are computed in: half precisions in float32."""
    found = KERNEL_TYPES[code]
    return f32 if found in (f16, bf16) else found


def lanes_of(form: Form) -> int:
    """Elements that one vector holds."""
    if form.shape == "strided":
        return 1
    types = (KERNEL_TYPES[form.input], compute_type(form.compute), KERNEL_TYPES[form.accumulate])
    return host().lanes(max(2, *(t.itemsize for t in types)))


def strip_of(form: Form) -> int:
    """Columns that one piece of the range covers."""
    return lanes_of(form) * 16


class Parts:
    """The scalar expressions of a form as functions on kernel values."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.compute = compute_type(form.compute)
        self.accumulate, self.total = KERNEL_TYPES[form.accumulate], KERNEL_TYPES[form.total]
        self.input, self.result = KERNEL_TYPES[form.input], KERNEL_TYPES[form.result]

    def identity(self, type: Type, lanes: int) -> Value:
        """What changes nothing when combined."""
        return cast(self.form.identity, vec(type, lanes))  # type: ignore[no-any-return]

    def mapped(self, element: Value, environment: dict[str, Value]) -> Value:
        """What one element (or a vector of them) contributes."""
        form = self.form
        value = evaluate([form.map], {**environment, "input": cast(element, self.compute)}, KERNEL)[0]
        if not isinstance(value, Value):
            value = cast(value, element.type.with_element(self.accumulate))
        return cast(value, self.accumulate)  # type: ignore[no-any-return]

    def combined(self, a: Value, b: Value) -> Value:
        return evaluate([self.form.combine], {"a": a, "b": b}, KERNEL)[0]  # type: ignore[no-any-return]

    def folded(self, vector: Value) -> Value:
        """All lanes combined, as a balanced tree."""
        lanes = vector.type.lanes
        while lanes > 1:
            half = lanes // 2
            vector = self.combined(shuffle(vector, vector, range(half)), shuffle(vector, vector, range(half, lanes)))
            lanes = half
        return vector

    def merged(self, vectors: list[Value]) -> Value:
        """Several accumulators combined, as a balanced tree."""
        while len(vectors) > 1:
            pairs = [self.combined(vectors[i], vectors[i + 1]) for i in range(0, len(vectors) - 1, 2)]
            vectors = pairs + vectors[len(vectors) - len(vectors) % 2 :]
        return vectors[0]

    def finished(self, total: Value, numbers: dict[str, Value], count: Value, kept: list[Value]) -> Value:
        """The result's value out of the combination of all elements; `kept` are the kept operands beside it."""
        if self.form.finish is None:
            return cast(total, self.result)  # type: ignore[no-any-return]
        lanes = total.type.lanes
        wide = total if total.type.is_float or self.result.kind != "f" else cast(total, f64)
        given = {name: splat(cast(value, wide.type.element), lanes) for name, value in (*numbers.items(), ("n", count))}
        given.update(
            {name: cast(value, wide.type.element) for (name, _), value in zip(self.form.kept, kept, strict=True)}
        )
        value = evaluate([self.form.finish], {**given, "a": wide}, KERNEL)[0]
        return cast(value, self.result)  # type: ignore[no-any-return]

    def numbers(self, slots: Value) -> dict[str, Value]:
        """The numbers of the call, as they came."""
        first = 2 + len(self.form.kept)
        return {name: load(as_pointer(offset(slots, first + k), f64)) for k, name in enumerate(self.form.numbers)}

    def environment(self, numbers: dict[str, Value], lanes: int) -> dict[str, Value]:
        return {name: splat(cast(value, self.compute), lanes) for name, value in numbers.items()}

    def kept(self, slots: Value) -> list[Value]:
        """Addresses of the kept operands."""
        return [
            load(as_pointer(offset(slots, 2 + k), ptr(KERNEL_TYPES[code])))
            for k, (_, code) in enumerate(self.form.kept)
        ]


def walked(index: Value, block: Value, sizes: int, strides: int, rank: int) -> Value:
    """How far the element with this row-major index lies, given where sizes and strides stand in the block."""
    shift = cast(0, i64)
    for d in range(rank - 1, -1, -1):
        place = index
        if d > 0:
            size = load(block, sizes + d)
            place, index = urem(index, size), udiv(index, size)
        shift = shift + place * load(block, strides + d)
    return shift


def geometry_of(slots: Value, form: Form) -> tuple[Value, Value]:
    """(count of reduced elements, geometry block)."""
    block = load(as_pointer(offset(slots, 2 + len(form.kept) + len(form.numbers)), ptr(i64)))
    return cast(load(block, COUNT), f64), block


# The geometry block: these six, then the sizes and strides of the kept dimensions (of the input), then those of the
# reduced dimensions but the last.
COUNT, INNER, STEP, OUTER, PER, CHUNKS, HEADER = range(7)


@specialise
def reduce_rows(form: Form) -> Any:
    """One result after the other; vectors along the reduced elements (`rows`), or one element at a time (`strided`)."""
    parts = Parts(form)
    lanes, kept_rank, outer_rank = lanes_of(form), form.kept_rank, form.reduced_rank - 1
    accumulate, total_type = parts.accumulate, parts.total
    weight = form.map.weight + form.combine.weight
    count = (8 if weight <= 3 else 4 if weight <= 12 else 2) if lanes > 1 else 4
    count = 1 if form.short else count
    width = lanes * count
    partial, kept_names = form.partial, [name for name, _ in form.kept]

    @kernel
    def reduce_rows_kernel(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(parts.result)))
        x = load(as_pointer(offset(slots, 1), ptr(parts.input)))
        kept = parts.kept(slots)
        numbers = parts.numbers(slots)
        n, block = geometry_of(slots, form)
        inner, step, outer = load(block, INNER), load(block, STEP), load(block, OUTER)
        per, chunks = load(block, PER), load(block, CHUNKS)
        environment = parts.environment(numbers, lanes)
        for task in range(lo, hi):
            row = task
            first, last = i64(0), inner
            first_outer, last_outer = i64(0), outer
            if partial:
                chunk = urem(task, chunks)
                row = udiv(task, chunks)
                if outer_rank > 0:
                    first_outer = chunk * per
                    last_outer = min(first_outer + per, outer)
                else:
                    first = chunk * per
                    last = min(first + per, inner)
            start = offset(x, walked(row, block, HEADER, HEADER + kept_rank, kept_rank))
            given = dict(environment)
            for k in unroll(range(len(kept_names))):
                given[kept_names[k]] = splat(cast(load(kept[k], row), parts.compute), lanes)
            total = parts.identity(total_type, 1)
            for o in range(first_outer, last_outer):
                p = offset(
                    start, walked(o, block, HEADER + 2 * kept_rank, HEADER + 2 * kept_rank + outer_rank, outer_rank)
                )
                for begin in range(first, last, BLOCK):
                    stop = min(begin + BLOCK, last)
                    accumulators = [parts.identity(accumulate, lanes) for _ in unroll(range(count))]
                    main = begin + (stop - begin) // width * width
                    for i in range(begin, main, width):
                        for u in unroll(range(count)):
                            if lanes > 1:
                                element = load(p, i + u * lanes, lanes)
                            else:
                                element = load(p, (i + u) * step)
                            accumulators[u] = parts.combined(accumulators[u], parts.mapped(element, given))
                    for i in range(main, stop, lanes):
                        if lanes > 1:
                            mask = tail_mask(lanes, stop - i)
                            value = parts.mapped(load(p, i, lanes, mask), given)
                            value = select(mask, value, parts.identity(accumulate, lanes))
                        else:
                            value = parts.mapped(load(p, i * step), given)
                        accumulators[0] = parts.combined(accumulators[0], value)
                    folded = parts.folded(parts.merged(accumulators))
                    total = parts.combined(total, cast(folded, total_type))
            beside = [] if partial else [load(k, row) for k in kept]
            store(out, task, parts.finished(total, numbers, n, beside))

    return reduce_rows_kernel


@specialise
def reduce_columns(form: Form) -> Any:
    """A strip of results at a time; vectors across the results, walking down the reduced dimensions."""
    parts = Parts(form)
    lanes, strip, outer_rank, above = lanes_of(form), strip_of(form), form.reduced_rank - 1, form.kept_rank - 1
    accumulate, total_type = parts.accumulate, parts.total
    count = 4 if form.map.weight + form.combine.weight <= 3 else 2
    width = lanes * count
    partial, kept_names = form.partial, [name for name, _ in form.kept]

    @kernel
    def reduce_columns_kernel(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(parts.result)))
        x = load(as_pointer(offset(slots, 1), ptr(parts.input)))
        kept = parts.kept(slots)
        numbers = parts.numbers(slots)
        n, block = geometry_of(slots, form)
        inner, step, outer = load(block, INNER), load(block, STEP), load(block, OUTER)
        per, chunks, columns = load(block, PER), load(block, CHUNKS), load(block, HEADER + above)
        strips = udiv(columns + strip - 1, strip)
        environment = parts.environment(numbers, lanes)
        totals = stack_array(total_type, strip)
        for task in range(lo, hi):
            first_column = urem(task, strips) * strip
            row = udiv(task, strips)
            held = row
            first, last = i64(0), inner
            first_outer, last_outer = i64(0), outer
            if partial:
                chunk = urem(row, chunks)
                held = udiv(row, chunks)
                if outer_rank > 0:
                    first_outer = chunk * per
                    last_outer = min(first_outer + per, outer)
                else:
                    first = chunk * per
                    last = min(first + per, inner)
            across = min(columns - first_column, strip)
            start = offset(x, first_column + walked(held, block, HEADER, HEADER + above + 1, above))
            beside = [offset(k, held * columns + first_column) for k in kept]
            main = across // width * width
            for j in range(0, strip, lanes):
                store(totals, j, parts.identity(total_type, lanes))
            for o in range(first_outer, last_outer):
                p = offset(
                    start, walked(o, block, HEADER + 2 * above + 2, HEADER + 2 * above + 2 + outer_rank, outer_rank)
                )
                for begin in range(first, last, DEPTH):
                    stop = min(begin + DEPTH, last)
                    for j in range(0, main, width):
                        accumulators = [parts.identity(accumulate, lanes) for _ in unroll(range(count))]
                        given = [dict(environment) for _ in unroll(range(count))]
                        for u in unroll(range(count)):
                            for k in unroll(range(len(kept_names))):
                                given[u][kept_names[k]] = cast(load(beside[k], j + u * lanes, lanes), parts.compute)
                        for r in range(begin, stop):
                            q = offset(p, r * step + j)
                            for u in unroll(range(count)):
                                value = parts.mapped(load(q, u * lanes, lanes), given[u])
                                accumulators[u] = parts.combined(accumulators[u], value)
                        for u in unroll(range(count)):
                            known = load(totals, j + u * lanes, lanes)
                            store(totals, j + u * lanes, parts.combined(known, cast(accumulators[u], total_type)))
                    for j in range(main, across, lanes):
                        mask = tail_mask(lanes, across - j)
                        given_tail = dict(environment)
                        for k in unroll(range(len(kept_names))):
                            given_tail[kept_names[k]] = cast(load(beside[k], j, lanes, mask), parts.compute)
                        accumulator = parts.identity(accumulate, lanes)
                        for r in range(begin, stop):
                            value = parts.mapped(load(p, r * step + j, lanes, mask), given_tail)
                            accumulator = parts.combined(accumulator, value)
                        known = load(totals, j, lanes)
                        store(totals, j, parts.combined(known, cast(accumulator, total_type)))
            written = row * columns + first_column
            for j in range(0, across, lanes):
                mask = tail_mask(lanes, across - j)
                aside = [] if partial else [load(k, j, lanes, mask) for k in beside]
                store(out, written + j, parts.finished(load(totals, j, lanes), numbers, n, aside), mask)

    return reduce_columns_kernel


def reduce_kernel(form: Form) -> Any:
    """The launchable kernel for a form."""
    return reduce_columns(form) if form.shape == "columns" else reduce_rows(form)
