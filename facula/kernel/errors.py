"""What goes wrong while a kernel is compiled: said with the file and line of the kernel's own source."""

from __future__ import annotations


class KernelError(Exception):
    """A kernel that is not well typed or uses what the language does not have."""

    def __init__(self, message: str, where: str | None = None) -> None:
        self.message, self.where = message, where
        super().__init__(f"{where}: {message}" if where else message)

    def at(self, where: str) -> KernelError:
        """The same error with its place, unless an inner place is already known."""
        return self if self.where else KernelError(self.message, where)
