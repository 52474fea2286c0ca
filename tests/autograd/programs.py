"""Small programs about autograd, each a function of the module `torch`: run on the reference implementation and here, they must
show the same values, flags, errors and messages."""

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
    """Tensors as (values, requires_grad, is_leaf), the rest as it is."""
    if hasattr(value, "requires_grad") and hasattr(value, "tolist"):
        return (rounded(value.detach().tolist()), value.requires_grad, value.is_leaf)
    if isinstance(value, dict):
        return {k: shown(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown(v) for v in value]
    return value


def failure(call: Callable[[], Any], characters: int = 40) -> Any:
    """What a call raises: the name of the type and how the message begins."""
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


# -- backward ------------------------------------------------------------------------------------------------------------
@program
def accumulates(t):
    x = leaf(t, 1.0, 2.0)
    (x * x).sum().backward()
    first = x.grad
    (3 * x).sum().backward()
    return x.grad, first is x.grad


@program
def twice_fails(t):
    x = leaf(t, 1.0, 2.0)
    y = (x * x).sum()
    y.backward()
    return x.grad, failure(y.backward), failure(lambda: t.autograd.grad(y, x))


@program
def twice_of_sums(t):
    """Nothing was saved, so nothing is missing."""
    x = leaf(t, 1.0, 2.0)
    y = (x + x).sum()
    y.backward()
    return x.grad, failure(y.backward), x.grad


@program
def retain(t):
    x = leaf(t, 1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward(retain_graph=True)
    y.backward()
    return x.grad, failure(y.backward)


@program
def shared_subgraph(t):
    x = leaf(t, 1.0, 2.0)
    h = x.exp()
    a, b = h.sum(), (h * h).sum()
    a.backward()
    return failure(b.backward), x.grad


@program
def needs_scalar(t):
    x = leaf(t, 1.0, 2.0)
    return (
        failure((x * 2).backward),
        failure(lambda: (x * 2).backward(t.ones(3, dtype=t.float64))),
        failure(t.ones(1).backward),
    )


@program
def weights(t):
    x = leaf(t, 1.0, 2.0)
    (x * x).backward(t.tensor([1.0, 10.0], dtype=t.float64))
    t.autograd.backward([x * 2, x * 3], [t.ones(2, dtype=t.float64), t.ones(2, dtype=t.float64)])
    return x.grad, failure(lambda: t.autograd.backward([x * 2], [t.ones(2), t.ones(2)]))


@program
def backward_inputs(t):
    x, w = leaf(t, 1.0, 2.0), leaf(t, 3.0, 4.0)
    h = x * w
    h.retain_grad()
    h.sum().backward(inputs=[x])
    first = (x.grad, w.grad, h.grad)
    (x * w).sum().backward(inputs=w)
    h = x * w
    (h * 2).sum().backward(inputs=[h])
    return first, x.grad, w.grad, h.grad, failure(lambda: h.backward(inputs=[]))


@program
def leaf_as_root(t):
    x = leaf(t, 2.0)
    x.backward()
    return x.grad, t.autograd.grad(x, x), failure(lambda: t.autograd.grad(x, t.ones(1)))


@program
def diamonds(t):
    x = leaf(t, 0.5, 1.5)
    a = x * 2
    b, c = a.sin(), a.cos()
    d = b * c + a
    (d * b).sum().backward()
    return x.grad


@program
def higher_orders(t):
    x = leaf(t, 0.5, 1.5)
    y = (x**4).sum()
    found = []
    for _ in range(4):
        (g,) = t.autograd.grad(y, x, create_graph=True)
        found.append(g)
        y = g.sum()
    return found


@program
def create_graph_backward(t):
    x = leaf(t, 0.5, 1.5)
    (x**3).sum().backward(create_graph=True)
    g = x.grad
    g.sum().backward()
    return g, x.grad, g is x.grad


@program
def gradient_penalty(t):
    x, w = leaf(t, 1.0, 2.0), leaf(t, 0.3, -0.2)
    y = t.tanh(x * w).sum()
    (g,) = t.autograd.grad(y, x, create_graph=True)
    loss = ((g.norm() - 1) ** 2) + y
    loss.backward()
    return x.grad, w.grad


@program
def mixed_dtypes(t):
    x = t.tensor([1.0, 2.0], requires_grad=True)
    y = (x.double() * 2).sum()
    y.backward()
    return x.grad, str(x.grad.dtype)


@program
def broadcasting(t):
    x, y = leaf(t, 1.0, 2.0), t.ones(3, 1, dtype=t.float64, requires_grad=True)
    (x * y * 2).sum().backward()
    return x.grad, y.grad, list(y.grad.shape)


@program
def accumulated_aliases(t):
    """Gradients of two leaves never become one tensor that is then changed."""
    a, b = leaf(t, 1.0, 2.0), leaf(t, 3.0, 4.0)
    (a + b).sum().backward()
    (a * 2).sum().backward()
    return a.grad, b.grad


@program
def given_gradient_is_not_taken(t):
    x = leaf(t, 1.0, 2.0)
    g = t.ones(2, dtype=t.float64)
    x.backward(g)
    x.backward(g)
    return g, x.grad, x.grad is g


# -- autograd.grad -------------------------------------------------------------------------------------------------------
@program
def unused(t):
    x, w = leaf(t, 1.0), leaf(t, 2.0)
    y = (x * 2).sum()
    return (
        failure(lambda: t.autograd.grad((x * 2).sum(), [x, w])),
        t.autograd.grad((x * 2).sum(), [x, w], allow_unused=True),
        t.autograd.grad(y, [x, w], materialize_grads=True),
        failure(lambda: t.autograd.grad(y, [x, w], allow_unused=False, materialize_grads=True)),
        failure(lambda: t.autograd.grad(y, [t.ones(1)])),
    )


@program
def grad_of_inner(t):
    x = leaf(t, 1.0, 2.0)
    h = x * 3
    y = (h * h).sum()
    gh, gx = t.autograd.grad(y, [h, x])
    return gh, gx, x.grad


@program
def batched(t):
    x = leaf(t, 1.0, 2.0, 3.0)
    y = x * x
    (rows,) = t.autograd.grad(y, x, t.eye(3, dtype=t.float64), is_grads_batched=True)
    return rows


@program
def grad_outputs(t):
    x = leaf(t, 1.0, 2.0)
    return (
        t.autograd.grad([x * 2, x * x], x, [t.ones(2, dtype=t.float64), t.ones(2, dtype=t.float64)]),
        t.autograd.grad([(x * 2).sum(), (x * x).sum()], x),
        failure(lambda: t.autograd.grad(x * 2, x)),
        failure(lambda: t.autograd.grad(x * 2, x, t.ones(3, dtype=t.float64))),
    )


@program
def same_input_twice(t):
    x = leaf(t, 1.0, 2.0)
    return t.autograd.grad((x * x).sum(), [x, x])


@program
def no_graph(t):
    x = t.ones(2)
    return failure(lambda: t.autograd.grad(x.sum(), x)), failure(lambda: (x * 2).sum().backward())


# -- modes ---------------------------------------------------------------------------------------------------------------
@program
def modes(t):
    x = leaf(t, 1.0)
    found = []
    with t.no_grad():
        found.append((x * 2).requires_grad)
        with t.enable_grad():
            found.append((x * 2).requires_grad)
        found.append(t.is_grad_enabled())
    found.append(t.is_grad_enabled())
    with t.set_grad_enabled(False):
        found.append((x * 2).requires_grad)
    found.append(t.is_grad_enabled())
    t.set_grad_enabled(False)
    found.append(t.is_grad_enabled())
    t.set_grad_enabled(True)
    try:
        with t.no_grad():
            raise ValueError
    except ValueError:
        found.append(t.is_grad_enabled())
    return found


@program
def decorators(t):
    x = leaf(t, 1.0)

    @t.no_grad()
    def off():
        return (x * 2).requires_grad

    @t.no_grad
    def bare():
        return (x * 2).requires_grad

    @t.enable_grad()
    def on():
        return (x * 2).requires_grad

    @t.set_grad_enabled(False)
    def chosen():
        return (x * 2).requires_grad

    outside = t.is_grad_enabled()
    with t.no_grad():
        inside = on()
    return off(), bare(), inside, chosen(), outside, off.__name__


@program
def generators(t):
    x = leaf(t, 1.0)
    found = []

    @t.no_grad()
    def numbers():
        try:
            got = yield t.is_grad_enabled()
            found.append(got)
            yield t.is_grad_enabled()
        except KeyError:
            found.append(("caught", t.is_grad_enabled()))
            yield 7
        finally:
            found.append(("closed", t.is_grad_enabled()))

    running = numbers()
    found.append(next(running))
    found.append(t.is_grad_enabled())
    found.append(running.send("sent"))
    found.append(running.throw(KeyError))
    running.close()
    found.append(t.is_grad_enabled())
    return found, x


@program
def inference(t):
    x = leaf(t, 1.0)
    with t.inference_mode():
        y = x * 2
        found = [y.requires_grad, t.is_inference_mode_enabled(), t.is_grad_enabled()]
    z = t.ones(1)

    @t.inference_mode()
    def f():
        return (x * 2).requires_grad

    return found, f(), z.requires_grad, t.is_inference_mode_enabled()


@program
def inference_tensors_stay_out(t):
    x = leaf(t, 1.0)
    with t.inference_mode():
        y = t.ones(1, dtype=t.float64)
    return failure(lambda: x * y), failure(lambda: y.requires_grad_()), failure(lambda: y.add_(1)), y + 1


# -- flags ---------------------------------------------------------------------------------------------------------------
@program
def flags(t):
    x = leaf(t, 1.0)
    y = x * 2
    return (
        failure(lambda: y.requires_grad_(False)),
        failure(lambda: setattr(y, "requires_grad", False)),
        failure(lambda: t.ones(1, dtype=t.int64).requires_grad_(), 30),
        failure(lambda: t.tensor([1], requires_grad=True)),
        (x > 0).requires_grad,
        x.argmax().requires_grad,
        y.detach(),
        y.data,
        y.is_leaf,
        x.detach().requires_grad_().is_leaf,
        y.grad_fn is None,
        x.grad_fn,
    )


@program
def detaching(t):
    x = leaf(t, 1.0, 2.0)
    y = x * 2
    d = y.detach()
    d.add_(1)
    found = [y, d.data_ptr() == y.data_ptr()]
    (y * x).sum().backward()
    z = (x * 3).detach_()
    view = (x * 2).view(2)
    return found, x.grad, z, failure(lambda: view.detach_())


@program
def data_is_unseen(t):
    x = leaf(t, 1.0, 2.0)
    x.data.mul_(10)
    y = x * x
    y.sum().backward()
    x.data = t.tensor([5.0, 6.0, 7.0], dtype=t.float64)
    return list(x.shape), x


@program
def detach_counts(t):
    x = leaf(t, 1.0, 2.0)
    h = x * 1
    y = h * h
    h.detach().mul_(10)
    return failure(lambda: y.sum().backward(), 90)


@program
def setting_grad(t):
    x = leaf(t, 1.0, 2.0)
    x.grad = t.ones(2, dtype=t.float64)
    (x * 2).sum().backward()
    found = x.grad
    x.grad = None
    return (
        found,
        x.grad,
        failure(lambda: setattr(x, "grad", t.ones(3, dtype=t.float64)), 0),
        failure(lambda: setattr(x, "grad", t.ones(2)), 0),
        failure(lambda: setattr(x, "grad", 3), 30),
    )


# -- hooks ---------------------------------------------------------------------------------------------------------------
@program
def leaf_hook_sees_the_sum(t):
    x = leaf(t, 1.0, 2.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.clone()))
    (x * x + x).sum().backward()
    return seen, x.grad


@program
def leaf_hook_replaces(t):
    x = leaf(t, 1.0, 2.0)
    x.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    handle = x.register_hook(lambda g: g * 0)
    handle.remove()
    (x * x + x).sum().backward()
    return x.grad, t.autograd.grad((x * x + x).sum(), x)


@program
def leaf_hook_with_several_backwards(t):
    x = leaf(t, 1.0)
    seen = []
    x.register_hook(lambda g: seen.append(g.item()))
    for _ in range(3):
        (x * x).sum().backward()
    return seen, x.grad


@program
def inner_hooks(t):
    x = leaf(t, 1.0, 2.0)
    h = x * 2
    seen = []
    h.register_hook(lambda g: seen.append(g))
    h.register_hook(lambda g: g * 10)
    h.retain_grad()
    (h * h + h).sum().backward()
    return seen, h.grad, x.grad


@program
def retained(t):
    x = leaf(t, 1.0)
    h = x * 2
    h.retain_grad()
    h.retain_grad()
    y = h * h
    y.backward(retain_graph=True)
    first = h.grad.clone()
    y.backward()
    x.retain_grad()
    return first, h.grad, h.retains_grad, x.retains_grad, failure(lambda: t.ones(1).retain_grad()), (x * 2).grad


@program
def post_accumulate(t):
    x = leaf(t, 1.0, 2.0)
    seen = []
    handle = x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.clone()))
    (x * x + x).sum().backward()
    (x * 2).sum().backward()
    handle.remove()
    (x * 2).sum().backward()
    return (
        seen,
        x.grad,
        failure(lambda: (x * 2).register_post_accumulate_grad_hook(print)),
        failure(lambda: t.ones(1).register_post_accumulate_grad_hook(print)),
    )


