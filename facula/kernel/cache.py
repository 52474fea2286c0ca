"""Compiled objects on disk, shared by processes.

One file per kernel, named by a digest of everything that its machine code depends on. A file is written under a
temporary name and renamed, and carries its own length and checksum: a reader sees a whole object or none. A folder
that cannot be written costs speed, never correctness.
"""

from __future__ import annotations

import hashlib
import os
import sys
import warnings
from pathlib import Path

_MAGIC = b"facula\x01\n"
_warned = False


def folder() -> Path:
    """Where objects are kept: FACULA_CACHE_DIR, else the user's cache folder."""
    chosen = os.environ.get("FACULA_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "facula"


def _path(key: str) -> str:
    return os.path.join(folder(), key[:2], key + ".o")


def load(key: str) -> bytes | None:
    """The object kept under `key`; None if there is none or it is damaged."""
    try:
        with open(_path(key), "rb") as file:
            content = file.read()
    except OSError:
        return None
    header = len(_MAGIC) + 16
    if content[: len(_MAGIC)] != _MAGIC or len(content) <= header:
        return None
    body = content[header:]
    if hashlib.blake2b(body, digest_size=16).digest() != content[len(_MAGIC) : header]:
        return None
    return body


def save(key: str, body: bytes) -> None:
    """Keep an object. A full disk or a folder that cannot be written is reported once and otherwise ignored."""
    global _warned
    path = _path(key)
    temporary = f"{path}.{os.getpid()}.{id(body):x}.tmp"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(_MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body)
        os.replace(temporary, path)
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        if not _warned:
            _warned = True
            warnings.warn(
                f"the kernel cache {folder()} cannot be written ({error.strerror or error}): kernels will be compiled "
                "again by the next program. Set FACULA_CACHE_DIR to a folder that can be written.",
                RuntimeWarning,
                stacklevel=2,
            )


def statistics() -> tuple[int, int]:
    """(number of objects, their bytes)."""
    count = size = 0
    for path in folder().glob("*/*.o"):
        try:
            size += path.stat().st_size
            count += 1
        except OSError:
            continue
    return count, size


def clear() -> int:
    """Remove every object; how many there were."""
    count = 0
    for path in folder().glob("*/*.o*"):
        try:
            path.unlink()
            count += 1
        except OSError:
            continue
    return count
