"""The machine that kernels are compiled for, and LLVM itself: IR text in, relocatable object out.

llvmlite is imported on first use, because loading LLVM costs some 30 ms that a program whose kernels are cached
pays only once, and one that computes nothing never.
"""

from __future__ import annotations

import functools
import platform
from typing import Any

LLVMLITE_SERIES = "0.50"


class Target:
    """What kernels may assume of the processor."""

    def __init__(self, name: str, features: dict[str, bool], machine: str) -> None:
        self.cpu, self.features, self.machine = name, features, machine
        self.is_x86 = machine in ("x86_64", "AMD64", "i686")
        self.has_fma = features.get("fma", False) if self.is_x86 else True
        self.has_f16 = features.get("f16c", False) if self.is_x86 else True
        if self.is_x86:
            self.vector_bits = (
                512 if features.get("avx512f") and features.get("avx512vl") else 256 if features.get("avx2") else 128
            )
        else:
            self.vector_bits = 128

    @property
    def registers(self) -> int:
        """Vector registers that a kernel can keep live."""
        return 16 if self.is_x86 and self.vector_bits < 512 else 32

    def lanes(self, itemsize: int) -> int:
        """Values of `itemsize` bytes that fill a vector register."""
        return self.vector_bits // 8 // itemsize

    @property
    def kernel_fingerprint(self) -> str:
        flags = ",".join(sorted(k for k, v in self.features.items() if v))
        return f"{self.machine}/{self.cpu}/{self.vector_bits}/{flags}"


@functools.cache
def llvm() -> Any:
    """llvmlite.binding, ready to compile for this machine."""
    import llvmlite.binding as binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@functools.cache
def host() -> Target:
    """The processor of this machine."""
    binding = llvm()
    return Target(binding.get_host_cpu_name(), dict(binding.get_host_cpu_features()), platform.machine())


@functools.cache
def machine(level: int = 2) -> Any:
    """LLVM's code generator. Position independent with the small code model, so that objects can be cached."""
    binding = llvm()
    features = binding.get_host_cpu_features().flatten()
    if host().vector_bits == 512:
        features += ",-prefer-256-bit"
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=level, reloc="pic", codemodel="small", jit=True
    )


def parse(ir: str) -> Any:
    """Parsed and verified IR; LLVM's complaint otherwise."""
    module = llvm().parse_assembly(ir)
    module.verify()
    return module


def compile_object(ir: str) -> bytes:
    """Machine code of a module. No IR passes: the kernel language emits what it means (see docs/decisions.md)."""
    return machine().emit_object(parse(ir))  # type: ignore[no-any-return]


def assembly(ir: str) -> str:
    """The same as text, to be read."""
    return machine().emit_assembly(parse(ir))  # type: ignore[no-any-return]
