"""Operations on values as LLVM IR text.

`Emitter` holds one function under construction: numbered values, basic blocks, lines. `Module` collects functions and
the declarations they need. Text is built directly because it is two orders of magnitude cheaper than IR objects.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from facula.kernel import types as ty
from facula.kernel import verify
from facula.kernel.errors import KernelError
from facula.kernel.types import Type
from facula.kernel.values import Value

_FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_INTEGER_BINARY = {
    "add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl", "ushr": "lshr",
    "udiv": "udiv", "urem": "urem",
}  # fmt: skip
_SIGNED = {"div": ("sdiv", "udiv"), "rem": ("srem", "urem"), "shr": ("ashr", "lshr")}
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge", "eq": "oeq", "ne": "une"}
_INTRINSIC = {
    "sqrt": "sqrt", "fabs": "fabs", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "rint": "roundeven",
    "popcount": "ctpop",
}  # fmt: skip
_SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}


def float_literal(element: Type, number: float) -> str:
    """The bits of `number` as LLVM writes them."""
    if element is ty.f64:
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if element is ty.f32:
        try:
            number = struct.unpack("<f", struct.pack("<f", number))[0]
        except OverflowError:
            number = float("inf") if number > 0 else float("-inf")
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if element is ty.f16:
        try:
            return f"0xH{struct.unpack('<H', struct.pack('<e', number))[0]:04X}"
        except OverflowError:
            return "0xH7C00" if number > 0 else "0xHFC00"
    try:
        bits = struct.unpack("<I", struct.pack("<f", number))[0]
    except OverflowError:
        return str(0x7F80 if number > 0 else 0xFF80)
    return str(bits + 0x7FFF + (bits >> 16 & 1) >> 16 & 0xFFFF)


def _narrow(t: Type) -> bool:
    """Whether a float has 16 bits: it is stored as it is and computed with as f32."""
    return t.element is ty.f16 or t.element is ty.bf16


class Module:
    """LLVM IR of one kernel with everything it calls."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self.declarations: dict[str, str] = {}
        self.emitted: dict[Any, str] = {}

    def declare(self, name: str, signature: str) -> None:
        self.declarations[name] = signature

    def text(self) -> str:
        return "\n".join([*self.declarations.values(), "", *self.functions])


