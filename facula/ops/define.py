"""What an operator is, and the registry from which the public names are made.

An operator is defined once, in its family's file. From the definition come the function (`torch.NAME`), the method, the
in-place form, the `out=` form, the traced form, the node in the graph, and the tests over its samples.

    @operator(method=True)
    def softmax(input, dim, dtype=None):           # works on tensors, below autograd
        ...
    softmax.gradient(input=lambda grad, out, dim: ...)   # names decide what is saved

A gradient rule names what it needs: `grad`, `out`, inputs and arguments by their names, `NAME_layout` for the geometry of
an input alone. Rules are written in operators, so they can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from facula.core.layout import Layout
from facula.engine.graph import Node, edge_of, save, saved_output
from facula.engine.modes import modes
from facula.runtime.objects import TensorBase

REGISTRY: dict[str, Any] = {}
"""name -> the public function; its `operator` attribute is the definition (None for composites)."""

OPERATORS: dict[str, Any] = {}
"""name -> definition, of every operator."""

METHODS: dict[str, Callable[..., Any]] = {}
FUNCTIONS: dict[str, dict[str, Callable[..., Any]]] = {"torch": {}}


_method_listeners: list[Callable[[str, Callable[..., Any]], None]] = []


def on_method(listener: Callable[[str, Callable[..., Any]], None]) -> None:
    """Call `listener(name, function)` for every method published from now on."""
    _method_listeners.append(listener)


def publish(
    name: str, function: Callable[..., Any], *, method: bool | str = False, namespaces: Sequence[str] = ("torch",),
    aliases: Sequence[str] = (),
) -> None:  # fmt: skip
    """Give a function its public names: in namespaces ('torch', 'torch.special', ...) and as a method of tensors."""
    REGISTRY.setdefault(name, function)
    for public in (name, *aliases):
        for namespace in namespaces:
            FUNCTIONS.setdefault(namespace, {})[public] = function
        if method:
            METHODS[public if method is True else method] = function
            for listener in _method_listeners:
                listener(public if method is True else method, function)


def parameters_of(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
    """(all names in order, defaults, keyword-only names) without importing inspect."""
    code = function.__code__  # type: ignore[attr-defined]
    positional = code.co_varnames[: code.co_argcount]
    keyword_only = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    given = function.__defaults__ or ()  # type: ignore[attr-defined]
    defaults = dict(zip(positional[len(positional) - len(given) :], given, strict=True))
    defaults.update(function.__kwdefaults__ or {})  # type: ignore[attr-defined]
    return positional + keyword_only, defaults, keyword_only


class Operator:
    """An operator whose forward is Python on tensors (launching kernels, or built of other operators).

    `function` runs with recording off. Without a gradient rule for any input its results do not require grad.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self.function = name, function
        self.forward_function = function
        self.backward_name = _backward_name(name)
        self.parameters, self.defaults, self.keyword_only = parameters_of(function)
        self.positional = len(self.parameters) - len(self.keyword_only)
        if self.keyword_only:
            self.function = self._by_keyword
        self.rules: dict[str, Callable[..., Any]] = {}
        self.joint: Callable[..., Any] | None = None
        self.differentiable_outputs: tuple[int, ...] | None = None
        self.samples: Callable[..., Any] | None = None
        self.in_place = False  # whether the forward changes its first argument and returns it
        self._plans: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._recipes: dict[tuple[str, ...], Recipe] = {}

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    # -- definition -----------------------------------------------------------------------------------------------
    def gradient(self, joint: Callable[..., Any] | None = None, /, **rules: Callable[..., Any]) -> Any:
        """One rule per input, `gradient(input=lambda grad, other: grad * other)`, or one function for all, decorated:
        it also takes `needs` (a truth value for each differentiable input, in order of `inputs`) and gives a dict."""
        if joint is not None:
            self.joint = joint
            self.rules.setdefault(self.parameters[0], joint)
            return joint
        self.rules.update(rules)
        return None

    def joint_gradient(self, *inputs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Decorator: one rule for several inputs; it returns their gradients in this order (None where not needed)."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.joint = function
            self.rules = dict.fromkeys(inputs, function)
            return function

        return register

    def sample(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Register the generator of sample inputs: yields (args, kwargs) made by the helpers in `facula.ops.samples`."""
        self.samples = function
        return function

    # -- call -----------------------------------------------------------------------------------------------------
    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Every argument in order of the parameters, defaults filled in; TypeError as Python's own calls."""
        if len(args) > self.positional:
            raise TypeError(f"{self.name}() takes {self.positional} positional arguments but {len(args)} were given")
        bound = list(args)
        for name in self.parameters[len(args) :]:
            if name in kwargs:
                bound.append(kwargs.pop(name))
            elif name in self.defaults:
                bound.append(self.defaults[name])
            else:
                raise TypeError(
                    f"{self.name}() missing required argument '{name}' (pos {self.parameters.index(name) + 1})"
                )
        if kwargs:
            unknown = next(iter(kwargs))
            clash = unknown in self.parameters
            raise TypeError(
                f"{self.name}() got multiple values for argument '{unknown}'" if clash
                else f"{self.name}() got an unexpected keyword argument '{unknown}'"
            )  # fmt: skip
        return bound

    def _by_keyword(self, *bound: Any) -> Any:
        """Every argument in order of the parameters, handed on as the forward takes them."""
        names = self.parameters[self.positional :]
        return self.forward_function(
            *bound[: self.positional], **dict(zip(names, bound[self.positional :], strict=True))
        )

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Run, and leave a node behind if an input requires grad."""
        bound = self.bind(args, kwargs)
        if modes.interpreters:
            handled = modes.interpreters[-1].operator(self, bound)
            if handled is not NotImplemented:
                return handled
        needed = self._needed(bound) if modes.grad_enabled and self.rules else ()
        if not needed:
            return self.function(*bound)
        modes.grad_enabled = False
        try:
            out = self.function(*bound)
        finally:
            modes.grad_enabled = True
        self.attach(bound, needed, out)
        return out

    def call_in_place(self, *args: Any, **kwargs: Any) -> Any:
        """The same for a function that changes its first argument and returns it."""
        bound = self.bind(args, kwargs)
        target = bound[0]
        if modes.interpreters:
            handled = modes.interpreters[-1].operator(self, bound)
            if handled is not NotImplemented:
                return handled
        _check_in_place[0](target)
        needed = self._needed(bound) if modes.grad_enabled and self.rules else ()
        if not needed:
            self.function(*bound)
            target._storage.version += 1
            return target
        modes.grad_enabled = False
        try:
            self.function(*bound)
        finally:
            modes.grad_enabled = True
        target._storage.version += 1
        node = self.record(bound, needed, (target,), written=True)
        _rebase[0](target, node, needed[0] == self.parameters[0])
        return target

    def _needed(self, bound: list[Any]) -> tuple[str, ...]:
        found = []
        for name, value in zip(self.parameters, bound, strict=True):
            if name in self.rules:
                if isinstance(value, TensorBase):
                    if value._requires_grad:
                        found.append(name)
                elif isinstance(value, (list, tuple)) and any(
                    isinstance(v, TensorBase) and v._requires_grad for v in value
                ):
                    found.append(name)
        return tuple(found)

    def attach(self, bound: list[Any], needed: tuple[str, ...], out: Any) -> None:
        """Make the differentiable outputs the results of a new node."""
        outputs = out if isinstance(out, (tuple, list)) else (out,)
        taking = [
            i for i, o in enumerate(outputs)
            if isinstance(o, TensorBase) and o._layout.dtype.kind in "fc"
            and (self.differentiable_outputs is None or i in self.differentiable_outputs)
        ]  # fmt: skip
        if taking:
            node = self.record(bound, needed, outputs)
            for i in taking:
                o = outputs[i]
                o._requires_grad, o._node, o._output = 1, node, i

    def record(self, bound: list[Any], needed: tuple[str, ...], outputs: Any, written: bool = False) -> Node:
        """The node of a call that has run. `written`: its result is its first argument, changed in place."""
        recipe = self._recipes.get(needed)
        if recipe is None:
            recipe = self._recipes[needed] = Recipe(self, needed)
        return recipe.node(bound, outputs, written)

    def _value(self, name: str, values: dict[str, Any], needed: tuple[str, ...]) -> Any:
        if name in values:
            return values[name]
        if name.endswith("_layout"):
            value = values[name[:-7]]
            return (
                value._layout
                if isinstance(value, TensorBase)
                else value
                if value is None
                else [v._layout for v in value]
            )
        if name == "needs":
            return tuple(n in needed for n in self.rules)
        raise TypeError(f"the gradient of {self.name} names {name!r}, which is neither an input nor an output")

    def _saved_names(self, needed: tuple[str, ...]) -> tuple[str, ...]:
        found = self._plans.get(needed)
        if found is None:
            rules = [self.joint] if self.joint is not None else [self.rules[n] for n in needed]
            names: list[str] = []
            for rule in rules:
                names += [n for n in parameters_of(rule)[0] if n not in ("grad", "grads") and n not in names]  # type: ignore[arg-type]
            found = self._plans[needed] = tuple(names)
        return found


class Recipe:
    """What a node of an operator needs, for one choice of inputs that require grad: found out once, then only followed.

    It is the `operator` of the nodes it makes.
    """

    __slots__ = ("backward_name", "edges", "joint", "joint_names", "names", "operator", "results", "rules", "steps")

    def __init__(self, operator: Operator, needed: tuple[str, ...]) -> None:
        self.operator, self.backward_name = operator, operator.backward_name
        places = {name: i for i, name in enumerate(operator.parameters)}
        self.edges = [places[name] for name in needed]
        self.names = operator._saved_names(needed)
        self.steps: list[tuple[str, Any]] = []
        for name in self.names:
            if name == "out" or (name.startswith("out") and name[3:].isdigit()):
                self.steps.append(("out", int(name[3:] or 0)))
            elif name in places:
                self.steps.append(("argument", places[name]))
            elif name.endswith("_layout") and name[:-7] in places:
                self.steps.append(("layout", places[name[:-7]]))
            elif name == "needs":
                self.steps.append(("constant", tuple(n in needed for n in operator.rules)))
            else:
                raise TypeError(
                    f"the gradient of {operator.name} names {name!r}, which is neither an input nor an output"
                )
        self.joint = operator.joint
        self.joint_names = parameters_of(operator.joint)[0] if operator.joint is not None else ()
        self.results = [list(operator.rules).index(name) for name in needed]
        self.rules = [
            (operator.rules[name], parameters_of(operator.rules[name])[0]) for name in needed
        ] if operator.joint is None else []  # fmt: skip

    def node(self, bound: list[Any], outputs: Any, written: bool) -> Node:
        """The node of one call."""
        edges: list[Any] = []
        for place in self.edges:
            value = bound[place]
            if isinstance(value, TensorBase):
                edges.append(edge_of(value))
            else:
                edges.extend([edge_of(v) if isinstance(v, TensorBase) else None for v in value])
        saved: list[Any] = []
        versions: list[Any] = []
        hooked = modes.saved_tensor_hooks
        for kind, place in self.steps:
            version: int | None = None
            if kind == "argument":
                value = bound[place]
                if isinstance(value, TensorBase):
                    if hooked:
                        (value,), (version,) = save((value,))
                    else:
                        version = value._storage.version
                        if written and value._storage is outputs[0]._storage:
                            version -= 1
            elif kind == "out":
                value, version = saved_output(outputs[place], place)
            elif kind == "layout":
                value = bound[place]
                if isinstance(value, TensorBase):
                    value = value._layout
                elif value is not None:
                    value = [v._layout for v in value]
            else:
                value = place
            saved.append(value)
            versions.append(version)
        layouts = tuple([o._layout if isinstance(o, TensorBase) else None for o in outputs])
        return Node(self, tuple(edges), layouts, tuple(saved), tuple(versions))  # type: ignore[arg-type]

    def backward(self, node: Node, gradients: list[Any]) -> list[Any]:
        """Gradients in the order of the node's edges."""
        values = dict(zip(self.names, node.unpack(), strict=True))
        values["grad"], values["grads"] = gradients[0], gradients
        if self.joint is not None:
            given = self.joint(**{n: values[n] for n in self.joint_names})
            if not isinstance(given, (tuple, list)):
                given = (given,)
            results = [given[i] for i in self.results]
        elif gradients[0] is None:
            return [None] * len(node.edges)
        else:
            results = [rule(**{n: values[n] for n in names}) for rule, names in self.rules]
        if len(results) == len(node.edges) and list not in map(type, results):
            return results
        flat: list[Any] = []
        for result in results:  # a list of tensors has a list of gradients
            if isinstance(result, (tuple, list)):
                flat.extend(result)
            else:
                flat.append(result)
        return flat


def _backward_name(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_")) + "Backward0"


_check_in_place: list[Callable[[Any], None]] = []
_rebase: list[Callable[[Any, Node, bool], None]] = []


def install_in_place(check: Callable[[Any], None], rebase: Callable[[Any, Node, bool], None]) -> None:
    """`check(target)` refuses what may not be changed; `rebase(target, node, self_edge)` makes it the node's result."""
    _check_in_place.append(check)
    _rebase.append(rebase)


def _wrong_argument(made: Operator, args: Sequence[Any], kwargs: dict[str, Any], error: AttributeError) -> Exception:
    """What to raise when an operator met an argument that lacks what it needs of it: arguments are not looked at before."""
    given = [*enumerate(args), *((made.parameters.index(n), v) for n, v in kwargs.items() if n in made.parameters)]
    for position, value in given:
        items = (value, *value) if isinstance(value, (tuple, list)) else (value,)
        if not isinstance(error.obj, TensorBase) and any(item is error.obj for item in items):
            kind = "int" if error.name == "__index__" else "Tensor"
            argument = made.parameters[min(position, len(made.parameters) - 1)]
            found = type(error.obj).__name__
            return TypeError(
                f"{made.name}(): argument '{argument}' (position {position + 1}) must be {kind}, not {found}"
            )
    return error


def operator(
    name: str | None = None, *, method: bool | str = False, function: bool = True, namespaces: Sequence[str] = ("torch",),
    aliases: Sequence[str] = (), out: bool = False, in_place: bool = False,
) -> Callable[[Callable[..., Any]], Any]:  # fmt: skip
    """Decorator: define an operator by its forward. The result is the public function; `.operator` the definition.

    With out=True the function takes `out=`: results are copied there (resized if need be). With in_place=True the
    forward changes its first argument and returns it.
    """

    def define(forward: Callable[..., Any]) -> Any:
        made = OPERATORS[name or forward.__name__] = Operator(name or forward.__name__, forward)
        made.in_place = in_place
        public = made.call_in_place if in_place else with_out(made.call, made.name) if out else made.call

        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return public(*args, **kwargs)
            except AttributeError as error:
                raise _wrong_argument(made, args, kwargs, error) from None

        call.__name__ = call.__qualname__ = made.name
        call.__doc__ = forward.__doc__
        call.operator = made  # type: ignore[attr-defined]
        call.gradient, call.joint_gradient, call.sample = made.gradient, made.joint_gradient, made.sample  # type: ignore[attr-defined]
        publish(made.name, call, method=method, namespaces=namespaces if function else (), aliases=aliases)
        return call

    return define


def composite(
    name: str | None = None, *, method: bool | str = False, function: bool = True, namespaces: Sequence[str] = ("torch",),
    aliases: Sequence[str] = (), out: bool = False,
) -> Callable[[Callable[..., Any]], Any]:  # fmt: skip
    """Decorator: a public function composed of operators, which bring their own gradients."""

    def define(function_: Callable[..., Any]) -> Any:
        public = with_out(function_, name or function_.__name__) if out else function_
        if public is function_:
            public.operator = None  # type: ignore[attr-defined]
        publish(
            name or function_.__name__,
            public,
            method=method,
            namespaces=namespaces if function else (),
            aliases=aliases,
        )
        return public

    return define


_copy_into: list[Callable[[Any, Any], Any]] = []


def install_out(copy: Callable[[Any, Any], Any]) -> None:
    """`copy(out, result)` writes a result into the user's `out=` tensor; the family that copies registers it."""
    _copy_into.append(copy)


def with_out(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The same function taking `out=` (a tensor, or a tuple where it returns several)."""

    def call(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            return function(*args, **kwargs)
        outs = out if isinstance(out, (tuple, list)) else (out,)
        tensors = [a for a in args if isinstance(a, TensorBase)]
        if modes.grad_enabled and any(t._requires_grad for t in (*outs, *tensors)):
            raise RuntimeError(
                f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the "
                "arguments requires grad."
            )
        result = function(*args, **kwargs)
        if isinstance(result, (tuple, list)):
            for target, part in zip(outs, result, strict=True):
                _copy_into[0](target, part)
            return type(result)(*outs) if hasattr(result, "_fields") else type(result)(outs)
        return _copy_into[0](out, result)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = function.__doc__
    call.operator = getattr(function, "operator", None)  # type: ignore[attr-defined]
    return call


def layout_of(tensor: Any, what: str, position: int = 1, argument: str = "input") -> Layout:
    """The layout of an argument that must be a tensor; torch's TypeError otherwise."""
    if not isinstance(tensor, TensorBase):
        raise TypeError(
            f"{what}(): argument '{argument}' (position {position}) must be Tensor, not {type(tensor).__name__}"
        )
    return tensor._layout
