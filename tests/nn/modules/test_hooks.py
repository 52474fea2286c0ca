"""Hooks of modules, of every kind."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import facula
from facula import nn
from facula.nn.modules import module as modules


def make_adder(torch: Any) -> Any:
    class Adder(torch.nn.Module):
        def forward(self, x: Any, y: Any = 0) -> Any:
            return x + y

    return Adder()


def hooked(register: str, hook: Any, *args: Any, **options: Any) -> Any:
    """A program that calls an adder with one hook."""

    def program(torch: Any) -> Any:
        adder = make_adder(torch)
        getattr(adder, register)(hook, **options)
        return adder(*args)

    return program


PROGRAMS = [
    hooked("register_forward_pre_hook", lambda m, a: 7, 1),
    hooked("register_forward_pre_hook", lambda m, a: (a[0] + 1, 2), 1),
    hooked("register_forward_pre_hook", lambda m, a: None, 1),
    hooked("register_forward_pre_hook", lambda m, a, k: (a, {"y": 5}), 1, with_kwargs=True),
    hooked("register_forward_pre_hook", lambda m, a, k: 3, 1, with_kwargs=True),
    hooked("register_forward_hook", lambda m, a, out: out * 10, 1),
    hooked("register_forward_hook", lambda m, a, k, out: (a, k, out), 1, with_kwargs=True),
    hooked("register_forward_hook", lambda m, a, out: None, 1, 2, 3),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_forward_hooks_agree_with_torch(agree: Any, program: Any) -> None:
    agree(program)


def test_order_prepend_and_removal() -> None:
    log: list[str] = []
    adder = make_adder(facula)
    adder.register_forward_hook(lambda m, a, out: log.append("first"))
    second = adder.register_forward_hook(lambda m, a, out: log.append("second"), prepend=True)
    adder.register_forward_pre_hook(lambda m, a: log.append("before"))
    adder(1)
    assert log == ["before", "second", "first"]
    second.remove()
    second.remove()
    log.clear()
    adder(1)
    assert log == ["before", "first"]


def test_handle_is_a_context_manager() -> None:
    adder = make_adder(facula)
    with adder.register_forward_hook(lambda m, a, out: out + 1):
        assert adder(1) == 2
    assert adder(1) == 1


def test_always_called_hooks_run_after_a_failure() -> None:
    log: list[Any] = []
    adder = make_adder(facula)
    adder.register_forward_hook(lambda m, a, out: log.append(out), always_call=True)
    with pytest.raises(TypeError):
        adder("a")
    assert log == [None]
    adder.register_forward_hook(lambda m, a, out: 1 / 0, always_call=True)
    with pytest.raises(TypeError), pytest.warns(UserWarning, match="silenced as another error was raised"):
        adder("a")


def test_hooks_written_straight_into_the_dictionary_run() -> None:
    adder = make_adder(facula)
    adder._forward_hooks[0] = lambda m, a, out: out + 1
    assert adder(1) == 2
    del adder._forward_hooks[0]
    assert adder(1) == 1


def test_global_hooks_run_first_and_go_away() -> None:
    log: list[str] = []
    adder = make_adder(facula)
    adder.register_forward_hook(lambda m, a, out: log.append("own"))
    handle = modules.register_module_forward_hook(lambda m, a, out: log.append("global"))
    before = modules.register_module_forward_pre_hook(lambda m, a: (a[0] + 1,))
    try:
        assert adder(1) == 2
        assert log == ["global", "own"]
        assert len(modules._global_forward_hooks) == 1
    finally:
        handle.remove()
        before.remove()
    assert adder(1) == 1 and log == ["global", "own", "own"]


def test_registration_hooks_see_and_change_what_is_registered() -> None:
    names: list[str] = []
    handles = [
        modules.register_module_parameter_registration_hook(lambda m, name, value: names.append(name)),
        modules.register_module_buffer_registration_hook(lambda m, name, value: names.append(name)),
        modules.register_module_module_registration_hook(lambda m, name, value: nn.Tanh() if name == "0" else None),
    ]
    try:
        nn.Linear(1, 1)
        nn.BatchNorm1d(1, affine=False)
        assert isinstance(nn.Sequential(nn.ReLU())[0], nn.Tanh)
    finally:
        for handle in handles:
            handle.remove()
    assert names[:2] == ["weight", "bias"] and "running_mean" in names


def test_copies_have_hooks_of_their_own() -> None:
    adder = make_adder(facula)
    handle = adder.register_forward_hook(lambda m, a, out: out + 1)
    clone = copy.deepcopy(adder)
    handle.remove()
    assert (adder(1), clone(1)) == (1, 2)


def test_full_backward_hooks_see_the_gradients_and_may_change_them() -> None:
    seen: list[Any] = []
    layer = nn.Linear(2, 3)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi[0].shape, go[0].shape)))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] * 0,))
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 2,))
    x = facula.ones(1, 2, requires_grad=True)
    layer(x).sum().backward()
    assert seen == [((1, 2), (1, 3))]
    assert layer.bias.grad.tolist() == [2.0, 2.0, 2.0]
    assert x.grad.tolist() == [[0.0, 0.0]]


def test_backward_hook_without_input_gradient_warns() -> None:
    seen: list[Any] = []
    layer = nn.Linear(2, 3)
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].shape)))
    with pytest.warns(UserWarning, match="Full backward hook is firing"):
        layer(facula.ones(1, 2)).sum().backward()
    assert seen == [((None,), (1, 3))]


def test_global_backward_hooks() -> None:
    seen: list[str] = []
    handles = [
        modules.register_module_full_backward_hook(lambda m, gi, go: seen.append(type(m).__name__)),
        modules.register_module_full_backward_pre_hook(lambda m, go: seen.append("pre")),
    ]
    try:
        x = facula.ones(1, 2, requires_grad=True)
        nn.Linear(2, 3)(x).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == ["pre", "Linear"]


def test_kinds_of_backward_hooks_do_not_mix(agree: Any) -> None:
    def program(torch: Any) -> Any:
        layer = torch.nn.Linear(1, 1)
        layer.register_full_backward_hook(lambda *a: None)
        layer.register_backward_hook(lambda *a: None)

    assert "Cannot use both" in agree(program)


def test_older_backward_hook_is_on_the_last_node() -> None:
    seen: list[Any] = []
    module = nn.ReLU()
    module.register_backward_hook(lambda m, gi, go: seen.append(type(m).__name__))
    x = facula.ones(2, requires_grad=True)
    module(x * 1).sum().backward()
    assert seen == ["ReLU"]
