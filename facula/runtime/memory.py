"""Memory of the CPU: blocks of size classes, kept and reused.

Reuse matters more than any kernel: fresh pages cost several times the arithmetic done on them. Blocks are 64-byte
aligned; large ones are mapped with huge pages. What is kept is bounded, and `trim` gives it back to the system.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

from facula.core import settings

ALIGNMENT = 64
LARGE = 1 << 20
CACHE_LIMIT = 4 << 30
LARGEST = 1 << 62

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
    if nbytes > LARGEST:
        raise RuntimeError(f"Storage size calculation overflowed: no memory holds {nbytes} bytes")
    step = 1 << (nbytes.bit_length() - 4)
    return (nbytes + step - 1) & -step


_bins: dict[int, int] = {}
_kept: list[Any] = []


def bin_address(nbytes: int) -> int:
    """The address of the native allocator's bin for blocks that hold `nbytes`: [first free block, size of its blocks]."""
    block = size_class(nbytes)
    found = _bins.get(block)
    if found is None:
        record = (ctypes.c_int64 * 2)(0, block)
        _kept.append(record)
        found = _bins[block] = ctypes.addressof(record)
    return found


def take(bin: int) -> int:
    """A block of a bin, by the native allocator; RuntimeError if the system has no memory left."""
    global _take
    if _take is None:
        from facula.runtime.native import take_block

        _take = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(take_block.address())
    address = int(_take(bin))
    if not address:
        trim()
        address = int(_take(bin))
    if not address:
        block = ctypes.c_int64.from_address(bin + 8).value
        raise RuntimeError(
            f"[enforce fail] not enough memory: you tried to allocate {block} bytes ({statistics()['allocated']} are in use by tensors)"
        )
    return address


def swap_bins(contents: dict[int, int]) -> dict[int, int]:
    """Give the native bins other free blocks (block size -> first block) and get the ones they had.

    A recording works on bins of its own, so that the blocks it frees stay with it.
    """
    before = {}
    for block, address in _bins.items():
        record = (ctypes.c_int64 * 2).from_address(address)
        if record[0]:
            before[block] = record[0]
        record[0] = contents.get(block, 0)
    return before


_take: Any = None


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
    if not settings.reference:
        return _trim_bins()
    returned = 0
    for block, addresses in list(_free.items()):
        while addresses:
            _to_system(addresses.pop(), block)
            returned += block
    _statistics["cached"] -= returned
    _statistics["reserved"] -= returned
    return returned


def _trim_bins() -> int:
    from facula.runtime import native

    if native.STATE[native.S_MODE] & native.MODE_SLOW:
        return 0  # a recording may be running: the free blocks are its own
    returned = 0
    for block, address in _bins.items():
        record = (ctypes.c_int64 * 2).from_address(address)
        head = record[0]
        record[0] = 0
        while head:
            following = ctypes.c_int64.from_address(head).value
            _to_system(head, block)
            head, returned = following, returned + block
    native.STATE[native.S_CACHED] -= returned
    native.STATE[native.S_RESERVED] -= returned
    return returned


def statistics() -> dict[str, int]:
    """Bytes: allocated (in use), reserved (taken from the system), cached (kept for reuse), peak (of allocated)."""
    if not settings.reference:
        from facula.runtime import native as n

        fields = {
            "allocated": n.S_ALLOCATED,
            "reserved": n.S_RESERVED,
            "cached": n.S_CACHED,
            "peak": n.S_PEAK,
            "system_calls": n.S_SYSTEM,
        }
        return {name: n.STATE[at] for name, at in fields.items()}
    return dict(_statistics)


def reset_peak() -> None:
    """Start measuring the peak anew."""
    if not settings.reference:
        from facula.runtime import native as n

        n.STATE[n.S_PEAK] = n.STATE[n.S_ALLOCATED]
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
