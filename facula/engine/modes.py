"""What holds for the code that runs now, in this thread: gradients on or off, and who listens to operations.

Everything here is per thread. `interpreters` is the stack of modes (recorders, transforms) that see each operator call
before it runs; it is empty in ordinary eager work.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from facula.core import settings


class Modes(threading.local):
    """The state of one thread; class attributes are what a fresh thread starts with."""

    grad_enabled = True
    inference = False
    interpreters: tuple[Any, ...] = ()
    recorder: Any = None
    saved_tensor_hooks: tuple[tuple[Callable[[Any], Any], Callable[[Any], Any]], ...] = ()
    anomaly = False
    anomaly_check_nan = True

    def announce(self) -> None:
        """To be called after any of these but `grad_enabled` was set: native code stays away while somebody listens."""


modes = Modes()


class NativeModes(Modes):
    """The same, with what native code must know in one word: whether to record, and whether to stay away.

    The word speaks for one thread, the one that imported facula; in others native code always stays away.
    """

    def announce(self) -> None:
        if threading.get_ident() == _owner:
            listening = self.interpreters or self.recorder is not None or self.saved_tensor_hooks or self.anomaly
            word = native.STATE[native.S_MODE] & ~native.MODE_SLOW
            native.STATE[native.S_MODE] = word | native.MODE_SLOW if listening else word


_owner = threading.get_ident()
if not settings.reference:
    from facula.runtime import native, objects  # noqa: F401  (objects installs the native types)

    _elsewhere = threading.local()
    NativeModes.grad_enabled = native.mode_property(
        lambda modes: getattr(_elsewhere, "grad_enabled", True),
        lambda modes, value: setattr(_elsewhere, "grad_enabled", value),
    )
    modes = NativeModes()


def is_grad_enabled() -> bool:
    """Whether operations are recorded for backward in this thread."""
    return modes.grad_enabled


class _Decorator:
    """A context manager that also decorates functions (a fresh one is entered at each call) and generators."""

    def clone(self) -> Any:
        return type(self)()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        import inspect

        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                running = function(*args, **kwargs)
                resume = functools.partial(running.send, None)
                while True:
                    with self.clone():
                        try:
                            item = resume()
                        except StopIteration as stop:
                            return stop.value
                    try:
                        resume = functools.partial(running.send, (yield item))
                    except GeneratorExit:
                        with self.clone():
                            running.close()
                        raise
                    except BaseException as error:
                        resume = functools.partial(running.throw, error)

            return generator

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return inside


class _GradMode(_Decorator):
    enabled = True

    def __enter__(self) -> None:
        self.previous = modes.grad_enabled
        modes.grad_enabled = self.enabled

    def __exit__(self, *exc: object) -> None:
        modes.grad_enabled = self.previous


class no_grad(_GradMode):
    """Operations inside are not recorded: `with torch.no_grad():`, or `@torch.no_grad()` on a function."""

    enabled = False

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class enable_grad(_GradMode):
    """Operations inside are recorded, also within `no_grad`."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        self = super().__new__(cls)
        return self if function is None else self(function)


class set_grad_enabled(_Decorator):
    """Recording on or off: at once when called, until the end of the block when used with `with`."""

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self.previous = modes.grad_enabled
        modes.grad_enabled = self.mode

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        modes.grad_enabled = self.previous
        return super().__call__(function)

    def __enter__(self) -> None:
        modes.grad_enabled = self.mode

    def __exit__(self, *exc: object) -> None:
        modes.grad_enabled = self.previous

    def clone(self) -> set_grad_enabled:
        return set_grad_enabled(self.mode)


class inference_mode(_Decorator):
    """Like `no_grad`; tensors made inside never take part in autograd."""

    def __new__(cls, mode: Any = True) -> Any:
        self = super().__new__(cls)
        if callable(mode) and not isinstance(mode, bool):
            self.mode = True
            return self(mode)
        return self

    def __init__(self, mode: bool = True) -> None:
        self.mode = bool(mode)

    def __enter__(self) -> None:
        self.previous = modes.grad_enabled, modes.inference
        modes.inference = self.mode
        if self.mode:
            modes.grad_enabled = False

    def __exit__(self, *exc: object) -> None:
        modes.grad_enabled, modes.inference = self.previous

    def clone(self) -> inference_mode:
        return inference_mode(self.mode)


def is_inference_mode_enabled() -> bool:
    """Whether `inference_mode` is on in this thread."""
    return modes.inference
