"""Schedules give the same rates as the reference implementation, to the last bit, and warn and fail as it does."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest

import facula

SCHEDULES = {
    "lambda": lambda s, o: s.LambdaLR(o, [lambda e: 0.95**e, lambda e: 1 / (e + 1)]),
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, lambda e: 0.95),
    "step": lambda s, o: s.StepLR(o, 7, 0.5),
    "multi_step": lambda s, o: s.MultiStepLR(o, [3, 10, 10, 50], 0.3),
    "constant": lambda s, o: s.ConstantLR(o, 0.25, 10),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.9, 20),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.97),
    "polynomial": lambda s, o: s.PolynomialLR(o, 60, 0.9),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 13, 1e-3),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2, 1e-3),
    "restarts_equal": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5),
    "cyclic": lambda s, o: s.CyclicLR(o, [1e-3, 2e-3], 0.1, 5, 9),
    "cyclic_halving": lambda s, o: s.CyclicLR(o, 1e-3, 0.1, 5, mode="triangular2"),
    "cyclic_exponential": lambda s, o: s.CyclicLR(o, 1e-3, 0.1, 5, mode="exp_range", gamma=0.99, cycle_momentum=False),
    "cyclic_function": lambda s, o: s.CyclicLR(o, 1e-3, 0.1, 5, scale_fn=lambda x: 1 / x, scale_mode="cycle"),
    "one_cycle": lambda s, o: s.OneCycleLR(o, [0.1, 0.2], total_steps=210),
    "one_cycle_three": lambda s, o: s.OneCycleLR(
        o, 0.1, epochs=21, steps_per_epoch=10, three_phase=True, anneal_strategy="linear"
    ),
    "sequential": lambda s, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, 1.0, 5), s.CosineAnnealingLR(o, 20), s.ExponentialLR(o, 0.9)], [5, 25]
    ),
    "chained": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.1, 5), s.ExponentialLR(o, 0.9)]),
}


def optimizer(torch: Any, adam: bool = False) -> Any:
    first, second = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    groups = [{"params": [first]}, {"params": [second], "lr": 0.05}]
    return torch.optim.Adam(groups, lr=0.1) if adam else torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def built(torch: Any, name: str, adam: bool = False) -> tuple[Any, Any]:
    made = optimizer(torch, adam)
    return made, SCHEDULES[name](torch.optim.lr_scheduler, made)


def shown(made: Any, schedule: Any) -> Any:
    groups = [(g["lr"], g.get("momentum"), g.get("betas")) for g in made.param_groups]
    return groups, schedule.get_last_lr()


@pytest.mark.parametrize("adam", [False, True])
@pytest.mark.parametrize("name", SCHEDULES)
def test_rates(name: str, adam: bool) -> None:
    torch = pytest.importorskip("torch")
    theirs, ours = built(torch, name, adam), built(facula, name, adam)
    for _ in range(200):
        assert shown(*ours) == shown(*theirs)
        for made, schedule in (theirs, ours):
            made.step()
            schedule.step()
    assert set(ours[1].state_dict()) == set(theirs[1].state_dict())


@pytest.mark.parametrize("name", SCHEDULES)
def test_resume(name: str) -> None:
    ours = built(facula, name)
    for _ in range(17):
        ours[0].step()
        ours[1].step()
    again = built(facula, name)
    again[0].load_state_dict(ours[0].state_dict())
    again[1].load_state_dict(ours[1].state_dict())
    for _ in range(40):
        for made, schedule in (ours, again):
            made.step()
            schedule.step()
        assert shown(*again) == shown(*ours)


def test_resume_from_the_other() -> None:
    """States are plain numbers under the same names: they can be handed over."""
    torch = pytest.importorskip("torch")
    for name in ("step", "cosine", "one_cycle", "sequential", "restarts"):
        theirs, ours = built(torch, name), built(facula, name)
        for _ in range(17):
            theirs[0].step()
            theirs[1].step()
        ours[1].load_state_dict(theirs[1].state_dict())
        for mine, other in zip(ours[0].param_groups, theirs[0].param_groups, strict=True):
            mine.update({k: v for k, v in other.items() if k != "params"})
        for _ in range(20):
            for made, schedule in (theirs, ours):
                made.step()
                schedule.step()
            assert shown(*ours) == shown(*theirs)


def test_own_values() -> None:
    made, schedule = built(facula, "step")
    rates = []
    for _ in range(15):
        rates.append(schedule.get_last_lr()[0])
        made.step()
        schedule.step()
    assert rates == [0.1] * 7 + [0.05] * 7 + [0.025]
    made, schedule = built(facula, "cosine")
    for epoch in range(60):
        expected = 1e-3 + (0.1 - 1e-3) * (1 + math.cos(math.pi * epoch / 13)) / 2
        assert schedule.get_last_lr()[0] == pytest.approx(expected, abs=1e-12)
        made.step()
        schedule.step()


@pytest.mark.parametrize(
    "options", [{}, {"mode": "max"}, {"threshold_mode": "abs", "cooldown": 2}, {"min_lr": [0.01, 0.02], "factor": 0.5}]
)
def test_plateau(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    import random

    noise = random.Random(0)
    schedules = [t.optim.lr_scheduler.ReduceLROnPlateau(optimizer(t), patience=3, **options) for t in (torch, facula)]
    for _ in range(120):
        value = noise.random()
        for schedule in schedules:
            schedule.step(value)
        assert schedules[0].get_last_lr() == schedules[1].get_last_lr()
        assert schedules[0].num_bad_epochs == schedules[1].num_bad_epochs
    assert set(schedules[0].state_dict()) == set(schedules[1].state_dict())
    assert float(schedules[1].best) == schedules[0].best


def test_plateau_takes_tensors() -> None:
    schedule = facula.optim.lr_scheduler.ReduceLROnPlateau(optimizer(facula), patience=0)
    schedule.step(facula.tensor(1.0))
    schedule.step(facula.tensor(2.0))
    assert schedule.get_last_lr() == [0.1 * 0.1, 0.05 * 0.1]


def test_jump_to_an_epoch() -> None:
    torch = pytest.importorskip("torch")
    for name in (
        "step",
        "multi_step",
        "constant",
        "linear",
        "exponential",
        "polynomial",
        "cosine",
        "lambda",
        "restarts",
    ):
        theirs, ours = built(torch, name), built(facula, name)
        for epoch in (3, 11, 30, 2):
            for made, schedule in (theirs, ours):
                made.step()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    schedule.step(epoch)
            assert shown(*ours) == shown(*theirs)
    made, schedule = built(facula, "step")
    made.step()
    with pytest.warns(UserWarning, match="The epoch parameter"):
        schedule.step(4)


def test_order_of_steps() -> None:
    _, schedule = built(facula, "step")
    with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
        schedule.step()
    made, schedule = built(facula, "step")
    made.step = lambda *args: None
    with pytest.warns(UserWarning, match="has been overridden"):
        schedule.step()
    made, schedule = built(facula, "step")
    made.step()
    schedule.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()


def test_tensor_rates() -> None:
    parameter = facula.nn.Parameter(facula.ones(2))
    rate = facula.tensor(0.1)
    made = facula.optim.SGD([parameter], lr=rate)
    schedule = facula.optim.lr_scheduler.ExponentialLR(made, 0.5)
    made.step()
    schedule.step()
    assert made.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.05)
    last = schedule.get_last_lr()[0]
    last.fill_(7.0)
    assert rate.item() == pytest.approx(0.05)


@pytest.mark.parametrize(
    "make",
    [
        lambda s, o: s.StepLR(object(), 3),
        lambda s, o: s.ExponentialLR(o, 0.9, last_epoch=3),
        lambda s, o: s.LambdaLR(o, [lambda e: 1.0]),
        lambda s, o: s.MultiplicativeLR(o, 3.0),
        lambda s, o: s.ConstantLR(o, 1.5),
        lambda s, o: s.LinearLR(o, 0.0),
        lambda s, o: s.LinearLR(o, 0.5, 1.5),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 0),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 0),
        lambda s, o: s.CyclicLR(o, [0.1], 0.2),
        lambda s, o: s.CyclicLR(o, 0.1, 0.2, mode="square"),
        lambda s, o: s.OneCycleLR(o, 0.1),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=-3),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=10, pct_start=2),
        lambda s, o: s.OneCycleLR(o, 0.1, total_steps=10, anneal_strategy="square"),
        lambda s, o: s.ReduceLROnPlateau(o, factor=1.0),
        lambda s, o: s.ReduceLROnPlateau(o, mode="middle"),
        lambda s, o: s.ReduceLROnPlateau(o, min_lr=[0.1]),
        lambda s, o: s.SequentialLR(o, [], []),
        lambda s, o: s.SequentialLR(o, [s.StepLR(o, 3)], [4]),
        lambda s, o: s.SequentialLR(o, [s.ReduceLROnPlateau(o)], []),
        lambda s, o: s.ChainedScheduler([]),
    ],
)  # fmt: skip
def test_errors(make: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, RuntimeError)) as ours:
        make(facula.optim.lr_scheduler, optimizer(facula))
    torch = pytest.importorskip("torch")
    with pytest.raises(Exception) as theirs:
        make(torch.optim.lr_scheduler, optimizer(torch))
    assert type(ours.value) is type(theirs.value)
    assert str(ours.value)[:60] == str(theirs.value)[:60]


def test_one_cycle_ends() -> None:
    made = optimizer(facula)
    schedule = facula.optim.lr_scheduler.OneCycleLR(made, 0.1, total_steps=3)
    for _ in range(3):
        made.step()
        schedule.step()
    with pytest.raises(ValueError, match="Tried to step 4 times"):
        schedule.step()


def test_swa_rate() -> None:
    torch = pytest.importorskip("torch")
    for strategy in ("cos", "linear"):
        pair = []
        for t in (torch, facula):
            made = optimizer(t)
            pair.append((made, t.optim.swa_utils.SWALR(made, [0.02, 0.01], anneal_epochs=7, anneal_strategy=strategy)))
        for _ in range(20):
            assert shown(*pair[0]) == shown(*pair[1])
            for made, schedule in pair:
                made.step()
                schedule.step()
