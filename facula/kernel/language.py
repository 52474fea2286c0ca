"""The surface of the kernel language: `@kernel` and everything a kernel's source may name.

    @kernel
    def scale(out: ptr(f32), x: ptr(f32), factor: f64, lo: i64, hi: i64):
        for i in range(lo, hi):
            out[i] = x[i] * f32(factor)

A kernel whose last two parameters are `lo` and `hi` can be launched: the runtime hands it its other parameters and a
piece of the range, possibly on several threads. Other kernels are called by kernels.

Annotations are evaluated when the kernel is defined, so a module with kernels does not import annotations from
__future__, and a function that builds kernels for several types uses its own variables in them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, overload

from facula.kernel import cache, link, source, target
from facula.kernel.emit import Module
from facula.kernel.errors import KernelError
from facula.kernel.lower import launch_entry, lower_kernel
from facula.kernel.types import (
    Type,
    b1,
    bf16,
    f16,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    ptr,
    u8,
    u16,
    u32,
    u64,
    vec,
)  # fmt: skip
from facula.kernel.values import (
    Value,
    absolute,
    address_of,
    any_lane,
    as_pointer,
    atomic,
    atomic_load,
    atomic_store,
    barrier,
    bitcast,
    call_address,
    call_extern,
    call_kernel,
    cast,
    ceil,
    compare_exchange,
    copysign,
    external,
    floor,
    fma,
    gather,
    insert,
    iota,
    load,
    maximum,
    minimum,
    offset,
    pause,
    popcount,
    prefetch,
    reduce,
    remainder,
    rint,
    select,
    shuffle,
    splat,
    sqrt,
    stack_array,
    store,
    tail_mask,
    trunc,
    udiv,
    urem,
    ushr,
    when,
)  # fmt: skip
from facula.kernel.walk import parallel, unroll

__all__ = [
    "Kernel", "KernelError", "Type", "Value", "absolute", "address_of", "any_lane", "as_pointer", "atomic", "atomic_load",
    "atomic_store", "b1", "barrier", "bf16", "bitcast", "call_address", "call_extern", "call_kernel", "cast", "ceil",
    "compare_exchange", "copysign", "external", "f16", "f32", "f64", "floor", "fma", "gather", "host", "i8", "i16", "i32", "i64",
    "insert", "iota", "kernel", "load", "maximum", "minimum", "offset", "parallel", "pause", "popcount", "prefetch",
    "ptr", "reduce", "remainder", "rint", "select", "shuffle", "specialise", "splat", "sqrt", "stack_array", "store", "tail_mask",
    "trunc", "u8", "u16", "u32", "u64", "udiv", "unroll", "urem", "ushr", "vec", "when",
]  # fmt: skip

host = target.host


class Kernel:
    """A function of the kernel language. `address()` compiles it, or takes it from the object cache."""

    is_kernel = True

    def __init__(self, function: Any, inline: bool = False) -> None:
        self.function, self.inline = function, inline
        self.name: str = function.__name__
        self.__doc__ = function.__doc__
        self.specialised: tuple[Any, tuple[Any, ...]] | None = None
        self._key: str | None = None
        self._address = 0
        self._parameters: list[tuple[str, Any]] | None = None

    def __repr__(self) -> str:
        return f"<kernel {self.name}({', '.join(f'{n}: {t}' for n, t in self.parameters)})>"

    @property
    def parameters(self) -> list[tuple[str, Any]]:
        """(name, type) of each parameter; the type is None where an inlined kernel takes anything."""
        if self._parameters is None:
            code = self.function.__code__
            annotations = self.function.__annotations__
            names = code.co_varnames[: code.co_argcount]
            for name in names:
                if not isinstance(annotations.get(name), Type) and not self.inline:
                    raise KernelError(
                        f"{code.co_filename}:{code.co_firstlineno}: parameter {name} of {self.name} has no kernel type"
                    )
            self._parameters = [(name, annotations.get(name)) for name in names]
        return self._parameters

    @property
    def result(self) -> Type | None:
        return self.function.__annotations__.get("return")  # type: ignore[no-any-return]

    @property
    def launchable(self) -> bool:
        """Whether the runtime can hand it pieces of a range."""
        return [name for name, _ in self.parameters[-2:]] == ["lo", "hi"]

    def kernel_fingerprint(self, visiting: tuple[int, ...] = ()) -> str:
        return source.fingerprint(self.function, visiting)

    @property
    def key(self) -> str:
        """The digest under which the object cache keeps the compiled kernel."""
        if self._key is None:
            text = f"{_language_version()}|{target.host().kernel_fingerprint}|{self.name}|{self._content()}"
            self._key = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return self._key

    def _content(self) -> str:
        if self.specialised is None:
            return source.fingerprint(self.function)
        factory, arguments = self.specialised
        return f"{source.fingerprint(factory)}|{source.describe(arguments)}"

    @property
    def symbol(self) -> str:
        """The exported name: hashed, because symbols are unique in the process and long ones are slow."""
        return "k" + self.key

    def ir(self) -> str:
        """The LLVM IR text of the kernel and of all it calls."""
        module = Module()
        symbol = lower_kernel(self, module, target.host())
        if self.launchable:
            launch_entry(self, module, symbol, self.symbol)
        else:
            arguments = ", ".join(f"{type.llvm} %{name}" for name, type in self.parameters)
            result = "void" if self.result is None else self.result.llvm
            returned = (
                f"  call void @{symbol}({arguments})\n  ret void"
                if self.result is None
                else (f"  %r = call {result} @{symbol}({arguments})\n  ret {result} %r")
            )
            module.functions.append(f"define {result} @{self.symbol}({arguments}) nounwind {{\n{returned}\n}}\n")
        return module.text()

    def assembly(self) -> str:
        """The machine code as text."""
        return target.assembly(self.ir())

    def address(self) -> int:
        """Where the compiled kernel starts."""
        if not self._address:
            with link.lock:
                if not self._address:
                    self._address = self._compile()
        return self._address

    def _compile(self) -> int:
        body = cache.load(self.key)
        if body is not None:
            try:
                return link.load(body, self.symbol)
            except RuntimeError:
                pass  # an object of another LLVM: compile anew
        body = target.compile_object(self.ir())
        counters["compiled"] += 1
        cache.save(self.key, body)
        return link.load(body, self.symbol)

    def interpret(self, *arguments: Any) -> Any:
        """Run in plain Python on NumPy arrays and numbers: the reference that tests compare with."""
        from facula.kernel.interpret import run

        return run(self, arguments)


def specialise(factory: Callable[..., Any]) -> Callable[..., Any]:
    """For functions that build kernels for types, widths or tiles: one kernel (or tuple of kernels) per arguments.

    The arguments must be numbers, strings, types, expressions, or tuples of these: with the text of the factory they
    name the kernel in the object cache, which is much cheaper than looking at all that the kernel refers to.
    """
    made: dict[tuple[Any, ...], Any] = {}

    @functools.wraps(factory)
    def build(*arguments: Any) -> Any:
        found = made.get(arguments)
        if found is None:
            found = factory(*arguments)
            for item in found if isinstance(found, tuple) else (found,):
                item.specialised = (factory, arguments)
            made[arguments] = found
        return found

    return build


counters = {"compiled": 0}
"""How many kernels this process has had LLVM compile."""


@overload
def kernel(function: Callable[..., Any], /) -> Kernel: ...
@overload
def kernel(*, inline: bool = False) -> Callable[[Callable[..., Any]], Kernel]: ...
def kernel(function: Any = None, /, *, inline: bool = False) -> Any:
    """Make a Python function a kernel. With inline=True its body is written into each kernel that calls it."""
    if function is None:
        return lambda f: Kernel(f, inline)
    return Kernel(function, inline)


_version: str | None = None


def _language_version() -> str:
    """Changes with the compiler: LLVM's version, Python's (byte code differs) and the sources of this package."""
    global _version
    if _version is None:
        import os
        import sys

        digest = hashlib.blake2b(digest_size=8)
        here = os.path.dirname(__file__)
        for name in sorted(os.listdir(here)):
            if name.endswith(".py"):
                with open(os.path.join(here, name), "rb") as file:
                    digest.update(file.read())
        llvm_version = ".".join(map(str, target.llvm().llvm_version_info))
        _version = f"{llvm_version}|{sys.version_info[:2]}|{digest.hexdigest()}"
    return _version
