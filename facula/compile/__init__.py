"""`compile(step)`: a whole training step, with backward and optimizer inside, as one native call.

The first call runs eagerly, the second is recorded while it runs, the following ones replay the recording after checking
that what it took for granted still holds. What cannot be repeated is said once, in one line, and runs eagerly.
"""

from __future__ import annotations

import ctypes
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

from facula.compile.guards import Guards
from facula.compile.record import Recorder, rebuilt, tensors_in
from facula.core import settings
from facula.core.layout import CPU
from facula.engine.modes import modes
from facula.ops.dispatch import FAULT, take_fault
from facula.runtime.objects import TensorBase, new_tensor

WARM_UP = 1
MOST_PROGRAMS = 8


class Compiled:
    """A step function that replays what it did."""

    def __init__(self, step: Callable[..., Any], verify: int = 0) -> None:
        self.step, self.verify = step, verify
        self.programs: dict[Any, Any] = {}
        self.seen: dict[Any, int] = {}
        self.refused: dict[Any, str] = {}
        self.__name__ = getattr(step, "__name__", type(step).__name__)
        self.__doc__ = step.__doc__
        self.__wrapped__ = step

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {len(self.programs)} recorded>"

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["step"], name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (
            settings.reference
            or modes.recorder is not None
            or modes.interpreters
            or modes.anomaly
            or modes.saved_tensor_hooks
        ):
            return self.step(*args, **kwargs)
        inputs = tensors_in(args) if not kwargs else tensors_in((args, kwargs))
        key = _signature(args, kwargs, inputs)
        program = self.programs.get(key)
        if program is not None:
            ran, result = program.call(inputs)
            if ran:
                return result
            del self.programs[key]
            self.seen[key] = 0
        if key in self.refused:
            return self.step(*args, **kwargs)
        count = self.seen[key] = self.seen.get(key, -1) + 1
        if count < WARM_UP or len(self.programs) >= MOST_PROGRAMS:
            return self.step(*args, **kwargs)
        return self._record(key, args, kwargs, inputs)

    def _record(self, key: Any, args: Any, kwargs: Any, inputs: list[Any]) -> Any:
        recorder = Recorder()
        if len({id(t._storage) for t in inputs}) != len(inputs):
            recorder.refuse("two of its inputs share memory")
        if any(t._requires_grad for t in inputs):
            recorder.refuse("an input requires grad")
        if any(t._layout.device is not CPU for t in inputs):
            recorder.refuse("an input is not on the CPU")
        result = recorder.run(self.step, args, kwargs)
        try:
            if recorder.problem is None:
                self.programs[key] = _Replay(self.step, recorder, inputs, result)
        except _Refused as refused:
            recorder.problem = str(refused)
        if recorder.problem is not None:
            self.refused[key] = recorder.problem
            warnings.warn(f"compile: {self.__name__} runs eagerly, because {recorder.problem}", stacklevel=3)
        return result


class _Refused(Exception):
    pass


def _signature(args: Any, kwargs: Any, inputs: list[Any]) -> Any:
    """What a recording is kept under: layouts of tensors, values of everything else."""
    return tuple([t._layout for t in inputs]), _shape_of(args), _shape_of(kwargs) if kwargs else None


def _shape_of(value: Any) -> Any:
    if isinstance(value, TensorBase):
        return TensorBase
    if isinstance(value, (list, tuple)):
        return (type(value), *[_shape_of(v) for v in value])
    if isinstance(value, dict):
        return tuple([(k, _shape_of(v)) for k, v in value.items()])
    try:
        hash(value)
    except TypeError:
        return id(value)
    return (type(value), value)


