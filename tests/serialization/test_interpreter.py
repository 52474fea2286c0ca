"""Hostile pickles: nothing runs, nothing crashes, every refusal says what was refused."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import random
import struct
import sys
from collections import OrderedDict
from pickle import UnpicklingError

import pytest

import facula
from facula.serialization.archive import ArchiveReader, ArchiveWriter
from facula.serialization.interpreter import Interpreter
from facula.serialization.names import Names

EXPECTED = (RuntimeError, UnpicklingError, EOFError)


def run(data: bytes, weights_only: bool = False) -> object:
    def refuse(reference: object) -> None:
        raise UnpicklingError("no storages here")

    return Interpreter(data, Names(weights_only), refuse).load()


def checkpoint(pickled: bytes, **storages: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    writer = ArchiveWriter(buffer, "archive")
    writer.write_record("data.pkl", pickled)
    for key, content in storages.items():
        writer.write_record(f"data/{key.removeprefix('_')}", content)
    writer.write_record("version", b"3\n")
    writer.finish()
    buffer.seek(0)
    return buffer


VALUES = [
    None, True, False, 0, 255, 256, -1, 2**31, -(2**40), 2**2000, 1.5, "é" * 300, b"x" * 300, (), (1,), (1, 2, 3, 4),
    [1, [2]], {"a": {1: 2}}, {1, 2}, frozenset({3}), OrderedDict(a=1), bytearray(b"ab"), 1j, "a" * 70000,
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_of_every_protocol(protocol: int) -> None:
    values = list(VALUES)
    if protocol < 2:
        # Older protocols build sets and bytes through copyreg: not PyTorch's form.
        values = [v for v in values if not isinstance(v, (set, frozenset, bytes, bytearray, complex, OrderedDict))]
    recursive: list = [1]
    recursive.append(recursive)
    got = run(pickle.dumps([values, recursive], protocol))
    assert got[0] == values
    assert got[1][1] is got[1]


ran: list = []


class Runs:
    """Pickled, it asks for a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def touch() -> None:
    ran.append(1)


