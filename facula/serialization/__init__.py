"""`torch.save` and `torch.load`: checkpoints in PyTorch's own format, in both directions.

Comes in: objects, or files of anybody's. Goes out: files that PyTorch loads, or objects. Loading never runs code from a
file, whatever the arguments. The parts are imported by the first call: `archive` (the zip container), `writing`,
`interpreter` and `names` (pickles without running them), `rebuild` (tensors), `reading`, `legacy`, `locations`
(devices). This module must never know any of their details.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import IO, Any

    FileLike = str | os.PathLike[str] | IO[bytes]

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "register_package",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
]

DEFAULT_PROTOCOL = 2
_MAP_SHARED, _MAP_PRIVATE = 1, 2

_checksums = True
_mmap_flags = _MAP_PRIVATE
_load_endianness: Any = None


def save(
    obj: object,
    f: FileLike,
    pickle_module: ModuleType | None = None,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Write `obj` to a file that `load`, here or in PyTorch, brings back.

    A file given by its path appears complete or not at all: it is written beside its place and renamed, so that a full
    disk leaves what was there before. Tensors that share memory still do after loading.

    Args:
        obj: anything picklable, with any tensors in it.
        f: a path, or a file open for writing bytes.
        pickle_module: whose `Pickler` is used. Default: `pickle`.
        pickle_protocol: 2, or 3; higher ones are written as 3.

    Raises:
        RuntimeError: the folder is missing, or writing failed.
        AttributeError: `f` is neither a path nor can be written to.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> save({"weight": [1.0, 2.0]}, buffer)
        >>> load(io.BytesIO(buffer.getvalue()))
        {'weight': [1.0, 2.0]}
    """
    is_path = isinstance(f, (str, os.PathLike))
    if not is_path and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' attribute")
    if not _use_new_zipfile_serialization:
        from warnings import warn

        warn(
            "torch.save: _use_new_zipfile_serialization=False is ignored: only the present format is written, which "
            "PyTorch reads since version 1.6",
            stacklevel=2,
        )
    from facula.serialization import writing

    if pickle_module is None:
        import pickle as pickle_module
    options = (pickle_module, pickle_protocol, _checksums, not _disable_byteorder_record)
    if is_path:
        writing.write_path(obj, os.fspath(f), *options)  # type: ignore[arg-type]
    else:
        writing.write_checkpoint(obj, f, "archive", *options)  # type: ignore[arg-type]


