"""Containers of modules and of parameters, with all their operators."""

from __future__ import annotations

from typing import Any

import pytest

import facula
from facula import nn


def three(torch: Any) -> Any:
    return torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.Tanh())


SEQUENTIAL = [
    lambda torch, s: s.insert(1, torch.nn.Sigmoid()),
    lambda torch, s: s.insert(-1, torch.nn.Sigmoid()),
    lambda torch, s: s.insert(9, torch.nn.Sigmoid()),
    lambda torch, s: s.__delitem__(0) or s,
    lambda torch, s: s.__delitem__(slice(0, 2)) or s,
    lambda torch, s: s.__setitem__(-1, torch.nn.ELU()) or s,
    lambda torch, s: s.append(torch.nn.ELU()),
    lambda torch, s: s.extend([torch.nn.ELU()]),
    lambda torch, s: (s.pop(-1), len(s), s),
    lambda torch, s: s[1:],
    lambda torch, s: s[7],
    lambda torch, s: s * 2,
    lambda torch, s: 2 * s,
    lambda torch, s: s.__imul__(2),
    lambda torch, s: s * 0,
    lambda torch, s: s * "a",
    lambda torch, s: s + s,
    lambda torch, s: s + 3,
    lambda torch, s: s.__iadd__(torch.nn.Sequential(torch.nn.ELU())),
    lambda torch, s: [type(m).__name__ for m in s],
    lambda torch, s: list((s * 2).state_dict()),
    lambda torch, s: torch.nn.Sequential(__import__("collections").OrderedDict(a=torch.nn.ReLU(), b=torch.nn.Tanh())),
]


@pytest.mark.parametrize("program", SEQUENTIAL)
def test_sequential_agrees_with_torch(agree: Any, program: Any) -> None:
    agree(lambda torch: program(torch, three(torch)))


def make_list(torch: Any) -> Any:
    return torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.ReLU(), torch.nn.ReLU()])


LISTS = [
    lambda torch, m: m,
    lambda torch, m: m.append(torch.nn.Tanh()),
    lambda torch, m: m.extend([torch.nn.Tanh()]),
    lambda torch, m: m.extend(3),
    lambda torch, m: m.insert(0, torch.nn.ELU()) or m,
    lambda torch, m: m.__delitem__(0) or m,
    lambda torch, m: m.__delitem__(slice(0, 2)) or m,
    lambda torch, m: m.__setitem__(-1, torch.nn.ELU()) or m,
    lambda torch, m: (m.pop(0), m),
    lambda torch, m: m[1:],
    lambda torch, m: (m[-1], len(m + [torch.nn.ELU()])),
    lambda torch, m: m[5],
    lambda torch, m: m(1),
    lambda torch, m: list(m.state_dict()),
    lambda torch, m: m.__iadd__([torch.nn.ELU()]),
    lambda torch, m: torch.nn.ModuleList(),
]


@pytest.mark.parametrize("program", LISTS)
def test_module_list_agrees_with_torch(agree: Any, program: Any) -> None:
    agree(lambda torch: program(torch, make_list(torch)))


def make_dict(torch: Any) -> Any:
    return torch.nn.ModuleDict({"x": torch.nn.ReLU(), "y": torch.nn.Tanh()})


DICTS = [
    lambda torch, m: m,
    lambda torch, m: (list(m), list(m.keys()), "x" in m, len(m)),
    lambda torch, m: (m.pop("x"), m),
    lambda torch, m: m.update([("z", torch.nn.ELU())]) or m,
    lambda torch, m: m.update(make_dict(torch)) or m,
    lambda torch, m: m.update(3),
    lambda torch, m: m.update([3]),
    lambda torch, m: m.update([(1, 2, 3)]),
    lambda torch, m: m["q"],
    lambda torch, m: m.clear() or m,
    lambda torch, m: m.__delitem__("x") or m,
    lambda torch, m: list(m.items()),
    lambda torch, m: list(m.values()),
    lambda torch, m: m.__setitem__("a.b", torch.nn.ReLU()),
]


@pytest.mark.parametrize("program", DICTS)
def test_module_dict_agrees_with_torch(agree: Any, program: Any) -> None:
    agree(lambda torch: program(torch, make_dict(torch)))


PARAMETERS = [
    lambda torch: torch.nn.ParameterList([torch.ones(2, 3), torch.zeros(4), 3]),
    lambda torch: [name for name, _ in torch.nn.ParameterList([torch.ones(1), torch.ones(2)]).named_parameters()],
    lambda torch: torch.nn.ParameterList([torch.ones(1)]).append(torch.ones(2)).extend([torch.ones(3)]),
    lambda torch: torch.nn.ParameterList([torch.ones(1), torch.ones(2)])[-1],
    lambda torch: torch.nn.ParameterList([torch.ones(1), torch.ones(2)])[1:],
    lambda torch: torch.nn.ParameterList().extend(torch.ones(2)),
    lambda torch: torch.nn.ParameterList()(1),
    lambda torch: torch.nn.ParameterList()[0],
    lambda torch: torch.nn.ParameterDict({"b": torch.ones(1), "a": torch.ones(2), "c": "x"}),
    lambda torch: list(torch.nn.ParameterDict({"b": torch.ones(1), "a": torch.ones(2)}).state_dict()),
    lambda torch: torch.nn.ParameterDict({"b": torch.ones(1), "a": torch.ones(2)}).popitem()[0],
    lambda torch: torch.nn.ParameterDict({"b": torch.ones(1)}).get("z", 3),
    lambda torch: list(torch.nn.ParameterDict({"b": torch.ones(1)}) | torch.nn.ParameterDict({"q": torch.ones(1)})),
    lambda torch: list(reversed(torch.nn.ParameterDict([("b", 1), ("a", 2)]))),
    lambda torch: torch.nn.ParameterDict({"b": 1}).setdefault("n", 2),
    lambda torch: list(torch.nn.ParameterDict().fromkeys(["u", "v"], 1).items()),
    lambda torch: torch.nn.ParameterDict([3]),
    lambda torch: torch.nn.ParameterDict([(1, 2, 3)]),
    lambda torch: torch.nn.ParameterDict({3: 1}),
    lambda torch: torch.nn.ParameterDict()(1),
]


@pytest.mark.parametrize("program", PARAMETERS)
def test_parameter_containers_agree_with_torch(agree: Any, program: Any) -> None:
    agree(program)


def test_sequential_calls_its_members_in_order() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    x = facula.ones(4, 2)
    assert model(x).tolist() == model[2](model[1](model[0](x))).tolist()


def test_shared_members_are_trained_once() -> None:
    layer = nn.Linear(2, 2)
    assert len(list(nn.Sequential(layer, layer).parameters())) == 2
