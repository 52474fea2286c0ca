"""State dictionaries: their keys and metadata, loading, its errors word by word, and the hooks around both."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest

import facula
from facula import nn


def make_net(torch: Any) -> Any:
    nn = torch.nn
    net = nn.Module()
    net.fc = nn.Linear(2, 3)
    net.w = nn.Parameter(torch.ones(3))
    net.register_buffer("b", torch.zeros(2))
    net.register_buffer("nb", torch.zeros(2), persistent=False)
    net.register_parameter("none", None)
    net.sub = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    return net


PROGRAMS = [
    lambda torch, net: list(net.state_dict()),
    lambda torch, net: list(net.state_dict(prefix="x.")),
    lambda torch, net: net.state_dict()._metadata,
    lambda torch, net: (net.state_dict(keep_vars=True)["w"] is net.w, net.state_dict()["w"].requires_grad),
    lambda torch, net: net.load_state_dict({}),
    lambda torch, net: net.load_state_dict(3),
    lambda torch, net: net.load_state_dict({"w": torch.ones(4), "foo": 1, "sub.0.weight": 3, "fc.x.y": torch.ones(1)}),
    lambda torch, net: net.load_state_dict({"w": torch.ones(3), "q": torch.ones(3)}, strict=False),
    lambda torch, net: net.load_state_dict(net.state_dict()),
    lambda torch, net: net.load_state_dict(net.state_dict(), assign=True),
    lambda torch, net: net.load_state_dict({**net.state_dict(), "w": torch.ones(3, dtype=torch.float64)}) and net.w,
    lambda torch, net: (
        net.load_state_dict({**net.state_dict(), "w": torch.ones(3, dtype=torch.float64)}, assign=True) and net.w
    ),
    lambda torch, net: net.load_state_dict({**net.state_dict(), "sub.1.num_batches_tracked": torch.ones(1)}),
    lambda torch, net: net.get_extra_state(),
    lambda torch, net: net.set_extra_state(1),
    lambda torch, net: torch.nn.Linear(1, 1).load_state_dict(
        {"weight": torch.ones(1, 1), "bias": torch.ones(1), "_extra_state": 3}
    ),
    lambda torch, net: net.register_state_dict_post_hook(lambda *a: 3) and net.state_dict(),
    lambda torch, net: (
        net.register_load_state_dict_pre_hook(lambda m, sd, p, lm, s, mk, uk, em: em.append(f"boo {p}"))
        and net.load_state_dict(net.state_dict())
    ),
    lambda torch, net: (
        net.register_load_state_dict_post_hook(lambda m, keys: keys.missing_keys.clear())
        and net.load_state_dict({"w": torch.ones(3)})
    ),
    lambda torch, net: (
        net.register_load_state_dict_post_hook(lambda m, keys: 3) and net.load_state_dict(net.state_dict())
    ),
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_agrees_with_torch(agree: Any, program: Any) -> None:
    agree(lambda torch: program(torch, make_net(torch)))


def test_loading_copies_values_and_keeps_parameters() -> None:
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
    weight = layer.weight
    layer.load_state_dict(other.state_dict())
    assert layer.weight is weight and weight.tolist() == other.weight.tolist()


def test_assign_takes_the_tensors_themselves() -> None:
    layer = nn.Linear(2, 2)
    weight = facula.ones(2, 2, dtype=facula.float64)
    layer.load_state_dict({"weight": weight, "bias": facula.zeros(2)}, assign=True)
    assert layer.weight.data_ptr() == weight.data_ptr() and layer.weight.requires_grad
    assert layer.weight is layer._parameters["weight"]


def test_extra_state_makes_the_round_trip() -> None:
    class Extra(nn.Module):
        def get_extra_state(self) -> Any:
            return {"a": 1}

        def set_extra_state(self, state: Any) -> None:
            self.state = state

    module = Extra()
    assert module.state_dict() == OrderedDict(_extra_state={"a": 1})
    module.load_state_dict(module.state_dict())
    assert module.state == {"a": 1}
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "_extra_state"'):
        module.load_state_dict({})


def test_older_hooks_may_replace_the_mapping() -> None:
    layer = nn.Linear(1, 1)
    handle = layer._register_state_dict_hook(lambda m, sd, prefix, meta: {"only": meta["version"]})
    assert layer.state_dict() == {"only": 1}
    handle.remove()
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_pre_hooks_are_called_with_the_prefix() -> None:
    seen: list[str] = []
    layer = nn.Linear(1, 1)
    layer.register_state_dict_pre_hook(lambda m, prefix, keep_vars: seen.append(prefix))
    nn.Sequential(layer).state_dict()
    assert seen == ["0."]


def test_positional_arguments_still_work_but_warn() -> None:
    destination: OrderedDict[str, Any] = OrderedDict()
    with pytest.warns(FutureWarning, match="Positional args are being deprecated"):
        nn.Linear(1, 1).state_dict(destination, "p.")
    assert list(destination) == ["p.weight", "p.bias"]


def test_loading_into_meta_parameters_warns() -> None:
    layer = nn.Linear(1, 1, device="meta")
    with pytest.warns(UserWarning, match="which is a no-op"):
        layer.load_state_dict({"weight": facula.ones(1, 1), "bias": facula.ones(1)})


def test_consume_prefix_strips_keys_and_metadata() -> None:
    from facula.nn.modules.utils import consume_prefix_in_state_dict_if_present

    state = nn.Sequential(nn.Linear(1, 1)).state_dict(prefix="module.")
    consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == ["0.weight", "0.bias"] and list(state._metadata) == ["", "0"]
