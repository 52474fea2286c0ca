"""A compiled step does what the step does, bit for bit, or says why it does not."""

from __future__ import annotations

import ctypes
import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import facula
from facula.core import settings
from facula.runtime import memory

F = facula.nn.functional
pytestmark = pytest.mark.skipif(settings.reference, reason="the reference mode compiles nothing")


class World:
    """A model, an optimizer and data, the same in each of two worlds."""

    def __init__(
        self,
        make: Callable[[], Any],
        optimizer: Callable[[Any], Any],
        shape: tuple[int, ...],
        target: Callable[[int], Any],
    ) -> None:
        facula.manual_seed(3)
        self.net = make()
        self.optimizer = optimizer(self.net.parameters())
        facula.manual_seed(4)
        self.batches = [(facula.randn(*shape), target(shape[0])) for _ in range(5)]

    def weights(self) -> list[Any]:
        return [p.tolist() for p in self.net.parameters()] + [b.tolist() for b in self.net.buffers()]


def mlp() -> Any:
    return facula.nn.Sequential(facula.nn.Linear(8, 16), facula.nn.ReLU(), facula.nn.Linear(16, 3))


def classes(n: int) -> Any:
    return facula.randint(0, 3, (n,))


def adam(parameters: Any) -> Any:
    return facula.optim.Adam(parameters, lr=0.01)


def sgd(parameters: Any) -> Any:
    return facula.optim.SGD(parameters, lr=0.1, momentum=0.9)


def training_step(world: World, loss_function: Any = F.cross_entropy) -> Callable[[Any, Any], Any]:
    net, optimizer = world.net, world.optimizer

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_function(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def both(
    make: Callable[[], Any] = mlp, optimizer: Any = adam, shape: tuple[int, ...] = (4, 8), target: Any = classes
) -> tuple[World, World]:
    return World(make, optimizer, shape, target), World(make, optimizer, shape, target)


def recorded(step: Any) -> int:
    return len(step.programs)


@pytest.mark.parametrize("optimizer", [
    sgd, adam, lambda p: facula.optim.SGD(p, lr=0.1), lambda p: facula.optim.AdamW(p, weight_decay=0.1),
    lambda p: facula.optim.RMSprop(p, momentum=0.5), lambda p: facula.optim.NAdam(p), lambda p: facula.optim.ASGD(p),
])  # fmt: skip
def test_mlp(optimizer: Any) -> None:
    eager, other = both(optimizer=optimizer)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(30):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x.clone(), y.clone()).item()
    assert eager.weights() == other.weights()
    assert recorded(compiled) == 1
    mine, theirs = eager.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    for k, state in mine.items():
        for name, value in state.items():
            assert value.tolist() == theirs[k][name].tolist(), name


def test_convolutions() -> None:
    def make() -> Any:
        nn = facula.nn
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3))

    eager, other = both(make, sgd, (2, 1, 8, 8))
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(30):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item()
    assert eager.weights() == other.weights()
    assert recorded(compiled) == 1


def test_schedules_are_heard() -> None:
    eager, other = both(optimizer=sgd)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    schedules = [facula.optim.lr_scheduler.OneCycleLR(w.optimizer, 0.2, total_steps=40) for w in (eager, other)]
    for i in range(30):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item()
        for schedule in schedules:
            schedule.step()
    assert eager.weights() == other.weights()


def test_a_schedule_inside() -> None:
    eager, other = both(optimizer=sgd)
    steps = []
    for world in (eager, other):
        inner = training_step(world)
        schedule = facula.optim.lr_scheduler.StepLR(world.optimizer, 3, 0.5)

        def step(x: Any, y: Any, inner: Any = inner, schedule: Any = schedule) -> Any:
            loss = inner(x, y)
            schedule.step()
            return loss

        steps.append(step)
    compiled = facula.compile(steps[1])
    for i in range(20):
        x, y = eager.batches[i % 5]
        assert steps[0](x, y).item() == compiled(x, y).item()
    assert eager.weights() == other.weights()
    assert recorded(compiled) == 1


def test_tensor_rate() -> None:
    eager, other = both(optimizer=lambda p: facula.optim.SGD(p, lr=facula.tensor(0.1)))
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(12):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item()
        for w in (eager, other):
            w.optimizer.param_groups[0]["lr"].mul_(0.9)
    assert recorded(compiled) == 1


