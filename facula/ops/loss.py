"""Losses: of class scores against classes, and means of an expression of two tensors.

In: scores or predictions, targets, a reduction ('mean', 'sum', 'none'). Out: one number, or one for each sample or
element. The common cases are one kernel forward and one backward; the others are composed of operators.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import Layout, layout, register_cache
from facula.engine.modes import modes
from facula.ops import scalar as sc
from facula.ops.copy import contiguous
from facula.ops.define import FUNCTIONS, METHODS, composite, operator
from facula.ops.dispatch import FAULT_ADDRESS, Launch
from facula.ops.elementwise import PointwiseOperator
from facula.ops.expression import Expr, differentiate, variable, variables
from facula.ops.kernels import loss as kernels
from facula.ops.softmax import log_softmax
from facula.runtime.objects import new_tensor

_plans: dict[Any, Any] = register_cache({})


def check_reduction(reduction: Any) -> None:
    """ValueError for an unknown name."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{reduction} is not a valid value for reduction")


def _dense(x: Any) -> Any:
    return x if x._layout.contiguous else contiguous(x)


# -- class scores ----------------------------------------------------------------------------------------------------
class _ClassPlan:
    """The launches of a class loss for one combination of layouts, and the layouts of what it makes."""

    def __init__(
        self,
        x: Layout,
        target: Layout,
        weight: Layout | None,
        ignore: int,
        reduction: str,
        smoothing: float,
        logits: bool,
    ) -> None:
        if x.dtype.kind != "f":
            raise errors.not_implemented("log_softmax_lastdim_kernel_impl" if logits else "nll_loss_out_frame", x.dtype)
        if target.dtype not in (dt.int64, dt.uint8):
            raise RuntimeError(f"expected target dtype to be Long or Byte, but got {target.dtype.scalar_name}")
        samples, n = x.shape[:2]
        inner = 1
        for size in x.shape[2:]:
            inner *= size
        rows = samples * inner
        if weight is not None:
            if weight.shape != (n,):
                raise RuntimeError(
                    f"weight tensor should be defined either for all {n} classes or no classes but got weight tensor of shape: "
                    f"{errors.sizes(weight.shape)}"
                )
            if weight.dtype is not x.dtype:
                raise RuntimeError(f"expected scalar type {x.dtype.scalar_name} but found {weight.dtype.scalar_name}")
        self.weighted = weight is not None
        whole = reduction != "none" and rows * (n if logits else 8) <= kernels.WHOLE
        form = kernels.ClassLoss(
            x.dtype.code, target.dtype.code, logits, self.weighted, smoothing > 0, reduction, whole
        )
        exact = dt.float64 if x.dtype is dt.float64 else dt.float32
        self.out = layout(target.shape if reduction == "none" else (), None, x.dtype, x.device)
        self.total = layout((1,), None, exact, x.device)
        self.row = layout((rows,), None, exact, x.device)

        def fault(value: int, position: int) -> Exception:
            return IndexError(f"Target {value} is out of bounds.")

        grain = max(1, 8192 // max(1, n)) if logits else 4096
        tail = (FAULT_ADDRESS, rows, n, inner, ignore, float(smoothing))
        self.rows = Launch(kernels.class_loss(form), 1 if whole else rows, grain, tail, fault=fault)
        self.sum = None if whole or reduction == "none" else Launch(kernels.class_loss_sum(form), 1, 1, (rows,))
        self.columns = inner > 1
        if self.columns:
            lanes = kernels.host().lanes(8)
            strips = -(-inner // lanes) * samples
            self.slope = Launch(
                kernels.class_columns_gradient(form), strips, max(1, 4096 // max(1, n)), (n, inner, ignore)
            )
        else:
            self.slope = Launch(
                kernels.class_loss_gradient(form), rows, max(1, 16384 // max(1, n)), (n, ignore, float(smoothing))
            )
        self.scores = x.dense()


def _class_plan(
    x: Layout, target: Layout, weight: Layout | None, ignore: int, reduction: str, smoothing: float, logits: bool
) -> _ClassPlan:
    key = (x, target, weight, ignore, reduction, smoothing, logits)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _ClassPlan(*key)
    return plan  # type: ignore[no-any-return]


@operator("class_loss", function=False)
def _class_loss(
    input: Any, target: Any, weight: Any, ignore_index: int, reduction: str, smoothing: float, logits: bool
) -> Any:
    """(loss, sum of the weights, logsumexp of the rows) of scores (rows, classes) and targets (rows).

    Log-probabilities may have more dimensions: (N, classes, *), targets (N, *).
    """
    plan = _class_plan(
        input._layout,
        target._layout,
        None if weight is None else weight._layout,
        ignore_index,
        reduction,
        smoothing,
        logits,
    )
    out, total = new_tensor(plan.out), new_tensor(plan.total)
    lse = new_tensor(plan.row) if logits else total
    x = _dense(input)
    parts = new_tensor(plan.row) if plan.sum is not None else total
    losses = new_tensor(plan.row) if plan.sum is not None else out
    plan.rows((out, total, losses, parts, lse, x, _dense(target), x if weight is None else _dense(weight)), 5)
    if plan.sum is not None:
        plan.sum((out, total, losses, parts), 2)
    return out, total, lse


_class_loss.operator.differentiable_outputs = (0,)
_class_loss.operator.backward_name = "NllLossBackward0"


@_class_loss.joint_gradient("input")
def _(
    grad: Any,
    input: Any,
    target: Any,
    weight: Any,
    ignore_index: Any,
    reduction: Any,
    smoothing: Any,
    logits: Any,
    out1: Any,
    out2: Any,
) -> Any:
    if modes.grad_enabled:
        return (_class_gradient(grad, input, target, weight, ignore_index, reduction, smoothing, logits),)
    plan = _class_plan(
        input._layout,
        target._layout,
        None if weight is None else weight._layout,
        ignore_index,
        reduction,
        smoothing,
        logits,
    )
    x, slope = _dense(input), new_tensor(plan.scores)
    w = x if weight is None else _dense(weight)
    if plan.columns:
        plan.slope((slope, _dense(grad), _dense(target), w, out1))
    else:
        plan.slope((slope, _dense(grad), x, _dense(target), w, out2, out1))
    return (slope,)


def _class_gradient(
    grad: Any, input: Any, target: Any, weight: Any, ignore: int, reduction: str, smoothing: float, logits: bool
) -> Any:
    """The same in operators, to be differentiated again."""
    n = input.shape[1]
    target = target.long()
    if input.ndim > 2:
        flat = grad.reshape(-1) if reduction == "none" else grad
        rows = _class_gradient(
            flat, input.movedim(1, -1).reshape(-1, n), target.reshape(-1), weight, ignore, reduction, smoothing, logits
        )
        return rows.reshape(input.shape[0], *input.shape[2:], n).movedim(-1, 1)
    known = target != ignore
    safe = target.masked_fill(~known, 0).unsqueeze(1)
    weights = input.new_ones((n,)) if weight is None else weight
    own = weights[safe] * known.unsqueeze(1)
    if reduction == "mean":
        grad = grad / METHODS["sum"](own)
    elif reduction == "none":
        grad = grad.unsqueeze(1)
    hit = input.new_zeros(input.shape).scatter(1, safe, own * (1.0 - smoothing))
    if smoothing:
        hit = hit + weights * known.unsqueeze(1) * (smoothing / n)
    if not logits:
        return -hit * grad
    return (log_softmax(input, 1).exp() * METHODS["sum"](hit, 1, True) - hit) * grad


def _as_rows(input: Any, target: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """Scores (N, classes, *), targets (N, *), and the shape of one loss for each; torch's errors where they don't fit."""
    x, t = input._layout.shape, target._layout.shape
    if len(x) == 1:
        if len(t) > 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if t not in ((), (1,)):
            raise ValueError(f"Expected input batch_size (1) to match target batch_size ({t[0]}).")
        return input.reshape(1, -1), target.reshape(1), t
    if not x:
        raise ValueError("Expected 1 or more dimensions (got 0)")
    if not t or x[0] != t[0]:
        raise ValueError(f"Expected input batch_size ({x[0]}) to match target batch_size ({t[0] if t else 0}).")
    if len(x) == 2:
        if len(t) != 1:
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        return input, target, t
    if len(x) == 4 and len(t) != 3:
        raise RuntimeError(
            f"only batches of spatial targets supported (3D tensors) but got targets of dimension: {len(t)}"
        )
    wanted = (x[0], *x[2:])
    if t != wanted:
        if len(x) == 4:
            raise RuntimeError(f"size mismatch (got input: {errors.sizes(x)} , target: {errors.sizes(t)}")
        raise RuntimeError(f"Expected target size {errors.sizes(wanted)}, got {errors.sizes(t)}")
    return input, target, t


def _class_losses(*given: Any) -> Any:
    """The losses, or their sum or mean; without the operator's bookkeeping where nothing is to be kept."""
    if modes.interpreters or (modes.grad_enabled and given[0]._requires_grad):
        return _class_loss(*given)[0]
    return _class_loss.operator.function(*given)[0]


def _classes(input: Any, target: Any, weight: Any, ignore: int, reduction: str, smoothing: float, logits: bool) -> Any:
    if len(input._layout.shape) == 2 and target._layout.shape == input._layout.shape[:1]:
        return _class_losses(input, target, weight, ignore, reduction, smoothing, logits)
    rows, flat, shape = _as_rows(input, target)
    if weight is not None and len(input._layout.shape) > 2 and weight._layout.shape != input._layout.shape[1:2]:
        raise RuntimeError("weight tensor should be defined either for all or no classes")
    if logits and len(rows._layout.shape) > 2:
        if smoothing:
            classes, inner = input._layout.shape[1], rows.movedim(1, -1)
            rows, flat = inner.reshape(-1, classes), flat.reshape(-1)
        else:
            rows, logits = log_softmax(rows, 1), False
    out = _class_losses(rows, flat, weight, ignore, reduction, smoothing, logits)
    return out.reshape(shape) if reduction == "none" and out._layout.shape != shape else out


@composite(function=False)
def nll_loss(input: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """Minus the log-probability `input` (N, C, *) of the class `target` (N, *), weighted by class, reduced.

    IndexError for a class that is not in 0..C-1 (nor `ignore_index`).
    """
    check_reduction(reduction)
    return _classes(input, target, weight, ignore_index, reduction, 0.0, False)


@composite(function=False)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """`nll_loss` of the log-softmax of logits (N, C, *); the target holds classes (N, *), or probabilities (N, C, *).

    With label_smoothing s the target is (1 - s) of itself and s of the uniform distribution (Szegedy et al. 2016).
    """
    check_reduction(reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target._layout.shape == input._layout.shape and target._layout.dtype.kind == "f":
        return _against_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    if not input._layout.shape and not target._layout.shape:
        raise RuntimeError(
            f"Expected floating point type for target with class probabilities, got {target._layout.dtype.scalar_name}"
        )
    return _classes(input, target, weight, ignore_index, reduction, float(label_smoothing), True)


def _against_probabilities(input: Any, target: Any, weight: Any, ignore: int, reduction: str, smoothing: float) -> Any:
    if ignore >= 0:
        raise RuntimeError("ignore_index is not supported for floating point target")
    shape = input._layout.shape
    axis = 0 if len(shape) == 1 else 1
    n = shape[axis]
    if weight is not None and weight._layout.shape != (n,):
        raise RuntimeError(
            f"cross_entropy: weight tensor should be defined either for all {n} classes or no classes but got weight tensor of "
            f"shape: {errors.sizes(weight._layout.shape)}"
        )
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / n
    terms = log_softmax(input, axis) * target
    if weight is not None:
        terms = terms * weight.reshape((n, *(1 for _ in shape[axis + 1 :])))
    if reduction == "none":
        return -METHODS["sum"](terms, axis)
    total = -METHODS["sum"](terms)
    return total / (input._layout.numel / n) if reduction == "mean" and n else total


# -- two tensors, element by element ---------------------------------------------------------------------------------
class PairLoss:
    """A loss that is an expression of two tensors (and perhaps an element's weight), reduced.

    slope: the gradients by name, where those derived from the expression would not be stable; a function of `grad` and
    the inputs.
    """

    def __init__(
        self,
        name: str,
        body: Callable[..., Expr],
        names: tuple[str, ...] = (),
        slope: Callable[..., dict[str, Expr]] | None = None,
        checked: bool = False,
        weighted: bool = False,
    ) -> None:
        self.name, self.names, self.checked = name, names, checked
        self.inputs = ("input", "target", "weight") if weighted else ("input", "target")
        given = {n: variable(n) for n in (*self.inputs, *names)}
        self.expression = body(**given)
        self.plain = PointwiseOperator(name, [self.expression], self.inputs, dict.fromkeys(names), "same")
        upstream = variable("upstream") * variable("scale")
        derived = differentiate([(self.expression, upstream)], self.inputs)
        if slope is not None:
            self.plain.override = slope
            derived[0] = slope(upstream, *[given[n] for n in self.inputs])["input"]
        self.slopes: list[tuple[PointwiseOperator, list[str], list[str]]] = []
        for part, of in zip(derived, self.inputs, strict=True):
            used = variables([part])
            inputs = [n for n in ("upstream", *self.inputs) if n in used]
            numbers = [n for n in ("scale", *names) if n in used]
            made = PointwiseOperator(f"{name}_{of}_slope", [part], inputs, dict.fromkeys(numbers), "same")
            self.slopes.append((made, inputs, numbers))
        self.operator = operator(f"{name}_reduced", function=False)(self._forward())
        self.operator.operator.backward_name = "".join(p[:1].upper() + p[1:] for p in name.split("_")) + "Backward0"

    def _forward(self) -> Any:
        def forward(input: Any, target: Any, weight: Any, reduction: str, numbers: tuple[float, ...]) -> Any:
            own = input._layout
            key = (self.name, own, target._layout, reduction)
            plan = _plans.get(key)
            if plan is None:
                plan = _plans[key] = self._plan(own, reduction)
            launch, last, out, parts = plan
            result = new_tensor(out)
            operands = (
                [_dense(input), _dense(target)] if weight is None else [_dense(input), _dense(target), _dense(weight)]
            )
            if last is None:
                launch((result, *operands), 1, numbers)
            else:
                held = new_tensor(parts)
                launch((held, *operands), 1, numbers)
                last((result, held))
            return result

        return forward

    def _plan(self, own: Layout, reduction: str) -> Any:
        n = own.numel
        blocks = max(1, (n + kernels.PAIR_BLOCK - 1) // kernels.PAIR_BLOCK)
        form = kernels.PairLoss(self.expression, self.inputs, own.dtype.code, self.names, blocks == 1, self.checked)
        divisor = float(n) if reduction == "mean" else 1.0

        def fault(value: int, position: int) -> Exception:
            return RuntimeError("all elements of input should be between 0 and 1")

        launch = Launch(
            kernels.pair_sum(form), blocks, 1, (n, divisor, FAULT_ADDRESS), fault=fault if self.checked else None
        )
        out = layout((), None, own.dtype, own.device)
        if blocks == 1:
            return launch, None, out, None
        parts = layout((blocks,), None, dt.float64, own.device)
        return launch, Launch(kernels.sum_blocks(own.dtype.code), 1, 1, (blocks, divisor)), out, parts

    def gradient(
        self, grad: Any, input: Any, target: Any, weight: Any, reduction: str, numbers: Any, needs: Any
    ) -> Any:
        """The gradients of the inputs that need one."""
        tensors = {"upstream": grad, "input": input, "target": target, "weight": weight}
        scale = 1.0 / input._layout.numel if reduction == "mean" and input._layout.numel else 1.0
        known = {"scale": scale, **dict(zip(self.names, numbers, strict=True))}
        found = []
        for needed, (slope, inputs, names) in zip(needs, self.slopes, strict=False):
            found.append(slope([tensors[n] for n in inputs], {n: known[n] for n in names}) if needed else None)
        return (*found, *(None for _ in range(len(needs) - len(found))))

    def __call__(
        self, input: Any, target: Any, reduction: str, numbers: tuple[float, ...] = (), weight: Any = None
    ) -> Any:
        check_reduction(reduction)
        a, b = input._layout, target._layout
        tensors = (input, target) if weight is None else (input, target, weight)
        if a.dtype.kind != "f" and b.dtype.kind != "f":
            raise errors.not_implemented(f"{self.name.removesuffix('_loss')}_cpu", a.dtype)
        if (
            reduction != "none"
            and a.shape == b.shape
            and a.dtype is b.dtype
            and (weight is None or (weight._layout.shape == a.shape and weight._layout.dtype is a.dtype))
        ):
            return self.operator(input, target, weight, reduction, numbers)
        if self.checked:
            self.operator(input.detach(), input.detach(), None if weight is None else input.detach(), "sum", numbers)
        values = self.plain(tensors, dict(zip(self.names, numbers, strict=True)))
        return (
            METHODS["mean"](values) if reduction == "mean" else METHODS["sum"](values) if reduction == "sum" else values
        )


def _pair(*args: Any, **kwargs: Any) -> PairLoss:
    made = PairLoss(*args, **kwargs)

    def rule(grad: Any, input: Any, target: Any, weight: Any, reduction: Any, numbers: Any, needs: Any) -> Any:
        return made.gradient(grad, input, target, weight, reduction, numbers, needs)

    made.operator.joint_gradient("input", "target", "weight")(rule)
    return made


def _square(input: Any, target: Any) -> Any:
    return (input - target) * (input - target)


def _smooth(input: Any, target: Any, beta: Any) -> Any:
    apart = input - target
    return sc.select(sc.absolute(apart) < beta, apart * apart * 0.5 / beta, sc.absolute(apart) - beta * 0.5)


def _huber(input: Any, target: Any, delta: Any) -> Any:
    apart = input - target
    return sc.select(sc.absolute(apart) <= delta, apart * apart * 0.5, delta * (sc.absolute(apart) - delta * 0.5))


def _absolute(input: Any, target: Any) -> Any:
    return sc.absolute(input - target)


def _divergence(input: Any, target: Any) -> Any:
    return sc.select(target == 0, 0.0, target * sc.log(target)) - target * input


def _log_divergence(input: Any, target: Any) -> Any:
    return sc.exp(target) * (target - input)


def _cross_entropy_of(input: Any, target: Any) -> Any:
    return (target - 1.0) * sc.maximum(sc.log1p(-input), -100.0) - target * sc.maximum(sc.log(input), -100.0)


def _cross_entropy_slopes(grad: Any, input: Any, target: Any) -> Any:
    return {
        "input": grad * (input - target) / sc.maximum((1.0 - input) * input, 1e-12),
        "target": grad * (sc.log1p(-input) - sc.log(input)),
    }


def _weighted_cross_entropy_slopes(grad: Any, input: Any, target: Any, weight: Any) -> Any:
    found = _cross_entropy_slopes(grad * weight, input, target)
    return {**found, "weight": grad * _cross_entropy_of(input, target)}


def _of_logits(input: Any, target: Any) -> Any:
    return (1.0 - target) * input + sc.maximum(-input, 0.0) + sc.log1p(sc.exp(-sc.absolute(input)))


def _of_logits_slopes(grad: Any, input: Any, target: Any) -> Any:
    return {"input": grad * (sc.sigmoid(input) - target), "target": -grad * input}


def _weighted_of_logits_slopes(grad: Any, input: Any, target: Any, weight: Any) -> Any:
    found = _of_logits_slopes(grad * weight, input, target)
    return {**found, "weight": grad * _of_logits(input, target)}


_squared = _pair("mse_loss", _square)
_difference = _pair("l1_loss", _absolute)
_smoothed = _pair("smooth_l1_loss", _smooth, ("beta",))
_huber_pair = _pair("huber_loss", _huber, ("delta",))
_kl = _pair("kl_div", _divergence)
_log_kl = _pair("kl_div_log", _log_divergence)
_binary = _pair("binary_cross_entropy", _cross_entropy_of, (), _cross_entropy_slopes, True)
_weighted_binary = _pair(
    "weighted_binary_cross_entropy",
    lambda input, target, weight: weight * _cross_entropy_of(input, target),
    (),
    _weighted_cross_entropy_slopes,
    True,
    True,
)
_logits = _pair("binary_cross_entropy_with_logits", _of_logits, (), _of_logits_slopes)
_weighted_logits = _pair(
    "weighted_binary_cross_entropy_with_logits",
    lambda input, target, weight: weight * _of_logits(input, target),
    (),
    _weighted_of_logits_slopes,
    False,
    True,
)


@composite(function=False)
def mse_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """(input - target)^2, reduced.

    >>> torch.nn.functional.mse_loss(torch.zeros(2), torch.tensor([1., 3.]))
    tensor(5.)
    """
    return _squared(input, target, reduction)


@composite(function=False)
def l1_loss(input: Any, target: Any, reduction: str = "mean") -> Any:
    """|input - target|, reduced.

    >>> torch.nn.functional.l1_loss(torch.zeros(2), torch.tensor([1., 3.]))
    tensor(2.)
    """
    return _difference(input, target, reduction)


@composite(function=False)
def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """A square within `beta` of the target, |input - target| - beta / 2 beyond, reduced."""
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    return l1_loss(input, target, reduction) if beta == 0 else _smoothed(input, target, reduction, (float(beta),))


@composite(function=False)
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0) -> Any:
    """A square within `delta` of the target, delta (|input - target| - delta / 2) beyond, reduced."""
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _huber_pair(input, target, reduction, (float(delta),))


@composite()
def kl_div(input: Any, target: Any, reduction: str = "mean", *, log_target: bool = False) -> Any:
    """target (log(target) - input), with log-probabilities as input, reduced."""
    return (_log_kl if log_target else _kl)(input, target, reduction)


@composite(function=False)
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, reduction: str = "mean") -> Any:
    """-(target log(input) + (1 - target) log(1 - input)), logarithms not below -100, reduced.

    RuntimeError where the input is no probability, or the dtypes differ.
    """
    if target._layout.dtype is not input._layout.dtype:
        raise RuntimeError(
            f"Found dtype {target._layout.dtype.scalar_name} but expected {input._layout.dtype.scalar_name}"
        )
    if weight is None:
        return _binary(input, target, reduction)
    if weight._layout.shape != input._layout.shape:
        weight = weight.expand(input._layout.shape)
    return _weighted_binary(input, target, reduction, (), weight)


@composite()
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean"
) -> Any:
    """`binary_cross_entropy` of sigmoid(input), without overflow; `pos_weight` multiplies the term of the positive class."""
    if target._layout.shape != input._layout.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    if pos_weight is not None:
        check_reduction(reduction)
        penalty = _penalty(input) * ((pos_weight - 1) * target + 1)
        values = (1 - target) * input + penalty
        values = values if weight is None else values * weight
        return (
            METHODS["mean"](values) if reduction == "mean" else METHODS["sum"](values) if reduction == "sum" else values
        )
    if weight is None:
        return _logits(input, target, reduction)
    if weight._layout.shape != input._layout.shape:
        weight = weight.expand(input._layout.shape)
    return _weighted_logits(input, target, reduction, (), weight)


def _penalty(input: Any) -> Any:
    """log(1 + exp(-input)), in tensors."""
    return -FUNCTIONS["torch.nn.functional"]["logsigmoid"](input)
