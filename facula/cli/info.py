"""`facula info`: what a report of a problem must say about the installation and the machine.

Comes in: no arguments. Goes out: lines of "name: value". Nothing is compiled for it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

__all__ = ["format_bytes", "info"]


def info(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="facula info", description="Versions, CPU, threads, kernel cache and devices."
    )
    parser.parse_args(arguments)
    rows = [*_versions(), *_processor(), *_cache(), _devices()]
    width = max(len(name) for name, _ in rows) + 1
    for name, value in rows:
        print(f"{name + ':':<{width}} {value}")
    return 0


def _versions() -> list[tuple[str, str]]:
    import llvmlite
    import numpy

    import facula

    from ..kernel.target import llvm
    from ..torch_version import API_LEVEL

    version = ".".join(map(str, llvm().llvm_version_info))
    return [
        ("facula", f"{facula.__version__} in {Path(facula.__file__).parent}"),
        ("API level", f"torch {API_LEVEL}"),
        ("python", f"{platform.python_version()} ({platform.python_implementation()}) at {sys.executable}"),
        ("numpy", numpy.__version__),
        ("llvmlite", f"{llvmlite.__version__} (LLVM {version})"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
    ]


def _processor() -> list[tuple[str, str]]:
    from ..kernel.target import host
    from ..runtime.threads import get_num_threads

    target = host()
    extensions = [name for name in ("avx512f", "avx2", "fma", "f16c", "sve", "neon") if target.features.get(name)]
    lanes = f"{target.lanes(4)} x f32, {target.registers} registers"
    return [
        ("cpu", f"{_processor_name()} (LLVM: {target.cpu})"),
        ("vectors", f"{target.vector_bits} bits ({lanes}{'; ' + ', '.join(extensions) if extensions else ''})"),
        ("threads", f"{get_num_threads()} of {os.cpu_count()} processors"),
    ]


def _processor_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _cache() -> list[tuple[str, str]]:
    from ..kernel import cache

    objects, size = cache.statistics()
    return [("kernel cache", f"{cache.folder()} ({objects} objects, {format_bytes(size)})")]


def _devices() -> tuple[str, str]:
    from ..core.device import CPU, META

    return "devices", ", ".join(map(str, (CPU, META)))


def format_bytes(size: float) -> str:
    """A size as people read it: 0 B, 512 B, 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
