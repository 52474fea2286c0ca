"""Kernels that write evenly spaced numbers: arange and linspace."""

from typing import Any

from facula.kernel.language import as_pointer, cast, f32, f64, i64, kernel, load, ptr, specialise
from facula.kernel.types import Type
from facula.ops.kernels.pointwise import KERNEL_TYPES


@specialise
def ramp(code: str) -> Any:
    """start + i * step; `middle` and `end` serve linspace, whose second half counts back from the end."""
    element: Type = KERNEL_TYPES[code]
    compute = f64 if element.kind == "f" else i64

    @kernel
    def ramp(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(element)))
        numbers = as_pointer(slots, compute)
        start, step, end = load(numbers, 1), load(numbers, 2), load(numbers, 3)
        middle, last = load(slots, 4), load(slots, 5)
        for i in range(lo, hi):
            if i < middle:
                out[i] = cast(start + cast(i, compute) * step, element)
            else:
                out[i] = cast(end - cast(last - i, compute) * step, element)

    return ramp


@specialise
def ramp_f32() -> Any:
    """linspace in single precision throughout, as its users' numbers expect."""

    @kernel
    def ramp_f32(out: ptr(f32), start: f32, step: f32, end: f32, middle: i64, last: i64, lo: i64, hi: i64):
        for i in range(lo, hi):
            if i < middle:
                out[i] = start + f32(i) * step
            else:
                out[i] = end - f32(last - i) * step

    return ramp_f32