@program
def step_in_backward(t):
    x, w = leaf(t, 1.0), leaf(t, 2.0)
    for p in (x, w):

        def step(p):
            with t.no_grad():
                p.sub_(p.grad, alpha=0.1)
            p.grad = None

        p.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        (x * w * w + x).sum().backward()
    return x, w, x.grad


@program
def node_hooks(t):
    x = leaf(t, 1.0, 2.0)
    y = x * 3
    seen = []
    node = y.grad_fn
    node.register_prehook(lambda gs: seen.append(("pre", gs)))
    node.register_hook(lambda gi, go: seen.append(("post", [g for g in gi if g is not None], go)))
    y.sum().backward()
    return seen, x.grad


@program
def node_hooks_replace(t):
    x = leaf(t, 1.0, 2.0)
    y = x.exp()
    y.grad_fn.register_prehook(lambda gs: (gs[0] * 2,))
    handle = y.grad_fn.register_hook(lambda gi, go: (gi[0] * 10,))
    y.sum().backward(retain_graph=True)
    first = x.grad.clone()
    handle.remove()
    y.sum().backward()
    return first, x.grad


@program
def accumulate_node_hooks(t):
    x = leaf(t, 1.0, 2.0)
    y = x.exp()
    node = y.grad_fn.next_functions[0][0]
    seen = []
    node.register_hook(lambda gi, go: seen.append(go))
    node.register_prehook(lambda gs: (gs[0] * 2,))
    (y + x).sum().backward()
    return seen, x.grad, node.variable is x, type(node).__name__


