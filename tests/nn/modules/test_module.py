"""Registration, attributes, walking, conversion, copying: `Module` without hooks and state dictionaries."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest

import facula
from facula import nn


def make_net(torch: Any) -> Any:
    """A module with every kind of member."""
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 3)
            self.act = nn.ReLU()
            self.w = nn.Parameter(torch.ones(3))
            self.register_buffer("b", torch.zeros(2))
            self.register_buffer("nb", torch.zeros(2), persistent=False)
            self.register_parameter("pn", None)
            self.register_buffer("bn", None)
            self.sub = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
            self.shared = self.fc

        def forward(self, x: Any, k: float = 1) -> Any:
            return self.sub(self.act(self.fc(x))) * self.w * k

    return Net()


WALKS = [
    lambda net: net,
    lambda net: [name for name, _ in net.named_parameters()],
    lambda net: [name for name, _ in net.named_parameters(prefix="p", recurse=False)],
    lambda net: [name for name, _ in net.named_parameters(remove_duplicate=False)],
    lambda net: [name for name, _ in net.named_buffers()],
    lambda net: [name for name, _ in net.named_modules()],
    lambda net: [name for name, _ in net.named_modules(prefix="x", remove_duplicate=False)],
    lambda net: [name for name, _ in net.named_children()],
    lambda net: (len(list(net.modules())), len(list(net.children())), len(list(net.buffers(recurse=False)))),
    lambda net: net.get_submodule("sub.0"),
    lambda net: net.get_submodule("") is net,
    lambda net: net.get_submodule("sub.9"),
    lambda net: net.get_submodule("w"),
    lambda net: net.get_parameter("sub.0.weight").shape,
    lambda net: net.get_parameter("sub.0"),
    lambda net: net.get_parameter("sub.0.x"),
    lambda net: net.get_buffer("sub.1.running_mean"),
    lambda net: net.get_buffer("sub.1.weight"),
    lambda net: net.get_buffer("q"),
    lambda net: net.set_submodule("sub.0", type(net.act)()) or net.sub,
    lambda net: net.set_submodule("", net.act),
    lambda net: net.set_submodule("sub.x.y", net.act),
    lambda net: net.set_submodule("new", net.act) or net.new,
    lambda net: net.set_submodule("new", net.act, strict=True),
    lambda net: net.set_submodule("w", net.act),
    lambda net: net.set_submodule("new", 3),
    lambda net: net.train(3),
    lambda net: (net.eval().training, net.sub[0].training, net.train().sub[1].training),
    lambda net: net.requires_grad_(False).fc.weight.requires_grad,
    lambda net: net.apply(lambda module: None) is net,
    lambda net: [name for name in dir(net) if len(name) <= 3],
    lambda net: net.nope,
    lambda net: delattr(net, "nope"),
]


@pytest.mark.parametrize("walk", WALKS)
def test_walking_agrees_with_torch(agree: Any, walk: Any) -> None:
    agree(lambda torch: walk(make_net(torch)))


ASSIGNMENTS = [
    lambda torch, net: setattr(net, "w", 3),
    lambda torch, net: setattr(net, "w", torch.ones(3)),
    lambda torch, net: setattr(net, "fc", 4),
    lambda torch, net: setattr(net, "b", 4),
    lambda torch, net: setattr(net, "b", torch.ones(2)) or net.b,
    lambda torch, net: setattr(net, "w", None) or (net.w, list(net.state_dict())),
    lambda torch, net: setattr(net, "fc", None) or (net.fc, list(net.state_dict())),
    lambda torch, net: (
        setattr(net, "act", torch.nn.Parameter(torch.ones(1))) or (list(net._modules), list(net._parameters))
    ),
    lambda torch, net: setattr(net, "w", torch.nn.ReLU()) or (list(net._modules), list(net._parameters)),
    lambda torch, net: (
        setattr(net, "b", torch.nn.Parameter(torch.ones(1))) or (list(net._buffers), list(net._parameters))
    ),
    lambda torch, net: setattr(net, "plain", net.w * 2) or ("plain" in net._parameters, type(net.plain).__name__),
    lambda torch, net: setattr(net, "new", torch.nn.Buffer(torch.ones(1))) or list(net.state_dict()),
    lambda torch, net: setattr(net, "new", torch.nn.Buffer(torch.ones(1), persistent=False)) or list(net.state_dict()),
    lambda torch, net: delattr(net, "w") or (hasattr(net, "w"), list(net._parameters)),
    lambda torch, net: delattr(net, "nb") or (hasattr(net, "nb"), net._non_persistent_buffers_set),
    lambda torch, net: delattr(net, "fc") or (hasattr(net, "fc"), list(net._modules)),
    lambda torch, net: net.register_parameter("a.b", None),
    lambda torch, net: net.register_parameter("", None),
    lambda torch, net: net.register_parameter("fc", None),
    lambda torch, net: net.register_parameter("forward", torch.nn.Parameter(torch.ones(1))),
    lambda torch, net: net.register_parameter("q", 3),
    lambda torch, net: net.register_parameter(3, None),
    lambda torch, net: net.register_parameter("q", torch.ones(2)),
    lambda torch, net: net.register_buffer("a.b", None),
    lambda torch, net: net.register_buffer("", None),
    lambda torch, net: net.register_buffer("fc", None),
    lambda torch, net: net.register_buffer("q", 3),
    lambda torch, net: net.register_buffer(1, None),
    lambda torch, net: net.add_module("a.b", None),
    lambda torch, net: net.add_module("", None),
    lambda torch, net: net.add_module("w", torch.nn.ReLU()),
    lambda torch, net: net.add_module("q", 3),
    lambda torch, net: net.add_module(3, None),
    lambda torch, net: net.register_module("q", torch.nn.ReLU()) or net.q,
]


@pytest.mark.parametrize("assign", ASSIGNMENTS)
def test_assignment_agrees_with_torch(agree: Any, assign: Any) -> None:
    agree(lambda torch: assign(torch, make_net(torch)))


def make_uninitialised(torch: Any) -> Any:
    class Forgetful(torch.nn.Module):
        def __init__(self) -> None:
            pass

        def forward(self, x: Any) -> Any:
            return x

    return Forgetful()


FORGOTTEN = [
    lambda torch, m: m(1),
    lambda torch, m: m.foo,
    lambda torch, m: list(m.parameters()),
    lambda torch, m: repr(m),
    lambda torch, m: m.train(),
    lambda torch, m: setattr(m, "a", torch.nn.Linear(1, 1)),
    lambda torch, m: setattr(m, "a", torch.nn.Parameter(torch.ones(1))),
    lambda torch, m: setattr(m, "a", torch.nn.Buffer(torch.ones(1))),
    lambda torch, m: setattr(m, "a", 3) or m.a,
    lambda torch, m: m.register_buffer("a", None),
    lambda torch, m: m.register_parameter("a", None),
    lambda torch, m: torch.nn.Module(1),
    lambda torch, m: torch.nn.Module(a=1),
    lambda torch, m: torch.nn.Module()(1),
]


@pytest.mark.parametrize("use", FORGOTTEN)
def test_errors_before_init_agree_with_torch(agree: Any, use: Any) -> None:
    agree(lambda torch: use(torch, make_uninitialised(torch)))


CONVERSIONS = [
    lambda torch, net: net.to(torch.int64),
    lambda torch, net: net.to(torch.float64).w.dtype,
    lambda torch, net: net.to("cpu", torch.float64).w.dtype,
    lambda torch, net: net.to(torch.ones(1, dtype=torch.float64)).w.dtype,
    lambda torch, net: net.to(dtype=torch.float16).w.dtype,
    lambda torch, net: net.double().sub[1].num_batches_tracked.dtype,
    lambda torch, net: (net.half().w.dtype, net.float().w.dtype, net.bfloat16().b.dtype),
    lambda torch, net: net.type(torch.float64).sub[1].num_batches_tracked.dtype,
    lambda torch, net: (net.double() is net, net.cpu() is net, net.share_memory() is net),
    lambda torch, net: (net.to("meta").w.is_meta, net.to_empty(device="cpu").w.is_meta),
]


@pytest.mark.parametrize("convert", CONVERSIONS)
def test_conversion_agrees_with_torch(agree: Any, convert: Any) -> None:
    agree(lambda torch: convert(torch, make_net(torch)))


def test_conversion_keeps_parameters_and_converts_gradients() -> None:
    layer = nn.Linear(2, 2)
    weight = layer.weight
    weight.grad = facula.ones(2, 2)
    layer.double()
    assert layer.weight is weight
    assert weight.dtype is facula.float64 and weight.grad.dtype is facula.float64


def test_zero_grad_forgets_or_zeroes() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.grad = facula.ones(2, 2)
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    layer.zero_grad()
    assert layer.weight.grad is None


def test_parameters_are_plain_attributes_that_follow_the_registry() -> None:
    layer = nn.Linear(2, 2)
    assert layer.__dict__["weight"] is layer._parameters["weight"]
    layer._parameters["bias"] = nn.Parameter(facula.ones(2))
    assert layer.bias is layer._parameters["bias"]
    weight = layer.weight
    del layer._parameters["weight"]
    assert not hasattr(layer, "weight")
    layer.weight = weight * 2
    assert "weight" not in layer._parameters and layer.weight.grad_fn is not None
    layer._buffers["extra"] = facula.ones(1)
    assert layer.extra is layer._buffers.pop("extra") and not hasattr(layer, "extra")
    layer._parameters.update(a=None)
    layer._parameters.setdefault("c", None)
    assert layer.a is None and layer.c is None
    layer._parameters.popitem()
    layer._parameters |= {"d": None}
    assert layer.d is None and not hasattr(layer, "c")
    layer._parameters.clear()
    assert not hasattr(layer, "d")
    layer._parameters = {"e": None}
    assert layer.e is None


def test_a_class_attribute_wins_over_a_member_of_its_name(agree: Any) -> None:
    def program(torch: Any) -> Any:
        class Net(torch.nn.Module):
            conv = None

            def __init__(self) -> None:
                super().__init__()
                self.conv = torch.nn.ReLU()

        net = Net()
        return net.conv, net._modules

    agree(program)


def test_init_again_forgets_everything() -> None:
    net = make_net(facula)
    nn.Module.__init__(net)
    assert not hasattr(net, "fc") and not list(net.parameters())


def test_modules_are_freed_without_the_cyclic_collector() -> None:
    gc.disable()
    try:
        reference = weakref.ref(make_net(facula))
        assert reference() is None
    finally:
        gc.enable()


def test_deepcopy_copies_parameters_and_keeps_sharing() -> None:
    net = make_net(facula)
    clone = copy.deepcopy(net)
    assert clone.fc is clone.shared and clone.fc is not net.fc
    assert clone.w is clone._parameters["w"] and clone.w is not net.w
    assert list(clone.state_dict()) == list(net.state_dict())
    clone.w = nn.Parameter(facula.zeros(3))
    assert net.w.tolist() == [1.0, 1.0, 1.0]


def test_copy_shares_the_registries_as_torch_does() -> None:
    net = make_net(facula)
    clone = copy.copy(net)
    clone.w = nn.Parameter(facula.zeros(3))
    assert net.w is clone.w


def test_pickling_keeps_parameters_and_buffers() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    loaded = pickle.loads(pickle.dumps(net))
    assert repr(loaded) == repr(net)
    assert loaded[0].weight is loaded[0]._parameters["weight"]
    assert loaded[0].weight.tolist() == net[0].weight.tolist()
    assert loaded[0].weight.requires_grad


def test_torch_can_run_a_saved_module(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.BatchNorm1d(2)).eval()
    facula.save(net, tmp_path / "net.pt")
    loaded = torch.load(tmp_path / "net.pt", weights_only=False)
    assert repr(loaded) == repr(net)
    assert loaded(torch.ones(1, 2))[0].tolist() == pytest.approx(net(facula.ones(1, 2))[0].tolist())
    loaded[0].register_forward_hook(lambda *arguments: None)


def test_replica_has_registries_of_its_own() -> None:
    layer = nn.Linear(2, 2)
    replica = layer._replicate_for_data_parallel()
    assert not list(replica.parameters()) and len(list(layer.parameters())) == 2
    assert not hasattr(replica, "weight")


def test_call_passes_all_arguments() -> None:
    net = make_net(facula).eval()
    x = facula.ones(2, 2)
    assert (net(x, k=2) - 2 * net(x)).abs().max().item() < 1e-6
