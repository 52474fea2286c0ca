"""From a kernel's syntax tree to LLVM IR: control flow in SSA form.

A variable that a loop or branch assigns becomes a phi; a parallel loop becomes a function of its own. Expressions are
evaluated by `walk.Walker`, on values whose operations append to the function under construction.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any, NamedTuple

from facula.kernel import types as ty
from facula.kernel import values
from facula.kernel.emit import Emitter, Module
from facula.kernel.errors import KernelError
from facula.kernel.source import captured, syntax
from facula.kernel.types import Type
from facula.kernel.values import Value
from facula.kernel.walk import (
    Environment,
    Returned,
    RuntimeRange,
    Walker,
    _leaves_early,
    assigned_names,
    flatten,
    parallel,
    rebuild,
)  # fmt: skip


class Phi(NamedTuple):
    """A variable (or an item of a list) that a loop carries."""

    name: str
    position: int
    initial: Value
    value: Value
    line: int


class Loop:
    """Edges that leave a loop's body early, with the variables as they were."""

    def __init__(self) -> None:
        self.breaks: list[tuple[str, Environment]] = []
        self.continues: list[tuple[str, Environment]] = []


class Lowering(Walker):
    """One kernel function into LLVM IR."""

    def __init__(self, function: Any, module: Module, target: Any) -> None:
        super().__init__(function, Emitter(module, target))
        self.emitter: Emitter = self.ops
        self.emitter.compile_callee = self.callee_symbol
        self.loops: list[Loop] = []
        self.result: Type | None = None
        self.inlined: list[Any] = []

    # -- functions ------------------------------------------------------------------------------------------------
    def callee_symbol(self, kernel: Any) -> str:
        return lower_kernel(kernel, self.emitter.module, self.emitter.target)

    def call_kernel(self, kernel: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        if kernel.inline:
            return self._inline(kernel, arguments, keywords)
        bound = self.bind(kernel, arguments, keywords)
        symbol = self.callee_symbol(kernel)
        given = ", ".join(f"{a.type.llvm} {a.ref}" for a in bound)
        if kernel.result is None:
            return self.emitter.line(f"call void @{symbol}({given})")
        return self.emitter.value(kernel.result, f"call {kernel.result.llvm} @{symbol}({given})")

    def _inline(self, kernel: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        bound = self.bind(kernel, arguments, keywords)
        body = syntax(kernel.function).body
        if any(isinstance(n, ast.Return) for s in body[:-1] for n in ast.walk(s)):
            raise KernelError(f"{kernel.name} is inlined, so it can return only in its last statement")
        saved = self.function, self.globals, self.captured, self.env
        self.function, self.globals, self.captured = (
            kernel.function,
            kernel.function.__globals__,
            captured(kernel.function),
        )
        self.env = {name: value for (name, _), value in zip(kernel.parameters, bound, strict=True)}
        self.inlined.append(kernel)
        result = None
        try:
            self.run(body)
        except Returned as returned:
            result = returned.value
        finally:
            self.inlined.pop()
            self.function, self.globals, self.captured, self.env = saved
        return result

    def do_Return(self, node: ast.Return) -> None:
        value = None if node.value is None else self.eval(node.value)
        if self.inlined:
            raise Returned(value)
        if self.result is None:
            if value is not None:
                raise KernelError("this kernel returns a value but declares none")
            self.emitter.line("ret void")
        else:
            if not isinstance(value, Value):
                value = self.ops.constant(self.result, value)
            if value.type is not self.result:
                raise KernelError(f"returns {value.type}, declared {self.result}")
            self.emitter.line(f"ret {value.type.llvm} {value.ref}")
        self.terminated = True

    # -- joins ----------------------------------------------------------------------------------------------------
    def merge(self, edges: list[tuple[str, Environment]], names: Iterable[str], fallback: Environment) -> Environment:
        """Variables after several edges meet at the start of the current block."""
        merged = dict(fallback)
        if len(edges) == 1:
            merged.update({n: edges[0][1][n] for n in names if n in edges[0][1]})
            return merged
        for name in names:
            if not all(name in env for _, env in edges):
                merged.pop(name, None)
                continue
            variants = [flatten(env[name]) for _, env in edges]
            if len({len(v) for v in variants}) != 1:
                raise KernelError(f"the list {name!r} has different lengths where branches meet")
            leaves = [
                self._phi(name, [(label, v[i]) for (label, _), v in zip(edges, variants, strict=True)])
                for i in range(len(variants[0]))
            ]
            merged[name] = rebuild(edges[0][1][name], iter(leaves))
        return merged

    def _phi(self, name: str, incoming: list[tuple[str, Any]]) -> Any:
        first = incoming[0][1]
        if all(
            x is first
            or (isinstance(x, Value) and isinstance(first, Value) and x.ref == first.ref and x.type is first.type)
            for _, x in incoming
        ):
            return first
        if not any(isinstance(x, Value) for _, x in incoming):
            if all(type(x) is type(first) and x == first for _, x in incoming):
                return first
            raise KernelError(
                f"{name!r} is {first!r} on one path and {incoming[1][1]!r} on another: give it a type, i64({first!r})"
            )
        like = next(x for _, x in incoming if isinstance(x, Value))
        cast = [(label, x if isinstance(x, Value) else self.ops.constant(like.type, x)) for label, x in incoming]
        for _, x in cast:
            if x.type is not like.type:
                raise KernelError(f"{name!r} is {like.type} on one path and {x.type} on another")
        text = ", ".join(f"[ {x.ref}, %{label} ]" for label, x in cast)
        return self.emitter.value(like.type, f"phi {like.type.llvm} {text}")

    def branch(self, label: str) -> None:
        self.emitter.line(f"br label %{label}")

    def branch_if(self, condition: Value, then: str, otherwise: str) -> None:
        if condition.type is not ty.b1:
            raise KernelError(f"a condition must be a truth value (b1), not {condition.type}")
        self.emitter.line(f"br i1 {condition.ref}, label %{then}, label %{otherwise}")

    # -- if -------------------------------------------------------------------------------------------------------
    def do_If(self, node: ast.If) -> None:
        condition = self.eval(node.test)
        if not isinstance(condition, Value):
            self.run(node.body if condition else node.orelse)
            return
        emitter = self.emitter
        then, otherwise, after = emitter.label(), emitter.label(), emitter.label()
        self.branch_if(condition, then, otherwise)
        before = dict(self.env)
        edges = []
        for label, body in ((then, node.body), (otherwise, node.orelse)):
            emitter.start(label)
            self.env = _copy(before)
            self.run(body)
            if not self.terminated:
                edges.append((emitter.block, self.env))
                self.branch(after)
            self.terminated = False
        if not edges:
            self.terminated = True
            self.env = before
            return
        emitter.start(after)
        names = assigned_names(node.body) | assigned_names(node.orelse)
        self.env = self.merge(edges, sorted(names), before)

    # -- loops ----------------------------------------------------------------------------------------------------
    def do_For(self, node: ast.For) -> None:
        iterable = self.eval(node.iter)
        if isinstance(iterable, parallel):
            self._parallel_loop(node, iterable)
        elif isinstance(iterable, RuntimeRange):
            self._range_loop(node, iterable)
        else:
            self._unrolled_loop(node, iterable)

    def _unrolled_loop(self, node: ast.For, items: Iterable[Any]) -> None:
        """The body once for each item; `break` and `continue` jump behind the loop and to the next copy."""
        if not _leaves_early(node.body):
            for item in items:
                self.assign(node.target, item)
                self.run(node.body)
            return
        names = sorted(assigned_names(node.body))
        after = self.emitter.label()
        edges: list[tuple[str, Environment]] = []
        for item in items:
            self.assign(node.target, item)
            loop = self._run_body(node.body, names, dict(self.env))
            self._resolve(f"break.{id(loop)}", after)
            edges += loop.breaks
            if not loop.continues:
                break
        else:
            edges.append((self.emitter.block, dict(self.env)))
            self.branch(after)
        before = dict(self.env)
        if not edges:
            self.terminated = True
            return
        self.emitter.start(after)
        self.env = self.merge(edges, names, before)

    def _open_loop(self, carried: list[tuple[str, Any]]) -> list[Phi]:
        """Phis for the variables a loop carries, at the head of the current block; they replace the variables."""
        phis = []
        for name, initial in carried:
            fresh = []
            for position, leaf in enumerate(flatten(initial)):
                if isinstance(leaf, Value):
                    value = self.emitter.value(leaf.type, "phi")
                    phis.append(Phi(name, position, leaf, value, len(self.emitter.lines) - 1))
                    leaf = value
                fresh.append(leaf)
            self.env[name] = rebuild(initial, iter(fresh))
        return phis

    def _close_phis(self, phis: list[Phi], entry: str, latch: str | None) -> None:
        """Fill in the edges of the phis: from before the loop, and from the end of an iteration (None: never reached)."""
        for phi in phis:
            type = phi.value.type
            text = f"  {phi.value.ref} = phi {type.llvm} [ {phi.initial.ref}, %{entry} ]"
            if latch is not None:
                leaf = flatten(self.env[phi.name])[phi.position]
                if not isinstance(leaf, Value):
                    leaf = self.ops.constant(type, leaf)
                if leaf.type is not type:
                    raise KernelError(f"{phi.name!r} enters the loop as {type} and leaves an iteration as {leaf.type}")
                text += f", [ {leaf.ref}, %{latch} ]"
            self.emitter.lines[phi.line] = text

    def _run_body(self, body: list[ast.stmt], names: list[str], header: Environment) -> Loop:
        """One iteration; afterwards the current block is where `continue` and the end of the body meet, if anything does."""
        loop = Loop()
        self.loops.append(loop)
        self.run(body)
        self.loops.pop()
        if not self.terminated:
            loop.continues.append((self.emitter.block, self.env))
            self.branch(f"continue.{id(loop)}")
        if loop.continues:
            label = self.emitter.label()
            self._resolve(f"continue.{id(loop)}", label)
            self.emitter.start(label)
            self.env = self.merge(loop.continues, names, header)
        self.terminated = False
        return loop

    def _resolve(self, placeholder: str, label: str) -> None:
        """Branches written before their target was known."""
        lines = self.emitter.lines
        for i, line in enumerate(lines):
            if line == f"  br label %{placeholder}":
                lines[i] = f"  br label %{label}"

    def _range_loop(self, node: ast.For, bounds: RuntimeRange) -> None:
        if not isinstance(node.target, ast.Name):
            raise KernelError("a range loop has one variable")
        like = next((b for b in (bounds.stop, bounds.start, bounds.step) if isinstance(b, Value)), None)
        type = like.type if like is not None else ty.i64
        start, stop, step = (
            b if isinstance(b, Value) else self.ops.constant(type, b) for b in (bounds.start, bounds.stop, bounds.step)
        )
        descending = not isinstance(bounds.step, Value) and bounds.step < 0
        emitter, index_name = self.emitter, node.target.id
        carried = self._carried(node.body, index_name)
        names = [name for name, _ in carried]
        self.env.update(carried)
        before = dict(self.env)
        before.pop(index_name, None)
        body, after = emitter.label(), emitter.label()
        self.branch_if(start > stop if descending else start < stop, body, after)
        entry = emitter.block
        emitter.start(body)
        index = emitter.value(type, "phi")
        index_line = len(emitter.lines) - 1
        phis = self._open_loop(carried)
        self.env[index_name] = index
        loop = self._run_body(node.body, names, dict(self.env))
        edges = [(entry, before)]
        latch = None
        text = f"  {index.ref} = phi {type.llvm} [ {start.ref}, %{entry} ]"
        if loop.continues:
            following = emitter.value(type, f"add nsw {type.llvm} {index.ref}, {step.ref}")
            again = following > stop if descending else following < stop
            latch = emitter.block
            self.branch_if(again, body, after)
            text += f", [ {following.ref}, %{latch} ]"
            edges.append((latch, self.env))
        emitter.lines[index_line] = text
        self._close_phis(phis, entry, latch)
        self._resolve(f"break.{id(loop)}", after)
        emitter.start(after)
        self.env = self.merge(edges + loop.breaks, names, before)

    def do_While(self, node: ast.While) -> None:
        emitter = self.emitter
        carried = self._carried(node.body)
        names = [name for name, _ in carried]
        self.env.update(carried)
        before = dict(self.env)
        header, body, after = emitter.label(), emitter.label(), emitter.label()
        entry = emitter.block
        self.branch(header)
        emitter.start(header)
        phis = self._open_loop(carried)
        condition = self.eval(node.test)
        edges: list[tuple[str, Environment]] = []
        if isinstance(condition, Value):
            self.branch_if(condition, body, after)
            edges.append((emitter.block, dict(self.env)))
        elif condition:
            self.branch(body)
        else:
            raise KernelError("this while loop never runs")
        emitter.start(body)
        loop = self._run_body(node.body, names, dict(self.env))
        if loop.continues:
            self.branch(header)
        self._close_phis(phis, entry, emitter.block if loop.continues else None)
        self._resolve(f"break.{id(loop)}", after)
        edges += loop.breaks
        if not edges:
            self.terminated, self.env = True, before
            return
        emitter.start(after)
        self.env = self.merge(edges, names, before)

    def do_Continue(self, node: ast.Continue) -> None:
        loop = self._loop("continue")
        loop.continues.append((self.emitter.block, dict(self.env)))
        self.branch(f"continue.{id(loop)}")
        self.terminated = True

    def do_Break(self, node: ast.Break) -> None:
        loop = self._loop("break")
        loop.breaks.append((self.emitter.block, dict(self.env)))
        self.branch(f"break.{id(loop)}")
        self.terminated = True

    def _loop(self, what: str) -> Loop:
        if not self.loops:
            raise KernelError(f"{what} outside a run-time loop")
        return self.loops[-1]

    # -- parallel loops -------------------------------------------------------------------------------------------
    def _parallel_loop(self, node: ast.For, bounds: parallel) -> None:
        """The body becomes a function of (context, lo, hi) that the thread pool calls on pieces of the range."""
        self.check_parallel(node)
        emitter = self.emitter
        read = {n.id for s in node.body for n in ast.walk(s) if isinstance(n, ast.Name)}
        shared = [
            (n, leaf) for n in sorted(read) if n in self.env for leaf in flatten(self.env[n]) if isinstance(leaf, Value)
        ]
        context = emitter.name()
        slots = [0]  # of 64 bytes
        for _, leaf in shared:
            slots.append(slots[-1] - (-leaf.type.itemsize // 64))
        emitter.allocas.append(f"  {context} = alloca [{max(1, slots[-1])} x <8 x i64>], align 64")
        inner = Lowering(self.function, emitter.module, emitter.target)
        inner.globals, inner.captured = self.globals, self.captured
        fresh: dict[int, Value] = {}
        for slot, (_, leaf) in zip(slots, shared, strict=False):
            address = emitter.name()
            emitter.line(f"{address} = getelementptr <8 x i64>, ptr {context}, i64 {slot}")
            emitter.line(f"store {leaf.type.llvm} {leaf.ref}, ptr {address}, align 64")
            inner_address = inner.emitter.name()
            inner.emitter.line(f"{inner_address} = getelementptr <8 x i64>, ptr %context, i64 {slot}")
            fresh[id(leaf)] = inner.emitter.value(leaf.type, f"load {leaf.type.llvm}, ptr {inner_address}, align 64")
        with values.using_ops(inner.emitter):
            for name, item in self.env.items():
                leaves = flatten(item)
                if any(isinstance(x, Value) for x in leaves):
                    if name not in read:
                        continue
                    inner.env[name] = rebuild(item, iter([fresh[id(x)] if isinstance(x, Value) else x for x in leaves]))
                else:
                    inner.env[name] = item
            low, high = (Value(inner.emitter, ty.i64, n) for n in ("%lo", "%hi"))
            inner.env["__lo"], inner.env["__hi"] = low, high
            loop = ast.copy_location(
                ast.For(
                    node.target,
                    ast.copy_location(
                        ast.Call(
                            ast.Name("range", ast.Load()),
                            [ast.Name("__lo", ast.Load()), ast.Name("__hi", ast.Load())],
                            [],
                        ),
                        node,
                    ),
                    node.body,
                    [],
                ),
                node,
            )
            ast.fix_missing_locations(loop)
            inner.run([loop])
        symbol = f"body{len(emitter.module.functions)}_{emitter.count}"
        emitter.module.functions.append(inner.finish(symbol, "ptr %context, i64 %lo, i64 %hi", "internal"))
        low, high, grain = (
            b if isinstance(b, Value) else self.ops.constant(ty.i64, b) for b in (bounds.lo, bounds.hi, bounds.grain)
        )
        emitter.module.declare("facula_parallel", "declare void @facula_parallel(ptr, ptr, i64, i64, i64)")
        emitter.line(
            f"call void @facula_parallel(ptr @{symbol}, ptr {context}, i64 {low.ref}, i64 {high.ref}, i64 {grain.ref})"
        )

    def finish(self, symbol: str, parameters: str, linkage: str = "") -> str:
        """The whole function's text."""
        if not self.terminated:
            if self.result is not None:
                raise KernelError(f"a path through this kernel returns no {self.result}", self.where())
            self.emitter.line("ret void")
        result = "void" if self.result is None else self.result.llvm
        lines = "\n".join([*self.emitter.allocas, *self.emitter.lines])
        attributes = f'nounwind "prefer-vector-width"="{self.emitter.target.vector_bits}" "no-builtins"'
        return f"define {linkage} {result} @{symbol}({parameters}) {attributes} {{\nentry:\n{lines}\n}}\n"


def _copy(env: Environment) -> Environment:
    """Variables of one branch: its own lists, so that item assignment stays inside."""
    return {k: (_copy_list(v) if isinstance(v, list) else v) for k, v in env.items()}


def _copy_list(items: list[Any]) -> list[Any]:
    return [_copy_list(x) if isinstance(x, list) else x for x in items]


def lower_kernel(kernel: Any, module: Module, target: Any) -> str:
    """Add `kernel` to the module as a function with plain arguments; gives its symbol."""
    key = kernel.key
    if key in module.emitted:
        return module.emitted[key]
    symbol = module.emitted[key] = f"{kernel.name}_{len(module.emitted)}"
    lowering = Lowering(kernel.function, module, target)
    lowering.result = kernel.result
    with values.using_ops(lowering.emitter):
        for name, type in kernel.parameters:
            lowering.env[name] = Value(lowering.emitter, type, f"%{name}")
        lowering.run(syntax(kernel.function).body)
        parameters = ", ".join(f"{type.llvm} %{name}" for name, type in kernel.parameters)
        module.functions.append(lowering.finish(symbol, parameters, "internal"))
    return symbol


def launch_entry(kernel: Any, module: Module, symbol: str, exported: str) -> None:
    """The function that the runtime calls: (slots, lo, hi), each slot 8 bytes holding an address, an i64 or a double.

    A kernel whose only other parameter is named `slots` reads them itself.
    """
    lines, given = [], []
    if [name for name, _ in kernel.parameters[:-2]] == ["slots"]:
        given = ["ptr %slots"]
    for i, (name, type) in enumerate(kernel.parameters[:-2] if not given else ()):
        lines.append(f"  %p{i} = getelementptr i64, ptr %slots, i64 {i}")
        if type.is_float and type.bits < 32:
            raise KernelError(
                f"{kernel.name}: the parameter {name} of a launchable kernel cannot be {type}: take an f32"
            )
        slot_type = ty.f64 if type.is_float else type if type.kind == "p" else ty.i64
        lines.append(f"  %s{i} = load {slot_type.llvm}, ptr %p{i}, align 8")
        reference = f"%s{i}"
        if type is not slot_type:
            conversion = "fptrunc double" if type.is_float else "trunc i64"
            lines.append(f"  %c{i} = {conversion} {reference} to {type.llvm}")
            reference = f"%c{i}"
        given.append(f"{type.llvm} {reference}")
    given += ["i64 %lo", "i64 %hi"]
    lines += [f"  call void @{symbol}({', '.join(given)})", "  ret void"]
    text = "\n".join(lines)
    module.functions.append(f"define void @{exported}(ptr %slots, i64 %lo, i64 %hi) nounwind {{\n{text}\n}}\n")
