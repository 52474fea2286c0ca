"""Carrying an exception from a worker process to the loader's process.

Comes in: the exception being handled. Goes out: one of the same type, whose message holds the worker's traceback. This
module must never know processes.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import NoReturn

    ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]


class KeyErrorMessage(str):
    """A message that is its own `repr`: KeyError shows the `repr` of its argument, where line breaks would be
    escaped."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An exception as text and type, which can be pickled when the exception can't.

    Args:
        exc_info: as from `sys.exc_info()`; the exception being handled if left out.
        where: ends the phrase "Caught ValueError ...".
    """

    def __init__(self, exc_info: ExcInfo | None = None, where: str = "in background") -> None:
        from traceback import format_exception

        kind, value, trace = exc_info or sys.exc_info()
        self.exc_type = kind
        # The text only: keeping the traceback would keep every frame's variables.
        self.exc_msg = "".join(format_exception(kind, value, trace))
        self.where = where

    def reraise(self) -> NoReturn:
        """Raise an exception of the wrapped type; RuntimeError if the type can't be made from a message."""
        kind = self.exc_type
        message: str = f"Caught {kind.__name__} {self.where}.\nOriginal {self.exc_msg}"  # type: ignore[union-attr]
        if kind is KeyError:
            message = KeyErrorMessage(message)
        elif getattr(kind, "message", None):
            raise kind(message=message)  # type: ignore[misc, call-arg]
        try:
            error = kind(message)  # type: ignore[misc]
        except Exception:
            raise RuntimeError(message) from None
        raise error