class _Replay:
    """One recording with its guards, outputs and gradients."""

    def __init__(self, step: Callable[..., Any], recorder: Recorder, inputs: list[Any], result: Any) -> None:
        from facula.compile.fuse import Range, fuse
        from facula.compile.program import Program

        self.recorder, self.result = recorder, result
        self.outputs = tensors_in(result)
        for out in self.outputs:
            if out._requires_grad and out._node is not None and not _released(out._node):
                raise _Refused(
                    "it returns a tensor that backward() may still be called on (call backward inside, or detach)"
                )
            if out._storage in [t._storage for t in inputs]:
                raise _Refused("it returns one of its inputs")
        self.copies = [out.detach() for out in self.outputs]
        captured = list(recorder.leaves.values())
        self.guards = Guards(step, captured)
        self.gradients: list[tuple[Any, Any]] = []
        words = list(self.guards.words)
        self.leaves = captured
        for leaf in captured:
            self.gradients.append((leaf, leaf._grad))
        self.relevant = [
            (leaf, leaf._grad._data)
            for leaf in captured
            if leaf._grad is not None and leaf._grad._storage in recorder.pinned
        ]
        self.faults = [i.launch.fault for i in recorder.instructions if i.launch.fault is not None]
        self.prepare = recorder.prepare
        self.written = [s for s in (reference() for reference in recorder.written.values()) if s is not None]
        outlive = [*recorder.pinned, *[t._storage for t in inputs]]
        kept = [Range(s.data, s.data + s.nbytes) for s in outlive]
        self.instructions = fuse(recorder.instructions, recorder.extents, kept)
        self.program = Program(self.instructions, inputs, words)
        self.held = [sys.getrefcount(g) for _, g in self.gradients]

    def call(self, inputs: list[Any]) -> tuple[bool, Any]:
        """(whether it ran, its result)."""
        if not self.guards.hold():
            return False, None
        for t in inputs:
            if t._requires_grad:
                return False, None
        if len(inputs) > 1 and len({id(t._storage) for t in inputs}) != len(inputs):
            return False, None
        for position, (leaf, gradient) in enumerate(self.gradients):
            if gradient is not None and sys.getrefcount(gradient) > self.held[position] + 1:
                self._give_away(position)
            del leaf, gradient
        for prepare in self.prepare:
            prepare()
        if not self.program.run(inputs):
            return False, None
        if FAULT[0]:
            raise take_fault(self.faults[0] if len(self.faults) == 1 else _unknown_fault)
        for storage in self.written:
            storage.version += 1
        for leaf, gradient in self.gradients:
            leaf._grad = gradient
        if not self.copies:
            return True, self.result
        fresh = []
        for kept in self.copies:
            out = new_tensor(kept._layout)
            ctypes.memmove(out._data, kept._data, kept._layout.nbytes)
            fresh.append(out)
        return True, rebuilt(self.result, iter(fresh))

    def _give_away(self, position: int) -> None:
        """The user kept a gradient of the last step: it gets memory of its own, and we a tensor of our own."""
        leaf, gradient = self.gradients[position]
        ours = gradient.detach()
        copy = gradient.detach().clone()
        gradient._storage, gradient._data = copy._storage, copy._data
        self.gradients[position] = (leaf, ours)
        if leaf._grad is gradient:
            leaf._grad = ours


def _unknown_fault(value: int, position: int) -> Exception:
    return IndexError(f"index {value} is out of range in a compiled step (run the step without compile to see where)")


def _released(node: Any) -> bool:
    """Whether backward has been through the graph behind a result, so that nobody can differentiate it again."""
    seen, stack = {node}, [node]
    while stack:
        current = stack.pop()
        if current.released:
            return True
        for edge in current.edges:
            if isinstance(edge, tuple) and edge[0] not in seen:
                seen.add(edge[0])
                stack.append(edge[0])
    return False


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None, mode: str | None = None,
    options: Any = None, disable: bool = False, verify: int = 0,
) -> Any:  # fmt: skip
    """Compile a step function (or any function of tensors) into one native call per signature of its inputs.

    Args:
        model: a function; or a Module, whose call is compiled. Without it, gives a decorator.
        verify: check this many replays against an eager run.
        fullgraph, dynamic, backend, mode, options: accepted.
        disable: give the function back unchanged.

    >>> @torch.compile
    ... def step(x, y):
    ...     optimizer.zero_grad()
    ...     loss = loss_fn(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    """
    if model is None:
        return lambda function: compile(function, disable=disable, verify=verify)
    if disable:
        return model
    return Compiled(model, verify)


class _CallableModule(types.ModuleType):
    """`facula.compile` is the function even where this package was imported first and stands under that name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return compile(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