@program
def hook_errors(t):
    x = leaf(t, 1.0)
    return failure(lambda: t.ones(1).register_hook(print)), failure(lambda: (x > 0).register_hook(print))


@program
def hook_raises(t):
    x = leaf(t, 1.0)
    y = x * 2

    def broken(g):
        raise KeyError("mine")

    y.register_hook(broken)
    found = failure(y.backward)
    return found, t.is_grad_enabled(), x.grad, t.autograd.grad(x * x, x)


@program
def hooks_under_create_graph(t):
    x = leaf(t, 1.5)
    h = x * x
    h.register_hook(lambda g: g * g)
    (g,) = t.autograd.grad(h * h, x, create_graph=True)
    return g, t.autograd.grad(g, x)


@program
def grad_mode_in_hooks(t):
    x = leaf(t, 1.0)
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(t.is_grad_enabled()))
    y.backward(retain_graph=True)
    y.backward(create_graph=True)
    return seen


# -- in place ------------------------------------------------------------------------------------------------------------
@program
def leaves_resist(t):
    x = leaf(t, 1.0, 2.0)

    def item():
        x[0] = 5.0

    found = [
        failure(lambda: x.add_(1)),
        failure(lambda: x[0].add_(1)),
        failure(item),
        failure(lambda: x.view(2).mul_(2)),
    ]
    with t.no_grad():
        x.add_(1)
    return found, x


