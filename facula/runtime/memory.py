"""Memory of the CPU: blocks of size classes, kept and reused.

Reuse matters more than any kernel: fresh pages cost several times the arithmetic done on them. Blocks are 64-byte
aligned; large ones are mapped with huge pages. What is kept is bounded, and `trim` gives it back to the system.
"""

from __future__ import annotations

import ctypes
import sys

ALIGNMENT = 64
LARGE = 1 << 20
CACHE_LIMIT = 4 << 30

_libc = ctypes.CDLL(None) if sys.platform != "win32" else ctypes.cdll.msvcrt
_free: dict[int, list[int]] = {}
_statistics = {"allocated": 0, "reserved": 0, "cached": 0, "peak": 0, "system_calls": 0}

if sys.platform != "win32":
    _libc.aligned_alloc.restype = ctypes.c_void_p
    _libc.aligned_alloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    _libc.free.argtypes = [ctypes.c_void_p]
    _libc.free.restype = None


def size_class(nbytes: int) -> int:
    """The size of the block that holds `nbytes`: multiples of 64 up to 4 KB, then eight classes an octave."""
    if nbytes <= 4096:
        return max(64, (nbytes + 63) & ~63)
    step = 1 << (nbytes.bit_length() - 4)
    return (nbytes + step - 1) & -step


def allocate(block: int) -> int:
    """The address of a block of a size class, from the free list where it has one."""
    free = _free.get(block)
    if free:
        _statistics["cached"] -= block
        address = free.pop()
    else:
        address = _from_system(block)
        _statistics["reserved"] += block
    _statistics["allocated"] += block
    if _statistics["allocated"] > _statistics["peak"]:
        _statistics["peak"] = _statistics["allocated"]
    return address


def release(address: int, block: int) -> None:
    """Give a block back to its free list."""
    _statistics["allocated"] -= block
    if _statistics["cached"] + block > CACHE_LIMIT:
        _to_system(address, block)
        _statistics["reserved"] -= block
        return
    _statistics["cached"] += block
    free = _free.get(block)
    if free is None:
        _free[block] = [address]
    else:
        free.append(address)


def trim() -> int:
    """Return every unused block to the system; how many bytes that was."""
    returned = 0
    for block, addresses in list(_free.items()):
        while addresses:
            _to_system(addresses.pop(), block)
            returned += block
    _statistics["cached"] -= returned
    _statistics["reserved"] -= returned
    return returned


def statistics() -> dict[str, int]:
    """Bytes: allocated (in use), reserved (taken from the system), cached (kept for reuse), peak (of allocated)."""
    return dict(_statistics)


def reset_peak() -> None:
    """Start measuring the peak anew."""
    _statistics["peak"] = _statistics["allocated"]


def _from_system(block: int) -> int:
    _statistics["system_calls"] += 1
    alignment = ALIGNMENT
    if block >= 2 * LARGE:
        alignment = 2 << 20
    address = _libc.aligned_alloc(alignment, (block + alignment - 1) // alignment * alignment)
    if not address:
        trim()
        address = _libc.aligned_alloc(alignment, (block + alignment - 1) // alignment * alignment)
    if not address:
        raise RuntimeError(
            f"[enforce fail] not enough memory: you tried to allocate {block} bytes "
            f"({_statistics['allocated']} are in use by tensors)"
        )
    if alignment > ALIGNMENT and hasattr(_libc, "madvise"):
        _libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(block), 14)  # MADV_HUGEPAGE
    return int(address)


def _to_system(address: int, block: int) -> None:
    _libc.free(address)