class Emitter:
    """The operations, appending to one function."""

    def __init__(self, module: Module, target: Any) -> None:
        self.module, self.target = module, target
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.block = "entry"
        self.count = 0

    # -- plumbing -------------------------------------------------------------------------------------------------
    def name(self) -> str:
        self.count += 1
        return f"%v{self.count}"

    def label(self) -> str:
        self.count += 1
        return f"b{self.count}"

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def start(self, label: str) -> None:
        self.lines.append(label + ":")
        self.block = label

    def value(self, type: Type, text: str) -> Value:
        self.count += 1
        name = f"%v{self.count}"
        self.lines.append(f"  {name} = {text}")
        return Value(self, type, name)

    def call(self, type: Type | None, name: str, *arguments: tuple[str, str], declared: str | None = None) -> Any:
        """Call a declared function; each argument is (type with attributes, reference)."""
        result = "void" if type is None else type.llvm
        types = ", ".join(a.split(" ")[0] if not a.startswith("<") else a[: a.index(">") + 1] for a, _ in arguments)
        self.module.declare(name, declared or f"declare {result} @{name}({types})")
        text = f"call {result} @{name}({', '.join(f'{a} {r}' for a, r in arguments)})"
        if type is None:
            self.line(text)
            return None
        return self.value(type, text)

    @staticmethod
    def suffix(type: Type) -> str:
        element = _SUFFIX.get(type.element.llvm, type.element.llvm)
        return element if type.lanes == 1 else f"v{type.lanes}{element}"

    # -- arithmetic -----------------------------------------------------------------------------------------------
    def constant(self, type: Type, number: Any) -> Value:
        element = type.element
        if element.kind == "f":
            text = float_literal(element, float(number))
        elif element.kind == "b":
            text = "true" if number else "false"
        elif element.kind == "p":
            text = "null" if number == 0 else f"inttoptr (i64 {int(number)} to ptr)"
        else:
            if isinstance(number, float) and number != int(number):
                raise KernelError(f"the number {number} beside a {type}: cast one of them")
            text = str(int(number))
        return Value(self, type, text if type.lanes == 1 else f"splat ({element.llvm} {text})")

    def binary(self, op: str, a: Value, b: Value) -> Value:
        verify.check(op, a.type, b.type)
        t = a.type
        if _narrow(t):
            return self._widened(lambda *x: self.binary(op, *x), a, b)
        if op in ("min", "max"):
            name = f"llvm.{'u' if t.element.kind == 'u' else 's'}{op}.{self.suffix(t)}"
            return self.call(t, name, (t.llvm, a.ref), (t.llvm, b.ref))  # type: ignore[no-any-return]
        if op == "copysign":
            return self.call(t, f"llvm.copysign.{self.suffix(t)}", (t.llvm, a.ref), (t.llvm, b.ref))  # type: ignore[no-any-return]
        if t.is_float:
            return self.value(t, f"{_FLOAT_BINARY[op]} {t.llvm} {a.ref}, {b.ref}")
        if t is ty.i64:
            folded = self._fold(op, a, b)
            if folded is not None:
                return folded
        instruction = _INTEGER_BINARY.get(op) or _SIGNED[op][t.element.kind == "u"]
        return self.value(t, f"{instruction} {t.llvm} {a.ref}, {b.ref}")

    def _fold(self, op: str, a: Value, b: Value) -> Value | None:
        """Index arithmetic with 0 and 1, which unrolled code is full of."""
        if b.ref == "0" and op in ("add", "sub", "shl", "shr", "or"):
            return a
        if op == "add" and a.ref == "0":
            return b
        if op == "mul":
            if a.ref == "1" or b.ref == "0":
                return b
            if b.ref == "1" or a.ref == "0":
                return a
        if not a.ref.startswith("%") and not b.ref.startswith("%") and op in ("add", "sub", "mul"):
            x, y = int(a.ref), int(b.ref)
            return self.constant(ty.i64, x + y if op == "add" else x - y if op == "sub" else x * y)
        return None

    def _widened(self, compute: Callable[..., Value], *operands: Value) -> Value:
        """An operation of 16-bit floats: performed on f32, and rounded back."""
        wide = operands[0].type.with_element(ty.f32)
        return self.cast(compute(*(self.cast(x, wide) for x in operands)), operands[0].type)

    def negate(self, a: Value) -> Value:
        verify.check("negate", a.type)
        if a.type.element is ty.bf16:
            bits = a.type.with_element(ty.u16)
            return Value(self, a.type, self.binary("xor", Value(self, bits, a.ref), self.constant(bits, 0x8000)).ref)
        return self.value(a.type, f"fneg {a.type.llvm} {a.ref}")

    def compare(self, op: str, a: Value, b: Value) -> Value:
        verify.check("compare", a.type, b.type)
        if _narrow(a.type):
            wide = a.type.with_element(ty.f32)
            a, b = self.cast(a, wide), self.cast(b, wide)
        t = a.type
        if t.is_float:
            predicate = f"fcmp {_FLOAT_COMPARE[op]}"
        elif op in ("eq", "ne"):
            predicate = f"icmp {op}"
        else:
            predicate = f"icmp {'u' if t.element.kind in 'upb' else 's'}{op}"
        return self.value(t.with_element(ty.b1), f"{predicate} {t.llvm} {a.ref}, {b.ref}")

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        verify.check("fma", a.type, b.type, c.type)
        if _narrow(a.type):
            return self._widened(self.fma, a, b, c)
        if not self.target.has_fma:
            return self.binary("add", self.binary("mul", a, b), c)
        t = a.type
        return self.call(t, f"llvm.fma.{self.suffix(t)}", *((t.llvm, x.ref) for x in (a, b, c)))  # type: ignore[no-any-return]

    def intrinsic(self, name: str, a: Value) -> Value:
        verify.check(name, a.type)
        if _narrow(a.type):
            return self._widened(lambda x: self.intrinsic(name, x), a)
        return self.call(a.type, f"llvm.{_INTRINSIC[name]}.{self.suffix(a.type)}", (a.type.llvm, a.ref))  # type: ignore[no-any-return]

    def select(self, c: Value, a: Value, b: Value) -> Value:
        verify.check("select", c.type, a.type, b.type)
        return self.value(a.type, f"select {c.type.llvm} {c.ref}, {a.type.llvm} {a.ref}, {b.type.llvm} {b.ref}")

    def when(self, condition: Value, then: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        verify.check("when", condition.type)
        labels = self.label(), self.label()
        after = self.label()
        self.line(f"br i1 {condition.ref}, label %{labels[0]}, label %{labels[1]}")
        edges = []
        for label, compute in zip(labels, (then, otherwise), strict=True):
            self.start(label)
            result = compute()
            edges.append((result if isinstance(result, tuple) else (result,), self.block))
            self.line(f"br label %{after}")
        self.start(after)
        (first, first_block), (second, second_block) = edges
        joined = []
        for a, b in zip(first, second, strict=True):
            verify.check("join", a.type, b.type)
            joined.append(
                self.value(a.type, f"phi {a.type.llvm} [ {a.ref}, %{first_block} ], [ {b.ref}, %{second_block} ]")
            )
        return tuple(joined) if isinstance(result, tuple) else joined[0]

    # -- conversions ----------------------------------------------------------------------------------------------
    def cast(self, a: Value, to: Type) -> Value:
        verify.check("cast", a.type, to)
        source, target = a.type.element, to.element
        if _narrow(a.type) and target is not ty.f32:
            return self.cast(self.cast(a, to.with_element(ty.f32)), to)  # the only conversion they have
        if _narrow(to) and source is not ty.f32:
            return self.cast(self.cast(a, to.with_element(ty.f32)), to)
        if ty.bf16 in (source, target):
            return self._cast_bf16(a, to)
        if ty.f16 in (source, target) and not self.target.has_f16:
            return self._cast_f16(a, to)
        if target is ty.b1:
            return self.compare("ne", a, self.constant(a.type, 0))
        if source is ty.b1:
            if target.kind == "f":
                return self.select(a, self.constant(to, 1.0), self.constant(to, 0.0))
            return self._convert("zext", a, to)
        if source.kind == "f" and target.kind == "f":
            return self._convert("fpext" if source.bits < target.bits else "fptrunc", a, to)
        if source.kind == "f":
            return self._float_to_integer(a, to)
        if target.kind == "f":
            return self._convert("uitofp" if source.kind == "u" else "sitofp", a, to)
        if source.bits == target.bits:
            return Value(self, to, a.ref)
        if source.bits > target.bits:
            return self._convert("trunc", a, to)
        return self._convert("zext" if source.kind == "u" else "sext", a, to)

    def _convert(self, instruction: str, a: Value, to: Type) -> Value:
        return self.value(to, f"{instruction} {a.type.llvm} {a.ref} to {to.llvm}")

    def _float_to_integer(self, a: Value, to: Type) -> Value:
        """Narrow integers go through i32 or i64 and wrap, as C compilers make of the conversion."""
        wide = ty.i64 if to.element.bits > 32 or to.element is ty.u32 else ty.i32
        wide_type = to.with_element(wide)
        if to.element is ty.u64:
            return self._convert("fptoui", a, to)
        name = f"llvm.fptosi.sat.{self.suffix(wide_type)}.{self.suffix(a.type)}"
        converted = self.call(wide_type, name, (a.type.llvm, a.ref))
        return self.cast(converted, to) if wide_type is not to else converted

    def _cast_bf16(self, a: Value, to: Type) -> Value:
        """bfloat16 is the upper half of a float32; rounding to nearest even is two integer additions."""
        if a.type.element is ty.bf16:
            wide = self.cast(Value(self, to.with_element(ty.u16), a.ref), to.with_element(ty.u32)) << 16
            return self.bitcast(wide, to)
        bits = self.bitcast(a, to.with_element(ty.u32))
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        quiet = (bits >> 16) | 0x40
        chosen = self.select(self.compare("ne", a, a), quiet, rounded)
        return Value(self, to, self.cast(chosen, to.with_element(ty.u16)).ref)

    def _cast_f16(self, a: Value, to: Type) -> Value:
        """Between f16 and f32 by integer operations, for processors that have no instruction for it."""
        unsigned = to.with_element(ty.u32)
        if a.type.element is ty.f16:
            bits = self.cast(self.bitcast(a, to.with_element(ty.u16)), unsigned)
            magnitude = (bits & 0x7FFF) << 13
            scaled = self.bitcast(
                self.bitcast(magnitude, to) * 2.0**112, unsigned
            )  # moves the exponent, subnormal or not
            special = self.compare("ge", magnitude, self.constant(unsigned, 0x0F800000))
            return self.bitcast(self.select(special, magnitude | 0x7F800000, scaled) | ((bits & 0x8000) << 16), to)
        bits = self.bitcast(a, unsigned)
        magnitude = bits & 0x7FFFFFFF
        normal = (magnitude - 0x38000000 + 0xFFF + ((magnitude >> 13) & 1)) >> 13
        # Adding 1/2 lets the processor round a subnormal: its last place is then 2**-24.
        subnormal = self.bitcast(self.bitcast(magnitude, a.type) + 0.5, unsigned) - 0x3F000000
        special = self.select(
            magnitude > 0x7F800000, ((magnitude >> 13) & 0x3FF) | 0x7E00, self.constant(unsigned, 0x7C00)
        )
        chosen = self.select(magnitude < 0x38800000, subnormal, normal)
        chosen = self.select(magnitude >= 0x477FF000, special, chosen) | ((bits >> 16) & 0x8000)
        return self.bitcast(self.cast(chosen, to.with_element(ty.u16)), to)

    def bitcast(self, a: Value, to: Type) -> Value:
        verify.check("bitcast", a.type, to)
        if a.type.llvm == to.llvm:
            return Value(self, to, a.ref)
        return self._convert("bitcast", a, to)

    # -- lanes ----------------------------------------------------------------------------------------------------
    def splat(self, a: Value, lanes: int) -> Value:
        verify.check("splat", a.type)
        t = ty.vec(a.type, lanes)
        if not a.ref.startswith("%"):
            return Value(self, t, f"splat ({a.type.llvm} {a.ref})")
        first = self.value(t, f"insertelement {t.llvm} poison, {a.type.llvm} {a.ref}, i64 0")
        return self.value(t, f"shufflevector {t.llvm} {first.ref}, {t.llvm} poison, <{lanes} x i32> zeroinitializer")

    def iota(self, element: Type, lanes: int) -> Value:
        if lanes == 1:
            return self.constant(element, 0)
        return Value(self, ty.vec(element, lanes), "<" + ", ".join(f"{element.llvm} {i}" for i in range(lanes)) + ">")

    def extract(self, a: Value, lane: Any) -> Value:
        index = f"i64 {lane.ref if isinstance(lane, Value) else int(lane)}"
        return self.value(a.type.element, f"extractelement {a.type.llvm} {a.ref}, {index}")

    def insert(self, a: Value, lane: Any, x: Value) -> Value:
        index = f"i64 {lane.ref if isinstance(lane, Value) else int(lane)}"
        return self.value(a.type, f"insertelement {a.type.llvm} {a.ref}, {x.type.llvm} {x.ref}, {index}")

    def shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        if len(lanes) == 1:
            return self.extract(a, lanes[0]) if lanes[0] < a.type.lanes else self.extract(b, lanes[0] - a.type.lanes)
        picks = ", ".join(f"i32 {i}" for i in lanes)
        t = ty.vec(a.type.element, len(lanes))
        return self.value(
            t, f"shufflevector {a.type.llvm} {a.ref}, {b.type.llvm} {b.ref}, <{len(lanes)} x i32> <{picks}>"
        )

    def reduce(self, op: str, a: Value) -> Value:
        if op in ("min", "max"):
            op = ("u" if a.type.element.kind == "u" else "s") + op
        return self.call(a.type.element, f"llvm.vector.reduce.{op}.{self.suffix(a.type)}", (a.type.llvm, a.ref))  # type: ignore[no-any-return]

    # -- memory ---------------------------------------------------------------------------------------------------
    @staticmethod
    def memory_type(element: Type) -> str:
        return "i8" if element.kind == "b" else element.llvm

    def offset(self, p: Value, index: Value) -> Value:
        verify.check("offset", p.type, index.type)
        if index.ref == "0":
            return p
        return self.value(p.type, f"getelementptr {self.memory_type(p.type.target)}, ptr {p.ref}, i64 {index.ref}")  # type: ignore[attr-defined]

    def _from_memory(self, type: Type, raw: Value) -> Value:
        return raw if type.element.kind != "b" else self.compare("ne", raw, self.constant(raw.type, 0))

    def load(self, p: Value, lanes: int, mask: Value | None, aligned: bool) -> Value:
        verify.check("load", p.type)
        element = p.type.target  # type: ignore[attr-defined]
        result = ty.vec(element, lanes)
        raw_type = result.with_element(ty.i8) if element.kind == "b" else result
        align = raw_type.itemsize if aligned else element.itemsize
        if mask is None:
            raw = self.value(raw_type, f"load {raw_type.llvm}, ptr {p.ref}, align {align}")
        elif lanes == 1:
            verify.check("mask", mask.type, result)
            return self.when(mask, lambda: self.load(p, 1, None, aligned), lambda: self.constant(result, 0))  # type: ignore[no-any-return]
        else:
            verify.check("mask", mask.type, result)
            name = f"llvm.masked.load.{self.suffix(raw_type)}.p0"
            raw = self.call(
                raw_type,
                name,
                (f"ptr align {align}", p.ref),
                (mask.type.llvm, mask.ref),
                (raw_type.llvm, "zeroinitializer"),
            )
        return self._from_memory(result, raw)

    def store(self, p: Value, a: Value, mask: Value | None, aligned: bool, stream: bool) -> None:
        verify.check("store", p.type, a.type)
        if a.type.element.kind == "b":
            a = self.cast(a, a.type.with_element(ty.i8))
        align = a.type.itemsize if aligned or stream else a.type.element.itemsize
        if mask is None:
            hint = ", !nontemporal !0" if stream else ""
            if stream:
                self.module.declare("!0", "!0 = !{i32 1}")
            self.line(f"store {a.type.llvm} {a.ref}, ptr {p.ref}, align {align}{hint}")
            return
        verify.check("mask", mask.type, a.type)
        if a.type.lanes == 1:
            kept, after = self.label(), self.label()
            self.line(f"br i1 {mask.ref}, label %{kept}, label %{after}")
            self.start(kept)
            self.line(f"store {a.type.llvm} {a.ref}, ptr {p.ref}, align {align}")
            self.line(f"br label %{after}")
            self.start(after)
            return
        name = f"llvm.masked.store.{self.suffix(a.type)}.p0"
        self.call(None, name, (a.type.llvm, a.ref), (f"ptr align {align}", p.ref), (mask.type.llvm, mask.ref))

    def gather(self, p: Value, indices: Value, mask: Value | None) -> Value:
        verify.check("gather", p.type, indices.type)
        element = p.type.target  # type: ignore[attr-defined]
        if indices.type.lanes == 1:
            return self.load(self.offset(p, indices), 1, mask, False)
        result = indices.type.with_element(element)
        raw_type = result.with_element(ty.i8) if element.kind == "b" else result
        lanes = result.lanes
        pointers = self.name()
        self.line(f"{pointers} = getelementptr {self.memory_type(element)}, ptr {p.ref}, <{lanes} x i64> {indices.ref}")
        kept = f"<{lanes} x i1>", mask.ref if mask is not None else "splat (i1 true)"
        name = f"llvm.masked.gather.{self.suffix(raw_type)}.v{lanes}p0"
        declared = f"declare {raw_type.llvm} @{name}(<{lanes} x ptr>, <{lanes} x i1>, {raw_type.llvm})"
        pointer_argument = (f"<{lanes} x ptr> align {element.itemsize}", pointers)
        raw = self.call(raw_type, name, pointer_argument, kept, (raw_type.llvm, "zeroinitializer"), declared=declared)
        return self._from_memory(result, raw)

    def stack_array(self, element: Type, count: int) -> Value:
        name = self.name()
        self.allocas.append(f"  {name} = alloca [{count} x {self.memory_type(element)}], align 64")
        return Value(self, ty.ptr(element), name)

    def atomic(self, op: str, p: Value, a: Value) -> Value:
        verify.check("atomic", p.type, a.type)
        return self.value(a.type, f"atomicrmw {op} ptr {p.ref}, {a.type.llvm} {a.ref} seq_cst")

    def atomic_load(self, p: Value) -> Value:
        t = p.type.target  # type: ignore[attr-defined]
        return self.value(t, f"load atomic {t.llvm}, ptr {p.ref} seq_cst, align {t.itemsize}")

    def atomic_store(self, p: Value, a: Value) -> None:
        verify.check("atomic", p.type, a.type)
        self.line(f"store atomic {a.type.llvm} {a.ref}, ptr {p.ref} seq_cst, align {a.type.itemsize}")

    def compare_exchange(self, p: Value, expected: Value, desired: Value) -> tuple[Value, Value]:
        verify.check("atomic", p.type, desired.type)
        t = desired.type
        pair = self.name()
        self.line(f"{pair} = cmpxchg ptr {p.ref}, {t.llvm} {expected.ref}, {t.llvm} {desired.ref} seq_cst seq_cst")
        old = self.value(t, f"extractvalue {{{t.llvm}, i1}} {pair}, 0")
        return old, self.value(ty.b1, f"extractvalue {{{t.llvm}, i1}} {pair}, 1")

    def pause(self) -> None:
        if self.target.is_x86:
            self.call(None, "llvm.x86.sse2.pause")
        else:
            self.barrier()

    def barrier(self) -> None:
        self.line('fence syncscope("singlethread") seq_cst')

    def prefetch(self, p: Value) -> None:
        self.call(None, "llvm.prefetch.p0", ("ptr", p.ref), ("i32", "0"), ("i32", "3"), ("i32", "1"))

    # -- calls ----------------------------------------------------------------------------------------------------
    def call_extern(self, name: str, result: Type | None, arguments: Sequence[Value]) -> Any:
        return self.call(result, name, *((a.type.llvm, a.ref) for a in arguments))

    def call_kernel(self, kernel: Any, arguments: Sequence[Any]) -> Any:
        bound = []
        for (name, type), given in zip(kernel.parameters, arguments, strict=True):
            value = given if isinstance(given, Value) else self.constant(type, given)
            if value.type is not type:
                raise KernelError(f"{kernel.name}: the argument {name} is {value.type}, not {type}")
            bound.append(value)
        text = f"@{self.compile_callee(kernel)}({', '.join(f'{a.type.llvm} {a.ref}' for a in bound)})"
        if kernel.result is None:
            return self.line(f"call void {text}")
        return self.value(kernel.result, f"call {kernel.result.llvm} {text}")

    def call_address(self, address: Value, result: Type | None, arguments: Sequence[Value]) -> Any:
        given = ", ".join(f"{a.type.llvm} {a.ref}" for a in arguments)
        text = f"call {'void' if result is None else result.llvm} {address.ref}({given})"
        if result is None:
            return self.line(text)
        return self.value(result, text)

    def external(self, symbol: str, target: Type) -> Value:
        self.module.declare(symbol, f"@{symbol} = external global i8")
        return Value(self, ty.ptr(target), "@" + symbol)

    def address_of(self, kernel: Any) -> Value:
        return Value(self, ty.ptr(ty.i8), "@" + self.compile_callee(kernel))

    def compile_callee(self, kernel: Any) -> str:
        raise NotImplementedError  # the walker that owns this emitter overrides it