@program
def saved_values_are_checked(t):
    x = leaf(t, 1.0, 2.0)
    h = x * 1
    y = h * h
    h.add_(1)
    e = (x * 1).exp()
    z = e * 2
    e.mul_(2)
    s = (x * 1).sin()
    s.add_(1)
    s.sum().backward()
    return failure(lambda: y.sum().backward(), 110), failure(lambda: z.sum().backward(), 90), x.grad


@program
def relu_in_place(t):
    x = leaf(t, -1.0, 2.0)
    h = x * 2
    h.relu_()
    h.sum().backward()
    h2 = x * 2
    t.nn.functional.relu(h2, inplace=True)
    h2.mul_(3)
    return x.grad, failure(lambda: h2.sum().backward(), 80)


@program
def in_place_chain(t):
    x = leaf(t, 1.0, 2.0)
    h = x * 2
    h.add_(1).mul_(3).neg_()
    h.sum().backward()
    return h, x.grad


@program
def grad_flows_into_constants(t):
    x = leaf(t, 1.0, 2.0)
    b = t.zeros(2, dtype=t.float64)
    b.add_(x)
    b.mul_(x)
    b.sum().backward()
    return b, x.grad


@program
def write_into_slices(t):
    x = leaf(t, 1.0, 2.0, 3.0)
    b = t.zeros(4, dtype=t.float64)
    b[1:] = x * x
    b[0] = 7.0
    b[2] = b[1].clone() * x[2]
    (b * b).sum().backward()
    return b, x.grad