HOSTILE = {
    "os.system": Runs(os.system, "echo HACKED"),
    "eval": Runs(eval, "ran.append(1)"),
    "exec": Runs(exec, "ran.append(1)"),
    "own function": Runs(touch),
    "getattr": Runs(getattr, "", "format"),
    "import": Runs(__import__, "os"),
    "open": Runs(open, "/tmp/x", "w"),
    "large bytearray": Runs(bytearray, 1 << 40),
    "large bytes": Runs(bytes, 1 << 40),
    "setattr": Runs(setattr, OrderedDict, "x", 1),
    "type": Runs(type, "X", (), {}),
    "codec": Runs(pickle.codecs.encode, "x", "zlib"),
    "loads": Runs(pickle.loads, b"."),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_is_called(name: str, weights_only: bool, protocol: int) -> None:
    data = pickle.dumps(HOSTILE[name], protocol)
    with pytest.raises(UnpicklingError):
        facula.load(checkpoint(data), weights_only=weights_only)
    assert ran == []


def test_what_is_refused_is_named() -> None:
    data = pickle.dumps(Runs(os.system, "x"), 2)
    for weights_only in (True, False):
        with pytest.raises(UnpicklingError, match=r"unsupported GLOBAL (posix|nt)\.system whose module .* is blocked"):
            facula.load(checkpoint(data), weights_only=weights_only)
    with pytest.raises(UnpicklingError, match=r"GLOBAL eval was not an allowed global.*safe_globals\(\[eval"):
        facula.load(checkpoint(pickle.dumps(eval, 2)))
    with pytest.raises(UnpicklingError, match=r"also with weights_only=False.*add_safe_globals\(\[.*touch\]\)"):
        facula.load(checkpoint(pickle.dumps(touch, 2)), weights_only=False)


def test_registering_a_blocked_module_does_not_help() -> None:
    with facula.serialization.safe_globals([os.system, os.getcwd]), pytest.raises(UnpicklingError, match="is blocked"):
        facula.load(checkpoint(pickle.dumps(Runs(os.getcwd), 2)))


GLOBAL = b"\x80\x02c%s\n%s\n"
CRAFTED = {
    "attributes of a function": GLOBAL % (b"torch._utils", b"_rebuild_tensor_v2") + b"}X\1\0\0\0aK\1sb.",
    "slots of a class": GLOBAL % (b"torch", b"Size") + b"N}X\7\0\0\0__doc__K\1s\x86b.",
    "a class as an instance": GLOBAL % (b"collections", b"OrderedDict") + b"}X\1\0\0\0aK\1sb.",
    "calling a dtype": GLOBAL % (b"torch", b"float32") + b")R.",
    "calling a number": b"\x80\x02K\1)R.",
    "calling an unhashable": b"\x80\x02])R.",
    "calling without a tuple": GLOBAL % (b"collections", b"OrderedDict") + b"K\1R.",
    "making an object of an int": GLOBAL % (b"builtins", b"int") + b")\x81.",
    "a tensor of nothing": GLOBAL % (b"torch._utils", b"_rebuild_tensor_v2") + b"(K\1K\0)))Nt)R.",
    "a tensor of text": GLOBAL % (b"torch._utils", b"_rebuild_tensor_v2") + b"(X\0\0\0\0K\0))\x88NtR.",
    "too few arguments": GLOBAL % (b"torch._utils", b"_rebuild_tensor_v2") + b")R.",
    "a size of text": GLOBAL % (b"torch", b"Size") + b"X\1\0\0\0a\x85\x85R.",
    "a device of a list": GLOBAL % (b"torch", b"device") + b"]\x85R.",
    "a device that is none": GLOBAL % (b"torch", b"device") + b"X\1\0\0\0a\x85R.",
    "a missing dtype": GLOBAL % (b"torch", b"float33") + b".",
    "a module": GLOBAL % (b"torch", b"nn") + b".",
    "a path through a module": GLOBAL % (b"torch.nn", b"functional.os") + b".",
    "dunder": GLOBAL % (b"torch", b"__builtins__") + b".",
    "an extension": b"\x80\x02\x82\1.",
    "an instance": b"(ios\nsystem\n.",
    "underflow": b"\x80\x02\x85.",
    "no mark": b"\x80\x02t.",
    "empty": b"\x80\x02.",
    "no memo": b"\x80\x02h\5.",
    "an unknown opcode": b"\x80\x02\xff.",
    "protocol 9": b"\x80\x09N.",
    "a negative string": b"\x80\x02T\xff\xff\xff\xff.",
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\x7fab.",
    "a bytes longer than the file": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"ab.",
    "bad utf-8": b"\x80\x02X\1\0\0\0\xff.",
    "an unhashable key": b"\x80\x02}]K\1s.",
    "items of a list": b"\x80\x02]K\1K\2s.",
    "append to a tuple": b"\x80\x02)K\1a.",
    "odd items": b"\x80\x02}(K\1u.",
    "a number of letters": b"Iabc\n.",
    "a very long number": b"I" + b"9" * 10000 + b"\n.",
    "a storage of nothing": b"\x80\x02K\1Q.",
}


@pytest.mark.parametrize("name", CRAFTED)
@pytest.mark.parametrize("weights_only", [True, False])
def test_crafted_pickles_are_refused(name: str, weights_only: bool) -> None:
    with pytest.raises(EXPECTED):
        facula.load(checkpoint(CRAFTED[name]), weights_only=weights_only)
    assert not hasattr(OrderedDict, "a")


def test_a_large_memo_index_takes_no_memory() -> None:
    assert run(b"\x80\x02K\1r\xff\xff\xff\xff.") == 1


def test_deep_nesting() -> None:
    depth = 200_000
    nested = run(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    for _ in range(depth - 1):
        (nested,) = nested
    assert nested == []
    with pytest.raises(UnpicklingError, match="too many nested tuples"):
        run(b"\x80\x02})" + b"\x85" * depth + b"K\1s.")
    doubling = b"\x80\x02})q\x000" + b"h\0h\0\x86q\x000" * 60 + b"h\0K\1s."
    with pytest.raises(UnpicklingError, match="too many nested tuples"):
        run(doubling)


def tensor_pickle(**changes: object) -> bytes:
    """A pickled float32 tensor of 2 x 3 elements, with some fields changed."""
    fields = {"kind": "FloatStorage", "key": "0", "location": "cpu", "numel": 6}
    fields |= {"offset": 0, "size": (2, 3), "stride": (3, 1)} | changes
    body = io.BytesIO()

    class Reference:
        pass

    class P(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Reference):
                return ("storage", "KIND", fields["key"], fields["location"], fields["numel"])
            return None

    arguments = (Reference(), fields["offset"], fields["size"], fields["stride"], False, OrderedDict())
    P(body, protocol=2).dump(arguments)
    kind = b"X\4\0\0\0KIND"
    data = body.getvalue().replace(kind, f"ctorch\n{fields['kind']}\n".encode())
    return b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n" + data[2:-1] + b"R."


def test_the_forged_tensor_itself_is_sound() -> None:
    got = facula.load(checkpoint(tensor_pickle(), _0=struct.pack("<6f", *range(6))))
    assert got.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1}, {"offset": -1}, {"offset": 1 << 62}, {"offset": True}, {"offset": 0.0}, {"size": (2, 4)},
        {"size": (-1, 3)}, {"size": (1 << 40, 1 << 40)}, {"size": (2, 3, 1)}, {"size": ("a", 1)}, {"size": 6},
        {"stride": (4, 1)}, {"stride": (3, -1)}, {"stride": (1 << 61, 1)}, {"stride": (3,)}, {"stride": None},
        {"numel": 7}, {"numel": -1}, {"numel": 1 << 62}, {"numel": 1 << 70}, {"numel": "6"}, {"key": "1"}, {"key": 0},
        {"key": "../data.pkl"}, {"kind": "Tensor"}, {"kind": "DoubleStorage"}, {"location": 3}, {"location": "xpu:0"},
        {"size": (1,) * 65, "stride": (1,) * 65},
    ],
)  # fmt: skip
def test_tensors_outside_of_their_storage_are_refused(changes: dict) -> None:
    with pytest.raises(EXPECTED):
        facula.load(checkpoint(tensor_pickle(**changes), _0=bytes(24)))