def load(
    f: FileLike,
    map_location: Any = None,
    pickle_module: ModuleType | None = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Read what `save`, here or in PyTorch, wrote.

    Nothing in the file is ever run. Tensors, plain Python containers and NumPy arrays are always allowed; other classes
    once they are registered with `add_safe_globals`. With `weights_only=False` also `facula.nn`'s modules, the
    program's own modules unless they define how they are brought back, and data classes of the standard library.

    Args:
        f: a path, or a file open for reading bytes that can seek.
        map_location: where storages go: a device, a dict from saved to new locations, or a function of
            (storage, location) that gives a storage or None. Default: where they were.
        pickle_module: accepted; never used, because pickles are never run.
        weights_only: allow weights only. Default: True.
        mmap: map the file instead of reading it; what isn't used is never read. For paths only. Default: False.
        pickle_load_args: `encoding`, of strings that Python 2 wrote. Default: "utf-8".

    Raises:
        RuntimeError: the file is no checkpoint, or is damaged, or a device isn't there.
        pickle.UnpicklingError: it names something that isn't allowed (the message says how to allow it), or is damaged.
        EOFError: it is cut off.

    Example:
        >>> import io
        >>> buffer = io.BytesIO()
        >>> save([1, "two"], buffer)
        >>> buffer.seek(0)
        0
        >>> load(buffer)
        [1, 'two']
    """
    weights_only = _weights_only(weights_only, pickle_module)
    encoding = pickle_load_args.pop("encoding", "utf-8")
    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return _load(file, map_location, weights_only, encoding, _mmap_flags if mmap else None)
    if mmap:
        raise ValueError("f must be a file path in order to use the mmap argument")
    _check_seekable(f)
    return _load(f, map_location, weights_only, encoding, None)


def _weights_only(given: bool | None, pickle_module: ModuleType | None) -> bool:
    if given is None:
        return pickle_module is None
    if given and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    return bool(given)


def _check_seekable(f: Any) -> None:
    try:
        f.seek(f.tell())
    except (OSError, AttributeError) as error:
        raise type(error)(
            f"{error}. You can only torch.load from a file that is seekable. Please pre-load the data into a buffer "
            "like io.BytesIO and try to load from it instead."
        ) from None


def _load(file: IO[bytes], map_location: Any, weights_only: bool, encoding: str, map_flags: int | None) -> Any:
    from pickle import UnpicklingError

    from facula.serialization import archive, legacy, reading

    try:
        if archive.is_archive(file):
            order = _default_byteorder()
            return reading.read_archive(file, map_location, weights_only, encoding, map_flags, order)
        if map_flags is not None:
            raise RuntimeError(
                "mmap can only be used with files saved with `torch.save(..., _use_new_zipfile_serialization=True)`, "
                "please torch.save your checkpoint with this option in order to use mmap."
            )
        return legacy.read_legacy(file, map_location, weights_only, encoding)
    except UnpicklingError as error:
        if not weights_only:
            raise
        raise UnpicklingError(_explained(str(error))) from None


def _explained(message: str) -> str:
    if "was not an allowed global by default" not in message:
        return f"Weights only load failed. {message}"
    return (
        "Weights only load failed. This file can still be loaded, to do so you have two options, "
        "do those steps only if you trust the source of the checkpoint."
        "\n\t(1) Use `weights_only=False`, which also allows modules and plain data classes (facula still runs nothing "
        "from the file).\n\t(2) Alternatively, to load with `weights_only=True` please check the recommended steps in "
        f"the following error message.\n\tWeightsUnpickler error: {message}"
    )


def add_safe_globals(safe_globals: list[Any]) -> None:
    """Allow classes and functions to be named by checkpoints from now on.

    Args:
        safe_globals: classes or functions, or pairs (class or function, its full name in the file).

    Registering a function lets a file call it; registering a class lets a file make objects of it, by `__new__` and
    `__setstate__`.
    """
    from facula.serialization import names

    names.register(safe_globals)


def get_safe_globals() -> list[Any]:
    """What `add_safe_globals` has been given."""
    from facula.serialization import names

    return names.registered()


def clear_safe_globals() -> None:
    """Take back everything that `add_safe_globals` allowed."""
    from facula.serialization import names

    names.unregister(names.registered())


class safe_globals:
    """Allows classes and functions within a `with` block, as `add_safe_globals` does for good."""

    def __init__(self, safe_globals: list[Any]) -> None:
        self.safe_globals = safe_globals

    def __enter__(self) -> None:
        add_safe_globals(self.safe_globals)

    def __exit__(self, *_: object) -> None:
        from facula.serialization import names

        names.unregister(self.safe_globals)


def get_unsafe_globals_in_checkpoint(f: FileLike) -> list[str]:
    """The names in a checkpoint that `load(f, weights_only=True)` would refuse, found without loading it.

    Raises:
        ValueError: `f` is not a checkpoint in the present format.
    """
    from facula.serialization import archive, names

    if isinstance(f, (str, os.PathLike)):
        with open(f, "rb") as file:
            return get_unsafe_globals_in_checkpoint(file)
    if not archive.is_archive(f):
        raise ValueError("Expected input to be a checkpoint returned by torch.save")
    content = archive.ArchiveReader(f).read("data.pkl")
    return [name for name in names.names_in(content) if not names.is_allowed(name)]


def register_package(
    priority: int, tagger: Callable[[Any], str | None], deserializer: Callable[[Any, str], Any]
) -> None:
    """Teach `save` and `load` another kind of device; see `facula.serialization.locations`."""
    from facula.serialization import locations

    locations.register_package(priority, tagger, deserializer)


def location_tag(storage: Any) -> str:
    """The location, such as `"cpu"`, that is saved with a storage."""
    from facula.serialization import locations

    return locations.location_tag(storage)


def default_restore_location(storage: Any, location: str) -> Any:
    """A storage at the location it was saved with."""
    from facula.serialization import locations

    return locations.default_restore_location(storage, location)


def get_crc32_options() -> bool:
    """Whether `save` computes checksums. Default: True."""
    return _checksums


def set_crc32_options(compute_crc32: bool) -> None:
    """Let `save` compute checksums or not: without them saving is faster, and damage goes unnoticed."""
    global _checksums
    _checksums = compute_crc32


def get_default_mmap_options() -> int:
    """The flags that `load(mmap=True)` maps a file with, `mmap.MAP_PRIVATE` or `mmap.MAP_SHARED`."""
    return _mmap_flags


class set_default_mmap_options:
    """Maps files privately (`mmap.MAP_PRIVATE`, the default) or shared: then changing a tensor changes the file.

    Takes effect when called; as a `with` block it is undone at its end.
    """

    def __init__(self, flags: int) -> None:
        global _mmap_flags
        if flags not in (_MAP_PRIVATE, _MAP_SHARED):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, "
                f"expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, but got {flags}"
            )
        self.previous, _mmap_flags = _mmap_flags, flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        global _mmap_flags
        _mmap_flags = self.previous


def get_default_load_endianness() -> Any:
    """The order of bytes assumed in files that don't state theirs; None means little-endian."""
    return _load_endianness


def set_default_load_endianness(endianness: Any) -> None:
    """Assume this order of bytes in files that don't state theirs.

    Raises:
        TypeError: it is neither None nor a `LoadEndianness`.
    """
    global _load_endianness
    from facula.serialization.endianness import LoadEndianness

    if endianness is not None and not isinstance(endianness, LoadEndianness):
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _load_endianness = endianness


def _default_byteorder() -> str:
    import sys

    name = "LITTLE" if _load_endianness is None else _load_endianness.name
    return sys.byteorder if name == "NATIVE" else name.lower()


def __getattr__(name: str) -> Any:
    if name == "LoadEndianness":
        from facula.serialization.endianness import LoadEndianness

        return LoadEndianness
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
