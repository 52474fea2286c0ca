"""New random tensors: rand, randn, randint, randperm, normal, and their `_like` forms.

In: sizes or a tensor to resemble, the keywords of all factories, a generator (None: the default one). Out: tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import CPU
from facula.core.layout import layout as geometry
from facula.core.shapes import check_sizes
from facula.ops.copy import strided_like
from facula.ops.define import layout_of, publish
from facula.ops.random import (
    DIGITS,
    draw,
    fill_between,
    fill_normal,
    fill_uniform,
    generator_of,
    integer,
    kernel_type,
    number,
    overwrite,
)
from facula.ops.sampling import normal_around, output_of
from facula.ops.view import sizes_of
from facula.runtime import random as streams
from facula.runtime.objects import TensorBase, new_tensor
from facula.runtime.random import Generator
from facula.tensor.creation import allocate, device_of, dtype_of, require_grad


def _made(shape: tuple[int, ...], out: Any, dtype: Any, device: Any, default: dt.dtype | None = None) -> Any:
    """The tensor to fill: a new one, or `out` with that shape."""
    if shape and min(shape) < 0:
        check_sizes(shape)
    if out is None:
        if dtype is None is device:
            return new_tensor(geometry(shape, None, default or dt.get_default_dtype(), device_of(None)))
        return allocate(shape, dtype_of(dtype, default), device)
    if dtype is not None and dtype_of(dtype) is not out._layout.dtype:
        raise RuntimeError(
            f"dtype {dtype_of(dtype).scalar_name} does not match dtype of out parameter "
            f"({out._layout.dtype.scalar_name})"
        )
    return output_of(shape, out._layout.dtype, out._layout.device, out)


def _sizes(function: str, given: tuple[Any, ...], size: Any) -> tuple[int, ...]:
    """`f(2, 3)`, `f((2, 3))` and `f(size=(2, 3))` alike; TypeError for what is no size."""
    if size is not None:
        if given:
            raise TypeError(f"{function}() got both positional sizes and size=")
        given = (size,)
    elif not given:
        raise TypeError(f'{function}() missing 1 required positional arguments: "size"')
    try:
        return sizes_of(given)
    except (TypeError, AttributeError):
        wrong = given[0]
        raise errors.wrong_type(function, "size", 1, "tuple of ints", wrong) from None


def _factory(name: str, fill: Callable[[Any, Generator], None], doc: str) -> Callable[..., Any]:
    """A function (*size) that makes a tensor and fills it."""

    def make(
        *size_: Any, size: Any = None, generator: Any = None, names: Any = None, out: Any = None, dtype: Any = None,
        layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    ) -> Any:  # fmt: skip
        target = _made(_sizes(name, size_, size), out, dtype, device)
        fill(target, generator_of(generator, name))
        return require_grad(target) if requires_grad else target

    make.__name__ = make.__qualname__ = name
    make.__doc__ = doc
    make.operator = None  # type: ignore[attr-defined]
    publish(name, make)
    return make


def _fill_unit(target: Any, stream: Generator) -> None:
    fill_uniform(target, 0.0, 1.0, stream)


def _fill_standard_normal(target: Any, stream: Generator) -> None:
    fill_normal(target, 0.0, 1.0, stream)


rand = _factory(
    "rand", _fill_unit, """Numbers uniform on [0, 1), of any size: `rand(2, 3)` or `rand((2, 3))`.

    Floating point and complex dtypes. Keywords: generator, out, dtype (default: the default
    dtype), layout, device, requires_grad, pin_memory.

    >>> torch.manual_seed(0); torch.rand(3)
    tensor([0.4963, 0.7682, 0.0885])
    """,
)  # fmt: skip
randn = _factory(
    "randn", _fill_standard_normal, """Standard normal numbers, of any size; see `rand` for the keywords.

    >>> torch.manual_seed(0); torch.randn(3)
    tensor([ 1.5410, -0.2934, -2.1788])
    """,
)  # fmt: skip


def randint(
    *args: Any, low: Any = None, high: Any = None, size: Any = None, generator: Any = None, out: Any = None,
    dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Integers in [low, high): `randint(high, size)` or `randint(low, high, size)`. dtype: int64 by default.

    RuntimeError for an empty range or one that the dtype cannot hold.

    >>> torch.randint(3, 5, (2, 2)).shape
    torch.Size([2, 2])
    """
    given = list(args)
    if size is None and given and isinstance(given[-1], (tuple, list)):
        size = given.pop()
    if size is None or len(given) + (low is not None) + (high is not None) not in (1, 2):
        if size is None and given:
            raise errors.wrong_type("randint", "size", len(given), "tuple of ints", given[-1])
        raise TypeError("randint() takes (high, size) or (low, high, size)")
    if given and high is None:
        high = given.pop()
    if given:
        low = given.pop()
    high = integer("randint", "high", 1 if low is None else 2, high)
    low = 0 if low is None else integer("randint", "low", 1, low)
    target = _made(_sizes("randint", (size,), None), out, dtype, device, dt.int64)
    fill_between(target, low, high, generator_of(generator, "randint"))
    return require_grad(target) if requires_grad else target


