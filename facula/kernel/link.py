"""Objects into the process: one engine that lives until the process ends, and the symbols that kernels may call.

Machine code that is running, or that a worker thread may still enter, must never be freed: nothing here is ever closed.
"""

from __future__ import annotations

import threading
from typing import Any

from facula.kernel import target

lock = threading.RLock()
_engine: Any = None
_symbols: dict[str, int] = {}


def engine() -> Any:
    """The process's only execution engine."""
    global _engine
    if _engine is None:
        binding = target.llvm()
        _engine = binding.create_mcjit_compiler(binding.parse_assembly(""), target.machine())
    return _engine


def define(symbol: str, address: int) -> None:
    """Give kernels a function or variable of the runtime under a name."""
    _symbols[symbol] = address
    target.llvm().add_symbol(symbol, address)


def defined(symbol: str) -> int | None:
    return _symbols.get(symbol)


def load(body: bytes, symbol: str) -> int:
    """Link an object and give the address of `symbol`."""
    with lock:
        jit = engine()
        jit.add_object_file(target.llvm().object_file.ObjectFileRef.from_data(body))
        jit.finalize_object()
        address = jit.get_function_address(symbol)
    if not address:
        raise RuntimeError(f"the compiled object has no symbol {symbol}")
    return int(address)
