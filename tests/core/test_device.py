"""Devices: parsing and its errors against PyTorch, identity, and the default of a thread."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest

from facula.core import device as devices
from facula.core.device import device

GOOD = [("cpu",), ("meta",), ("cuda",), ("cuda:0",), ("cpu:1",), ("cuda", 1), ("cuda", None), ("mps",)]
BAD = [
    *[("cuda:01",), ("cuda:-1",), ("foo",), ("cuda:",), ("cuda:a",), ("",), (":0",), ("CPU",), ("cpu:0:1",), ("a:b",)],
    *[
        (-1,),
        ("cuda", -1),
        ("cuda:0", 1),
        ("cuda", "1"),
        ("cpu", 1.5),
        ("cuda", True),
        (),
        ("cuda", 1, 2),
        ("cuda: 1",),
    ],
]


def outcome(function, arguments):
    try:
        made = function(*arguments)
    except (RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return repr(made), str(made), made.type, made.index


@pytest.mark.parametrize("arguments", [*GOOD, *BAD], ids=repr)
def test_parsing_equals_torch(arguments):
    torch = pytest.importorskip("torch")
    assert outcome(device, arguments) == outcome(torch.device, arguments)


@pytest.mark.parametrize("arguments", BAD, ids=repr)
def test_bad_arguments_are_refused(arguments):
    with pytest.raises((RuntimeError, TypeError)):
        device(*arguments)


def test_unknown_type_lists_the_known_ones():
    with pytest.raises(RuntimeError, match=r"^Expected one of cpu, cuda, .* at start of device string: gpu$"):
        device("gpu")


@pytest.mark.parametrize("value", [None, 1.5, True])
def test_wrong_types(value):
    with pytest.raises(TypeError, match=r"^device\(\) received an invalid combination of arguments - got \("):
        device(value)


def test_equal_devices_are_identical():
    assert device("cuda:1") is device("cuda", 1) is device(type="cuda", index=1) is device(device("cuda:1"))
    assert device("cpu") != device("cpu:0")
    assert device("cpu") != "cpu"
    for name in ("cpu", "cuda:3", "meta"):
        made = device(name)
        assert pickle.loads(pickle.dumps(made)) is made
        assert copy.deepcopy(made) is made
        assert {made: 1}[device(name)] == 1


def test_devices_are_immutable():
    with pytest.raises(AttributeError, match=r"attribute 'type' of .* objects is not writable"):
        device("cpu").type = "cuda"
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("mine", (device,), {})


def test_default_device_is_nested_and_per_thread():
    assert devices.get_default_device() is devices.CPU
    seen = []

    @device("cuda:1")
    def inside():
        return devices.get_default_device()

    with device("meta") as entered:
        assert entered is devices.META is devices.get_default_device()
        assert inside() is device("cuda:1")
        worker = threading.Thread(target=lambda: seen.append(devices.get_default_device()))
        worker.start()
        worker.join()
        assert devices.get_default_device() is devices.META
    assert seen == [devices.CPU]
    with pytest.raises(ZeroDivisionError), device("meta"):
        _ = 1 / 0
    assert devices.get_default_device() is devices.CPU


def test_set_default_device():
    devices.set_default_device("meta")
    try:
        assert devices.get_default_device() is devices.META
        with device("cpu"):
            assert devices.get_default_device() is devices.CPU
    finally:
        devices.set_default_device(None)
    assert devices.get_default_device() is devices.CPU
