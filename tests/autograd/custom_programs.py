"""Programs with gradients written by the user, for `test_semantics.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

PROGRAMS: dict[str, Callable[[Any], Any]] = {}


def program(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    PROGRAMS[function.__name__] = function
    return function


def rounded(value: Any) -> Any:
    """Numbers to twelve digits: the last bits of a transcendental function are each one's own."""
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def shown(value: Any) -> Any:
    if hasattr(value, "requires_grad") and hasattr(value, "tolist"):
        return (rounded(value.detach().tolist()), value.requires_grad, value.is_leaf)
    if isinstance(value, (list, tuple)):
        return [shown(v) for v in value]
    return value


def failure(call: Callable[[], Any], characters: int = 50) -> Any:
    try:
        call()
    except Exception as error:
        return type(error).__name__, str(error)[:characters]
    return None


def run(name: str, torch: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return shown(PROGRAMS[name](torch))
        except Exception as error:
            return ("raised", type(error).__name__, str(error)[:60])


def leaf(t: Any, *values: float) -> Any:
    return t.tensor(list(values), requires_grad=True, dtype=t.float64)


@program
def square(t):
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * x * g

    x = leaf(t, 1.0, 2.0)
    y = Square.apply(x)
    name = y.grad_fn.name()
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    (g,) = t.autograd.grad(Square.apply(x).sum(), x, create_graph=True)
    return name, x.grad, failure(lambda: y.sum().backward()), t.autograd.grad(g.sum(), x)


@program
def other_arguments(t):
    class Scale(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, factor, text=None):
            ctx.factor, ctx.text = factor, text
            return x * factor

        @staticmethod
        def backward(ctx, g):
            return g * ctx.factor, None, None

    x = leaf(t, 1.0, 2.0)
    y = Scale.apply(x, 3.0, "text")
    y.sum().backward()
    z = Scale.apply(x, 2.0)
    return x.grad, failure(lambda: z.sum().backward()), Scale.apply(t.ones(1), 2.0)


@program
def separate_context(t):
    class Exp(t.autograd.Function):
        @staticmethod
        def forward(x, scale):
            return (x * scale).exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            _, ctx.scale = inputs
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            (y,) = ctx.saved_tensors
            return g * y * ctx.scale, None

    x = leaf(t, 0.5, 1.0)
    (g,) = t.autograd.grad(Exp.apply(x, 2.0).sum(), x, create_graph=True)
    return g, t.autograd.grad(g.sum(), x)


@program
def two_outputs(t):
    class Both(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x + y, x * y

        @staticmethod
        def backward(ctx, gs, gp):
            x, y = ctx.saved_tensors
            seen.append((gs.tolist(), gp.tolist()))
            return gs + gp * y, gs + gp * x

    seen = []
    x, y = leaf(t, 1.0, 2.0), leaf(t, 3.0, 4.0)
    s, p = Both.apply(x, y)
    p.sum().backward(retain_graph=True)
    (s * p).sum().backward()
    return seen, x.grad, y.grad, s, p


@program
def no_materialize(t):
    class Both(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            seen.append((a is None, b is None))
            return a * 2 if a is not None else b * 3

    seen = []
    x = leaf(t, 1.0)
    Both.apply(x)[1].backward()
    return seen, x.grad


@program
def non_differentiable(t):
    class Sort(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            values, places = x.sort()
            half = x * 0.5
            ctx.mark_non_differentiable(places, half)
            ctx.save_for_backward(places)
            return values, places, half

        @staticmethod
        def backward(ctx, g, _, __):
            (places,) = ctx.saved_tensors
            out = t.zeros_like(g)
            out[places] = g
            return out

    x = leaf(t, 3.0, 1.0, 2.0)
    v, p, h = Sort.apply(x)
    (v * t.tensor([1.0, 2.0, 3.0], dtype=t.float64)).sum().backward()
    return x.grad, p.requires_grad, h.requires_grad, v.requires_grad


@program
def dirty(t):
    class Double(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = leaf(t, 1.0, 2.0)
    h = x * 1
    y = Double.apply(h)
    y.sum().backward()
    return x.grad, y is h, y, failure(lambda: Double.apply(x)), h._version


@program
def once(t):
    class Sin(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        @t.autograd.function.once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * x.cos()

    x = leaf(t, 1.0, 2.0)
    Sin.apply(x).sum().backward()
    (g,) = t.autograd.grad(Sin.apply(x).sum(), x, create_graph=True)
    return x.grad, g.requires_grad, failure(lambda: t.autograd.grad(g.sum(), x))


@program
def needs(t):
    class Mul(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            seen.append(ctx.needs_input_grad)
            return g * y, g * x

    seen = []
    x, y = leaf(t, 1.0), leaf(t, 2.0)
    Mul.apply(x, t.ones(1, dtype=t.float64)).backward()
    Mul.apply(t.ones(1, dtype=t.float64), y).backward()
    Mul.apply(x, y).backward()
    return seen, x.grad, y.grad


@program
def returns_input(t):
    class Same(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 5

    class View(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view(2, 1)

        @staticmethod
        def backward(ctx, g):
            return g.view(2) * 7

    x = leaf(t, 1.0, 2.0)
    y = Same.apply(x)
    y.sum().backward()
    View.apply(x).sum().backward()
    return x.grad, y is x, y.requires_grad


@program
def errors(t):
    class Nothing(t.autograd.Function):
        pass

    class NoBackward(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    class WrongCount(NoBackward):
        @staticmethod
        def backward(ctx, g):
            return g, g

    class WrongShape(NoBackward):
        @staticmethod
        def backward(ctx, g):
            return t.ones(7, dtype=t.float64)

    class WrongType(NoBackward):
        @staticmethod
        def backward(ctx, g):
            return 3.0

    class Raises(NoBackward):
        @staticmethod
        def backward(ctx, g):
            raise ZeroDivisionError("mine")

    x = leaf(t, 1.0, 2.0)
    return (
        failure(lambda: Nothing.apply(x), 40),
        failure(lambda: NoBackward.apply(x).sum().backward(), 40),
        failure(lambda: WrongCount.apply(x).sum().backward(), 60),
        failure(lambda: WrongShape.apply(x).sum().backward(), 40),
        failure(lambda: WrongType.apply(x).sum().backward(), 25),
        failure(lambda: Raises.apply(x).sum().backward()),
        failure(lambda: NoBackward()(x), 30),
    )


@program
def saved_is_checked(t):
    class Square(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    x = leaf(t, 1.0)
    h = x * 1
    y = Square.apply(h)
    h.add_(1)
    return failure(y.backward, 80)


@program
def saved_none(t):
    class Maybe(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, y=None):
            ctx.save_for_backward(x, y)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return 2 * x * g, y

    x = leaf(t, 2.0)
    Maybe.apply(x, None).backward()
    return x.grad


@program
def under_no_grad(t):
    class Id(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            seen.append(t.is_grad_enabled())
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            seen.append(t.is_grad_enabled())
            return g

    seen = []
    x = leaf(t, 1.0)
    with t.no_grad():
        y = Id.apply(x)
    Id.apply(x).backward()
    t.autograd.grad(Id.apply(x), x, create_graph=True)
    return seen, y.requires_grad


@program
def clipping(t):
    class Clip(t.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clamp(0, 1)

        @staticmethod
        def backward(ctx, g):
            return g

    x = leaf(t, -1.0, 0.5, 3.0)
    (Clip.apply(x) ** 2).sum().backward()
    return x.grad
