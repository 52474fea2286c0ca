"""Evaluating a kernel's expressions and straight-line statements.

What is known while compiling (numbers, types, lists, macros, everything captured from the scopes around the kernel) is
ordinary Python; what is not is a `Value`. Control flow is added by the subclasses: `lower.Lowering` emits it,
`interpret` performs it.
"""

from __future__ import annotations

import ast
import builtins
import operator
from collections.abc import Callable, Iterable
from typing import Any

from facula.kernel import types as ty
from facula.kernel import values
from facula.kernel.errors import KernelError
from facula.kernel.source import captured
from facula.kernel.values import Value

Environment = dict[str, Any]

_BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.BitAnd: operator.and_, ast.BitOr: operator.or_,
    ast.BitXor: operator.xor, ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.Pow: operator.pow,
}  # fmt: skip
_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Is: operator.is_, ast.IsNot: operator.is_not, ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip


class unroll:
    """`for x in unroll(range(4))`: the body is written out once for each item, which is known while compiling."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = list(items)

    def __iter__(self) -> Any:
        return iter(self.items)


class parallel:
    """`for i in parallel(lo, hi, grain)`: iterations in any order, shared among threads in pieces of >= grain."""

    def __init__(self, lo: Any, hi: Any, grain: Any = 1) -> None:
        self.lo, self.hi, self.grain = lo, hi, grain


class RuntimeRange:
    """What `range` is inside a kernel: a loop at run time."""

    def __init__(self, *bounds: Any) -> None:
        self.start, self.stop = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
        self.step = bounds[2] if len(bounds) > 2 else 1

    def __iter__(self) -> Any:  # unroll(range(...)) and list comprehensions over numbers known while compiling
        for bound in (self.start, self.stop, self.step):
            if isinstance(bound, Value):
                raise KernelError("this range has a bound known only at run time: it cannot be unrolled")
        return iter(range(self.start, self.stop, self.step))


def _has_value(items: Iterable[Any]) -> bool:
    return any(isinstance(x, Value) or (isinstance(x, (list, tuple)) and _has_value(x)) for x in items)


def _kernel_min(*items: Any) -> Any:
    if not _has_value(items):
        return min(*items)
    result = items[0]
    for item in items[1:]:
        result = values.minimum(result, item)
    return result


def _kernel_max(*items: Any) -> Any:
    if not _has_value(items):
        return max(*items)
    result = items[0]
    for item in items[1:]:
        result = values.maximum(result, item)
    return result


def _kernel_abs(x: Any) -> Any:
    return values.absolute(x) if isinstance(x, Value) else abs(x)


_BUILTINS: dict[str, Any] = {
    **{n: getattr(builtins, n) for n in ("len", "int", "float", "bool", "list", "tuple", "zip", "enumerate", "reversed",
       "isinstance", "sum", "any", "all", "str", "dict", "sorted", "None", "True", "False")},
    "range": RuntimeRange, "min": _kernel_min, "max": _kernel_max, "abs": _kernel_abs,
}  # fmt: skip


class Returned(Exception):
    """An inlined kernel or the interpreter reached `return`."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Walker:
    """Expressions and simple statements of one kernel function."""

    def __init__(self, function: Any, ops: Any) -> None:
        self.function, self.ops = function, ops
        self.globals: dict[str, Any] = function.__globals__
        self.captured = captured(function)
        self.env: Environment = {}
        self.node: ast.AST | None = None
        self.terminated = False

    def where(self) -> str:
        return f"{self.function.__code__.co_filename}:{getattr(self.node, 'lineno', 0)}"

    # -- statements -----------------------------------------------------------------------------------------------
    def run(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if self.terminated:
                return
            self.node = statement
            try:
                getattr(self, "do_" + type(statement).__name__, self.refuse)(statement)
            except KernelError as error:
                self.node = statement
                raise error.at(self.where()) from None
            except (TypeError, AttributeError, ValueError, LookupError, ArithmeticError, NameError) as error:
                self.node = statement
                raise KernelError(f"{type(error).__name__}: {error}", self.where()) from error

    def refuse(self, node: ast.AST) -> None:
        raise KernelError(f"the kernel language has no {type(node).__name__}")

    def do_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.eval(node.value)

    def do_Pass(self, node: ast.Pass) -> None:
        pass

    def do_Assert(self, node: ast.Assert) -> None:
        if not self.eval(node.test):
            raise KernelError(f"assertion failed while compiling: {ast.unparse(node.test)}")

    def do_Assign(self, node: ast.Assign) -> None:
        value = self.eval(node.value)
        for target in node.targets:
            self.assign(target, value)

    def do_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.assign(node.target, values.cast(self.eval(node.value), self.eval(node.annotation)))

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        read = ast.copy_location(ast.BinOp(_as_load(node.target), node.op, node.value), node)
        self.assign(node.target, self.eval(read))

    def assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.env[target.id] = value
        elif isinstance(target, (ast.Tuple, ast.List)):
            items = list(value)
            if len(items) != len(target.elts):
                raise KernelError(f"{len(items)} values for {len(target.elts)} names")
            for inner, item in zip(target.elts, items, strict=True):
                self.assign(inner, item)
        elif isinstance(target, ast.Subscript):
            self.eval(target.value)[self.eval(target.slice)] = value
        else:
            self.refuse(target)

    # -- expressions ----------------------------------------------------------------------------------------------
    def eval(self, node: ast.expr) -> Any:
        return getattr(self, "on_" + type(node).__name__, self.refuse)(node)

    def on_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def on_Name(self, node: ast.Name) -> Any:
        name = node.id
        for scope in (self.env, self.captured):
            if name in scope:
                return scope[name]
        if name in _BUILTINS:
            return _BUILTINS[name]
        if name in self.globals:
            return self.globals[name]
        raise KernelError(f"name {name!r} is not defined here")

    def on_Attribute(self, node: ast.Attribute) -> Any:
        return getattr(self.eval(node.value), node.attr)

    def on_BinOp(self, node: ast.BinOp) -> Any:
        return _BINARY[type(node.op)](self.eval(node.left), self.eval(node.right))

    def on_UnaryOp(self, node: ast.UnaryOp) -> Any:
        operand = self.eval(node.operand)
        if isinstance(node.op, ast.Not):
            return ~operand if isinstance(operand, Value) else not operand
        if isinstance(node.op, ast.USub):
            return -operand
        return ~operand if isinstance(node.op, ast.Invert) else operand

    def on_Compare(self, node: ast.Compare) -> Any:
        left, result = self.eval(node.left), None
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.eval(right_node)
            held = _COMPARE[type(op)](left, right)
            result = held if result is None else _both(result, held)
            left = right
        return result

    def on_BoolOp(self, node: ast.BoolOp) -> Any:
        is_and = isinstance(node.op, ast.And)
        result: Any = is_and
        for operand_node in node.values:
            operand = self.eval(operand_node)
            if not isinstance(operand, Value):
                if bool(operand) != is_and:
                    return operand
            elif isinstance(result, Value):
                result = result & operand if is_and else result | operand
            else:
                result = operand
        return result

    def on_IfExp(self, node: ast.IfExp) -> Any:
        condition = self.eval(node.test)
        if isinstance(condition, Value):
            return values.select(condition, self.eval(node.body), self.eval(node.orelse))
        return self.eval(node.body if condition else node.orelse)

    def on_Subscript(self, node: ast.Subscript) -> Any:
        return self.eval(node.value)[self.eval(node.slice)]

    def on_Slice(self, node: ast.Slice) -> Any:
        return slice(*(None if part is None else self.eval(part) for part in (node.lower, node.upper, node.step)))

    def on_Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._items(node.elts))

    def on_List(self, node: ast.List) -> Any:
        return list(self._items(node.elts))

    def _items(self, nodes: list[ast.expr]) -> Iterable[Any]:
        for node in nodes:
            if isinstance(node, ast.Starred):
                yield from self.eval(node.value)
            else:
                yield self.eval(node)

    def on_ListComp(self, node: ast.ListComp) -> Any:
        return list(self._comprehend(node.elt, node.generators))

    on_GeneratorExp = on_ListComp

    def _comprehend(self, element: ast.expr, generators: list[ast.comprehension]) -> Iterable[Any]:
        if not generators:
            yield self.eval(element)
            return
        first, rest = generators[0], generators[1:]
        saved = dict(self.env)
        for item in self.eval(first.iter):
            self.assign(first.target, item)
            if all(self.eval(test) for test in first.ifs):
                yield from list(self._comprehend(element, rest))
        self.env = saved

    def on_JoinedStr(self, node: ast.JoinedStr) -> Any:
        parts = [p.value if isinstance(p, ast.Constant) else str(self.eval(p.value)) for p in node.values]  # type: ignore[attr-defined]
        return "".join(map(str, parts))

    def on_Call(self, node: ast.Call) -> Any:
        callee = self.eval(node.func)
        arguments = list(self._items(node.args))
        keywords = {k.arg: self.eval(k.value) for k in node.keywords if k.arg is not None}
        place = self.node
        if getattr(callee, "is_kernel", False):
            result = self.call_kernel(callee, arguments, keywords)
        else:
            result = callee(*arguments, **keywords)
        self.node = place
        return result

    def call_kernel(self, kernel: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
        raise NotImplementedError

    def bind(self, kernel: Any, arguments: list[Any], keywords: dict[str, Any]) -> list[Any]:
        """Arguments in order of the parameters, as values of the parameters' types."""
        bound = list(arguments)
        for name, _ in kernel.parameters[len(arguments) :]:
            if name not in keywords:
                raise KernelError(f"call of {kernel.name} lacks the argument {name}")
            bound.append(keywords[name])
        if len(bound) != len(kernel.parameters):
            raise KernelError(f"{kernel.name} takes {len(kernel.parameters)} arguments, not {len(bound)}")
        for i, (name, type) in enumerate(kernel.parameters):
            if type is None:
                continue
            if not isinstance(bound[i], Value):
                bound[i] = self.ops.constant(type, bound[i])
            if bound[i].type is not type:
                raise KernelError(f"{kernel.name}: the argument {name} is {bound[i].type}, not {type}")
        return bound

    def check_parallel(self, node: ast.For) -> None:
        """A parallel loop may change memory but no variable from before it, and cannot be left early."""
        target = node.target
        if not isinstance(target, ast.Name):
            raise KernelError("a parallel loop has one variable")
        rebound = rebound_names(node.body)
        changed = sorted(
            n for n in assigned_names(node.body)
            if n in self.env and n != target.id and (n in rebound or not isinstance(self.env[n], Value))
        )  # fmt: skip
        if changed:
            raise KernelError(f"a parallel loop may not change {', '.join(changed)}: its iterations run in any order")
        if any(isinstance(n, ast.Return) for s in node.body for n in ast.walk(s)) or _leaves_early(
            node.body, (ast.Break,)
        ):
            raise KernelError("a parallel loop cannot be left by break or return: its iterations run in any order")

    def _carried(self, body: list[ast.stmt], index: str = "") -> list[tuple[str, Any]]:
        """Variables a loop changes, made into values so that they can become phis."""
        carried = []
        rebound = rebound_names(body)
        for name in sorted(assigned_names(body) - {index}):
            if isinstance(self.env.get(name), Value) and name not in rebound:
                continue  # a pointer stored through
            if name in self.env and any(isinstance(leaf, (Value, int, float)) for leaf in flatten(self.env[name])):
                leaves = [self._typed(name, leaf) for leaf in flatten(self.env[name])]
                carried.append((name, rebuild(self.env[name], iter(leaves))))
        return carried

    def _typed(self, name: str, leaf: Any) -> Any:
        if isinstance(leaf, bool):
            return self.ops.constant(ty.b1, leaf)
        if isinstance(leaf, int):
            return self.ops.constant(ty.i64, leaf)
        if isinstance(leaf, float):
            raise KernelError(
                f"{name!r} starts as the number {leaf} and changes in a loop: give it a type, f32({leaf})"
            )
        return leaf


def _leaves_early(body: list[ast.stmt], how: tuple[type[ast.stmt], ...] = (ast.Break, ast.Continue)) -> bool:
    """Whether `break` or `continue` in these statements means the loop around them."""
    for statement in body:
        if isinstance(statement, how):
            return True
        if isinstance(statement, ast.If) and (
            _leaves_early(statement.body, how) or _leaves_early(statement.orelse, how)
        ):
            return True
    return False


def _as_load(node: ast.expr) -> ast.expr:
    if isinstance(node, ast.Name):
        return ast.copy_location(ast.Name(node.id, ast.Load()), node)
    if isinstance(node, ast.Subscript):
        return ast.copy_location(ast.Subscript(node.value, node.slice, ast.Load()), node)
    return node


def _both(a: Any, b: Any) -> Any:
    """`a and b` where either may be known while compiling."""
    if isinstance(a, Value):
        return a & b if isinstance(b, Value) else (a if b else b)
    return b if a else a


_assigned_cache: dict[int, tuple[Any, frozenset[str], frozenset[str]]] = {}


def _assigned(body: list[ast.stmt]) -> tuple[Any, frozenset[str], frozenset[str]]:
    """(the statements, names that they bind, names through which they assign items)."""
    known = _assigned_cache.get(id(body))
    if known is not None and known[0] is body:
        return known
    bound: set[str] = set()
    items: set[str] = set()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound.add(node.id)
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                inner: ast.expr = node
                while isinstance(inner, ast.Subscript):
                    inner = inner.value
                if isinstance(inner, ast.Name):
                    items.add(inner.id)
    found = _assigned_cache[id(body)] = (body, frozenset(bound), frozenset(items))
    return found


def assigned_names(body: list[ast.stmt]) -> frozenset[str]:
    """Names that statements may rebind, lists whose items they may replace included."""
    _, bound, items = _assigned(body)
    return bound | items


def rebound_names(body: list[ast.stmt]) -> frozenset[str]:
    """Names that statements may rebind themselves."""
    return _assigned(body)[1]


def flatten(item: Any) -> list[Any]:
    """The leaves of nested lists and tuples."""
    if isinstance(item, (list, tuple)):
        return [leaf for inner in item for leaf in flatten(inner)]
    return [item]


def rebuild(item: Any, leaves: Any) -> Any:
    """The same nesting around new leaves."""
    if isinstance(item, (list, tuple)):
        return type(item)(rebuild(inner, leaves) for inner in item)
    return next(leaves)
