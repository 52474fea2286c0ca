"""`torch.testing`: comparing tensors, with messages that say where they differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.core import dtype as dt
from facula.ops.define import FUNCTIONS
from facula.runtime.objects import TensorBase

__all__ = ["assert_close", "make_tensor"]

_TOLERANCES = {dt.float16: (1e-3, 1e-5), dt.bfloat16: (1.6e-2, 1e-5), dt.float32: (1.3e-6, 1e-5), dt.float64: (1e-7, 1e-7),
               dt.complex64: (1.3e-6, 1e-5), dt.complex128: (1e-7, 1e-7)}  # fmt: skip


def assert_close(
    actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None, atol: float | None = None,
    equal_nan: bool = False, check_device: bool = True, check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:  # fmt: skip
    """AssertionError unless |actual - expected| <= atol + rtol * |expected| everywhere; sequences and mappings item by item.

    The tolerances follow the dtype unless both are given (float32: rtol 1.3e-6, atol 1e-5).
    """
    problem = _difference(actual, expected, rtol, atol, equal_nan, check_dtype, check_stride, check_device)
    if problem is not None:
        if msg is not None:
            problem = msg(problem) if callable(msg) else msg
        raise AssertionError(problem)


def _difference(
    a: Any, b: Any, rtol: Any, atol: Any, equal_nan: bool, check_dtype: bool, check_stride: bool, check_device: bool
) -> str | None:
    options = (rtol, atol, equal_nan, check_dtype, check_stride, check_device)
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return f"The keys of the mappings do not match:\nMissing: {sorted(map(str, b.keys() - a.keys()))}, additional: {sorted(map(str, a.keys() - b.keys()))}"
        return next(
            (f"{p}\n\nThe failure occurred for item [{k!r}]" for k in a if (p := _difference(a[k], b[k], *options))),
            None,
        )
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        if len(a) != len(b):
            return f"The length of the sequences mismatch: {len(a)} != {len(b)}"
        return next(
            (
                f"{p}\n\nThe failure occurred for item [{i}]"
                for i, (x, y) in enumerate(zip(a, b, strict=True))
                if (p := _difference(x, y, *options))
            ),
            None,
        )
    as_tensor = FUNCTIONS["torch"]["as_tensor"]
    numbers = not isinstance(a, TensorBase) and not isinstance(b, TensorBase)
    a, b = as_tensor(a).detach(), as_tensor(b).detach()
    if a.shape != b.shape:
        return f"The values for attribute 'shape' do not match: {a.shape} != {b.shape}."
    if check_device and a.device != b.device:
        return f"The values for attribute 'device' do not match: {a.device} != {b.device}."
    if check_dtype and not numbers and a.dtype != b.dtype:
        return f"The values for attribute 'dtype' do not match: {a.dtype} != {b.dtype}."
    if check_stride and a.stride() != b.stride():
        return f"The values for attribute 'stride()' do not match: {a.stride()} != {b.stride()}."
    if (rtol is None) != (atol is None):
        raise ValueError(
            f"Both `rtol` and `atol` must be either specified or unspecified, but got no {'rtol' if rtol is None else 'atol'}"
        )
    if rtol is None:
        candidates = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, b)]
        rtol, atol = max(c[0] for c in candidates), max(c[1] for c in candidates)
    if a.dtype != b.dtype:
        common = dt.float64
        a, b = a.to(common), b.to(common)
    if a.dtype.kind in "iub":
        close = a == b
    else:
        close = FUNCTIONS["torch"]["isclose"](a, b, rtol, atol, equal_nan)
    if bool(close.all()):
        return None
    wrong = ~close
    count, total = int(wrong.sum()), a.numel()
    if a.dtype is dt.bool:
        a, b = a.to(dt.uint8), b.to(dt.uint8)
    gap = (a.to(dt.float64) - b.to(dt.float64)).abs() if a.dtype.kind != "c" else (a - b).abs()
    at = int(gap.flatten().argmax())
    place = []
    for size in reversed(a.shape):
        place.append(at % size)
        at //= size
    largest = float(gap.max())
    if numbers or not a.shape:
        return f"Scalars are not close!\n\nExpected {b.item()} but got {a.item()}.\nAbsolute difference: {largest} (up to {atol} allowed)"
    return (
        f"Tensor-likes are not close!\n\nMismatched elements: {count} / {total} ({100 * count / total:.1f}%)\n"
        f"Greatest absolute difference: {largest} at index {tuple(reversed(place))} (up to {atol} allowed)\n(rtol {rtol})"
    )


def make_tensor(
    *shape: Any, dtype: dt.dtype, device: Any = "cpu", low: float | None = None, high: float | None = None, requires_grad: bool = False,
    noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """A tensor of random elements between low and high (by default -9 and 9)."""
    torch = FUNCTIONS["torch"]
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (list, tuple)) else shape
    low, high = -9 if low is None else low, 9 if high is None else high
    if dtype is dt.bool:
        made = torch["randint"](0, 2, sizes).to(dtype)
    elif dtype.kind in "iu":
        made = torch["randint"](max(int(low), 0) if dtype.kind == "u" else int(low), int(high) + 1, sizes).to(dtype)
    else:
        made = (torch["rand"](sizes, dtype=dt.float64) * (high - low) + low).to(dtype)
    if exclude_zero:
        made = torch["where"](made == 0, torch["ones_like"](made), made)
    if noncontiguous and made.numel() > 1:
        made = torch["repeat_interleave"](made, 2, dim=-1)[..., ::2]
    return made.requires_grad_(requires_grad) if requires_grad else made