def randperm(
    n: Any, *, generator: Any = None, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """The integers 0 to n - 1 in random order. dtype: int64 by default.

    RuntimeError for negative n, or one that the dtype cannot hold.

    >>> torch.randperm(4).sort().values
    tensor([0, 1, 2, 3])
    """
    n = integer("randperm", "n", 1, n)
    target = _made((n,), out, dtype, device, dt.int64)
    kind = target._layout.dtype
    element = kernel_type(kind, "randperm", "fiu")
    if kind.kind == "f" and n > (1 << DIGITS[kind]) + 1:
        raise RuntimeError(f"n cannot be greater than {(1 << DIGITS[kind]) + 1} for {kind.scalar_name} type.")
    if kind.kind in "iu" and n > dt.iinfo(kind).max + 1:
        raise RuntimeError(f"value cannot be converted to type {kind.name}_t without overflow")
    long = n >= streams.discrete.PERMUTATION_32
    family = streams.discrete.long_permutation if long else streams.discrete.permutation
    chosen = target if target._layout.contiguous else new_tensor(target._layout.dense())
    if target._layout.device is CPU:
        draw(generator_of(generator, "randperm"), family(element), n, (chosen,))
        if chosen is not target:
            overwrite(target, chosen)
        target._storage.version += 1
    return require_grad(target) if requires_grad else target


def _like(name: str, fill: Callable[..., None], doc: str) -> None:
    """A function (input, ...) that makes a tensor of the same geometry; `fill` gets the extra arguments."""

    def make(
        input: Any, *args: Any, generator: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
        requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False, **kwargs: Any,
    ) -> Any:  # fmt: skip
        like = strided_like(layout_of(input, name), memory_format)
        where = like.device if device is None else device_of(device)
        target = new_tensor(geometry(like.shape, like.stride, dtype_of(dtype, like.dtype), where))
        fill(target, generator_of(generator, name), *args, **kwargs)
        return require_grad(target) if requires_grad else target

    make.__name__ = make.__qualname__ = name
    make.__doc__ = doc
    make.operator = None  # type: ignore[attr-defined]
    publish(name, make)


def _fill_range(target: Any, stream: Generator, *args: Any, low: Any = None, high: Any = None) -> None:
    given = list(args)
    if given and high is None:
        high = given.pop()
    if given and low is None:
        low = given.pop()
    if given or high is None:
        raise TypeError("randint_like() takes (input, high) or (input, low, high)")
    low = 0 if low is None else integer("randint_like", "low", 2, low)
    fill_between(target, low, integer("randint_like", "high", 2, high), stream)


_like("rand_like", _fill_unit, "Numbers uniform on [0, 1) in a tensor of the same shape, dtype and memory order.")
_like(
    "randn_like",
    _fill_standard_normal,
    "Standard normal numbers in a tensor of the same shape, dtype, memory order.",
)
_like("randint_like", _fill_range, "Integers in [low, high) in a tensor of the same shape, dtype and memory order.")


def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Any = None, out: Any = None, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Any:  # fmt: skip
    """Normal numbers: of one mean and deviation with a size, or element by element where either is a tensor.

    Gradients with respect to mean and std are zero. RuntimeError for a negative deviation.

    >>> torch.normal(torch.zeros(3), 0.0)
    tensor([0., 0., 0.])
    """
    stream = generator_of(generator, "normal")
    if isinstance(mean, TensorBase) or isinstance(std, TensorBase):
        mean = mean if isinstance(mean, TensorBase) else number("normal", "mean", 1, mean)
        std = std if isinstance(std, TensorBase) else number("normal", "std", 2, std)
        return normal_around(mean, std, stream, out)
    if size is None:
        raise TypeError("normal() of two numbers needs a size: normal(mean, std, size)")
    mean, std = number("normal", "mean", 1, mean), number("normal", "std", 2, std)
    target = _made(_sizes("normal", (size,), None), out, dtype, device)
    fill_normal(target, mean, std, stream)
    return require_grad(target) if requires_grad else target


_function: Any
for _function in (randint, randperm, normal):
    _function.operator = None
    publish(_function.__name__, _function)
