"""Random programs of pointwise operations, views and in-place changes over a few storages: compiled as eager."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import facula
from facula.core import settings

pytestmark = pytest.mark.skipif(settings.reference, reason="the reference mode compiles nothing")
LENGTH = 12


def view_of(t: Any, dice: random.Random) -> Any:
    """A part of a vector of LENGTH elements: four elements, anywhere, in any order of strides."""
    kind = dice.randrange(4)
    if kind == 0:
        start = dice.randrange(LENGTH - 4)
        return lambda v: v[start : start + 4]
    if kind == 1:
        start = dice.randrange(3)
        return lambda v: v[start : start + 8 : 2]
    if kind == 2:
        column = dice.randrange(3)
        return lambda v: v.view(4, 3)[:, column]
    return lambda v: v.as_strided((4,), (2,), 3)


def program(seed: int) -> Callable[[list[Any], Any], Any]:
    """A step over state vectors (changed in place) and an input, made of a list of instructions."""
    dice = random.Random(seed)
    lines: list[Callable[[list[Any], list[Any]], None]] = []
    for _ in range(dice.randrange(3, 14)):
        kind = dice.randrange(9)
        a, b = dice.randrange(1 << 16), dice.randrange(1 << 16)
        first, second = view_of(None, dice), view_of(None, dice)
        factor = dice.choice([0.5, -1.0, 1.25])

        def line(state: list[Any], values: list[Any], kind: int = kind, a: int = a, b: int = b, first: Any = first, second: Any = second,
                 factor: float = factor) -> None:  # fmt: skip
            s, t = state[a % len(state)], state[b % len(state)]
            x, y = values[a % len(values)], values[b % len(values)]
            if kind == 0:
                values.append(x * factor + y)
            elif kind == 1:
                values.append(first(s).tanh() - y)
            elif kind == 2:
                first(s).mul_(factor)
            elif kind == 3:
                first(s).add_(x)
            elif kind == 4:
                first(s).copy_(second(t).clone())
            elif kind == 5:
                values.append(first(s))
            elif kind == 6:
                x.add_(y)
            elif kind == 7:
                first(s)[1:].copy_(y[:3] * factor)
            else:
                values.append(first(s).clone().sub_(second(t)))

        lines.append(line)

    def step(state: list[Any], x: Any) -> Any:
        values = [x * 1.0, x[:4].clone()]
        values[0] = values[0][:4]
        for line in lines:
            line(state, values)
        return [v.clone() for v in values]

    return step


@pytest.mark.parametrize("block", range(6))
def test_overlapping_views(block: int) -> None:
    compared = 0
    for seed in range(block * 40, block * 40 + 40):
        step = program(seed)
        facula.manual_seed(seed)
        base = facula.randn(3 * LENGTH)
        worlds = []
        for _ in range(2):
            own = base.clone()
            # The second and the third vector share memory with the first.
            worlds.append([own[:LENGTH], own[4 : 4 + LENGTH], own[LENGTH - 2 : 2 * LENGTH - 2]])
        compiled = facula.compile(lambda x, state=worlds[1], step=step: step(state, x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for call in range(5):
                x = facula.full((6,), 0.25 * call)
                expected = outcome(step, worlds[0], x.clone())
                found = outcome(compiled, x)
                assert found == expected, (seed, call)
                assert worlds[0][0].tolist() == worlds[1][0].tolist(), (seed, call)
                assert worlds[0][2].tolist() == worlds[1][2].tolist(), (seed, call)
        compared += len(compiled.programs)
    assert compared > 20


def outcome(call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return [v.tolist() for v in call(*arguments)]
    except RuntimeError as error:
        return str(error)[:40]
