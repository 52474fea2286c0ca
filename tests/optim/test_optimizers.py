"""Optimizers walk where the reference implementation's walk; states can be handed from one to the other."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

import facula

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "dampening": 0.3, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "maximize": True}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.01, "weight_decay": 0.1, "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.9}),
    ("RMSprop", {"centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("Adadelta", {}),
    ("Adadelta", {"rho": 0.5, "weight_decay": 0.1}),
    ("Adamax", {}),
    ("Adamax", {"weight_decay": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"betas": (0.8, 0.9), "weight_decay": 0.1}),
    ("ASGD", {}),
    ("ASGD", {"weight_decay": 0.1, "t0": 3, "lambd": 0.01}),
    ("Rprop", {}),
    ("Rprop", {"etas": (0.3, 1.4), "step_sizes": (1e-3, 0.5)}),
]
NAMES = [f"{name}-{'-'.join(options)}" for name, options in CASES]


class Fit:
    """A small regression: a weight that is stored transposed, a bias in a group of its own whose gradient appears later."""

    def __init__(
        self, torch: Any, name: str, options: dict[str, Any], dtype: str = "float64", transposed: bool = False
    ) -> None:
        rng = np.random.RandomState(0)
        kind = getattr(torch, dtype)
        self.torch = torch
        self.x, self.y = torch.tensor(rng.randn(9, 5), dtype=kind), torch.tensor(rng.randn(9, 3), dtype=kind)
        weight = rng.randn(5, 3) * 0.5
        self.w = torch.tensor(weight.T.copy(), dtype=kind).t() if transposed else torch.tensor(weight, dtype=kind)
        self.w.requires_grad_()
        self.b = torch.tensor(rng.randn(3), dtype=kind).requires_grad_()
        groups = [{"params": [self.w]}, {"params": [self.b], "lr": options.get("lr", 0.01) / 2}]
        self.optimizer = getattr(torch.optim, name)(groups, **options)
        self.count = 0

    def loss(self) -> Any:
        return ((self.torch.tanh(self.x @ self.w + self.b) - self.y) ** 2).mean()

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.optimizer.zero_grad()
            self.loss().backward()
            if self.count < 2:
                self.b.grad = None
            self.count += 1
            self.optimizer.step()

    def values(self) -> list[np.ndarray[Any, Any]]:
        return [self.w.detach().numpy(), self.b.detach().numpy()]


def assert_near(ours: Fit, theirs: Fit, tolerance: float) -> None:
    for a, b in zip(ours.values(), theirs.values(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict of arrays and numbers."""
    tensors = {
        k: {n: v.detach().numpy().copy() if hasattr(v, "numpy") else v for n, v in s.items()}
        for k, s in state["state"].items()
    }
    return {"state": tensors, "param_groups": state["param_groups"]}


