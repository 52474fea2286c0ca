"""L-BFGS (Nocedal 1980), with a line search for the strong Wolfe conditions (Nocedal and Wright, section 3.5)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula.engine.modes import enable_grad
from facula.ops.define import FUNCTIONS
from facula.optim.optimizer import Optimizer, check, number


class LBFGS(Optimizer):
    """Quasi-Newton steps from the last `history_size` changes of the gradient. Takes one group, and needs a closure.

    Args:
        params: tensors.
        lr: length of the step along the direction (the first guess of a line search). Default: 1
        max_iter: iterations in one call of `step`. Default: 20
        max_eval: evaluations of the closure in one call. Default: max_iter * 5 // 4
        tolerance_grad: stop when no gradient is larger. Default: 1e-7
        tolerance_change: stop when neither the loss nor a parameter changes more. Default: 1e-9
        history_size: how many changes are kept. Default: 100
        line_search_fn: None or 'strong_wolfe'.

    Raises:
        ValueError: more than one group, or a negative lr.
    """

    def __init__(
        self, params: Any, lr: Any = 1, max_iter: int = 20, max_eval: int | None = None, tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9, history_size: int = 100, line_search_fn: str | None = None,
    ) -> None:  # fmt: skip
        check(lr >= 0.0, "Invalid learning rate", lr)
        super().__init__(
            params,
            {"lr": lr, "max_iter": max_iter, "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
             "tolerance_grad": tolerance_grad, "tolerance_change": tolerance_change, "history_size": history_size,
             "line_search_fn": line_search_fn},
        )  # fmt: skip
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    # -- the parameters as one vector ---------------------------------------------------------------------------------
    def _gradient(self) -> Any:
        """All gradients, one after the other."""
        parts = [
            p._grad.reshape(-1) if p._grad is not None else FUNCTIONS["torch"]["zeros_like"](p).reshape(-1)
            for p in self._params
        ]
        return FUNCTIONS["torch"]["cat"](parts, 0)

    def _move(self, length: Any, direction: Any) -> None:
        """Go `length` along the direction."""
        at = 0
        for p in self._params:
            count = p.numel()
            p.add_(direction[at : at + count].view(p.shape), alpha=float(length))
            at += count

    def _evaluate(self, closure: Callable[[], Any], start: list[Any], direction: Any, length: Any) -> tuple[float, Any]:
        """Loss and gradient at a distance from `start`; the parameters are put back."""
        self._move(length, direction)
        loss, gradient = float(closure()), self._gradient()
        for p, known in zip(self._params, start, strict=True):
            p.copy_(known)
        return loss, gradient

    # -- the step -------------------------------------------------------------------------------------------------------
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Go up to `max_iter` iterations down; `closure` clears the gradients, computes the loss with backward, and returns it."""
        group = self.param_groups[0]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        evaluate = enable_grad()(closure)
        first = evaluate()
        loss, gradient = float(first), self._gradient()
        state["func_evals"] += 1
        if _largest(gradient) <= group["tolerance_grad"]:
            return first
        evaluations = 1
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            direction = self._direction(state, gradient, group["history_size"])
            before = state["prev_loss"] = loss
            if state["n_iter"] == 1:
                length = min(1.0, 1.0 / float(gradient.abs().sum())) * number(group["lr"])
            else:
                length = number(group["lr"])
            slope = gradient.dot(direction).item()
            state["d"], state["t"] = direction, length
            if slope > -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = [p.detach().clone() for p in self._params]
                search = _Search(
                    functools.partial(self._evaluate, evaluate, start, direction), direction, loss, gradient, slope
                )
                loss, gradient, length, used = search.run(length, group["max_eval"] - evaluations)
                self._move(length, direction)
            else:
                self._move(length, direction)
                if iteration != group["max_iter"]:
                    loss, gradient, used = float(evaluate()), self._gradient(), 1
            state["t"] = length
            evaluations += used
            state["func_evals"] += used
            if (
                iteration == group["max_iter"] or evaluations >= group["max_eval"] or _largest(gradient) <= group["tolerance_grad"]
                or _largest(direction.mul(length)) <= group["tolerance_change"] or abs(loss - before) < group["tolerance_change"]
            ):  # fmt: skip
                break
        return first

    @staticmethod
    def _direction(state: dict[str, Any], gradient: Any, size: int) -> Any:
        """Minus the approximate inverse Hessian times the gradient, by the two-loop recursion; notes the latest change."""
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1, prev_flat_grad=gradient.clone())
            return gradient.neg()
        change, moved = gradient.sub(state["prev_flat_grad"]), state["d"].mul(state["t"])
        curvature = change.dot(moved)
        changes, moves, inverse = state["old_dirs"], state["old_stps"], state["ro"]
        if float(curvature) > 1e-10:
            if len(changes) == size:
                for history in (changes, moves, inverse):
                    history.pop(0)
            changes.append(change)
            moves.append(moved)
            inverse.append(1.0 / curvature)
            state["H_diag"] = curvature / change.dot(change)
        vector, weights = gradient.neg(), state.setdefault("al", [None] * size)
        for i in reversed(range(len(changes))):
            weights[i] = moves[i].dot(vector) * inverse[i]
            vector.add_(changes[i] * -weights[i])
        vector = vector.mul(state["H_diag"])
        for i in range(len(changes)):
            vector.add_(moves[i] * (weights[i] - changes[i].dot(vector) * inverse[i]))
        state["prev_flat_grad"].copy_(gradient)
        return vector


