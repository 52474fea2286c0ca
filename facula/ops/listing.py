"""The code behind an operator: its kernels as source, LLVM IR or machine code.

The operator is run on one of its samples while a recorder notes which kernels are launched; those are shown.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from facula.core import dtype as dt
from facula.engine.modes import modes
from facula.kernel.source import syntax
from facula.ops.define import FUNCTIONS, METHODS
from facula.ops.elementwise import PointwiseOperator
from facula.ops.samples import definitions, samples_of


class _Listener:
    """Notes the kernels that are launched."""

    def __init__(self) -> None:
        self.launches: list[Any] = []

    def launch(self, launch: Any, operands: Sequence[Any], outputs: int, numbers: tuple[Any, ...]) -> None:
        if all(launch.kernel is not known.kernel for known in self.launches):
            self.launches.append(launch)

    def host_read(self, tensor: Any, why: str) -> None:
        """Reading data is fine here."""

    host_write = reads = writes = each_call = leaf = host_read  # type: ignore[assignment]


def _dtype(name: str) -> dt.dtype:
    for known in dt.ALL_DTYPES:
        if name in (known.name, known.code):
            return known
    raise ValueError(f"there is no dtype {name!r}")


def show(name: str, dtype: str = "f32", form: str = "source") -> str:
    """The kernels of the operator `name` for tensors of `dtype`, as 'source', 'ir' or 'asm'.

    Raises:
        LookupError: there is no such operator, or it launches no kernel of its own.
        ValueError: there is no such dtype.
    """
    wanted = _dtype(dtype)
    operator = definitions().get(name)
    if operator is None:
        raise LookupError(name)
    samples = samples_of(operator, wanted)
    function = FUNCTIONS["torch"].get(name) or METHODS.get(name)
    if not samples or function is None:
        raise LookupError(name)
    listener = _Listener()
    before, modes.recorder = modes.recorder, listener
    modes.announce()
    try:
        function(*samples[0].args, **samples[0].kwargs)
    finally:
        modes.recorder = before
        modes.announce()
    if not listener.launches:
        raise LookupError(name)
    parts = [_head(name, wanted, operator)]
    for launch in listener.launches:
        parts.append({"source": _source, "ir": lambda k: k.ir(), "asm": lambda k: k.assembly()}[form](launch.kernel))
    return "\n".join(parts)


def _head(name: str, wanted: dt.dtype, operator: Any) -> str:
    text = f"# {name} on {wanted}"
    if isinstance(operator, PointwiseOperator):
        text += "".join(f"\n# computes {e.key}" for e in operator.expressions)
    return text


def _source(kernel: Any) -> str:
    """The kernel in its own language, and what its factory was given."""
    given = "" if kernel.specialised is None else f"# {kernel.specialised[0].__name__}{kernel.specialised[1]}\n"
    return given + ast.unparse(syntax(kernel.function))