@program
def views_then_base(t):
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    b = x * 1
    v = b[1:3]
    v.mul_(10)
    w = b.view(2, 2)
    (b.sum() + (v * v).sum() + w[1].sum()).backward()
    return b, v, w, x.grad, b.grad_fn.name().split("::")[-1]


@program
def base_then_views(t):
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    b = x * 1
    v = b[1:3]
    b.mul_(2)
    (v * v).sum().backward()
    return v, x.grad


@program
def chain_of_views(t):
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    b = x * 1
    v = b.view(2, 2)
    w = v[0]
    u = w[1:]
    u.mul_(10)
    w.add_(v[1])
    (b * b).sum().backward()
    return b, v, w, u, x.grad


@program
def transposed_views(t):
    x = t.arange(6.0, dtype=t.float64).reshape(2, 3).requires_grad_()
    b = x * 1
    v = b.t()
    v[1].mul_(5)
    v[:, 0].add_(v[:, 1])
    (b * t.arange(6.0, dtype=t.float64).reshape(2, 3)).sum().backward()
    return b, x.grad


@program
def view_of_leaf_without_grad(t):
    b = t.zeros(4, dtype=t.float64)
    v = b[1:3]
    x = leaf(t, 1.0, 2.0)
    v.copy_(x)
    found = [b.requires_grad, v.requires_grad, b.grad_fn.name().split("::")[-1]]
    (b * t.arange(4.0, dtype=t.float64)).sum().backward()
    return found, x.grad


@program
def view_made_before(t):
    """A view made while its base needed no gradient learns of it."""
    b = t.zeros(4, dtype=t.float64)
    v = b[1:3]
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    b.add_(x * x)
    found = v.requires_grad
    v.sum().backward()
    return found, x.grad


@program
def views_under_no_grad(t):
    x = leaf(t, 1.0, 2.0)
    b = x * 1
    with t.no_grad():
        v = b.view(2)
    found = failure(lambda: v.mul_(2), 40)
    with t.no_grad():
        w = b[0:1]
        w.mul_(3)
    b.sum().backward()
    return found is None, b, x.grad


@program
def several_outputs(t):
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    a, _ = (x * 1).chunk(2)
    c, d = (x * 1).unbind()[:2]
    (a.sum() + d).backward()
    return a, c, d, x.grad


@program
def fill_and_zero(t):
    x = leaf(t, 1.0, 2.0, 3.0)
    b = x * 2
    b[1].zero_()
    b[2:].fill_(9.0)
    b.sum().backward()
    c = x * x
    c.zero_()
    return b, x.grad, c.requires_grad


@program
def masked_writes(t):
    x = leaf(t, 1.0, -2.0, 3.0)
    b = x * 2
    b[b < 0] = 0.0
    b.masked_fill_(b > 5, 1.0)
    (b * b).sum().backward()
    return b, x.grad