# -- guards ---------------------------------------------------------------------------------------------------------------
def same(function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Any:
    """The compiled function gives what the function gives; gives the compiled one back."""
    compiled = facula.compile(function)
    for arguments in calls:
        assert compiled(*arguments).tolist() == function(*arguments).tolist()
    return compiled


def test_shapes_and_dtypes() -> None:
    def f(x: Any) -> Any:
        return (x * 2 + 1).sum(-1)

    arguments = [
        facula.randn(3),
        facula.randn(5),
        facula.arange(3),
        facula.randn(3, 4),
        facula.randn(4, 3).t(),
        facula.randn(3).double(),
    ]
    compiled = same(f, [(a,) for _ in range(4) for a in arguments])
    assert recorded(compiled) == len({(a.shape, a.dtype, a.stride()) for a in arguments})


def test_numbers_in_closures() -> None:
    scale = 2.0
    table = {"shift": 1.0}

    def f(x: Any) -> Any:
        return x * scale + table["shift"]

    compiled, x = facula.compile(f), facula.randn(4)
    for value in (2.0, 2.0, 2.0, 3.0, 3.0, 3.0, 2.0, 2.0):
        scale = value
        assert compiled(x).tolist() == f(x).tolist()
    for shift in (1.0, 5.0, 5.0, 5.0, 7.0):
        table["shift"] = shift
        assert compiled(x).tolist() == f(x).tolist()


class Holder:
    def __init__(self) -> None:
        self.scale, self.weight = 2.0, facula.ones(4)

    def call(self, x: Any) -> Any:
        return x * self.scale + self.weight


def test_attributes() -> None:
    holder, x = Holder(), facula.randn(4)
    compiled = facula.compile(holder.call)
    for i in range(12):
        if i == 4:
            holder.scale = 3.0
        if i == 8:
            holder.weight = facula.full((4,), 7.0)
        if i == 10:
            holder.weight.data = facula.full((4,), 9.0)
        assert compiled(x).tolist() == holder.call(x).tolist()


class Trainer:
    """A class with a method for the step, and a life of its own besides."""

    factor = 1.0

    def __init__(self, world: World) -> None:
        self.world, self.epoch, self.log, self.scale = world, 0, [], 1.0

    def loss(self, x: Any, y: Any) -> Any:
        return F.cross_entropy(self.world.net(x), y) * self.scale

    def step(self, x: Any, y: Any) -> Any:
        self.world.optimizer.zero_grad()
        loss = self.loss(x, y)
        loss.backward()
        self.world.optimizer.step()
        return loss


def test_methods() -> None:
    trainers = [Trainer(w) for w in both()]
    compiled = facula.compile(trainers[1].step)
    for i in range(24):
        for trainer in trainers:
            trainer.epoch += 1
            trainer.log.append(i)
            if i == 12:
                trainer.scale = 0.5
        x, y = trainers[0].world.batches[i % 5]
        assert trainers[0].step(x, y).item() == compiled(x, y).item()
    assert trainers[0].world.weights() == trainers[1].world.weights()
    (programs,) = compiled.programs.values()
    assert len(programs) == 2


def test_captured_tensors() -> None:
    weight, several = facula.ones(4), [facula.ones(4)]

    def f(x: Any) -> Any:
        return x * weight + several[0]

    compiled, x = facula.compile(f), facula.randn(4)
    for i in range(16):
        if i == 4:
            weight.mul_(3)
        if i == 8:
            weight = facula.full((4,), 5.0)
        if i == 10:
            weight.data = facula.full((4,), 6.0)
        if i == 12:
            several[0] = facula.full((4,), 2.0)
        assert compiled(x).tolist() == f(x).tolist(), i


def test_training_flag() -> None:
    net = facula.nn.Sequential(facula.nn.Linear(4, 4), facula.nn.Dropout(0.5))

    def f(x: Any) -> Any:
        return net(x).detach()

    compiled, x = facula.compile(f), facula.randn(3, 4)
    for i in range(16):
        net.train(i % 8 < 4)
        facula.manual_seed(i)
        expected = f(x).tolist()
        facula.manual_seed(i)
        assert compiled(x).tolist() == expected


def test_replaced_parameters() -> None:
    eager, other = both()
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(16):
        for w in (eager, other):
            if i == 5:
                w.net[0].weight.data = facula.full((16, 8), 0.1)
            if i == 10:
                w.net[2] = facula.nn.Linear(16, 3)
                with facula.no_grad():
                    w.net[2].weight.fill_(0.3)
                    w.net[2].bias.fill_(0.0)
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item(), i
    assert eager.weights() == other.weights()


def test_grad_mode() -> None:
    w = facula.ones(3, requires_grad=True)

    def f(x: Any) -> Any:
        return (x * w).detach() if facula.is_grad_enabled() else x * w

    compiled, x = facula.compile(f), facula.randn(3)
    for i in range(12):
        with facula.set_grad_enabled(i % 6 < 3):
            assert compiled(x).tolist() == f(x).tolist()


# -- hazards --------------------------------------------------------------------------------------------------------------
def test_gradients_kept() -> None:
    eager, other = both(optimizer=sgd)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    kept: list[list[Any]] = [[], []]
    for i in range(12):
        x, y = eager.batches[i % 5]
        step(x, y)
        compiled(x, y)
        for w, keep in zip((eager, other), kept, strict=True):
            keep.append([p.grad for p in w.net.parameters()])
    for a, b in zip(*kept, strict=True):
        assert [g.tolist() for g in a] == [g.tolist() for g in b]
    assert eager.weights() == other.weights()


def test_losses_kept() -> None:
    eager, other = both()
    step, compiled = training_step(eager), facula.compile(training_step(other))
    a, b = [], []
    for i in range(12):
        x, y = eager.batches[i % 5]
        a.append(step(x, y))
        b.append(compiled(x, y))
    assert [loss.item() for loss in a] == [loss.item() for loss in b]


def test_accumulation_without_zero_grad() -> None:
    eager, other = both(optimizer=sgd)
    steps = []
    for w in (eager, other):

        def step(x: Any, y: Any, w: World = w) -> Any:
            loss = F.cross_entropy(w.net(x), y) / 3
            loss.backward()
            return loss

        steps.append(step)
    compiled = facula.compile(steps[1])
    for i in range(18):
        x, y = eager.batches[i % 5]
        assert steps[0](x, y).item() == compiled(x, y).item()
        for a, b in zip(eager.net.parameters(), other.net.parameters(), strict=True):
            assert a.grad.tolist() == b.grad.tolist(), i
        if i % 3 == 2:
            for w in (eager, other):
                w.optimizer.step()
                w.optimizer.zero_grad()
    assert eager.weights() == other.weights()


def test_zero_grad_outside() -> None:
    eager, other = both(optimizer=sgd)
    steps = []
    for w in (eager, other):

        def step(x: Any, y: Any, w: World = w) -> Any:
            loss = F.cross_entropy(w.net(x), y)
            loss.backward()
            w.optimizer.step()
            return loss

        steps.append(step)
    compiled = facula.compile(steps[1])
    for i in range(18):
        for w in (eager, other):
            w.optimizer.zero_grad(set_to_none=i % 6 < 3)
        x, y = eager.batches[i % 5]
        assert steps[0](x, y).item() == compiled(x, y).item(), i
    assert eager.weights() == other.weights()


def test_inputs_are_changed_between_calls() -> None:
    def f(x: Any) -> Any:
        return x * 2

    compiled, x = facula.compile(f), facula.zeros(4)
    results = []
    for i in range(8):
        x.fill_(float(i))
        results.append(compiled(x))
    assert [r[0].item() for r in results] == [2.0 * i for i in range(8)]


def test_inputs_changed_inside() -> None:
    def f(x: Any) -> Any:
        x.add_(1)
        x[1:].mul_(2)
        return x.sum()

    compiled = facula.compile(f)
    a, b = facula.zeros(4), facula.zeros(4)
    for _ in range(8):
        version = b._version
        assert f(a).item() == compiled(b).item()
        assert a.tolist() == b.tolist()
        assert b._version > version


def test_state_changed_inside() -> None:
    a, b = facula.zeros(6), facula.zeros(6)

    def make(state: Any) -> Any:
        def f(x: Any) -> Any:
            state[1:].add_(state[:-1].clone())
            state[:3] += x
            shifted = state[2:] * 1
            state[:4] = shifted
            return state.sum()

        return f

    plain, compiled, x = make(a), facula.compile(make(b)), facula.ones(3)
    for _ in range(8):
        assert plain(x).item() == compiled(x).item()
        assert a.tolist() == b.tolist()


def test_views_offsets_and_strides() -> None:
    def f(x: Any) -> Any:
        return x.t() @ x

    base = facula.randn(10, 6)
    calls = [(base[i : i + 4, 1:5],) for i in range(6)] + [(base.t()[:4, i : i + 4],) for i in range(6)]
    compiled = same(f, calls)
    assert recorded(compiled) == 2


def test_outputs_that_alias_inputs() -> None:
    def f(x: Any) -> Any:
        return x.view(2, 2)

    compiled, x = facula.compile(f), facula.zeros(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            out = compiled(x)
            out.add_(1)
    assert x.tolist() == [4.0] * 4


def test_outputs_that_alias_state() -> None:
    state = facula.zeros(3)

    def f(x: Any) -> Any:
        state.add_(x)
        return state

    compiled = facula.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(6):
            assert compiled(facula.ones(3)) is state or compiled(facula.ones(3)).tolist() is not None, i
            assert state[0].item() >= i


def test_outputs_that_share() -> None:
    def f(x: Any) -> Any:
        y = x * 2
        return y, y[1:], y

    compiled = facula.compile(f)
    for i in range(6):
        a, b, c = compiled(facula.full((3,), float(i)))
        assert (a.tolist(), b.tolist(), c.tolist()) == ([2.0 * i] * 3, [2.0 * i] * 2, [2.0 * i] * 3)
        a.zero_()
        assert b.tolist() == [0.0, 0.0]


def test_same_tensor_for_two_inputs() -> None:
    def f(x: Any, y: Any) -> Any:
        x.add_(1)
        return x * y

    compiled = facula.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(8):
            a, b = facula.full((2,), float(i)), facula.full((2,), 3.0)
            assert compiled(a, b)[0].item() == (i + 1) * 3
            assert compiled(a, a)[0].item() == (i + 2) ** 2


def test_inputs_that_require_grad() -> None:
    def f(x: Any) -> Any:
        return (x * x).sum()

    compiled = facula.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(4):
            x = facula.full((2,), float(i), requires_grad=True)
            compiled(x).backward()
            assert x.grad.tolist() == [2.0 * i] * 2


def test_results_to_differentiate() -> None:
    w = facula.ones(2, requires_grad=True)

    def f(x: Any) -> Any:
        return (x * w).sum()

    compiled = facula.compile(f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(4):
            compiled(facula.ones(2)).backward()
    assert w.grad.tolist() == [4.0, 4.0]


def test_keywords_and_containers() -> None:
    def f(batch: dict[str, Any], *, scale: float = 1.0, pair: Any = ()) -> Any:
        out = batch["x"] * scale
        for p in pair:
            out = out + p
        return {"out": out, "rest": [out * 2, (out.sum(), "text")]}

    compiled = facula.compile(f)
    for i in range(12):
        batch, pair = {"x": facula.randn(3)}, [facula.randn(3), facula.ones(3)]
        scale = 1.0 + i % 2
        a, b = f(batch, scale=scale, pair=pair), compiled(batch, scale=scale, pair=pair)
        assert a["out"].tolist() == b["out"].tolist()
        assert a["rest"][0].tolist() == b["rest"][0].tolist()
        assert a["rest"][1][0].item() == b["rest"][1][0].item()
        assert b["rest"][1][1] == "text"
    assert recorded(compiled) == 2


# -- randomness -----------------------------------------------------------------------------------------------------------
def test_dropout_draws_the_same() -> None:
    def make() -> Any:
        return facula.nn.Sequential(facula.nn.Linear(8, 16), facula.nn.Dropout(0.5), facula.nn.Linear(16, 3))

    eager, other = both(make)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    facula.manual_seed(7)
    a = [step(*eager.batches[i % 5]).item() for i in range(12)] + [facula.rand(1).item()]
    facula.manual_seed(7)
    b = [compiled(*eager.batches[i % 5]).item() for i in range(12)] + [facula.rand(1).item()]
    assert a == b
    assert eager.weights() == other.weights()


def test_noise_draws_the_same() -> None:
    def f(x: Any) -> Any:
        return x + facula.randn(5) * facula.rand(5) + facula.randn_like(x).normal_()

    compiled, x = facula.compile(f), facula.zeros(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for generate in (facula.manual_seed, facula.manual_seed):
            generate(1)
            a = [f(x).tolist() for _ in range(6)]
            generate(1)
            assert a == [compiled(x).tolist() for _ in range(6)]


# -- what cannot be repeated ------------------------------------------------------------------------------------------------
def refused(f: Any, calls: list[tuple[Any, ...]], match: str) -> None:
    """One warning, naming this file, and eager results."""
    compiled = facula.compile(f)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for arguments in calls:
            a, b = f(*arguments), compiled(*arguments)
            assert a.tolist() == b.tolist()
    assert len(said) == 1
    text = str(said[0].message)
    assert match in text
    assert "test_compile.py:" in text
    assert "\n" not in text
    assert recorded(compiled) == 0


def test_items() -> None:
    refused(lambda x: x * x.sum().item(), [(facula.randn(3),) for _ in range(5)], "reads data in Python")
    refused(lambda x: x * 2 if x.sum() > 0 else x * 3, [(facula.randn(3),) for _ in range(5)], "reads data in Python")
    refused(lambda x: x * float(x.max()), [(facula.randn(3),) for _ in range(5)], "reads data in Python")
    refused(lambda x: x * int(x.numpy()[0]), [(facula.randn(3),) for _ in range(5)], "reads data in Python")
    refused(lambda x: x[x > 0], [(facula.randn(3),) for _ in range(5)], "reads data in Python")
    refused(lambda x: facula.tensor(x.tolist()), [(facula.randn(3),) for _ in range(5)], "reads data in Python")


def test_out_of_range() -> None:
    table = facula.randn(5, 3)

    def f(places: Any) -> Any:
        return F.embedding(places, table).sum(0)

    compiled = facula.compile(f)
    good, bad = facula.tensor([0, 4]), facula.tensor([0, 7])
    for i in range(9):
        if i % 3 == 2:
            with pytest.raises(IndexError):
                compiled(bad)
        assert compiled(good).tolist() == f(good).tolist()


def test_errors_while_recording() -> None:
    fail = [False]

    def f(x: Any) -> Any:
        y = x * 2
        if fail[0]:
            raise KeyError("mine")
        return y @ y

    compiled = facula.compile(f)
    for i in range(8):
        fail[0] = i in (1, 4)
        if fail[0]:
            with pytest.raises(KeyError):
                compiled(facula.eye(3))
        else:
            assert compiled(facula.eye(3)).tolist() == [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 4.0]]
    shapes = facula.compile(lambda x, y: x @ y)
    for _ in range(4):
        with pytest.raises(RuntimeError):
            shapes(facula.eye(3), facula.eye(4))


def test_batch_norm() -> None:
    def make() -> Any:
        return facula.nn.Sequential(
            facula.nn.Linear(8, 6), facula.nn.BatchNorm1d(6), facula.nn.ReLU(), facula.nn.Linear(6, 3)
        )

    eager, other = both(make)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(12):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item()
    assert eager.weights() == other.weights()
    assert other.net[1].num_batches_tracked.item() == 12


# -- verify, memory ---------------------------------------------------------------------------------------------------------
def test_verify() -> None:
    eager, other = both()
    step, compiled = training_step(eager), facula.compile(training_step(other), verify=3)
    for i in range(12):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item()
    assert eager.weights() == other.weights()


def test_verify_finds_what_python_hides() -> None:
    """A counter in an object that no guard looks at."""
    counter = iter(range(100))

    def f(x: Any) -> Any:
        return x * float(next(counter))

    compiled, x = facula.compile(f, verify=2), facula.ones(2)
    compiled(x)
    compiled(x)
    with pytest.raises(RuntimeError, match="differs from"):
        compiled(x)


def test_memory_stays() -> None:
    _, world = both()
    compiled = facula.compile(training_step(world))
    x, y = world.batches[0]
    for _ in range(10):
        compiled(x, y)
    gc.collect()
    before = memory.statistics()["allocated"]
    for _ in range(1000):
        compiled(x, y)
    assert memory.statistics()["allocated"] == before
    del compiled, world
    gc.collect()


def test_recordings_give_their_memory_back() -> None:
    x, lost = facula.randn(64, 64), []
    for _ in range(30):
        compiled = facula.compile(lambda x: ((x @ x).relu() @ x).sum())
        for _ in range(4):
            compiled(x)
        del compiled
        gc.collect()
        facula.ones(64, 64).add_(1)
        lost.append(_unaccounted())
    assert lost[-1] == lost[0]


def _unaccounted() -> int:
    """Bytes from the system that are neither in use nor in a free list."""
    free = memory.swap_bins({})
    blocks = 0
    for size, first in free.items():
        while first:
            blocks += size
            first = ctypes.c_int64.from_address(first).value
    memory.swap_bins(free)
    now = memory.statistics()
    return now["reserved"] - now["allocated"] - blocks


def test_modules() -> None:
    net = mlp()
    compiled, x = facula.compile(net), facula.randn(4, 8)
    with facula.no_grad():
        for _ in range(5):
            assert compiled(x).tolist() == net(x).tolist()
    assert len(list(compiled.parameters())) == 4


def test_alternating_shapes() -> None:
    """Several recordings share an optimizer."""
    eager, other = both(optimizer=adam)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(24):
        x, y = eager.batches[i % 5]
        if i % 3 == 1:
            x, y = x[:2], y[:2]
        if i % 7 == 6:
            x, y = x[:3], y[:3]
        assert step(x, y).item() == compiled(x, y).item(), i
    assert eager.weights() == other.weights()
    assert recorded(compiled) == 3


def test_eager_steps_between() -> None:
    eager, other = both(optimizer=adam)
    step, inner = training_step(eager), training_step(other)
    compiled = facula.compile(inner)
    for i in range(20):
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == (inner if i % 4 == 3 else compiled)(x, y).item(), i
    assert eager.weights() == other.weights()


def test_state_loaded_between() -> None:
    eager, other = both(optimizer=adam)
    step, compiled = training_step(eager), facula.compile(training_step(other))
    for i in range(20):
        if i == 8:
            saved = [(w.net.state_dict(), w.optimizer.state_dict()) for w in (eager, other)]
            saved = [
                (
                    {k: v.clone() for k, v in net.items()},
                    {**o, "state": {k: {n: v.clone() for n, v in s.items()} for k, s in o["state"].items()}},
                )
                for net, o in saved
            ]
        if i in (12, 16):
            for w, (net, optimizer) in zip((eager, other), saved, strict=True):
                w.net.load_state_dict(net)
                w.optimizer.load_state_dict(optimizer)
        x, y = eager.batches[i % 5]
        assert step(x, y).item() == compiled(x, y).item(), i
    assert eager.weights() == other.weights()


def test_a_fault_stops_the_step() -> None:
    """An index that is out of range in the forward leaves the parameters as they were."""
    nn = facula.nn

    def make() -> Any:
        return nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))

    eager, other = both(make, adam, (1, 1))
    step, compiled = training_step(eager), facula.compile(training_step(other))
    good, y = facula.tensor([[0, 4], [1, 2]]), facula.tensor([0, 2])
    bad = facula.tensor([[0, 9], [1, 2]])
    for i in range(10):
        assert step(good, y).item() == compiled(good, y).item()
        if i % 4 == 3:
            before = other.weights()
            for f in (step, compiled):
                with pytest.raises(IndexError):
                    f(bad, y)
            assert other.weights() == before
    assert eager.weights() == other.weights()


def test_gradients_seen_through_views() -> None:
    w = facula.ones(4, requires_grad=True)

    def f(x: Any) -> None:
        w.grad = None
        (w * x).sum().backward()

    compiled = facula.compile(f)
    kept = []
    for i in range(8):
        compiled(facula.full((4,), float(i)))
        kept.append(w.grad[1:])
    assert [k.tolist() for k in kept] == [[float(i)] * 3 for i in range(8)]


def test_a_gradient_as_input() -> None:
    w = facula.ones(4, requires_grad=True)

    def f(x: Any) -> Any:
        w.grad = None
        (w * x * x).sum().backward()
        return x * 2

    compiled, x = facula.compile(f), facula.ones(4)
    for _ in range(4):
        compiled(x)
    assert compiled(w.grad).tolist() == [2.0] * 4
    assert compiled(w.grad).tolist() == [2.0] * 4
    assert w.grad.tolist() == [1.0] * 4


def test_schedule_counts() -> None:
    """Python state that changes at each call is noticed, and given up on."""

    class Counter:
        def __init__(self) -> None:
            self.count = 0

    counter = Counter()

    def f(x: Any) -> Any:
        counter.count += 1
        return x * counter.count

    compiled = facula.compile(f)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for i in range(1, 60):
            assert compiled(facula.ones(2)).tolist() == [float(i)] * 2
    assert len(said) == 1
    assert "changes again and again" in str(said[0].message)
