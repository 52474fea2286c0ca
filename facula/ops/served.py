"""Operators that are one kernel launch, served by the native fast path once a combination of layouts is known.

In: an operator's public Python function, and a rule that tells which launch and which operator a call came down to.
Out: a built-in function that does the same, natively for the combinations seen before. Without it (FACULA_REFERENCE=1)
every call takes the Python function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.core.dtype import dtype as DType
from facula.core.layout import Layout, register_cache
from facula.engine.graph import Node
from facula.engine.modes import modes
from facula.ops.define import FUNCTIONS, METHODS, REGISTRY, Operator, parameters_of
from facula.ops.dispatch import Launch
from facula.ops.elementwise import NATIVE, _Plans
from facula.runtime.objects import REFERENCE, TensorBase

if not REFERENCE:
    from facula.ops import fastpath

ABSENT = 3  # the kind of an operand that is None: native code passes it by


class Call:
    """What one combination of operands came down to: the launch, the result's layout, and the operator that names the
    node, with its arguments beyond the operands."""

    __slots__ = ("compute", "constants", "launch", "operator", "outs")

    def __init__(
        self, launch: Launch, out: Layout, operator: Operator, constants: dict[str, Any] | None = None
    ) -> None:
        self.launch, self.operator, self.constants = launch, operator, constants or {}
        self.outs = (out,)
        self.compute: DType = out.dtype


class Derivative:
    """The operator of the nodes that native code makes for a `Call`."""

    def __init__(self, call: Call, operands: tuple[Any, ...], needed: tuple[str, ...]) -> None:
        operator = call.operator
        self.operator, self.needed, self.backward_name = operator, needed, operator.backward_name
        positions = dict(zip(operator.parameters, range(len(operands)), strict=False))
        values = {**dict(zip(operator.parameters, operands, strict=False)), **call.constants}
        self.saved: list[tuple[str, int | None]] = []
        self.constants: dict[str, Any] = {}
        for name in operator._saved_names(needed):
            if name in positions and isinstance(values[name], TensorBase):
                self.saved.append((name, positions[name]))
            else:
                self.constants[name] = operator._value(name, values, needed)
        self.rules = [(n, operator.rules[n], parameters_of(operator.rules[n])[0]) for n in needed]

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        """The gradients of the needed inputs."""
        values = dict(self.constants)
        for (name, _), value in zip(self.saved, node.unpack() if node.saved or node.released else (), strict=True):
            values[name] = value
        values["grad"] = gradients[0]
        if self.operator.joint is None:
            return [rule(**{n: values[n] for n in names}) for _, rule, names in self.rules]
        given = dict(
            zip(self.operator.rules, self.operator.joint(**{n: values[n] for n in self.rules[0][2]}), strict=True)
        )
        return [given[n] for n in self.needed]


if not REFERENCE:

    class _Table(fastpath.Table):
        """A table whose operands may be None."""

        def insert(self, operands: Any, plan: Any) -> Any:
            absent = [k for k, x in enumerate(operands) if x is None]
            if not absent:
                return super().insert(operands, plan)
            shown = [operands[0] if x is None else x for x in operands]
            keys = [id(type(None)) if x is None else id(x._layout) for x in operands]
            entry = self.entry(keys)
            if list(entry[fastpath.E_KEYS : fastpath.E_KEYS + len(keys)]) == keys and entry[fastpath.E_ADDRESS]:
                return entry
            template = super().insert(shown, plan)
            if template is None:
                return None
            filled = list(template)
            template[:] = [0] * fastpath.ENTRY
            entry[:] = filled
            entry[fastpath.E_KEYS : fastpath.E_KEYS + len(keys)] = keys
            for k in absent:
                entry[fastpath.E_KINDS] |= ABSENT << (2 * k)
            return entry


class Served:
    """A public function with a native table. The tensor class asks for `inputs` and `table` to make a method of it."""

    def __init__(self, name: str, count: int, public: Callable[..., Any], came_to: Callable[..., Call | None]) -> None:
        self.name, self.count, self.public, self.came_to = name, count, public, came_to
        self.inputs = [""] * count
        self.table = _Table()
        self.cache = register_cache(_Plans(self.table))

    def general(self, *args: Any, **kwargs: Any) -> Any:
        """The Python path; what it came down to is noted in the table."""
        result = self.public(*args, **kwargs)
        if not kwargs and len(args) == self.count and not modes.interpreters:
            call = self.came_to(*args)
            if call is not None and call.launch.address:
                self.note(args, call)
        return result

    def note(self, operands: tuple[Any, ...], call: Call) -> None:
        """Serve these layouts natively from now on."""
        entry = self.table.insert(operands, call)
        if entry is None or not modes.grad_enabled or call.outs[0].dtype.kind not in "fc":
            return
        needed = [i for i, x in enumerate(operands) if isinstance(x, TensorBase) and x._requires_grad]
        names = tuple(call.operator.parameters[i] for i in needed)
        if not needed or any(n not in call.operator.rules for n in names):
            return
        mask = sum(1 << i for i in needed)
        if not entry[fastpath.E_INFO + mask]:
            self.table.insert_gradient(operands, call, needed, Derivative(call, operands, names))


def served(public: Callable[..., Any], count: int, came_to: Callable[..., Call | None]) -> Any:
    """`public` as a built-in function of `count` operands, under all its public names.

    `came_to(*operands)` tells, after a call has run, what it came down to, or None if it is more than one launch.
    """
    return public if REFERENCE else serve(Served(public.__name__, count, public, came_to))


def serve(made: Served) -> Any:
    """The built-in function of a `Served`, put under all public names of its Python function."""
    public = made.public
    native = fastpath.function(made.name, made.table, made.count, made.general, public.__doc__)
    NATIVE[native] = (made, made.general)  # type: ignore[assignment]
    for names in (REGISTRY, METHODS, *FUNCTIONS.values()):
        for key, function in names.items():
            if function is public:
                names[key] = native
    return native
