"""Scalar expressions: what a pointwise operator computes for one element.

An operator's body, an ordinary Python function such as `lambda x, y: x * y`, is run once on symbols and becomes an
expression. The expression is evaluated on kernel values to give the kernel, differentiated to give the backward
kernel (again an expression, so that can be repeated), and substituted into others to fuse operators.

Equal expressions are the same object, so common subexpressions are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Number = bool | int | float


class Expr:
    """A node: an operation on other nodes, a variable, or a number."""

    __slots__ = ("arguments", "key", "operation", "weight")

    operation: str
    arguments: tuple[Any, ...]
    key: str
    weight: int  # rough cost of one element, in additions

    def __repr__(self) -> str:
        return self.key

    def __add__(self, other: Any) -> Expr:
        return add(self, other)

    def __radd__(self, other: Any) -> Expr:
        return add(other, self)

    def __sub__(self, other: Any) -> Expr:
        return subtract(self, other)

    def __rsub__(self, other: Any) -> Expr:
        return subtract(other, self)

    def __mul__(self, other: Any) -> Expr:
        return multiply(self, other)

    def __rmul__(self, other: Any) -> Expr:
        return multiply(other, self)

    def __truediv__(self, other: Any) -> Expr:
        return divide(self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return divide(other, self)

    def __floordiv__(self, other: Any) -> Expr:
        return make("floordiv", self, other)

    def __mod__(self, other: Any) -> Expr:
        return make("mod", self, other)

    def __pow__(self, exponent: Any) -> Expr:
        return power(self, exponent)

    def __rpow__(self, base: Any) -> Expr:
        return power(base, self)

    def __neg__(self) -> Expr:
        return make("neg", self)

    def __and__(self, other: Any) -> Expr:
        return make("and", self, other)

    def __or__(self, other: Any) -> Expr:
        return make("or", self, other)

    def __xor__(self, other: Any) -> Expr:
        return make("xor", self, other)

    def __invert__(self) -> Expr:
        return make("not", self)

    def __lshift__(self, other: Any) -> Expr:
        return make("shl", self, other)

    def __rshift__(self, other: Any) -> Expr:
        return make("shr", self, other)

    def __lt__(self, other: Any) -> Expr:
        return make("lt", self, other)

    def __le__(self, other: Any) -> Expr:
        return make("le", self, other)

    def __gt__(self, other: Any) -> Expr:
        return make("gt", self, other)

    def __ge__(self, other: Any) -> Expr:
        return make("ge", self, other)

    def __eq__(self, other: Any) -> Any:
        return make("eq", self, other)

    def __ne__(self, other: Any) -> Any:
        return make("ne", self, other)

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("a scalar expression has no truth value: use select(condition, a, b) instead of if")

    @property
    def kernel_fingerprint(self) -> str:
        """What the object cache knows the expression by."""
        return self.key

    @property
    def number(self) -> Any:
        """The number if this is one, else None."""
        return self.arguments[0] if self.operation == "const" else None


_interned: dict[str, Expr] = {}
_cheap = {"var": 0, "const": 0, "div": 4, "sqrt": 6, "floordiv": 6, "mod": 8}
_plain = {
    "add", "sub", "mul", "neg", "and", "or", "xor", "not", "shl", "shr", "lt", "le", "gt", "ge", "eq", "ne", "select",
    "abs", "min", "max", "floor", "ceil", "trunc", "round", "sign", "copysign", "cast",
}  # fmt: skip


def _intern(operation: str, arguments: tuple[Any, ...]) -> Expr:
    if operation in ("var", "const"):
        key = arguments[0] if operation == "var" else repr(arguments[0])
    else:
        key = f"{operation}({','.join([a.key if isinstance(a, Expr) else str(a) for a in arguments])})"
        if len(key) > 200:  # long keys of long chains would cost quadratic time: a digest names the same expression
            import hashlib

            key = f"{operation}#{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"
    found = _interned.get(key)
    if found is None:
        found = object.__new__(Expr)
        found.operation, found.arguments, found.key = operation, arguments, key
        own = _cheap.get(operation, 1 if operation in _plain else 10)
        found.weight = own + sum([a.weight for a in arguments if isinstance(a, Expr)])
        found = _interned.setdefault(key, found)
    return found


def variable(name: str) -> Expr:
    """A symbol: an operand or a parameter."""
    return _intern("var", (name,))


def constant(value: Number) -> Expr:
    """A number."""
    return _intern("const", (value,))


def as_expression(value: Any) -> Expr:
    """Numbers become constants."""
    return value if isinstance(value, Expr) else constant(value)


def make(operation: str, *arguments: Any) -> Expr:
    """An operation on expressions and numbers."""
    return _intern(operation, tuple([as_expression(a) for a in arguments]))


def _is(expression: Expr, value: Number) -> bool:
    return (
        expression.operation == "const"
        and expression.arguments[0] == value
        and not isinstance(expression.arguments[0], bool)
    )


def add(a: Any, b: Any) -> Expr:
    """a + b. Zero is dropped where it came from differentiation: `zero` marks it."""
    a, b = as_expression(a), as_expression(b)
    if a is zero:
        return b
    if b is zero:
        return a
    return _intern("add", (a, b))


def subtract(a: Any, b: Any) -> Expr:
    a, b = as_expression(a), as_expression(b)
    if b is zero:
        return a
    if a is zero:
        return make("neg", b)
    return _intern("sub", (a, b))


def multiply(a: Any, b: Any) -> Expr:
    a, b = as_expression(a), as_expression(b)
    if a is zero or b is zero:
        return zero
    if _is(a, 1):
        return b
    if _is(b, 1):
        return a
    return _intern("mul", (a, b))


def divide(a: Any, b: Any) -> Expr:
    a, b = as_expression(a), as_expression(b)
    if a is zero:
        return zero
    return a if _is(b, 1) else _intern("div", (a, b))


def power(a: Any, b: Any) -> Expr:
    a, b = as_expression(a), as_expression(b)
    if _is(b, 1):
        return a
    if _is(b, 2):
        return multiply(a, a)
    return _intern("pow", (a, b))


def select(condition: Any, a: Any, b: Any) -> Expr:
    a, b = as_expression(a), as_expression(b)
    return a if a is b else make("select", condition, a, b)


def conjugate(a: Any) -> Expr:
    """The complex conjugate."""
    a = as_expression(a)
    if a is zero or (a.operation == "const" and not isinstance(a.arguments[0], complex)):
        return a
    return a.arguments[0] if a.operation == "conj" else make("conj", a)


zero = _intern("zero", ())
zero.weight = 0


# -- differentiation -------------------------------------------------------------------------------------------------
Rule = Callable[..., tuple[Any, ...]]
RULES: dict[str, Rule] = {}
"""operation -> function (gradient, result, *arguments) -> gradients of the arguments (None: not differentiable)."""

COMPLEX_RULES: dict[str, Rule] = {}
"""What differs for complex numbers. Rules see the conjugate of the gradient, so that those of holomorphic functions hold."""


FLAT = frozenset(
    ["and", "or", "xor", "not", "shl", "shr", "lt", "le", "gt", "ge", "eq", "ne", "test", "signbit", "cast"]
)
"""Operations on truth values and bits: nothing flows back through them."""


def rule(operation: str, table: dict[str, Rule] = RULES) -> Callable[[Rule], Rule]:
    """Register the rule of an operation."""

    def register(function: Rule) -> Rule:
        table[operation] = function
        return function

    return register


def nodes_in_order(roots: Iterable[Expr]) -> list[Expr]:
    """Every node once, arguments before what uses them."""
    order: list[Expr] = []
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(r, False) for r in roots]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((a, False) for a in node.arguments if isinstance(a, Expr))
    return order


def differentiate(outputs: list[tuple[Expr, Expr]], names: Iterable[str], complex: bool = False) -> list[Expr]:
    """Reverse mode: the gradient with respect to each named variable, given (output, its gradient) pairs.

    complex: by torch's convention, the gradient of a holomorphic f is g * conj(f'), which is conj(conj(g) * f').
    """
    if complex:
        parts = _differentiate([(output, conjugate(g)) for output, g in outputs], names, {**RULES, **COMPLEX_RULES})
        return [conjugate(p) for p in parts]
    return _differentiate(outputs, names, RULES)


def _differentiate(outputs: list[tuple[Expr, Expr]], names: Iterable[str], rules: Mapping[str, Rule]) -> list[Expr]:
    gradients: dict[int, Expr] = {}
    for output, gradient in outputs:
        gradients[id(output)] = add(gradients.get(id(output), zero), gradient)
    for node in reversed(nodes_in_order([o for o, _ in outputs])):
        gradient = gradients.get(id(node), zero)
        if gradient is zero or node.operation in ("var", "const", "zero"):
            continue
        derive = rules.get(node.operation)
        if derive is None:
            if node.operation in FLAT:
                continue
            raise NotImplementedError(f"the derivative of '{node.operation}' is not implemented")
        for argument, part in zip(node.arguments, derive(gradient, node, *node.arguments), strict=True):
            if part is not None and isinstance(argument, Expr):
                gradients[id(argument)] = add(gradients.get(id(argument), zero), part)
    return [gradients.get(id(variable(name)), zero) for name in names]


def substitute(expressions: Iterable[Expr], replacements: Mapping[int, Expr]) -> list[Expr]:
    """Expressions with nodes (by id) replaced."""
    memo: dict[int, Expr] = dict(replacements)
    result = []
    for root in expressions:
        stack: list[tuple[Expr, bool]] = [(root, False)]
        while stack:
            node, ready = stack.pop()
            if id(node) in memo:
                continue
            inner = [a for a in node.arguments if isinstance(a, Expr)]
            if not inner:
                memo[id(node)] = node
            elif ready:
                arguments = tuple([memo[id(a)] if isinstance(a, Expr) else a for a in node.arguments])
                same = all(x is y for x, y in zip(arguments, node.arguments, strict=True))
                memo[id(node)] = node if same else _rebuild(node.operation, arguments)
            else:
                stack.append((node, True))
                stack.extend((a, False) for a in inner if id(a) not in memo)
        result.append(memo[id(root)])
    return result


_builders: dict[str, Callable[..., Expr]] = {
    "add": add, "sub": subtract, "mul": multiply, "div": divide, "pow": power, "select": select, "conj": conjugate,
}  # fmt: skip


def _rebuild(operation: str, arguments: tuple[Any, ...]) -> Expr:
    builder = _builders.get(operation)
    return builder(*arguments) if builder is not None else _intern(operation, arguments)


def variables(expressions: Iterable[Expr]) -> set[str]:
    """Names of the variables that occur."""
    return {node.arguments[0] for node in nodes_in_order(expressions) if node.operation == "var"}


def evaluate(
    expressions: Iterable[Expr], environment: Mapping[str, Any], operations: Mapping[str, Callable[..., Any]]
) -> list[Any]:
    """The value of each expression, with variables from `environment` and operations from a table."""
    expressions = list(expressions)
    values: dict[int, Any] = {}
    for node in nodes_in_order(expressions):
        if node.operation == "var":
            values[id(node)] = environment[node.arguments[0]]
        elif node.operation == "const":
            values[id(node)] = node.arguments[0]
        elif node.operation == "zero":
            values[id(node)] = 0
        else:
            values[id(node)] = operations[node.operation](
                *[values[id(a)] if isinstance(a, Expr) else a for a in node.arguments]
            )
    return [values[id(e)] for e in expressions]
