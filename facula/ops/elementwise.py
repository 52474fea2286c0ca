"""Pointwise operators: one scalar expression is the forward, the backward, every derivative after it, and the kernel.

    @pointwise()
    def mul(input, other):
        return input * other

The body is run once on symbols. Inputs are the positional parameters (tensors or numbers); keyword-only parameters are
numbers that, at their default, are baked into the kernel. The plan for a combination of layouts (result dtype, broadcast
shape, strides, kernel) is made at the first call and found again by the identity of the layouts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import CPU, Layout, layout, register_cache
from facula.core.promotion import can_cast, number_dtype, result_dtype
from facula.core.shapes import broadcast_shapes, broadcast_stride
from facula.core.strides import collapse, elementwise_stride, has_internal_overlap, overlap_status
from facula.engine.graph import Node, edge_of, save, saved_output
from facula.engine.modes import modes
from facula.ops.define import OPERATORS, _backward_name, parameters_of, publish
from facula.ops.dispatch import FAULT_ADDRESS, Launch, check_devices
from facula.ops.expression import Expr, conjugate, constant, differentiate, substitute, variable, variables, zero
from facula.ops.kernels.pointwise import Operand, Signature, divisors, grain
from facula.ops.kernels.pointwise import pointwise as pointwise_kernel
from facula.runtime.objects import REFERENCE, TensorBase, new_tensor

if not REFERENCE:
    from facula.ops import fastpath

Number = (bool, int, float)
STREAM_BYTES = 16 << 20


class Plan:
    """What a call needs once the layouts of its operands are known."""

    __slots__ = ("compute", "expressions", "launch", "operator", "outs", "tensor_inputs")

    def __init__(
        self, operator: Any, launch: Launch, outs: tuple[Layout, ...], compute: dt.dtype, tensor_inputs: tuple[int, ...]
    ) -> None:
        self.operator, self.launch, self.outs, self.compute, self.tensor_inputs = (
            operator,
            launch,
            outs,
            compute,
            tensor_inputs,
        )


class _Plans(dict[Any, Any]):
    """Plans by layouts; forgetting them empties the native table too."""

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = table

    def clear(self) -> None:
        super().clear()
        if self.table is not None:
            self.table.clear()


class PointwiseOperator:
    """A named scalar expression over tensors, with its derivative made on demand.

    result: 'same' (the promoted dtype), 'float' (integers compute in the default float), 'bool' (a truth value,
    compared in the promoted dtype), 'real' (complex gives its real part's dtype), 'complex' (the reverse), or a dtype.
    """

    def __init__(
        self, name: str, expressions: Sequence[Expr], inputs: Sequence[str], numbers: dict[str, Any], result: Any,
        gradient: Callable[..., Any] | None = None, integers: bool = True, backward_name: str | None = None,
        refuse_bool: str | None = None,
    ) -> None:  # fmt: skip
        self.name, self.expressions, self.inputs, self.numbers = name, tuple(expressions), tuple(inputs), numbers
        self.result, self.integers, self.refuse_bool = result, integers, refuse_bool
        self.backward_name = backward_name or _backward_name(name)
        self.override = gradient
        self.depth = 0  # how many times it is a derivative: keeps the names of gradients and results apart
        self.spreads = False  # copy and fill: the input takes the shape and dtype of what is written to
        self.samples: Callable[..., Any] | None = None
        self.domain, self.accepts = (-2.0, 2.0), "numbers"  # see `pointwise`
        self.table = None if REFERENCE else fastpath.Table()
        self.plans: dict[Any, Plan] = register_cache(_Plans(self.table))
        self.derivatives: dict[Any, Derivative] = {}

    def __repr__(self) -> str:
        return f"<pointwise {self.name}: {', '.join(e.key for e in self.expressions)}>"

    # -- planning -------------------------------------------------------------------------------------------------
    def plan(self, operands: Sequence[Any], numbers: dict[str, Any], out: Any) -> Plan:
        """The plan for these operands, from the table or made now. `out`: None, or the tensor to write to."""
        key: Any = tuple([x._layout if isinstance(x, TensorBase) else type(x) for x in operands])
        if numbers:
            key += tuple([(n, type(v)) for n, v in numbers.items()])
        if out is not None:
            key += ("out", out._layout)
        found = self.plans.get(key)
        if found is None or (self.result == "float" and found.compute is not self._compute(operands)[0]):
            found = self.plans[key] = self._make_plan(operands, numbers, out)
        return found

    def _compute(self, operands: Sequence[Any]) -> tuple[dt.dtype, dt.dtype]:
        """(dtype to compute in, dtype of the result)."""
        described, tensors = [], 0
        for position, x in enumerate(operands):
            if isinstance(x, TensorBase):
                described.append((x._layout.dtype, not x._layout.shape, False))
                tensors += 1
            elif isinstance(x, (bool, int, float, complex)) and self._may_be_number(position):
                described.append((number_dtype(x), True, True))
            else:
                raise TypeError(
                    f"{self.name}(): argument '{self.inputs[position]}' (position {position + 1}) must be "
                    f"{'Tensor or Number' if self._may_be_number(position) else 'Tensor'}, not {type(x).__name__}"
                )
        if not tensors and self.accepts == "one":
            raise TypeError(f"{self.name}() received an invalid combination of arguments: one of them must be a Tensor")
        compute = result_dtype(described)
        if self.result == "float" and compute.kind not in "fc":
            compute = dt.get_default_dtype()
        if not self.integers and compute.kind in "fc":
            raise NotImplementedError(f"\"{self.name}_cpu\" not implemented for '{compute.scalar_name}'")
        if (
            self.refuse_bool is not None
            and compute is dt.bool
            and any(isinstance(x, TensorBase) and x._layout.dtype is dt.bool for x in operands)
        ):
            raise RuntimeError(self.refuse_bool)
        if self.result == "bool":
            return compute, dt.bool
        if self.result == "real":
            return compute, compute.to_real()
        if self.result == "complex":
            return compute, compute.to_complex()
        if isinstance(self.result, dt.dtype):
            return compute, self.result
        return compute, compute

    def _may_be_number(self, position: int) -> bool:
        return self.accepts in ("one", "numbers") or (self.accepts == "right" and position > 0)

    def _make_plan(self, operands: Sequence[Any], numbers: dict[str, Any], out: Any) -> Plan:
        compute, result = self._compute(operands)
        if self.spreads and out is not None and not isinstance(operands[0], TensorBase):
            compute = out._layout.dtype
        device = check_devices(self.name, operands)
        tensors = [x for x in operands if isinstance(x, TensorBase)]
        shapes = [t._layout.shape for t in tensors]
        shape = (
            broadcast_shapes(*shapes)
            if len(shapes) > 1
            else shapes[0]
            if shapes
            else out._layout.shape
            if out is not None
            else ()
        )
        if out is not None:
            target = out._layout
            if target.shape != shape and (not self.spreads or broadcast_shapes(shape, target.shape) != target.shape):
                raise errors.output_broadcast(target.shape, shape)
            shape = target.shape
            if not self.spreads and not can_cast(result, target.dtype):
                raise errors.result_cast(result, target.dtype)
            if has_internal_overlap(target.shape, target.stride):
                raise errors.internal_overlap()
            outs: tuple[Layout, ...] = (target,)
        else:
            stride = (
                elementwise_stride(shape, [(t._layout.shape, t._layout.stride) for t in tensors]) if tensors else None
            )
            outs = (layout(shape, stride, result, device or CPU),) * len(self.expressions)
        launch = self._launch(operands, numbers, outs, compute, shape)
        return Plan(self, launch, outs, compute, tuple(i for i, x in enumerate(operands) if isinstance(x, TensorBase)))

    def _launch(
        self, operands: Sequence[Any], numbers: dict[str, Any], outs: tuple[Layout, ...], compute: dt.dtype, shape: Any
    ) -> Launch:
        tensors = [(n, x._layout) for n, x in zip(self.inputs, operands, strict=True) if isinstance(x, TensorBase)]
        strides = [o.stride for o in outs] + [broadcast_stride(own.shape, own.stride, shape) for _, own in tensors]
        sizes, steps = collapse(shape, strides)
        names = [f"out{i}" for i in range(len(outs))] + [n for n, _ in tensors]
        dtypes = [o.dtype for o in outs] + [own.dtype for _, own in tensors]
        described = [Operand(n, d.code, _pattern(s[-1])) for n, d, s in zip(names, dtypes, steps, strict=True)]
        replaced = {
            id(variable(n)): constant(v) for n, v in self.numbers.items() if n not in numbers and v is not None
        }  # fmt: skip
        expressions = substitute(self.expressions, replaced) if replaced else self.expressions
        kind = "f" if compute.kind == "f" else "i"
        passed = [n for n, x in zip(self.inputs, operands, strict=True) if not isinstance(x, TensorBase)] + list(
            numbers
        )
        signature = Signature(
            tuple(expressions), tuple(described[: len(outs)]), tuple(described[len(outs) :]),
            tuple((n, kind) for n in passed), compute.code, len(sizes),
            len(sizes) == 1 and outs[0].nbytes >= STREAM_BYTES and all(o.pattern != "g" for o in described),
        )  # fmt: skip
        if compute.kind == "c" or any(d.kind == "c" for d in dtypes):
            from facula.ops.kernels.complex import lower_complex

            return lower_complex(signature, sizes, steps, passed)
        return launch_of(signature, sizes, steps)

    # -- calling --------------------------------------------------------------------------------------------------
    def __call__(self, operands: Sequence[Any], numbers: dict[str, Any] | None = None, out: Any = None) -> Any:
        """Apply to tensors and numbers: the reference path, and the only one that knows every case."""
        given = {n: v for n, v in numbers.items() if v != self.numbers[n]} if numbers else {}
        if modes.interpreters:
            handled = modes.interpreters[-1].pointwise(self, operands, given, out)
            if handled is not NotImplemented:
                return handled
        plan = self.plan(operands, given, out)
        if out is None:
            results = [new_tensor(o) for o in plan.outs]
        else:
            _check_overlap(out, operands)
            results = [out]
        scalars: tuple[Any, ...] = ()
        if len(plan.tensor_inputs) != len(operands) or given:
            passed = [x for x in operands if not isinstance(x, TensorBase)] + list(given.values())
            kind = plan.compute.kind
            if kind == "c":
                scalars = tuple([part for x in passed for part in (complex(x).real, complex(x).imag)])
            else:
                scalars = tuple([float(x) if kind == "f" else _word(x) for x in passed])
        plan.launch((*results, *[operands[i] for i in plan.tensor_inputs]), len(results), scalars)
        if out is not None:
            out._storage.version += 1
            return out
        if self.table is not None and not given and not (self.result == "float" and plan.compute.kind not in "fc"):
            self.table.insert(operands, plan)
        if modes.grad_enabled and plan.outs[0].dtype.kind in "fc":
            for i in plan.tensor_inputs:
                if operands[i]._requires_grad:
                    node = self.record(plan, operands, given, results)
                    for output, r in enumerate(results):
                        r._requires_grad, r._node, r._output = 1, node, output
                    break
        return results[0] if len(results) == 1 else tuple(results)

    def record(
        self, plan: Plan, operands: Sequence[Any], numbers: dict[str, Any], results: Sequence[Any], written: bool = False
    ) -> Node:  # fmt: skip
        """Make the node of a call that has run. `written`: the result is the first operand, changed in place."""
        needed = tuple(
            [i for i in plan.tensor_inputs if operands[i]._requires_grad and operands[i]._layout.dtype.kind in "fc"]
        )
        derivative = self.derivative(
            needed, tuple([not isinstance(x, TensorBase) for x in operands]), tuple(numbers), plan.compute.kind == "c"
        )
        if self.table is not None and not numbers and not written and len(results) == 1:
            self.table.insert_gradient(operands, plan, needed, derivative)
        saved: list[Any] = []
        versions: list[Any] = []
        for name, position in derivative.saved:
            if position is None:
                saved.append(numbers[name])
                versions.append(None)
            elif position < 0:
                value, version = saved_output(results[-1 - position], -1 - position)
                saved.append(value)
                versions.append(version)
            elif isinstance(operands[position], TensorBase) and not modes.saved_tensor_hooks:
                value = operands[position]
                saved.append(value)
                versions.append(value._storage.version - (written and value._storage is results[0]._storage))
            else:
                (value,), (version,) = save((operands[position],))
                saved.append(value)
                versions.append(version)
        return Node(derivative, tuple([edge_of(operands[i]) for i in needed]), plan.outs, tuple(saved), tuple(versions))

    def saves_input(self, plan: Plan, operands: Sequence[Any], numbers: dict[str, Any], position: int) -> bool:
        """Whether the gradient for these operands would name this input."""
        needed = tuple(
            [
                i
                for i, x in enumerate(operands)
                if isinstance(x, TensorBase) and x._requires_grad and x._layout.dtype.kind in "fc"
            ]
        )
        derivative = self.derivative(
            needed, tuple([not isinstance(x, TensorBase) for x in operands]), tuple(numbers), plan.compute.kind == "c"
        )
        return any(p == position for _, p in derivative.saved)

    def derivative(
        self, needed: tuple[int, ...], is_number: tuple[bool, ...], given: tuple[str, ...], complex: bool = False
    ) -> Derivative:
        key = (needed, is_number, given, complex)
        found = self.derivatives.get(key)
        if found is None:
            found = self.derivatives[key] = Derivative(self, needed, is_number, given, complex)
        return found


class Derivative:
    """The backward of a pointwise operator for some of its inputs: again a pointwise operator, over the incoming
    gradients and exactly the values that the differentiated expression names."""

    def __init__(
        self,
        operator: PointwiseOperator,
        needed: tuple[int, ...],
        is_number: tuple[bool, ...],
        given: tuple[str, ...],
        complex: bool = False,
    ) -> None:
        self.backward_name = operator.backward_name
        self.self_edge = (
            bool(needed) and needed[0] == 0
        )  # for in-place forms on views: is the first edge the target's own
        count = len(operator.expressions)
        fixed = {id(variable(n)): constant(v) for n, v in operator.numbers.items() if n not in given and v is not None}
        expressions = substitute(operator.expressions, fixed)
        grad, out = _fresh("grad", operator.inputs), _fresh("out", operator.inputs)
        gradients = [variable(f"{grad}{i}") for i in range(count)]
        results = [f"{out}{i}" if count > 1 else out for i in range(count)]
        names = [operator.inputs[i] for i in needed]
        if operator.override is not None:
            parts = _overridden(operator, names, conjugate(gradients[0]) if complex else gradients[0])
            parts = substitute([conjugate(p) for p in parts] if complex else parts, fixed)
        else:
            parts = differentiate(list(zip(expressions, gradients, strict=True)), names, complex)
            outs = {
                id(e): variable(results[i]) for i, e in enumerate(expressions) if e.arguments and e.operation != "var"
            }
            parts = substitute(parts, outs)
        self.zero = [p is zero for p in parts]
        self.parts = [p for p in parts if p is not zero]
        used = variables(self.parts)
        self.grads = [i for i in range(count) if f"{grad}{i}" in used]
        self.grad_key = f"{grad}0"
        self.saved: list[tuple[str, int | None]] = [(n, i) for i, n in enumerate(operator.inputs) if n in used]
        self.saved += [(name, -1 - i) for i, name in enumerate(results) if name in used]
        self.saved += [(n, None) for n in given if n in used]
        inputs = [f"{grad}{i}" for i in self.grads] + [n for n, position in self.saved if position is not None]
        numbers = {n: None for n, position in self.saved if position is None}
        self.operator = (
            PointwiseOperator(f"{operator.name}_backward", self.parts, inputs, numbers, "same") if self.parts else None
        )
        if self.operator is not None:
            self.operator.depth = operator.depth + 1
        self.plain = [p is gradients[0] for p in self.parts]
        self.call = fast_function(self.operator) if self.operator is not None and not numbers else None
        self.count, self.given = len(inputs), [n for n, position in self.saved if position is None]

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        if self.operator is None:
            return [None] * len(self.zero)
        incoming = []
        for i in self.grads:
            gradient = gradients[i]
            if gradient is None:
                from facula.engine.backward import _operations

                gradient = _operations["zeros"](node.outputs[i])
            incoming.append(gradient)
        values = node.unpack() if node.saved or node.released else []
        tensors = len(values) - len(self.given)
        if len(self.parts) == 1 and self.parts[0].key == self.grad_key:
            computed: Any = (incoming[0],)
        elif all(p.key == self.grad_key for p in self.parts):
            computed = (incoming[0],) * len(self.parts)
        else:
            if self.call is not None:
                computed = self.call(*incoming, *values)
            else:
                numbers = dict(zip(self.given, values[tensors:], strict=True))
                computed = self.operator([*incoming, *values[:tensors]], numbers)
            if len(self.parts) == 1:
                computed = (computed,)
        if True not in self.zero:
            return list(computed)
        each = iter(computed)
        return [None if is_zero else next(each) for is_zero in self.zero]


def _fresh(stem: str, taken: Sequence[str]) -> str:
    """A name for gradients or results that no input begins with: the inputs of a backward are gradients and results."""
    while any(name.startswith(stem) for name in taken):
        stem = "_" + stem
    return stem


def fast_function(operator: PointwiseOperator) -> Any:
    """The operator as a native function of its operands; None if it has too many."""
    if operator.table is None or not 1 <= len(operator.inputs) <= fastpath.MOST_INPUTS:
        return None

    def slow(*operands: Any) -> Any:
        return operator(operands)

    return fastpath.function(operator.name, operator.table, len(operator.inputs), slow)


def _overridden(operator: PointwiseOperator, names: Sequence[str], gradient: Expr) -> list[Expr]:
    """The author's own gradient: a function of (grad, out, inputs...) by name, giving one expression per input."""
    assert operator.override is not None
    wanted = parameters_of(operator.override)[0]
    arguments = {n: gradient if n == "grad" else variable(n) for n in wanted}
    given = operator.override(**arguments)
    if not isinstance(given, dict):
        given = dict(zip(operator.inputs, given if isinstance(given, tuple) else (given,), strict=False))
    return [
        zero if given.get(n) is None else constant(given[n]) if not isinstance(given[n], Expr) else given[n]
        for n in names
    ]


def _word(number: Any) -> int:
    """An integer as the 64-bit word that a slot holds."""
    number = int(number)
    return number - (1 << 64) if number >= 1 << 63 else number


def _pattern(step: int) -> str:
    return "c" if step == 1 else "s" if step == 0 else "g"


def launch_of(signature: Signature, sizes: Sequence[int], steps: Sequence[Sequence[int]]) -> Launch:
    """A kernel for the signature with its geometry."""
    kernel = pointwise_kernel(signature)
    per_piece = grain(signature)
    fault: Any = None
    tail: tuple[Any, ...] = ()
    fusion: Any = signature
    if divisors(signature):
        fault, tail, fusion = _division_by_zero, (FAULT_ADDRESS,), None
    if len(sizes) == 1:
        if any(o.pattern == "g" for o in signature.outputs + signature.inputs):
            block = (ctypes.c_int64 * (1 + len(steps)))(sizes[0], *[s[0] for s in steps])
            return Launch(
                kernel, sizes[0], max(1, per_piece // 4), (*tail, ctypes.addressof(block)), block, fusion, fault
            )
        return Launch(kernel, sizes[0], per_piece & -64, tail, None, fusion, fault)
    rows = 1
    for size in sizes[:-1]:
        rows *= size
    flat = [sizes[-1], *sizes[:-1]]
    for step in steps:
        flat += [*step[:-1], step[-1]]
    block = (ctypes.c_int64 * len(flat))(*flat)
    return Launch(
        kernel, rows, max(1, per_piece // max(1, sizes[-1])), (*tail, ctypes.addressof(block)), block, fusion, fault
    )


def _division_by_zero(value: int, position: int) -> Exception:
    return RuntimeError("ZeroDivisionError")


def _check_overlap(out: Any, operands: Sequence[Any]) -> None:
    """Refuse to write over memory that an operand reads at other places."""
    for x in operands:
        if (
            isinstance(x, TensorBase)
            and x._storage is out._storage
            and (x._data != out._data or x._layout is not out._layout)
        ):
            a, b = x._layout, out._layout
            start, other = ((t._data - out._storage.data) // t._layout.dtype.itemsize for t in (x, out))
            if overlap_status(a.shape, a.stride, start, b.shape, b.stride, other) == "partial":
                raise errors.partial_overlap()


NATIVE: dict[Any, tuple[PointwiseOperator, Any]] = {}
"""native function -> (its operator, its Python path): what makes it a method too."""

_in_place: list[Callable[..., Any]] = []


def install_in_place(function: Callable[..., Any]) -> None:
    """`function(operator, operands, numbers)` runs the in-place form with autograd (ops/inplace.py registers it)."""
    _in_place.append(function)


def pointwise(
    name: str | None = None, *, result: Any = "same", method: bool | str = True, in_place: bool = True, function: bool = True,
    namespaces: Sequence[str] = ("torch",), aliases: Sequence[str] = (), integers: bool = True, refuse_bool: str | None = None,
    domain: tuple[float, float] = (-2.0, 2.0), accepts: str = "right",
) -> Callable[[Callable[..., Any]], Any]:  # fmt: skip
    """Decorator: define a pointwise operator by its scalar body. Gives the public function, with `out=`; the in-place
    form `name_` becomes a method (and a function). `.gradient` registers a gradient expression by hand.

    domain: where samples for tests are drawn from. accepts: which inputs may be Python numbers: 'tensors' none, 'right'
    all but the first, 'one' any as long as one is a tensor, 'numbers' all.
    """

    def define(body: Callable[..., Any]) -> Any:
        names, defaults, keyword_only = parameters_of(body)
        inputs = [n for n in names if n not in keyword_only]
        expression = body(**{n: variable(n) for n in names})
        made = PointwiseOperator(
            name or body.__name__, [expression], inputs, {n: defaults.get(n) for n in keyword_only}, result,
            integers=integers, refuse_bool=refuse_bool,
        )  # fmt: skip
        made.domain, made.accepts = domain, accepts
        call = _public(made, inputs, defaults, keyword_only, body)
        key = made.name
        while key in OPERATORS:  # special cases of an operator share its name, not its place
            key += "'"
        OPERATORS[key] = made
        publish(
            made.name, call.native or call, method=method, namespaces=namespaces if function else (), aliases=aliases
        )
        if in_place and method:
            in_place_call = _public_in_place(made, inputs, defaults, keyword_only)
            for public in (made.name, *aliases):
                publish(public + "_", in_place_call, method=True, namespaces=("torch",) if len(inputs) == 1 else ())
        return call

    return define


def _public(
    made: PointwiseOperator, inputs: Sequence[str], defaults: dict[str, Any], keyword_only: Sequence[str], body: Any
) -> Any:
    count = len(inputs)

    def general(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        operands, numbers = _bind(made.name, inputs, defaults, keyword_only, args, kwargs)
        if out is not None:
            return write_out(made, operands, numbers, out)
        return made(operands, numbers)

    native = None
    if made.table is not None and count <= fastpath.MOST_INPUTS:
        native = fastpath.function(made.name, made.table, count, general, body.__doc__)
        NATIVE[native] = (made, general)

    def call(*args: Any, **kwargs: Any) -> Any:
        return native(*args, **kwargs) if native is not None else general(*args, **kwargs)

    call.native = native  # type: ignore[attr-defined]
    call.__name__ = call.__qualname__ = made.name
    call.__doc__ = body.__doc__
    call.operator = made  # type: ignore[attr-defined]

    def gradient(rule: Callable[..., Any]) -> Callable[..., Any]:
        made.override = rule
        made.derivatives.clear()
        return rule

    def sample(generator: Callable[..., Any]) -> Callable[..., Any]:
        made.samples = generator
        return generator

    call.gradient, call.sample = gradient, sample  # type: ignore[attr-defined]
    return call


def _public_in_place(
    made: PointwiseOperator, inputs: Sequence[str], defaults: dict[str, Any], keyword_only: Sequence[str]
) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        operands, numbers = _bind(made.name + "_", inputs, defaults, keyword_only, args, kwargs)
        return _in_place[0](made, operands, numbers)

    call.__name__ = call.__qualname__ = made.name + "_"
    call.__doc__ = f"In-place version of `{made.name}`."
    call.operator = made  # type: ignore[attr-defined]
    return call


def _bind(
    name: str,
    inputs: Sequence[str],
    defaults: dict[str, Any],
    keyword_only: Sequence[str],
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> tuple[list[Any], dict[str, Any]]:
    if len(args) > len(inputs):
        raise TypeError(f"{name}() takes {len(inputs)} positional arguments but {len(args)} were given")
    operands = list(args)
    for n in inputs[len(args) :]:
        if n in kwargs:
            operands.append(kwargs.pop(n))
        elif n in defaults:
            operands.append(defaults[n])
        else:
            raise TypeError(f'{name}() missing 1 required positional arguments: "{n}"')
    numbers = {}
    for n in keyword_only:
        numbers[n] = kwargs.pop(n, defaults.get(n))
    if kwargs:
        raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(kwargs))}'")
    return operands, numbers


def write_out(made: PointwiseOperator, operands: Sequence[Any], numbers: dict[str, Any], out: Any) -> Any:
    """The `out=` form: the result's shape is given to `out` if it differs."""
    if not isinstance(out, TensorBase):
        raise TypeError(f"{made.name}(): argument 'out' must be Tensor, not {type(out).__name__}")
    if modes.grad_enabled and any(isinstance(t, TensorBase) and t._requires_grad for t in (out, *operands)):
        raise RuntimeError(
            f"{made.name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
            "arguments requires grad."
        )
    shapes = [x._layout.shape for x in operands if isinstance(x, TensorBase)]
    shape = broadcast_shapes(*shapes) if len(shapes) > 1 else shapes[0]
    if out._layout.shape != shape:
        from facula.ops.define import FUNCTIONS

        FUNCTIONS["internal"]["resize_output"](out, shape)
    return made(operands, numbers, out)
