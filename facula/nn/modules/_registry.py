"""The dictionaries in which a module keeps its parameters, buffers and submodules.

They are ordinary dictionaries to everybody who reads them. Whoever writes into one, through whatever path, also
updates a mirror of the
entry in the owning module's `__dict__`, so that reading `module.weight` is a plain attribute lookup instead of a
failed one followed by
`__getattr__`. The dictionary is the truth; the mirror only makes reading it cheap.

In: names and values. Out: the same, twice. It must never know what a parameter, a buffer or a module is.
"""

from __future__ import annotations

from typing import Any
from weakref import ref

_ABSENT = object()


class Registry(dict):
    """A dictionary whose entries are mirrored into the `__dict__` of the objects that own it.

    Owners are held weakly: a module must not be part of a reference cycle, or deleting a model would leave its memory
    to the cyclic
    collector. There is usually one owner; `copy.copy(module)` shares the dictionary and makes a second.
    """

    __slots__ = ("_owners",)

    def __init__(self, owner: Any, entries: dict[str, Any] | None = None) -> None:
        self._owners: tuple[Any, ...] = (ref(owner),)
        if entries:
            self.update(entries)

    def attach(self, owner: Any) -> None:
        """Mirror every entry into `owner` from now on."""
        self._owners = (*(known for known in self._owners if known() not in (None, owner)), ref(owner))
        for name, value in self.items():
            _write(owner, name, value)

    def detach(self, owner: Any) -> None:
        """Stop mirroring into `owner` and take the mirrored entries back."""
        self._owners = tuple(known for known in self._owners if known() not in (None, owner))
        for name, value in self.items():
            _erase(owner, name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        dict.__setitem__(self, name, value)
        for known in self._owners:
            owner = known()
            if owner is not None:
                _write(owner, name, value)

    def __delitem__(self, name: str) -> None:
        value = dict.pop(self, name)
        for known in self._owners:
            owner = known()
            if owner is not None:
                _erase(owner, name, value)

    def pop(self, name: str, *default: Any) -> Any:
        if name in self or not default:
            value = self[name]
            del self[name]
            return value
        return dict.pop(self, name, *default)

    def popitem(self) -> tuple[str, Any]:
        if not self:
            return dict.popitem(self)
        name = next(reversed(self))
        return name, self.pop(name)

    def clear(self) -> None:
        for name in tuple(self):
            del self[name]

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *args: Any, **kwargs: Any) -> None:
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def __ior__(self, other: Any) -> Registry:  # type: ignore[override, misc]
        self.update(other)
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # Copies and pickles are plain dictionaries: they have no owner until a module takes them in.
        return dict, (), None, None, iter(self.items())

    def __copy__(self) -> dict[str, Any]:
        return dict(self)


def _write(owner: Any, name: str, value: Any) -> None:
    # A class attribute of the same name has always won over a registered entry, and numbered children ("0", "1") are
    # never read as
    # attributes: neither is mirrored.
    if name.isidentifier() and not hasattr(type(owner), name):
        owner.__dict__[name] = value


def _erase(owner: Any, name: str, value: Any) -> None:
    mirror = owner.__dict__
    if mirror.get(name, _ABSENT) is value:
        del mirror[name]


def typename(value: Any) -> str:
    """The name of a value's type as error messages spell it.

    >>> typename(3)
    'int'
    """
    kind = value if isinstance(value, type) else type(value)
    if not isinstance(value, type) and callable(getattr(value, "type", None)) and hasattr(value, "layout"):
        return str(value.type())
    module = kind.__module__
    if module in ("builtins", "__builtin__", None, ""):
        return kind.__qualname__
    if module == "facula" or module.startswith("facula."):
        module = "torch" + module[len("facula") :]
    return f"{module}.{kind.__qualname__}"
