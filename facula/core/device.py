"""Devices by name: where a tensor's memory lies.

A `device` is a type (`'cpu'`, `'meta'`, `'cuda'`, ...) and an optional index. Instances are interned, so identity is
equality. The module also holds the default device of new tensors, one per thread, since `with torch.device("meta"):`
is how PyTorch sets it for a block.

Comes in: strings and ints. This module must never know what a device can do: that is a row of functions in
`facula.runtime`, found by the device's type.
"""

from __future__ import annotations

from _thread import _local
from typing import TYPE_CHECKING

from facula.core import errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, NoReturn

# PyTorch's list, in its order: messages print it, and a program may name a device that this machine lacks.
# fmt: off
DEVICE_TYPES = (
    "cpu", "cuda", "ipu", "xpu", "mkldnn", "opengl", "opencl", "ideep", "hip", "ve", "fpga", "maia", "xla", "lazy",
    "vulkan", "mps", "meta", "hpu", "mtia", "privateuseone",
)
# fmt: on


class device:
    """A device: `device("cpu")`, `device("cuda:1")`, `device("cuda", 1)`, `device(another)`.

    Attributes:
        type: the part before the colon.
        index: the part after it, or None for the current device of that type.

    RuntimeError for an unknown type or a malformed string; TypeError for other arguments. As a context manager, and as
    a decorator, it is the default device of tensors created inside.

    >>> device("cuda:1")
    device(type='cuda', index=1)
    >>> device("cuda", 1) is device("cuda:1")
    True
    """

    __slots__ = ("__weakref__", "index", "type")

    type: str
    index: int | None

    _interned: ClassVar[dict[tuple[str, int | None], device]] = {}

    def __new__(cls, *args: Any, **kwargs: Any) -> device:
        if len(args) == 1 and not kwargs:
            given = args[0]
            if given.__class__ is device:
                return given
        name, index = _read_arguments(args, kwargs)
        found = cls._interned.get((name, index))
        if found is None:
            found = object.__new__(cls)
            object.__setattr__(found, "type", name)
            object.__setattr__(found, "index", index)
            # setdefault, so that two threads that race here end up with one object.
            found = cls._interned.setdefault((name, index), found)
        return found

    def __init_subclass__(cls) -> NoReturn:
        raise TypeError("type 'torch.device' is not an acceptable base type")

    def __setattr__(self, attribute: str, value: object) -> NoReturn:
        if attribute in ("type", "index"):
            raise AttributeError(f"attribute '{attribute}' of 'torch.device' objects is not writable")
        raise AttributeError(f"'torch.device' object has no attribute '{attribute}'")

    def __repr__(self) -> str:
        if self.index is None:
            return f"device(type='{self.type}')"
        return f"device(type='{self.type}', index={self.index})"

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __reduce__(self) -> tuple[object, ...]:
        return (device, (str(self),))

    def __enter__(self) -> device:
        _defaults().append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        _defaults().pop()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        from functools import wraps

        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return inside


def _read_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, int | None]:
    """The type and index that a call of `device` names."""
    given = dict(zip(("type", "index"), args, strict=False))
    if kwargs.keys() == {"device"} and not args:
        given["type"] = kwargs["device"]
    else:
        given.update(kwargs)
    if len(args) > 2 or "type" not in given or given.keys() - {"type", "index"}:
        raise _invalid_arguments(args, kwargs)
    name, index = given["type"], given.get("index")
    if len(given) == 1:
        if isinstance(name, device):
            return name.type, name.index
        if type(name) is int and args:
            if name < 0:
                raise RuntimeError("Device index must not be negative")
            raise RuntimeError("Cannot access accelerator device when none is available.")
    if not isinstance(name, str):
        raise _invalid_arguments(args, kwargs)
    if index is not None and (not isinstance(index, int) or isinstance(index, bool)):
        raise errors.wrong_type("device", "index", 2, "int", index)
    parsed, own_index = _parse(name)
    if index is None and (own_index is None or "type" not in kwargs):
        return parsed, own_index
    if own_index is not None:
        raise RuntimeError(f"type (string) must not include an index because index was passed explicitly: {name}")
    if index is not None and index < 0:
        raise RuntimeError("Device index must not be negative")
    return parsed, index


def _parse(text: str) -> tuple[str, int | None]:
    if not text:
        raise RuntimeError("Device string must not be empty")
    name, colon, digits = text.partition(":")
    well_formed = digits.isascii() and digits.isdigit() and (digits == "0" or digits[0] != "0")
    if not name or (colon and not well_formed):
        raise RuntimeError(f"Invalid device string: '{text}'")
    if name not in DEVICE_TYPES:
        raise RuntimeError(f"Expected one of {', '.join(DEVICE_TYPES)} device type at start of device string: {name}")
    return name, int(digits) if colon else None


def _invalid_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    got = [value.__class__.__name__ for value in args]
    got += [f"{name}={value.__class__.__name__}" for name, value in kwargs.items()]
    return TypeError(
        f"device() received an invalid combination of arguments - got ({', '.join(got)}), but expected one of:\n"
        " * (torch.device device)\n * (str type, int index = -1)\n"
    )


CPU = device("cpu")
META = device("meta")

_per_thread = _local()


def _defaults() -> list[device]:
    """This thread's stack of default devices: the base one, then one for each `with device(...)` entered."""
    stack: list[device] | None = getattr(_per_thread, "stack", None)
    if stack is None:
        stack = _per_thread.stack = [CPU]
    return stack


def get_default_device() -> device:
    """The device of new tensors without `device=`: that of the innermost `with device(...)`, else cpu or as set."""
    return _defaults()[-1]


def set_default_device(new: device | str | None) -> None:
    """Make `new` (None means cpu) this thread's default device.

    >>> set_default_device("meta"); get_default_device()
    device(type='meta')
    >>> set_default_device(None)
    """
    _defaults()[0] = CPU if new is None else device(new)
