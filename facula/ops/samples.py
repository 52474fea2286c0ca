"""Sample inputs of operators, for tests and for whoever wants to try one: `samples_of(definition)`.

An operator says what to call it with beside its definition (`@op.sample`); for pointwise operators the samples follow from
the number of inputs and the `domain` of the definition. Values are drawn anew with the same seed at each call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from facula.core import dtype as dt
from facula.core.lazy import numpy as np
from facula.ops.define import FUNCTIONS, OPERATORS, REGISTRY
from facula.ops.elementwise import PointwiseOperator


class Sample(NamedTuple):
    """One call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


Make = Callable[..., Any]


def maker(seed: int = 0, floating: dt.dtype = dt.float32) -> Make:
    """`make(*shape, dtype, low, high, integer)` draws a tensor uniformly from [low, high); `integer` (or an integer dtype)
    draws whole numbers. Without a dtype: `floating`."""
    generator = np.random.default_rng(seed)

    def make(*shape: int, dtype: Any = None, low: float = -2.0, high: float = 2.0, integer: bool = False) -> Any:
        if dtype is None:
            dtype = dt.int64 if integer else floating
        if dtype.kind in "iub":
            values: Any = generator.integers(int(low) if dtype.is_signed else max(0, int(low)), int(high), shape)
        else:
            values = generator.uniform(low, high, shape)
            if dtype.kind == "c":
                values = values + 1j * generator.uniform(low, high, shape)
        return FUNCTIONS["torch"]["tensor"](np.asarray(values)).to(dtype)

    return make


def definitions() -> dict[str, Any]:
    """Every operator by name: those of the registry, and views, reductions and scans behind public functions."""
    found = dict(OPERATORS)
    for name, function in REGISTRY.items():
        made = getattr(function, "operator", None)
        if made is not None and made not in found.values():
            found.setdefault(name, made)
    return found


def samples_of(operator: Any, floating: dt.dtype = dt.float32, seed: int = 0) -> list[Sample]:
    """The samples of a definition, with floating-point tensors of the given dtype; none if it brought none."""
    make = maker(seed, floating)
    given = getattr(operator, "samples", None)
    if given is not None:
        return [Sample(tuple(args), dict(kwargs)) for args, kwargs in given(make)]
    if isinstance(operator, PointwiseOperator):
        return [Sample(tuple(args), {}) for args in _pointwise(operator, make)]
    return []


def _pointwise(operator: PointwiseOperator, make: Make) -> list[Sequence[Any]]:
    """Equal shapes, broadcast ones, 0-d, empty, transposed, expanded, with gaps."""
    low, high = operator.domain
    count = len(operator.inputs)

    def draw(*shape: int) -> Any:
        return make(*shape, low=low, high=high, integer=not operator.integers)

    narrower = [(2, 3), (3,), (2, 1), (1, 3), ()]
    samples: list[Sequence[Any]] = [
        [draw(2, 3) for _ in range(count)],
        [draw() for _ in range(count)],
        [draw(0, 3) for _ in range(count)],
        [draw(3, 5).transpose(0, 1) for _ in range(count)],
        [draw(4, 1).expand(4, 6) for _ in range(count)],
        [draw(3, 9)[:, ::2] for _ in range(count)],
    ]
    if count > 1:
        samples.append([draw(*narrower[i % 5]) for i in range(count)])
        samples.append([draw(*narrower[(i + 1) % 5]) for i in range(count)])
    return samples
