"""Reductions: scalar expressions and a gradient in, a public function over any dimensions out.

    @reduction(combine="add")
    def sum_of_squares(input):              # what one element contributes
        return input * input

    sum_of_squares.gradient(input=lambda grad, input: grad * 2 * input)

gives `torch.sum_of_squares(input, dim=None, keepdim=False, *, dtype=None, out=None)` and the method, for every dtype,
stride and emptiness. The body is run once on symbols. Its further positional parameters are dense tensors with an
element per result, of the dtype that is computed in; keyword-only parameters are numbers. In a gradient rule `grad`
and `out` have the reduced dimensions kept, so that they broadcast against `input`; what it returns is expanded to it.
`n` is the number of elements that went into each result, `dims` the reduced dimensions.

How a reduction walks memory is decided here, once per combination of layouts; the loops are in `kernels/reduce.py`.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

from facula.core import dtype as dt
from facula.core.layout import Layout, layout, register_cache
from facula.core.shapes import contiguous_stride, normalize_dim, normalize_dims, reduced_shape
from facula.core.strides import collapse, elementwise_stride
from facula.engine.graph import Node, edge_of, save, saved_output
from facula.engine.modes import modes
from facula.ops.copy import convert
from facula.ops.define import OPERATORS, Operator, layout_of, parameters_of, publish, with_out
from facula.ops.dispatch import Launch
from facula.ops.expression import Expr, as_expression, variable
from facula.ops.kernels.reduce import BLOCK, DEPTH, Form, lanes_of, reduce_kernel, strip_of
from facula.ops.scalar import maximum, minimum
from facula.ops.served import Call, Served, serve
from facula.runtime.objects import REFERENCE, TensorBase, new_tensor, wrap

PIECE = 32768
"""Elements that are reduced in one piece when a reduction of few results is divided into chunks."""
WORK = 1 << 18
"""Element operations that are worth handing to another thread."""

_a, _b = variable("a"), variable("b")
COMBINE: dict[str, tuple[Expr, Any]] = {
    "add": (_a + _b, 0),
    "mul": (_a * _b, 1),
    "min": (minimum(_a, _b), "highest"),
    "max": (maximum(_a, _b), "lowest"),
    "and": (_a & _b, True),
    "or": (_a | _b, False),
}
"""How two partial results combine, and what changes nothing when combined."""

Dims = int | Sequence[int] | None


class Plan:
    """What a call needs once the layouts and dimensions are known: one launch, or two with a workspace between.

    convert: the dtype that the input must be given first; parts: for complex numbers, the layouts of the input as pairs
    of reals and of the result.
    """

    __slots__ = ("convert", "final", "launch", "out", "parts", "workspace")

    def __init__(
        self, out: Layout, launch: Launch, workspace: Layout | None = None, final: Launch | None = None
    ) -> None:
        self.out, self.launch, self.workspace, self.final = out, launch, workspace, final
        self.convert: dt.dtype | None = None
        self.parts: tuple[Layout, Layout] | None = None

    def run(self, inputs: Sequence[Any], numbers: tuple[Any, ...]) -> Any:
        """A new tensor with the results."""
        if self.convert is not None:
            inputs = (convert(inputs[0], self.convert), *inputs[1:])
        if self.parts is not None:
            inputs = (wrap(inputs[0]._storage, inputs[0]._data, self.parts[0]),)
        result = new_tensor(self.out)
        if self.final is None:
            self.launch((result, *inputs), 1, numbers)
        else:
            partial = new_tensor(self.workspace)  # type: ignore[arg-type]
            self.launch((partial, *inputs), 1, numbers)
            self.final((result, partial, *inputs[1:]), 1, numbers)
        return result if self.parts is None else wrap(result._storage, result._data, self.parts[1])


class Reduction(Operator):
    """A named reduction. `result` tells the dtype: 'same', 'float' (the input must be floating point), 'accumulate'
    (integers give int64), 'bool', or a dtype; `accumulate` the type to combine in where it is not the result's."""

    def __init__(
        self, name: str, body: Callable[..., Any], combine: str | Callable[[Any, Any], Any], identity: Any,
        finish: Callable[..., Any] | None, result: str | dt.dtype, needs_elements: bool, several: bool,
    ) -> None:  # fmt: skip
        names, defaults, numbers = parameters_of(body)
        inputs = [n for n in names if n not in numbers]
        self.inputs, self.numbers = inputs, {n: defaults[n] for n in numbers}
        self.takes_dtype = result in ("float", "accumulate")
        super().__init__(name, self._signature(inputs))
        self.function = self._apply
        self.map = as_expression(body(**{n: variable(n) for n in names}))
        self.combine, self.identity = (
            COMBINE[combine] if isinstance(combine, str) else (as_expression(combine(_a, _b)), identity)
        )
        self.finish = as_expression(finish(**{n: variable(n) for n in parameters_of(finish)[0]})) if finish else None
        self.additive, self.multiplies = combine == "add", combine == "mul"
        self.result, self.needs_elements, self.several = result, needs_elements, several
        self.plans: dict[Any, Plan] = register_cache({})
        self.geometries: dict[Any, tuple[Shape, int, tuple[int, ...]]] = register_cache({})
        self.recorded: Any = None

    def _signature(self, inputs: Sequence[str]) -> Callable[..., Any]:
        """A function that has the parameters of the public one, for `Operator` to read."""
        keywords = {"dtype": None, **self.numbers} if self.takes_dtype else self.numbers
        rest = ", *, " + ", ".join(f"{n}={v!r}" for n, v in keywords.items()) if keywords else ""
        return _function_of(f"lambda {', '.join(inputs)}, dim=None, keepdim=False{rest}: None")

    def _apply(self, *bound: Any) -> Any:
        """All arguments in order of the parameters."""
        count = len(self.inputs)
        rest = count + 2 + self.takes_dtype
        return self.forward(
            bound[:count], bound[count], bound[count + 1], bound[rest - 1] if self.takes_dtype else None, bound[rest:]
        )

    # -- forward --------------------------------------------------------------------------------------------------
    def forward(self, inputs: Sequence[Any], dim: Any, keepdim: bool, dtype: Any, numbers: tuple[Any, ...]) -> Any:
        """Below autograd: plan, allocate, launch."""
        if type(dim) is list:
            dim = tuple(dim)
        key = (layout_of(inputs[0], self.name), dim, keepdim, dtype)
        plan = self.plans.get(key)
        if plan is None:
            plan = self.plans[key] = self._plan(inputs[0], dim, keepdim, dtype)
        return plan.run(inputs, tuple([float(x) for x in numbers]) if numbers else ())

    def _plan(self, input: Any, dim: Any, keepdim: bool, dtype: Any) -> Plan:
        own = input._layout
        dims = self.dims(dim, own)
        result, compute = self.dtypes(own.dtype, dtype)
        out = layout(reduced_shape(own.shape, dims, keepdim), None, result, own.device)
        if own.dtype.kind == "c" or compute.kind == "c":
            return self._complex_plan(own, dims, out, compute)
        return self.plan_for(own, dims, out, compute)

    def _complex_plan(self, own: Layout, dims: Sequence[int], out: Layout, compute: dt.dtype) -> Plan:
        """A sum of complex numbers is two sums: of the real and of the imaginary parts, which lie beside each other."""
        if not self.additive or self.map is not variable("input") or compute.kind != "c":
            raise NotImplementedError(f"\"{self.name}_cpu\" not implemented for '{own.dtype.scalar_name}'")
        converted, real = None, compute.to_real()
        if own.dtype is not compute:
            converted, own = compute, _converted(own, compute)
        pairs = layout((*own.shape, 2), (*[2 * s for s in own.stride], 1), real, own.device)
        plan = self.plan_for(pairs, dims, layout((*out.shape, 2), None, real, own.device), real)
        plan.convert, plan.parts = converted, (pairs, out)
        return plan

    def dims(self, dim: Dims, own: Layout) -> tuple[int, ...]:
        """The reduced dimensions, none given meaning all; IndexError or RuntimeError where they are wrong."""
        ndim = len(own.shape)
        if self.result == "bool" and isinstance(dim, (tuple, list)) and not dim:
            return ()
        if dim is None or (isinstance(dim, (tuple, list)) and not dim):
            if self.needs_elements and not own.numel:
                raise RuntimeError(
                    f"{self.name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the "
                    "reduction dim with the 'dim' argument."
                )
            return tuple(range(ndim))
        if isinstance(dim, (tuple, list)) and not self.several:
            raise TypeError(f"{self.name}(): argument 'dim' (position 2) must be int, not {type(dim).__name__}")
        dims = (
            normalize_dims(dim, ndim)
            if isinstance(dim, (tuple, list))
            else (normalize_dim(index_of(dim, self.name, self.several), ndim),)
        )
        if ndim == 0:
            return ()
        if self.needs_elements and not own.numel:
            for d in dims:
                if own.shape[d] == 0:
                    raise IndexError(f"{self.name}(): Expected reduction dim {d} to have non-zero size.")
        return dims

    def dtypes(self, own: dt.dtype, asked: dt.dtype | None) -> tuple[dt.dtype, dt.dtype]:
        """(dtype of the result, dtype to compute in)."""
        if self.result == "bool":
            return (dt.uint8 if own is dt.uint8 else dt.bool), own
        if isinstance(self.result, dt.dtype):
            return self.result, own
        if asked is not None:
            if self.result == "float" and asked.kind not in "fc":
                raise RuntimeError(
                    f"{self.name}(): could not infer output dtype. Optional dtype must be either a floating point or complex "
                    f"dtype. Got: {asked.scalar_name}"
                )
            return asked, asked
        if self.result == "float" and own.kind not in "fc":
            raise RuntimeError(
                f"{self.name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
                f"Got: {own.scalar_name}"
            )
        if self.result == "accumulate" and own.kind in "biu":
            return dt.int64, dt.int64
        return own, own

    # -- planning -------------------------------------------------------------------------------------------------
    def plan_for(self, own: Layout, dims: Sequence[int], out: Layout, compute: dt.dtype) -> Plan:
        """How the input is walked, and by which kernel."""
        converted = None
        if own.dtype.kind == "f" and compute.kind in "iu":
            converted, own = compute, _converted(own, compute)  # floats are truncated before they are combined
        kept_sizes, kept_strides, reduced_sizes, reduced_strides = kept_and_reduced(own, dims)
        accumulate, total = self._types(out.dtype, compute)
        input_code, result_code = own.dtype.code, out.dtype.code
        if accumulate is dt.bool and self.identity in ("highest", "lowest"):  # truth values order as the bytes 0 and 1
            input_code = result_code = "u8"
            accumulate = total = compute = dt.uint8
        shape = walk_of(kept_sizes, kept_strides, reduced_sizes, reduced_strides)
        form = Form(
            shape, self.map, self.combine, self.finish, self._identity(accumulate), input_code,
            tuple((n, kept_dtype(compute).code) for n in self.inputs[1:]), tuple(self.numbers), compute.code, accumulate.code,
            total.code, result_code, len(kept_sizes), len(reduced_sizes), False,
        )  # fmt: skip
        if shape == "rows" and reduced_sizes[-1] < 4 * lanes_of(form):
            form = form._replace(short=True)
        inner, outer, results, count = reduced_sizes[-1], product(reduced_sizes[:-1]), out.numel, product(reduced_sizes)
        tasks, per, chunks = _divide(form, kept_sizes, inner, outer, results)
        block = [
            inner,
            reduced_strides[-1],
            outer,
            per,
            chunks,
            *kept_sizes,
            *kept_strides,
            *reduced_sizes[:-1],
            *reduced_strides[:-1],
        ]
        work = (1 + self.map.weight) * count * max(1, results // max(1, tasks))
        if chunks == 1:
            launch = _launch(form, tasks, work, count, block)
            plan = Plan(out, launch)
            plan.convert = converted
            return plan
        first = form._replace(finish=None, result=total.code, partial=True)
        launch = _launch(first, tasks * chunks, work // chunks, count, block)
        columns = kept_sizes[-1] if shape == "columns" else 1
        rows = results // columns
        workspace = layout((rows, chunks, columns) if shape == "columns" else (rows, chunks), None, total, own.device)
        second = form._replace(
            shape="columns" if columns > 1 else "rows", map=variable("input"), input=total.code, compute=total.code,
            accumulate=total.code, kept_rank=2 if columns > 1 else 1, reduced_rank=1,
        )  # fmt: skip
        if columns > 1:
            strips = -(-columns // strip_of(second))
            final = _launch(
                second,
                rows * strips,
                chunks * strip_of(second),
                count,
                [chunks, columns, 1, 0, 1, rows, columns, chunks * columns, 1],
            )
        else:
            final = _launch(second, rows, chunks, count, [chunks, 1, 1, 0, 1, rows, chunks])
        plan = Plan(out, launch, workspace, final)
        plan.convert = converted
        return plan

    def _types(self, result: dt.dtype, compute: dt.dtype) -> tuple[dt.dtype, dt.dtype]:
        """(type of the accumulators in a block, type between blocks)."""
        if self.identity is True or self.identity is False:
            return dt.bool, dt.bool
        if isinstance(self.result, dt.dtype):
            return self.result, self.result
        if compute in (dt.float16, dt.bfloat16, dt.float32):
            if self.multiplies:  # rounding errors of factors near 1 all go the same way: float32 is not enough
                return dt.float64, dt.float64
            return dt.float32, (dt.float64 if self.additive else dt.float32)
        return compute, compute

    def _identity(self, accumulate: dt.dtype) -> Any:
        if self.identity not in ("highest", "lowest"):
            return self.identity
        if accumulate.kind == "f":
            return float("inf") if self.identity == "highest" else float("-inf")
        if accumulate is dt.bool:
            return self.identity == "highest"
        limits = dt.iinfo(accumulate)
        return limits.max if self.identity == "highest" else limits.min

    # -- gradient -------------------------------------------------------------------------------------------------
    def gradient(self, rule: Callable[..., Any] | None = None, /, **rules: Callable[..., Any]) -> Any:
        """The rule for the input, `gradient(input=lambda grad, out: ...)` or decorated. It may name `grad` and `out`, which
        have the reduced dimensions kept, the input, the numbers, `n` and `dims`. The other inputs are constants."""
        found = rule or rules[self.inputs[0]]
        self.rules = {self.inputs[0]: found}
        self.recorded = _Recorded(self, found)
        return found

    def attach(self, bound: list[Any], needed: tuple[str, ...], out: Any) -> None:
        """Make the result that of a new node."""
        recorded = self.recorded
        saved, versions = [bound[0]._layout, bound[len(self.inputs)]], [None, None]
        for name in recorded.saves:
            if name == "out":
                value, version = saved_output(out, 0)
            else:
                (value,), (version,) = save((bound[self.parameters.index(name)],))
            saved.append(value)
            versions.append(version)
        node = Node(recorded, (edge_of(bound[0]),), (out._layout,), tuple(saved), tuple(versions))
        out._requires_grad, out._node, out._output = 1, node, 0

    def geometry(self, own: Layout, dim: Any) -> tuple[Shape, int, tuple[int, ...]]:
        """(the shape of the result with the reduced dimensions kept, elements per result, reduced dimensions)."""
        key = (own, tuple(dim) if type(dim) is list else dim)
        found = self.geometries.get(key)
        if found is None:
            dims = self.dims(dim, own)
            found = reduced_shape(own.shape, dims, True), product([own.shape[d] for d in dims]), dims
            self.geometries[key] = found
        return found


class _Recorded:
    """What a node of a reduction knows: the rule, and what it names."""

    __slots__ = ("backward_name", "made", "rule", "saves", "wanted")

    def __init__(self, made: Reduction, rule: Callable[..., Any]) -> None:
        self.made, self.rule, self.wanted = made, rule, parameters_of(rule)[0]
        self.saves = [n for n in self.wanted if n not in ("grad", "n", "dims")]
        self.backward_name = made.backward_name

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        """The gradient of the input: the rule's value, expanded to its shape."""
        own, dim, *kept = node.unpack()
        return [self.apply(gradients[0], own, dim, kept)]

    def apply(self, grad: Any, own: Layout, dim: Any, kept: Sequence[Any]) -> Any:
        """The gradient of an input of layout `own`, given what the rule names."""
        if grad is None:
            return None
        shape, n, dims = self.made.geometry(own, dim)
        values = dict(zip(self.saves, kept, strict=True))
        values.update(grad=grad if grad._layout.shape == shape else grad.reshape(shape), n=n, dims=dims)
        if "out" in values and values["out"]._layout.shape != shape:
            values["out"] = values["out"].reshape(shape)
        found = self.rule(*[values[name] for name in self.wanted])
        return found if found._layout.shape == own.shape else found.expand(own.shape)


class _WholeGradient:
    """The operator of the nodes that native code leaves behind reductions of a whole tensor of layout `own`."""

    def __init__(self, recorded: _Recorded, own: Layout) -> None:
        self.recorded, self.own, self.backward_name = recorded, own, recorded.backward_name
        self.saved = [(name, -1 if name == "out" else 0) for name in recorded.saves]

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        """The gradient of the input."""
        kept = node.unpack() if self.saved else ()
        return [self.recorded.apply(gradients[0], self.own, None, kept)]


class _ServedWhole(Served):
    """The reduction of a whole tensor, by native code once its layout is known and one launch does it."""

    def __init__(self, made: Reduction, public: Callable[..., Any]) -> None:
        super().__init__(made.name, 1, public, self.call_of)
        self.made = made

    def call_of(self, input: Any) -> Call | None:
        """What a call came down to."""
        plan = self.made.plans.get((input._layout, None, False, None))
        if plan is None or plan.final is not None or plan.convert is not None or plan.parts is not None:
            return None
        return Call(plan.launch, plan.out, self.made)

    def note(self, operands: tuple[Any, ...], call: Call) -> None:
        """Serve this layout natively from now on, with the node if the input requires grad."""
        entry, recorded = self.table.insert(operands, call), self.made.recorded
        if entry is None or recorded is None or not (modes.grad_enabled and operands[0]._requires_grad):
            return
        if call.outs[0].dtype.kind in "fc":
            self.table.insert_gradient(operands, call, [0], _WholeGradient(recorded, operands[0]._layout))


@functools.cache
def _function_of(source: str) -> Callable[..., Any]:
    """A function whose parameters are known only now; many reductions share one."""
    return eval(source)  # type: ignore[no-any-return]


def _converted(own: Layout, to: dt.dtype) -> Layout:
    """The layout that a conversion to another dtype gives."""
    return layout(own.shape, elementwise_stride(own.shape, [(own.shape, own.stride)]), to, own.device)


def kept_dtype(compute: dt.dtype) -> dt.dtype:
    """What tensors of the result's shape must be of: the type that elements are computed in."""
    return dt.float32 if compute in (dt.float16, dt.bfloat16) else compute


def index_of(dim: Any, name: str, several: bool = False) -> int:
    """A dimension given as an int or anything that counts as one; TypeError otherwise (`several`: a tuple would do)."""
    if type(dim) is int:
        return dim
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        wanted = "tuple of ints" if several else "int"
        raise TypeError(f"{name}(): argument 'dim' (position 2) must be {wanted}, not {type(dim).__name__}")
    return int(dim.__index__())


def product(sizes: Sequence[int]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result


Shape = tuple[int, ...]


def kept_and_reduced(own: Layout, dims: Sequence[int]) -> tuple[Shape, Shape, Shape, Shape]:
    """(sizes, strides of the input) of the collapsed dimensions that stay, and of those in `dims`.

    The kept ones are in the order of the result, which is dense and row-major.
    """
    kept = [d for d in range(len(own.shape)) if d not in dims]
    sizes, strides = tuple([own.shape[d] for d in kept]), tuple([own.stride[d] for d in kept])
    kept_sizes, (_, kept_strides) = collapse(sizes, [contiguous_stride(sizes), strides], reorder=False)
    reduced_sizes, (reduced_strides,) = collapse(
        tuple([own.shape[d] for d in dims]), [tuple([own.stride[d] for d in dims])]
    )
    return kept_sizes, kept_strides, reduced_sizes, reduced_strides


def walk_of(kept_sizes: Any, kept_strides: Any, reduced_sizes: Any, reduced_strides: Any) -> str:
    """Which form of walk fits the strides."""
    if reduced_strides[-1] == 1 and (reduced_sizes[-1] >= 8 or kept_strides[-1] != 1 or kept_sizes[-1] < 8):
        return "rows" if reduced_sizes[-1] >= 6 else "strided"
    if kept_strides[-1] == 1 and kept_sizes[-1] >= 4:
        return "columns"
    return "strided"


def _divide(form: Form, kept_sizes: Sequence[int], inner: int, outer: int, results: int) -> tuple[int, int, int]:
    """(pieces of the range per chunk, how much of the outermost reduced dimension a chunk takes, chunks)."""
    if form.shape == "columns":
        columns, strip = kept_sizes[-1], strip_of(form)
        tasks = results // max(1, columns) * -(-columns // strip)
        across = min(columns, strip)
    else:
        tasks, across = results, 1
    length = outer if form.reduced_rank > 1 else inner
    if tasks >= 16 or inner * outer * across < 2 * PIECE or results == 0:
        return tasks, length, 1
    if form.reduced_rank > 1:
        per = max(1, PIECE // max(1, inner * across))
    else:
        unit = DEPTH if form.shape == "columns" else BLOCK
        per = max(1, PIECE // across // unit) * unit
    chunks = -(-length // per)
    return tasks, per, chunks


def _launch(form: Form, tasks: int, work: int, count: int, block: Sequence[int]) -> Launch:
    memory = (ctypes.c_int64 * (1 + len(block)))(count, *block)
    return Launch(reduce_kernel(form), tasks, max(1, WORK // max(1, work)), (ctypes.addressof(memory),), memory)


# -- the public function ---------------------------------------------------------------------------------------------
def reduction(
    name: str | None = None, *, combine: str | Callable[[Any, Any], Any] = "add", identity: Any = None,
    finish: Callable[..., Any] | None = None, result: str | dt.dtype = "same", needs_elements: bool = False, several: bool = True,
    method: bool | str = True, public: bool = True, native: bool = False, namespaces: Sequence[str] = ("torch",), aliases: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Any]:  # fmt: skip
    """Decorator: define a reduction by what one element contributes.

    combine: 'add', 'mul', 'min', 'max', 'and', 'or', or a function of two partial results (then `identity` is what
    changes nothing). finish: a function of the total `a`, and as it names them the count `n` and the numbers. result:
    see `Reduction`. needs_elements: refuse to reduce nothing. several: `dim` may be a tuple. native: calls with a tensor
    alone are served by native code.
    """

    def define(body: Callable[..., Any]) -> Any:
        made = Reduction(name or body.__name__, body, combine, identity, finish, result, needs_elements, several)
        call = _public(made, body)
        if public:
            OPERATORS[made.name] = made
            publish(made.name, call, method=method, namespaces=namespaces, aliases=aliases)
            if native and not REFERENCE:
                serve(_ServedWhole(made, call))
        return call

    return define


def _public(made: Reduction, body: Callable[..., Any]) -> Any:
    plans, with_output = made.plans, with_out(made.call, made.name)

    def general(*args: Any, **kwargs: Any) -> Any:
        numpy_names(kwargs)
        return with_output(*args, **kwargs)

    def quick(input: Any = None, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
        """The same for one tensor whose plan is known."""
        if not kwargs and not modes.interpreters and type(dim) is not list and isinstance(input, TensorBase):
            plan = plans.get((input._layout, dim, keepdim, None))
            if plan is not None:
                result = plan.run((input,), ())
                if input._requires_grad and modes.grad_enabled and made.rules:
                    made.attach([input, dim], (), result)
                return result
        numpy_names(kwargs)
        kwargs.setdefault("dim", dim)
        kwargs.setdefault("keepdim", keepdim)
        return with_output(**kwargs) if input is None else with_output(input, **kwargs)

    call: Any = general if len(made.inputs) > 1 or made.numbers else quick
    call.__name__ = call.__qualname__ = made.name
    call.__doc__ = body.__doc__
    call.operator = made
    call.gradient, call.sample = made.gradient, made.sample
    return call


@functools.cache
def result_type(name: str) -> Any:
    """The named tuple that the operator of this name gives."""
    from facula import return_types

    return getattr(return_types, name)


def numpy_names(kwargs: dict[str, Any]) -> None:
    """NumPy's names for the arguments, which torch takes as well."""
    if "axis" in kwargs:
        kwargs["dim"] = kwargs.pop("axis")
    if "keepdims" in kwargs:
        kwargs["keepdim"] = kwargs.pop("keepdims")


def with_numpy_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the function takes NumPy's names as well."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            numpy_names(kwargs)
        return function(*args, **kwargs)

    return call


_shape_plans: dict[Any, Plan] = register_cache({})


def reduced_to(made: Reduction, input: Any, shape: tuple[int, ...]) -> Any:
    """`input` reduced over every dimension that broadcasting `shape` to it has repeated: a tensor of `shape`."""
    key = (made.name, input._layout, shape)
    plan = _shape_plans.get(key)
    if plan is None:
        own = input._layout
        leading = len(own.shape) - len(shape)
        dims = [
            *range(leading),
            *[d + leading for d, size in enumerate(shape) if size == 1 and own.shape[d + leading] != 1],
        ]
        out = layout(shape, None, own.dtype, own.device)
        plan = _shape_plans[key] = made.plan_for(own, dims, out, own.dtype)
    return plan.run((input,), ())