@program
def index_writes(t):
    x = leaf(t, 1.0, 2.0)
    b = t.ones(4, dtype=t.float64)
    b[t.tensor([0, 3])] = x * x
    (b * t.arange(4.0, dtype=t.float64)).sum().backward()
    return b, x.grad


@program
def versions(t):
    x = t.ones(3)
    first = x._version
    found = []
    x.add_(1)
    v = x[1:]
    v.mul_(2)
    found += [x._version - first, v._version - first]
    x.detach().zero_()
    found.append(x._version - first)
    return found


@program
def out_refuses(t):
    x = leaf(t, 1.0)
    return failure(lambda: t.add(x, x, out=t.empty(1, dtype=t.float64)), 40)


@program
def swap_through_copy(t):
    x = leaf(t, 1.0, 2.0)
    b = x * 1
    tmp = b[0].clone()
    b[0] = b[1]
    b[1] = tmp * 10
    (b * t.tensor([1.0, 100.0], dtype=t.float64)).sum().backward()
    return b, x.grad


@program
def recurrence(t):
    x = leaf(t, 0.5)
    h = t.zeros(5, dtype=t.float64)
    h[0] = 1.0
    for i in range(1, 5):
        h[i] = h[i - 1].clone() * x[0]
    h[4].backward()
    return h, x.grad


@program
def second_order_in_place(t):
    x = leaf(t, 0.5, 1.5)
    b = x * 1
    b[0].mul_(x[1])
    b.pow_(3)
    (g,) = t.autograd.grad(b.sum(), x, create_graph=True)
    return g, t.autograd.grad(g.sum(), x)


# -- several outputs -----------------------------------------------------------------------------------------------------
@program
def split_outputs(t):
    x = leaf(t, 1.0, 2.0, 3.0, 4.0)
    a, b, c, _ = x.unbind()
    (a * c).backward()
    values, places = (x * 1).sort(descending=True)
    values[0].backward()
    low = x.min()
    low.backward()
    return x.grad, places.requires_grad, b.requires_grad


@program
def unused_outputs(t):
    x = leaf(t, 1.0, 2.0, 3.0)
    value, place = x.max(0)
    value.backward()
    _, b = (x * x).split([1, 2])
    b.sum().backward()
    return x.grad, place


# -- the graph ------------------------------------------------------------------------------------------------------------
@program
def graph_names(t):
    x = leaf(t, 1.0, 2.0)
    y = (x * 2).sum()
    return (
        y.grad_fn.name(),
        y.grad_fn.next_functions[0][0].name(),
        len(y.grad_fn.next_functions),
        [
            f(x).grad_fn.name()
            for f in (t.exp, t.tanh, t.sigmoid, t.relu, lambda v: v.view(2, 1), lambda v: v[0], lambda v: v - v)
        ],
    )


@program
def metadata(t):
    x = leaf(t, 1.0)
    y = x * 2
    y.grad_fn.metadata["mine"] = 3
    return y.grad_fn.metadata["mine"]


@program
def nan_found(t):
    x = leaf(t, 0.0)
    with t.autograd.detect_anomaly():
        y = t.sqrt(x) * 0
        found = failure(y.backward, 60)
    with t.autograd.set_detect_anomaly(True, check_nan=False):
        (t.sqrt(x) * 0).backward()
    return found


@program
def deep(t):
    x = leaf(t, 1.0)
    y = x
    for _ in range(20000):
        y = y + 1.0
    y.backward()
    return x.grad


@program
def saved_hooks(t):
    x = leaf(t, 1.0, 2.0)
    packed = []

    def pack(v):
        packed.append(v.requires_grad)
        return v.tolist()

    def unpack(v):
        return t.tensor(v, dtype=t.float64) * 10

    with t.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x * x).sum()
        z = x.exp().sum()
    y.backward()
    z.backward()
    return x.grad, len(packed)


@program
def saved_hooks_double(t):
    x = leaf(t, 1.0, 2.0)
    with t.autograd.graph.saved_tensors_hooks(lambda v: v, lambda v: v):
        y = x.exp() * x
        (g,) = t.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = t.autograd.grad(g.sum(), x)
    return g, h


@program
def saved_on_cpu(t):
    x = leaf(t, 1.0, 2.0)
    with t.autograd.graph.save_on_cpu():
        y = (x * x).sum()
    y.backward()
    return x.grad