def _largest(vector: Any) -> float:
    return vector.abs().max().item()  # type: ignore[no-any-return]


class _Point:
    """A place on the line: how far, the loss and gradient there, and the slope along the line."""

    __slots__ = ("gradient", "length", "loss", "slope")

    def __init__(self, length: float, loss: float, gradient: Any, slope: float) -> None:
        self.length, self.loss, self.gradient, self.slope = length, loss, gradient, slope


class _Search:
    """A line search: `evaluate(length)` gives loss and gradient."""

    ENOUGH_DECREASE, CURVATURE, LEAST_CHANGE = 1e-4, 0.9, 1e-9

    def __init__(
        self, evaluate: Callable[[float], tuple[float, Any]], direction: Any, loss: float, gradient: Any, slope: float
    ) -> None:
        self.evaluate, self.direction = evaluate, direction
        self.start = _Point(0, loss, gradient.clone(), slope)
        self.used = 0

    def at(self, length: float) -> _Point:
        loss, gradient = self.evaluate(length)
        self.used += 1
        return _Point(length, loss, gradient, gradient.dot(self.direction).item())

    def too_high(self, point: _Point) -> bool:
        """Whether the loss has not fallen enough (Armijo)."""
        return point.loss > self.start.loss + self.ENOUGH_DECREASE * point.length * self.start.slope

    def flat(self, point: _Point) -> bool:
        """Whether the slope has fallen enough."""
        return abs(point.slope) <= -self.CURVATURE * self.start.slope

    def run(self, length: float, most: int) -> tuple[float, Any, float, int]:
        """(loss, gradient, length, evaluations) of a point that satisfies both conditions, or the best found."""
        low, high, done, tries = self._bracket(length, most)
        if not done:
            low = self._zoom(low, high, tries, most)
        return low.loss, low.gradient, low.length, self.used

    def _bracket(self, length: float, most: int) -> tuple[_Point, _Point, bool, int]:
        before, point = self.start, self.at(length)
        tries = 0
        while tries < most:
            if self.too_high(point) or (tries > 1 and point.loss >= before.loss):
                return before, point, False, tries
            if self.flat(point):
                return point, point, True, tries
            if point.slope >= 0:
                return before, point, False, tries
            bounds = (point.length + 0.01 * (point.length - before.length), point.length * 10)
            before, point = point, self.at(_cubic(before, point, bounds))
            tries += 1
        return self.start, point, False, tries

    def _zoom(self, first: _Point, second: _Point, tries: int, most: int) -> _Point:
        """Narrow the bracket; gives its better end."""
        ends = [first, second]  # kept in order: the interpolation starts from the first
        low = 0 if first.loss <= second.loss else 1
        reach, stuck = _largest(self.direction), False
        while tries < most and abs(ends[1].length - ends[0].length) * reach >= self.LEAST_CHANGE:
            length = _cubic(ends[0], ends[1], None)
            least, largest = sorted((ends[0].length, ends[1].length))
            margin = 0.1 * (largest - least)
            near = min(largest - length, length - least) < margin
            if near and (stuck or length >= largest or length <= least):
                length = largest - margin if abs(length - largest) < abs(length - least) else least + margin
                near = False
            stuck = near
            point = self.at(length)
            tries += 1
            if self.too_high(point) or point.loss >= ends[low].loss:
                ends[1 - low] = point
                low = 0 if ends[0].loss <= ends[1].loss else 1
                continue
            done = self.flat(point)
            if not done and point.slope * (ends[1 - low].length - ends[low].length) >= 0:
                ends[1 - low] = ends[low]
            ends[low] = point
            if done:
                break
        return ends[low]


def _cubic(a: _Point, b: _Point, bounds: tuple[float, float] | None) -> float:
    """Where the cubic through two points with their slopes is lowest, within bounds."""
    if bounds is None:
        bounds = (a.length, b.length) if a.length <= b.length else (b.length, a.length)
    lean = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.length - b.length)
    square = lean**2 - a.slope * b.slope
    if square < 0:
        return (bounds[0] + bounds[1]) / 2.0
    root = square**0.5
    if a.length > b.length:
        a, b = b, a
    place = b.length - (b.length - a.length) * ((b.slope + root - lean) / (b.slope - a.slope + 2 * root))
    return min(max(place, bounds[0]), bounds[1])
