"""`facula cache`: where the compiled kernels are kept, how many, how large; and their removal.

Comes in: nothing, or `--clear`. Goes out: one line.
"""

from __future__ import annotations

import argparse

from . import CommandError
from .info import format_bytes

__all__ = ["cache"]


def cache(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="facula cache",
        description="The compiled kernels kept on disk. FACULA_CACHE_DIR sets another folder.",
    )
    parser.add_argument("--clear", action="store_true", help="remove them; they are compiled again when needed")
    wanted = parser.parse_args(arguments)

    from ..kernel import cache as kernels

    objects, size = kernels.statistics()
    if not wanted.clear:
        print(f"{kernels.folder()}: {objects} objects, {format_bytes(size)}")
        return 0
    kernels.clear()
    left, _ = kernels.statistics()
    if left:
        raise CommandError(f"{left} of {objects} objects in {kernels.folder()} could not be removed", status=1)
    print(f"{kernels.folder()}: {objects} objects removed, {format_bytes(size)}")
    return 0
