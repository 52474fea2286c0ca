"""The level of PyTorch's API that this package offers, as a version that compares the way PyTorch's does."""

from __future__ import annotations

__all__ = ["API_LEVEL", "TorchVersion"]


def _release(version: object) -> tuple[int, ...]:
    """The leading numbers of a version: "2.13.0+cpu" and (2, 13, 0) are both (2, 13, 0); trailing zeros are dropped."""
    parts = version.split("+")[0].split(".") if isinstance(version, str) else list(version)  # type: ignore[call-overload]
    numbers = []
    for part in parts:
        if not str(part).isdigit():
            break
        numbers.append(int(part))
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


class TorchVersion(str):
    """A version string that is ordered by its numbers, against strings and against tuples of numbers.

    >>> TorchVersion("2.13.0") > "2.4"
    True
    >>> TorchVersion("2.13.0") >= (2, 13)
    True
    """

    __slots__ = ()

    def _compare(self, other: object, operation: str) -> bool:
        if not isinstance(other, (str, tuple, list)):
            return NotImplemented
        return bool(getattr(_release(str(self)), operation)(_release(other)))

    def __lt__(self, other: object) -> bool:
        return self._compare(other, "__lt__")

    def __le__(self, other: object) -> bool:
        return self._compare(other, "__le__")

    def __gt__(self, other: object) -> bool:
        return self._compare(other, "__gt__")

    def __ge__(self, other: object) -> bool:
        return self._compare(other, "__ge__")

    def __eq__(self, other: object) -> bool:
        return self._compare(other, "__eq__")

    def __ne__(self, other: object) -> bool:
        return self._compare(other, "__ne__")

    __hash__ = str.__hash__


API_LEVEL = TorchVersion("2.13.0")
