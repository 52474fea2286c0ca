"""Storages as users see them: `tensor.untyped_storage()` counts bytes, `tensor.storage()` elements."""

from __future__ import annotations

import ctypes
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import CPU, layout
from facula.runtime.objects import Storage, wrap


class UntypedStorage:
    """The bytes that tensors share. `UntypedStorage(n)` allocates."""

    def __init__(self, size: int = 0) -> None:
        self._storage = Storage(size, CPU)

    @staticmethod
    def _of(storage: Any) -> UntypedStorage:
        self = UntypedStorage.__new__(UntypedStorage)
        self._storage = storage
        return self

    def nbytes(self) -> int:
        """How many bytes there are."""
        return int(self._storage.nbytes)

    size = __len__ = nbytes

    def data_ptr(self) -> int:
        """The address of the first byte."""
        return int(self._storage.data)

    @property
    def device(self) -> Any:
        return self._storage.device

    def element_size(self) -> int:
        return 1

    def resize_(self, size: int) -> UntypedStorage:
        """Change the size, keeping the bytes that fit."""
        self._storage.resize(size)
        return self

    def _bytes(self) -> Any:
        return (ctypes.c_uint8 * self._storage.nbytes).from_address(self._storage.data)

    def __getitem__(self, index: Any) -> Any:
        found = self._bytes()[index]
        return found

    def __setitem__(self, index: int, value: int) -> None:
        self._bytes()[index] = value

    def tolist(self) -> list[int]:
        return list(self._bytes())

    def clone(self) -> UntypedStorage:
        """A copy."""
        made = UntypedStorage(self._storage.nbytes)
        ctypes.memmove(made._storage.data, self._storage.data, self._storage.nbytes)
        return made

    def is_shared(self) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntypedStorage) and other._storage is self._storage

    def __hash__(self) -> int:
        return id(self._storage)

    def __repr__(self) -> str:
        return f" {' '.join(map(str, self.tolist()))}\n[torch.storage.UntypedStorage(device={self.device}) of size {self.nbytes()}]"


class TypedStorage:
    """A storage seen as elements of one dtype."""

    def __init__(self, *args: Any, dtype: dt.dtype | None = None, wrap_storage: UntypedStorage | None = None) -> None:
        self.dtype = dtype or dt.get_default_dtype()
        if wrap_storage is not None:
            self._storage = wrap_storage._storage
        else:
            self._storage = Storage((args[0] if args else 0) * self.dtype.itemsize, CPU)

    @staticmethod
    def _of(storage: Any, dtype: dt.dtype) -> TypedStorage:
        self = TypedStorage.__new__(TypedStorage)
        self._storage, self.dtype = storage, dtype
        return self

    def _tensor(self) -> Any:
        return wrap(self._storage, self._storage.data, layout((self.size(),), None, self.dtype, self._storage.device))

    def size(self) -> int:
        """How many elements there are."""
        return int(self._storage.nbytes // self.dtype.itemsize)

    __len__ = size

    def nbytes(self) -> int:
        return int(self._storage.nbytes)

    def data_ptr(self) -> int:
        return int(self._storage.data)

    def element_size(self) -> int:
        return self.dtype.itemsize

    def untyped(self) -> UntypedStorage:
        return UntypedStorage._of(self._storage)

    def tolist(self) -> list[Any]:
        return self._tensor().tolist()  # type: ignore[no-any-return]

    def __getitem__(self, index: Any) -> Any:
        found = self._tensor()[index]
        return found.item() if not found._layout.shape else found.tolist()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._tensor()[index] = value

    def __iter__(self) -> Any:
        return iter(self.tolist())

    @property
    def device(self) -> Any:
        return self._storage.device
