"""The workloads by group. Each is a function that sets the scene and returns a statement and the names it uses.

A workload's module is an ordinary torch program, imported only in a worker, where `torch` is PyTorch's or facula's. A
statement, rather than a function, is timed, so that the loop around a 0.1 us operation costs
next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["GROUPS", "Scene", "Workload", "load", "workload"]

Scene = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Workload:
    """One thing to time: `make()` returns the statement and its names."""

    name: str
    make: Callable[..., Scene]
    arguments: tuple[Any, ...] = ()

    def scene(self) -> Scene:
        return self.make(*self.arguments)


# In the order of the report. "compiled" are the same steps as "eager", put through facula's compile().
GROUPS = {
    "dispatch": "benchmarks.workloads.dispatch",
    "kernels": "benchmarks.workloads.kernels",
    "eager": "benchmarks.workloads.steps",
    "compiled": "benchmarks.workloads.steps",
}

_found: dict[str, list[Workload]] = {}


def workload(*cases: str | tuple[Any, ...]) -> Callable[[Callable[..., Scene]], Callable[..., Scene]]:
    """Register a function as workloads: each case is a name, or a name and the arguments that make it."""

    def register(make: Callable[..., Scene]) -> Callable[..., Scene]:
        for case in cases:
            name, *arguments = (case,) if isinstance(case, str) else case
            _found.setdefault(make.__module__, []).append(Workload(name, make, tuple(arguments)))
        return make

    return register


def load(group: str) -> list[Workload]:
    """The workloads of a group, in the order in which they are written. Imports torch."""
    import_module(GROUPS[group])
    return _found[GROUPS[group]]
