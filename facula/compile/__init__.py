"""`compile(step)`: a whole training step, with backward and optimizer inside, as one native call.

The first call runs eagerly, the second is recorded while it runs, the following ones replay the recording after checking
that what it took for granted still holds. What cannot be repeated is said once, in one line, and runs eagerly.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

from facula.compile.guards import Guards
from facula.compile.record import Busy, Recorder, tensors_in
from facula.compile.replay import Refused, Replay
from facula.core import settings
from facula.core.layout import CPU
from facula.core.lazy import call_module
from facula.engine.modes import modes
from facula.runtime.objects import TensorBase

WARM_UP = 1
MOST_PROGRAMS = 16
MOST_VARIANTS = 4
MOST_RECORDINGS = 16


class Compiled:
    """A step function that replays what it did."""

    def __init__(self, step: Callable[..., Any], verify: int = 0) -> None:
        self.step, self.verify = step, verify
        self.programs: dict[Any, list[Replay]] = {}
        self.seen: dict[Any, int] = {}
        self.recordings: dict[Any, int] = {}
        self.refused: dict[Any, str] = {}
        self.__name__ = getattr(step, "__name__", type(step).__name__)
        self.__doc__ = step.__doc__
        self.__wrapped__ = step

    def __repr__(self) -> str:
        return f"<compiled {self.__name__}: {len(self.programs)} recorded>"

    @property
    def launches(self) -> list[tuple[int, int]]:
        """For each recording: how many kernels the step launched, and how many are left after fusion."""
        return [program.launches for programs in self.programs.values() for program in programs]

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
        programs = self.programs.get(key)
        if programs is not None:
            for program in programs:
                if program.verified < self.verify:
                    ran, result = program.verify(self.step, args, kwargs, inputs)
                else:
                    ran, result = program.call(inputs)
                if ran:
                    return result
        if key in self.refused:
            return self.step(*args, **kwargs)
        count = self.seen[key] = self.seen.get(key, -1) + 1
        if count < WARM_UP or (programs is None and len(self.programs) >= MOST_PROGRAMS):
            return self.step(*args, **kwargs)
        return self._record(key, args, kwargs, inputs)

    def _record(self, key: Any, args: Any, kwargs: Any, inputs: list[Any]) -> Any:
        self.seen[key] = -1  # what is not served by this recording runs eagerly once before it is recorded
        recorder, guards = Recorder(), Guards(self.step)
        count = self.recordings[key] = self.recordings.get(key, 0) + 1
        if count > MOST_RECORDINGS:
            recorder.refuse("what it takes for granted changes again and again")
        if len({id(t._storage) for t in inputs}) != len(inputs):
            recorder.refuse("two of its inputs share memory")
        if any(t._requires_grad for t in inputs):
            recorder.refuse("an input requires grad")
        if any(t._layout.device is not CPU for t in inputs):
            recorder.refuse("an input is not on the CPU")
        if recorder.problem is not None:
            result = self.step(*args, **kwargs)
        else:
            try:
                result = recorder.run(self.step, args, kwargs)
            except Busy:
                return self.step(*args, **kwargs)
            try:
                if recorder.problem is None:
                    program = Replay(recorder, guards, inputs, result)
                    self._keep(key, program)
                    return program.results()
            except Refused as refused:
                recorder.problem = f"{refused}, in {_place(self.step)}"
            recorder.discard()
        self.refused[key] = recorder.problem or ""
        warnings.warn(f"compile: {self.__name__} runs eagerly, because {recorder.problem}", stacklevel=3)
        return result

    def _keep(self, key: Any, program: Replay) -> None:
        programs = self.programs.setdefault(key, [])
        if len(programs) >= MOST_VARIANTS:
            programs.pop(0)
        programs.append(program)


def _place(step: Any) -> str:
    code = getattr(getattr(step, "__func__", step), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else type(step).__name__


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


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None, mode: str | None = None,
    options: Any = None, disable: bool = False, verify: int = 0,
) -> Any:  # fmt: skip
    """Compile a step function (or any function of tensors) into one native call per signature of its inputs.

    Args:
        model: a function; or a Module, whose call is compiled. Without it, gives a decorator.
        verify: run this many replays a second time eagerly, on copies of everything they change, and raise RuntimeError
            if anything differs.
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


call_module(__name__, "compile")
