"""One kernel over all parameters: an optimizer's update as a scalar body, applied to many tensors in one launch.

The body is a function of the parameter `param`, its gradient `grad`, the state tensors by name, and hyperparameters by
keyword; it gives the new parameter and the new states. Tensors are cut into fixed chunks, which threads share; the table of
addresses is refreshed at each step, so gradients may move.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from facula.core.layout import CPU
from facula.core.strides import is_non_overlapping_and_dense
from facula.engine.modes import modes
from facula.kernel.language import (
    as_pointer,
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
    unroll,
)  # fmt: skip
from facula.kernel.values import Value, cast
from facula.ops.define import FUNCTIONS, METHODS, parameters_of
from facula.ops.dispatch import Launch
from facula.ops.expression import Expr, evaluate, variable
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.scalar import KERNEL

CHUNK = 16384
PER_PIECE = 32768


@specialise
def update_kernel(
    outputs: tuple[Expr, ...], states: tuple[str, ...], numbers: tuple[str, ...], code: str, steps: bool
) -> Any:
    """The kernel of an update: slots are the tables of tensors, chunks and hyperparameters; the range is chunks.

    A row of the tensor table: param, grad, states..., step (a float32 counter, 0 if there is none).
    A row of the chunk table: tensor, first element, elements.
    """
    element = KERNEL_TYPES[code]
    compute = f64 if element is f64 else f32
    lanes = host().lanes(max(4, element.itemsize))
    many = 2 + len(states)
    names = ("param", "grad", *states)

    def body(pointers: list[Value], given: dict[str, Value], i: Value, mask: Any) -> None:
        environment = dict(given)
        for name, pointer in zip(names, pointers, strict=True):
            environment[name] = cast(load(pointer, i, lanes, mask), compute)
        written = [pointers[0], *pointers[2:]]
        for pointer, value in zip(written, evaluate(outputs, environment, KERNEL), strict=True):
            store(pointer, i, cast(value, element), mask)

    def hyperparameters(block: Value) -> dict[str, Value]:
        return {name: splat(cast(load(block, k), compute), lanes) for k, name in enumerate(numbers)}

    @kernel
    def update(tensors: ptr(i64), chunks: ptr(i64), hyper: ptr(f64), lo: i64, hi: i64):
        given = hyperparameters(hyper)
        for c in range(lo, hi):
            row = offset(tensors, chunks[3 * c] * (many + 1))
            start = chunks[3 * c + 1]
            stop = start + chunks[3 * c + 2]
            pointers = [load(as_pointer(offset(row, k), ptr(element))) for k in unroll(range(many))]
            main = start + (stop - start) // lanes * lanes
            for i in range(start, main, lanes):
                body(pointers, given, i, None)
            if main < stop:
                body(pointers, given, main, tail_mask(lanes, stop - main))
            if steps:
                if start == 0:
                    counter = load(as_pointer(offset(row, many), ptr(f32)))
                    counter[0] = counter[0] + f32(1.0)

    return update


class Update:
    """An optimizer's rule: `Update(body, states=("exp_avg",))`, where `body(param, grad, exp_avg, *, lr, ...)`."""

    def __init__(self, body: Callable[..., Any]) -> None:
        names, _, keyword_only = parameters_of(body)
        tensors = [n for n in names if n not in keyword_only]
        self.states, self.numbers = tuple(tensors[2:]), keyword_only
        given = body(*[variable(n) for n in tensors], **{n: variable(n) for n in keyword_only})
        self.outputs = tuple(given) if isinstance(given, tuple) else (given,)


class Batch:
    """Parameters of one dtype that are updated by one launch, as long as they and their states stay where they are."""

    def __init__(
        self, update: Update, parameters: Sequence[Any], states: Sequence[dict[str, Any]], counted: bool
    ) -> None:
        self.update, self.parameters = update, list(parameters)
        self.states, self.counted = list(states), counted
        width = len(update.states) + 3
        self.width = width
        self.table = (ctypes.c_int64 * (width * len(self.parameters)))()
        self.hyper = (ctypes.c_double * max(1, len(update.numbers)))()
        self.layouts = [p._layout for p in self.parameters]
        self.addresses = [p._data for p in self.parameters]
        pieces: list[int] = []
        for i, (p, s) in enumerate(zip(self.parameters, self.states, strict=True)):
            row = [p._data, 0, *[s[name]._data for name in update.states], s["step"]._data if counted else 0]
            self.table[i * width : (i + 1) * width] = row
            count = p._layout.numel
            for start in range(0, count, CHUNK):
                pieces += [i, start, min(CHUNK, count - start)]
        self.chunks = (ctypes.c_int64 * max(1, len(pieces)))(*pieces)
        self.kept = [[s[name] for name in (*update.states, "step") if name in s] for s in self.states]
        code = self.layouts[0].dtype.code
        tail = (ctypes.addressof(self.table), ctypes.addressof(self.chunks), ctypes.addressof(self.hyper))
        kernel_ = update_kernel(update.outputs, update.states, update.numbers, code, counted)
        count, elements = len(pieces) // 3, sum(layout.numel for layout in self.layouts)
        grain = max(1, count * PER_PIECE // max(1, elements))  # so many chunks are worth another thread's while
        self.launch = Launch(kernel_, count, grain, tail, (self.table, self.chunks, self.hyper))

    def clone(self) -> "Batch":
        """The same with tables of its own: what a compiled step replays while others use these."""
        made = Batch(self.update, self.parameters, self.states, self.counted)
        made.refresh()
        return made

    def refresh(self) -> bool:
        """Note where the gradients are now; False if something moved that the tables take for granted."""
        table, width, at = self.table, self.width, 1
        for p, layout, address in zip(self.parameters, self.layouts, self.addresses, strict=True):
            gradient = p._grad
            if gradient is None or gradient._layout is not layout or p._data != address or p._layout is not layout:
                return False
            table[at] = gradient._data
            at += width
        return True

    def step(self, numbers: Sequence[float]) -> None:
        """Update all; `refresh` has succeeded."""
        self.hyper[: len(numbers)] = numbers
        self.run()

    def run(self) -> None:
        """The launch, on whatever the tables hold."""
        written: list[Any] = []
        if modes.recorder is not None:
            for p, kept in zip(self.parameters, self.kept, strict=True):
                written += [p, *kept]
            modes.recorder.reads([p._grad for p in self.parameters])
            modes.recorder.writes(written)
        self.launch(self.parameters[:0], 0)
        for p in self.parameters:
            p._storage.version += 1


def matching_gradients(parameters: Sequence[Any]) -> None:
    """Give every gradient the geometry of its parameter (the fused kernel walks both side by side)."""
    for p in parameters:
        gradient = p._grad
        if gradient is not None and gradient._layout is not p._layout:
            if gradient._layout.device is not CPU:
                raise RuntimeError("the optimizer needs gradients on the device of their parameters")
            fresh = FUNCTIONS["torch"]["empty_like"](p)
            METHODS["copy_"](fresh, gradient.detach())
            p._grad = fresh


def is_dense(parameter: Any) -> bool:
    """Whether a parameter's elements fill its memory without gaps."""
    own = parameter._layout
    return own.contiguous or is_non_overlapping_and_dense(own.shape, own.stride)