def tensors(torch: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a plain state as tensors."""
    made = {
        k: {n: torch.tensor(v) if isinstance(v, np.ndarray) else v for n, v in s.items()}
        for k, s in state["state"].items()
    }
    return {"state": made, "param_groups": copy.deepcopy(state["param_groups"])}


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-5), ("float64", 1e-11)])
def test_trajectory(name: str, options: dict[str, Any], dtype: str, tolerance: float) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = Fit(facula, name, options, dtype), Fit(torch, name, options, dtype)
    for _ in range(20):
        ours.step()
        theirs.step()
    assert_near(ours, theirs, tolerance)
    mine, other = plain(ours.optimizer.state_dict()), plain(theirs.optimizer.state_dict())
    assert [set(g) for g in mine["param_groups"]] == [set(g) for g in other["param_groups"]]
    assert {k: set(s) for k, s in mine["state"].items()} == {k: set(s) for k, s in other["state"].items()}
    for k, state in other["state"].items():
        for n, value in state.items():
            if isinstance(value, np.ndarray):
                scale = float(np.abs(value).max()) + 1e-9
                assert mine["state"][k][n].dtype == value.dtype
                np.testing.assert_allclose(
                    mine["state"][k][n] / scale, value / scale, atol=1e-3 if dtype == "float32" else 1e-7
                )


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_checkpoints_go_both_ways(name: str, options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    straight = Fit(torch, name, options)
    straight.step(12)
    for first, second in ((facula, torch), (torch, facula)):
        before, after = Fit(first, name, options), Fit(second, name, options)
        before.step(6)
        state = plain(before.optimizer.state_dict())
        with second.no_grad():
            after.w.copy_(second.tensor(before.w.detach().numpy().copy()))
            after.b.copy_(second.tensor(before.b.detach().numpy().copy()))
        after.optimizer.load_state_dict(tensors(second, state))
        after.count = before.count
        after.step(6)
        assert_near(after, straight, 1e-9)


@pytest.mark.parametrize(("name", "options"), CASES, ids=NAMES)
def test_own_checkpoints(name: str, options: dict[str, Any]) -> None:
    """Saved, loaded into a fresh optimizer and gone on with: the same bits."""
    straight, before, after = (Fit(facula, name, options) for _ in range(3))
    straight.step(8)
    before.step(4)
    saved = io.BytesIO()
    facula.save(before.optimizer.state_dict(), saved)
    saved.seek(0)
    with facula.no_grad():
        after.w.copy_(before.w)
        after.b.copy_(before.b)
    after.optimizer.load_state_dict(facula.load(saved))
    after.count = 4
    after.step(4)
    for a, b in zip(after.values(), straight.values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_transposed_parameters() -> None:
    torch = pytest.importorskip("torch")
    for name, options in (("SGD", {"lr": 0.1, "momentum": 0.9}), ("Adam", {"lr": 0.01}), ("Rprop", {})):
        ours, theirs = Fit(facula, name, options, transposed=True), Fit(torch, name, options)
        ours.step(10)
        theirs.step(10)
        assert_near(ours, theirs, 1e-11)


def test_first_step_of_momentum() -> None:
    """The buffer begins as the gradient itself, dampening or not."""
    p = facula.tensor([1.0], requires_grad=True)
    made = facula.optim.SGD([p], lr=1.0, momentum=0.9, dampening=0.5)
    p.grad = facula.tensor([2.0])
    made.step()
    assert p.item() == -1.0
    assert made.state[p]["momentum_buffer"].item() == 2.0
    p.grad = facula.tensor([2.0])
    made.step()
    assert made.state[p]["momentum_buffer"].item() == pytest.approx(0.9 * 2 + 0.5 * 2)


def test_learning_rate_is_read_each_step() -> None:
    p = facula.tensor([1.0], requires_grad=True)
    made = facula.optim.SGD([p], lr=1.0)
    for rate, expected in ((1.0, 0.0), (0.25, -0.25), (0.0, -0.25)):
        made.param_groups[0]["lr"] = rate
        p.grad = facula.tensor([1.0])
        made.step()
        assert p.item() == expected


def test_closure_and_hooks() -> None:
    p = facula.tensor([1.0], requires_grad=True)
    made = facula.optim.SGD([p], lr=0.1)
    seen: list[str] = []
    before = made.register_step_pre_hook(lambda o, args, kwargs: seen.append("before"))
    made.register_step_post_hook(lambda o, args, kwargs: seen.append("after"))

    def closure() -> Any:
        assert facula.is_grad_enabled()
        seen.append("closure")
        made.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with facula.no_grad():
        loss = made.step(closure)
    assert loss.item() == 1.0
    assert p.item() == pytest.approx(0.8)
    assert seen == ["before", "closure", "after"]
    before.remove()
    made.step()
    assert seen[3:] == ["after"]


def test_state_dict_hooks() -> None:
    p = facula.tensor([1.0], requires_grad=True)
    made = facula.optim.Adam([p])
    made.register_state_dict_post_hook(lambda o, state: {**state, "note": 1})
    assert made.state_dict()["note"] == 1
    made.register_load_state_dict_pre_hook(lambda o, state: {k: v for k, v in state.items() if k != "note"})
    made.load_state_dict(made.state_dict())


def test_zero_grad() -> None:
    p = facula.tensor([1.0], requires_grad=True)
    made = facula.optim.SGD([p], lr=0.1)
    (p * p).sum().backward()
    kept = p.grad
    made.zero_grad(set_to_none=False)
    assert p.grad is kept
    assert kept.item() == 0.0
    made.zero_grad()
    assert p.grad is None


def test_groups() -> None:
    a, b = (facula.tensor([1.0], requires_grad=True) for _ in range(2))
    made = facula.optim.SGD([a], lr=0.1)
    made.add_param_group({"params": [b], "lr": 0.5})
    (a + b).sum().backward()
    made.step()
    assert (a.item(), b.item()) == (pytest.approx(0.9), 0.5)
    assert "Parameter Group 1" in repr(made)
    named = facula.optim.SGD([("first", a), ("second", b)], lr=0.1)
    assert named.param_groups[0]["param_names"] == ["first", "second"]


ERRORS = [
    lambda t, p: t.optim.SGD([p], lr=-1.0),
    lambda t, p: t.optim.SGD([p], lr=0.1, momentum=-1.0),
    lambda t, p: t.optim.SGD([p], lr=0.1, nesterov=True),
    lambda t, p: t.optim.SGD([p], lr=0.1, weight_decay=-1.0),
    lambda t, p: t.optim.SGD([], lr=0.1),
    lambda t, p: t.optim.SGD(p, lr=0.1),
    lambda t, p: t.optim.SGD({p}, lr=0.1) and t.optim.SGD([{"params": {p}}], lr=0.1),
    lambda t, p: t.optim.SGD([p * 2], lr=0.1),
    lambda t, p: t.optim.SGD([3], lr=0.1),
    lambda t, p: t.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1),
    lambda t, p: t.optim.Adam([p], betas=(1.0, 0.9)),
    lambda t, p: t.optim.Adam([p], betas=(0.9, -1.0)),
    lambda t, p: t.optim.Adam([p], eps=-1.0),
    lambda t, p: t.optim.RMSprop([p], alpha=-1.0),
    lambda t, p: t.optim.Adagrad([p], lr_decay=-1.0),
    lambda t, p: t.optim.Adagrad([p], initial_accumulator_value=-1.0),
    lambda t, p: t.optim.Adadelta([p], rho=2.0),
    lambda t, p: t.optim.Adamax([p], betas=(1.0, 0.9)),
    lambda t, p: t.optim.NAdam([p], momentum_decay=-1.0),
    lambda t, p: t.optim.RAdam([p], weight_decay=-1.0),
    lambda t, p: t.optim.ASGD([p], weight_decay=-1.0),
    lambda t, p: t.optim.Rprop([p], etas=(0.5, 0.9)),
    lambda t, p: t.optim.LBFGS([{"params": [p]}, {"params": [p.detach().clone().requires_grad_()]}]),
    lambda t, p: t.optim.SGD([p], lr=0.1).load_state_dict(t.optim.SGD([p, p.detach().clone()], lr=0.1).state_dict()),
    lambda t, p: t.optim.SGD([p], lr=0.1).load_state_dict({"state": {}, "param_groups": []}),
]


@pytest.mark.parametrize("index", range(len(ERRORS)))
def test_errors(index: int) -> None:
    with pytest.raises((ValueError, TypeError, RuntimeError)) as ours:
        ERRORS[index](facula, facula.ones(2, requires_grad=True))
    torch = pytest.importorskip("torch")
    with pytest.raises((ValueError, TypeError, RuntimeError)) as theirs:
        ERRORS[index](torch, torch.ones(2, requires_grad=True))
    assert type(ours.value) is type(theirs.value)
    assert str(ours.value)[:50] == str(theirs.value)[:50]


@pytest.mark.parametrize(
    "options", [{"max_iter": 5}, {"line_search_fn": "strong_wolfe"}, {"lr": 0.5, "history_size": 3, "max_iter": 7}]
)
def test_lbfgs(options: dict[str, Any]) -> None:
    """Rosenbrock's valley, and a quadratic that both solve."""
    torch = pytest.importorskip("torch")
    ends = []
    for t in (torch, facula):
        p = t.tensor([-0.5, 0.7, 0.2], dtype=t.float64, requires_grad=True)
        made = t.optim.LBFGS([p], **options)

        def closure(t: Any = t, p: Any = p, made: Any = made) -> Any:
            made.zero_grad()
            loss = ((p[1:] - p[:-1] ** 2) ** 2).sum() * 5 + ((1 - p) ** 2).sum()
            loss.backward()
            return loss

        losses = [made.step(closure).item() for _ in range(3)]
        state = made.state_dict()["state"][0]
        ends.append((losses, p.detach().numpy().copy(), state["func_evals"], state["n_iter"]))
    np.testing.assert_allclose(ends[1][0], ends[0][0], rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-6)
    assert ends[1][2:] == ends[0][2:]


def test_averaged_model() -> None:
    torch = pytest.importorskip("torch")
    ends = []
    for t in (torch, facula):
        t.manual_seed(0)
        model = t.nn.Sequential(t.nn.Linear(3, 4), t.nn.BatchNorm1d(4), t.nn.Linear(4, 1))
        average = t.optim.swa_utils.AveragedModel(model)
        fading = t.optim.swa_utils.AveragedModel(
            model, multi_avg_fn=t.optim.swa_utils.get_ema_multi_avg_fn(0.9), use_buffers=True
        )
        other = t.optim.swa_utils.AveragedModel(model, avg_fn=t.optim.swa_utils.get_ema_avg_fn(0.8))
        made = t.optim.SGD(model.parameters(), lr=0.1)
        data = [t.randn(5, 3) for _ in range(4)]
        for x in data:
            made.zero_grad()
            model(x).pow(2).mean().backward()
            made.step()
            for a in (average, fading, other):
                a.update_parameters(model)
        t.optim.swa_utils.update_bn(data, average)
        found = [p.detach().numpy().copy() for a in (average, fading, other) for p in (*a.parameters(), *a.buffers())]
        ends.append(found)
    for a, b in zip(*ends, strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-6)


def test_pickle_and_copy() -> None:
    fit = Fit(facula, "Adam", {"lr": 0.01})
    fit.step(3)
    fit.torch = None
    other = copy.deepcopy(fit)
    fit.torch = other.torch = facula
    fit.step(3)
    other.step(3)
    for a, b in zip(fit.values(), other.values(), strict=True):
        np.testing.assert_array_equal(a, b)
