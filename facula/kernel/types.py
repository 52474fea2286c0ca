"""The types of the kernel language: scalars, pointers and vectors.

A type is a Python object: it is built, compared and passed around while compiling, and `T(x)` in a kernel casts.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Pointer", "Type", "Vector", "b1", "bf16", "f16", "f32", "f64", "i8", "i16", "i32", "i64", "ptr", "scalar_types",
    "u8", "u16", "u32", "u64", "vec",
]  # fmt: skip


class Type:
    """A scalar type. `kind` is one of f (float), i (signed), u (unsigned), b (truth value), p (pointer), v (vector)."""

    __slots__ = ("bits", "kind", "llvm", "name")

    def __init__(self, name: str, llvm: str, kind: str, bits: int) -> None:
        self.name, self.llvm, self.kind, self.bits = name, llvm, kind, bits

    def __repr__(self) -> str:
        return self.name

    def __call__(self, value: Any) -> Any:
        """Cast `value` (a kernel value, or a Python number) to this type."""
        from facula.kernel.values import cast

        return cast(value, self)

    @property
    def element(self) -> Type:
        """The scalar type of one lane."""
        return self

    @property
    def lanes(self) -> int:
        return 1

    @property
    def is_float(self) -> bool:
        return self.element.kind == "f"

    @property
    def is_integer(self) -> bool:
        return self.element.kind in "iu"

    @property
    def itemsize(self) -> int:
        """Bytes that one value takes in memory (a truth value takes one byte)."""
        return max(1, self.bits // 8)

    def with_element(self, element: Type) -> Type:
        """The same number of lanes of another scalar type."""
        return element


class Pointer(Type):
    """An address of consecutive values of type `target`."""

    __slots__ = ("target",)

    def __init__(self, target: Type) -> None:
        super().__init__(f"ptr({target.name})", "ptr", "p", 64)
        self.target = target


class Vector(Type):
    """`lanes` values of one scalar type, computed side by side."""

    __slots__ = ("_element", "_lanes")

    def __init__(self, element: Type, lanes: int) -> None:
        super().__init__(f"vec({element.name},{lanes})", f"<{lanes} x {element.llvm}>", "v", element.bits * lanes)
        self._element, self._lanes = element, lanes

    @property
    def element(self) -> Type:
        return self._element

    @property
    def lanes(self) -> int:
        return self._lanes

    @property
    def itemsize(self) -> int:
        return self._element.itemsize * self._lanes

    def with_element(self, element: Type) -> Type:
        return vec(element, self._lanes)


b1 = Type("b1", "i1", "b", 1)
i8, i16, i32, i64 = (Type(f"i{n}", f"i{n}", "i", n) for n in (8, 16, 32, 64))
u8, u16, u32, u64 = (Type(f"u{n}", f"i{n}", "u", n) for n in (8, 16, 32, 64))
f16 = Type("f16", "half", "f", 16)
bf16 = Type("bf16", "i16", "f", 16)  # its bits: most processors have no bfloat, LLVM then calls a library
f32 = Type("f32", "float", "f", 32)
f64 = Type("f64", "double", "f", 64)

scalar_types: dict[str, Type] = {t.name: t for t in (b1, i8, i16, i32, i64, u8, u16, u32, u64, f16, bf16, f32, f64)}

_pointers: dict[int, Pointer] = {}
_vectors: dict[tuple[int, int], Type] = {}


def ptr(target: Type) -> Pointer:
    """The pointer type to `target` (interned)."""
    found = _pointers.get(id(target))
    if found is None:
        found = _pointers[id(target)] = Pointer(target)
    return found


def vec(element: Type, lanes: int) -> Type:
    """The vector type of `lanes` values (interned); one lane is the scalar itself."""
    if lanes == 1:
        return element
    found = _vectors.get((id(element), lanes))
    if found is None:
        found = _vectors[id(element), lanes] = Vector(element, lanes)
    return found