def test_stride_zero_and_no_elements_are_fine() -> None:
    got = facula.load(checkpoint(tensor_pickle(size=(1 << 40,), stride=(0,)), _0=bytes(24)))
    assert tuple(got.shape) == (1 << 40,)
    got = facula.load(checkpoint(tensor_pickle(size=(0, 1 << 50), stride=(1, 1), offset=50), _0=bytes(24)))
    assert tuple(got.shape) == (0, 1 << 50)


class Attributes:
    pass


NUMPY = {
    "too few bytes": lambda np: (np._core.multiarray.scalar, (np.dtype("f8"), b"123")),
    "objects from bytes": lambda np: (np._core.multiarray.scalar, (np.dtype("O"), b"12345678")),
}


@pytest.mark.parametrize("name", NUMPY)
def test_hostile_numpy(name: str) -> None:
    np = pytest.importorskip("numpy")
    function, arguments = NUMPY[name](np)
    if name == "objects from bytes":
        got = run(pickle.dumps(Runs(function, *arguments), 2))
        assert got == b"12345678", "an object, not an address"
    else:
        with pytest.raises(UnpicklingError):
            run(pickle.dumps(Runs(function, *arguments), 2))


@pytest.mark.parametrize("changed", ["shape", "bytes", "type", "letter"])
def test_hostile_numpy_states(changed: str) -> None:
    np = pytest.importorskip("numpy")
    data = pickle.dumps(np.arange(3, dtype=np.int64), 2)
    replacement = {
        "shape": (b"K\3\x85", b"K\4\x85"),
        "bytes": (b"X\x18\0\0\0", b"X\x17\0\0\0"),
        "type": (b"X\2\0\0\0i8", b"X\2\0\0\0i4"),
        "letter": (b"X\2\0\0\0i8", b"X\2\0\0\0O8"),
    }[changed]
    assert replacement[0] in data
    with pytest.raises(EXPECTED):
        run(data.replace(*replacement))


def test_random_pickles_never_crash() -> None:
    buffer = io.BytesIO()
    facula.save({"x": facula.ones(3), "y": [OrderedDict(a=(1, 2)), {3}, b"x"]}, buffer)
    good = ArchiveReader(buffer.seek(0) or buffer).read("data.pkl")
    chance = random.Random(1)
    opcodes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(data))
            if chance.random() < 0.5:
                data[at] = chance.randrange(256)
            else:
                data[at:at] = chance.choice(opcodes)
        try:
            facula.load(checkpoint(bytes(data), _0=bytes(12)), weights_only=False)
        except EXPECTED:
            pass


def test_loading_imports_nothing() -> None:
    before = set(sys.modules)
    with pytest.raises(UnpicklingError):
        facula.load(checkpoint(b"\x80\x02cthis\nx\n."), weights_only=False)
    assert "this" not in set(sys.modules) - before
