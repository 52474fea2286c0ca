"""The order of bytes that `load` assumes in files that don't state theirs.

Nothing comes in; the enumeration goes out. A module of its own because `enum` is slow to import and nobody needs this.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["LoadEndianness"]


class LoadEndianness(Enum):
    """Native, little or big endian."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3
