"""Where storages of a checkpoint go: its location tags, `map_location`, and devices that are not there.

Comes in: an `UntypedStorage` in CPU memory and the tag it was saved with (`"cpu"`, `"cuda:0"`). Goes out: the storage
on its device. This module must never know archives or pickles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import facula
from facula.serialization.storages import new_storage
from facula.tensor.storage import UntypedStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Restore = Callable[[Any, str], Any]

# (priority, tag of a storage, storage on the device of a tag), lowest priority number first.
_packages: list[tuple[int, Callable[[Any], str | None], Callable[[Any, str], Any]]] = []


def register_package(
    priority: int, tagger: Callable[[Any], str | None], deserializer: Callable[[Any, str], Any]
) -> None:
    """Teach `save` and `load` another kind of device.

    Args:
        priority: packages are asked in ascending order.
        tagger: gives a storage's location, or None if it is none of this kind.
        deserializer: gives the storage at a location, or None if that is none of this kind.
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage: Any) -> str:
    """The location that is saved with a storage. RuntimeError if no package knows its device."""
    for _, tagger, _ in _packages:
        location = tagger(storage)
        if location:
            return location
    raise RuntimeError(f"don't know how to determine data location of {type(storage).__qualname__}")


def default_restore_location(storage: Any, location: str) -> Any:
    """The storage at `location`. RuntimeError if no package knows it, or its device isn't there."""
    for _, _, deserializer in _packages:
        result = deserializer(storage, location)
        if result is not None:
            return result
    raise RuntimeError(
        f"don't know how to restore data location of {type(storage).__qualname__} (tagged with {location})"
    )


def restore_function(map_location: Any) -> Restore:
    """What `map_location` of `load` means, as a function of a storage and its tag."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(storage, map_location.get(location, location))
    if isinstance(map_location, bytes):
        map_location = map_location.decode("ascii")
    if isinstance(map_location, (str, facula.device)):
        target = str(map_location)
        return lambda storage, location: default_restore_location(storage, target)
    if not callable(map_location):
        raise TypeError(
            "map_location should be a string, a torch.device, a dict or a function of (storage, location), "
            f"but got {type(map_location).__name__}"
        )

    def restore(storage: Any, location: str) -> Any:
        result = map_location(storage, location)
        return default_restore_location(storage, location) if result is None else result

    return restore


def is_meta(map_location: Any) -> bool:
    """Whether all storages go to the meta device, so that none needs to be read."""
    return isinstance(map_location, (str, facula.device)) and str(map_location) == "meta"


def _device_type(storage: Any) -> str:
    return str(storage.device).partition(":")[0]


def _cpu_tag(storage: Any) -> str | None:
    return "cpu" if _device_type(storage) == "cpu" else None


def _cpu_deserialize(storage: Any, location: str) -> Any:
    return storage if location == "cpu" else None


def _meta_tag(storage: Any) -> str | None:
    return "meta" if _device_type(storage) == "meta" else None


def _meta_deserialize(storage: Any, location: str) -> Any:
    if location != "meta":
        return None
    return UntypedStorage._of(new_storage(storage.nbytes(), facula.device("meta")))


def _cuda_tag(storage: Any) -> str | None:
    return str(storage.device) if _device_type(storage) == "cuda" else None


def _cuda_deserialize(storage: Any, location: str) -> Any:
    if location.partition(":")[0] != "cuda":
        return None
    cuda = getattr(facula, "cuda", None)
    if cuda is None or not cuda.is_available():
        raise RuntimeError(
            "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. "
            "If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU."
        )
    index = int(location.partition(":")[2] or cuda.current_device())
    if index >= cuda.device_count():
        raise RuntimeError(
            f"Attempting to deserialize object on CUDA device {index} but torch.cuda.device_count() is "
            f"{cuda.device_count()}. "
            "Please use torch.load with map_location to map your storages to an existing device."
        )
    return storage.cuda(index)


register_package(10, _cpu_tag, _cpu_deserialize)
register_package(20, _cuda_tag, _cuda_deserialize)
register_package(22, _meta_tag, _meta_deserialize)
