"""`save` and `load`: what comes back, alone and in exchange with PyTorch; where storages go."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from pathlib import Path

import pytest

import facula
from facula import nn

DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64",
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def saved(obj: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    facula.save(obj, buffer, **options)
    return buffer.getvalue()


def loaded(data: bytes, **options: object) -> object:
    return facula.load(io.BytesIO(data), **options)


def through_torch(obj: object, **options: object) -> object:
    """Saved here, loaded and saved by PyTorch, loaded here."""
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save(torch.load(io.BytesIO(saved(obj)), **options), buffer)
    return loaded(buffer.getvalue(), **options)


WAYS = [pytest.param(lambda obj: loaded(saved(obj)), id="alone"), pytest.param(through_torch, id="through torch")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(way, dtype: str) -> None:
    np = pytest.importorskip("numpy")
    values = facula.from_numpy(np.arange(6).astype(dtype)) if dtype != "bfloat16" else facula.arange(6).bfloat16()
    got = way(values)
    assert got.dtype is values.dtype
    assert got.tolist() == values.tolist()


@pytest.mark.parametrize("way", WAYS)
def test_views_share_and_keep_their_geometry(way) -> None:
    base = facula.arange(12.0).view(3, 4)
    views = [base, base.t(), base[1:, ::2], base[:, 3], base[2, 2], base[:0], facula.ones(1).expand(5)]
    got = way(views)
    for mine, theirs in zip(views, got, strict=True):
        assert tuple(theirs.shape) == tuple(mine.shape)
        assert theirs.stride() == mine.stride()
        assert theirs.tolist() == mine.tolist()
        assert theirs.storage_offset() == mine.storage_offset()
    got[0][2, 2] = -1.0
    assert got[4].item() == -1.0
    assert got[1][2, 2].item() == -1.0


@pytest.mark.parametrize("way", WAYS)
def test_the_same_object_stays_one(way) -> None:
    x, weight = facula.ones(2), nn.Parameter(facula.ones(3))
    got = way({"x": x, "again": [x], "weight": weight, "tied": weight})
    assert got["x"] is got["again"][0]
    assert got["weight"] is got["tied"]


@pytest.mark.parametrize("way", WAYS)
def test_parameters_and_requires_grad(way) -> None:
    frozen, leaf = nn.Parameter(facula.ones(2), requires_grad=False), facula.ones(2, requires_grad=True)
    got = way([nn.Parameter(facula.zeros(3)), frozen, leaf, leaf * 2])
    assert [type(t) is nn.Parameter for t in got] == [True, True, False, False]
    assert [t.requires_grad for t in got] == [True, False, True, True]
    assert all(t.is_leaf for t in got)


@pytest.mark.parametrize("way", WAYS)
def test_plain_values(way) -> None:
    values = {
        "numbers": [0, -1, 255, 65536, 2**40, -(2**80), 1.5, float("inf"), 3 - 4j, True, None],
        "text": ["", "é", "\U0001f600", "\ud800", "a\nb"],
        "bytes": [b"\0\xff", bytearray(b"ab")],
        (1, ("a", 2.5)): ((), [], {}, set(), {1, 2}),
        "ordered": OrderedDict(b=1, a=2),
        "counter": Counter("abca"),
        "shape": facula.Size([2, 3]),
        "dtype": [facula.float32, facula.bool, facula.bfloat16],
        "device": facula.device("cpu"),
        "layout": facula.strided,
    }
    got = way(values)
    assert got == values
    assert type(got["ordered"]) is OrderedDict
    assert type(got["shape"]) is facula.Size
    assert got["dtype"][0] is facula.float32


def test_values_of_whole_programs() -> None:
    import argparse
    import datetime
    import uuid

    values = [
        argparse.Namespace(lr=0.1),
        datetime.datetime(2020, 1, 2, 3),
        datetime.timedelta(1),
        Path("a/b"),
        uuid.UUID(int=5),
        defaultdict(list, a=[1]),
        deque([1, 2], maxlen=3),
        frozenset({1}),
        b"",
        range(3),
        slice(1, None, 2),
    ]
    assert loaded(saved(values), weights_only=False) == values
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL argparse.Namespace was not an allowed global"):
        loaded(saved(values[:1]))


def test_numpy() -> None:
    np = pytest.importorskip("numpy")
    arrays = [
        np.arange(6, dtype=np.int16).reshape(2, 3),
        np.arange(6.0).reshape(2, 3).T,
        np.array(["a", "bcd"]),
        np.array([b"a", b"bcd"]),
        np.zeros((0, 3)),
        np.array(5),
        np.arange(3, dtype=">i4"),
        np.array([True, False]),
        np.array([1j]),
        np.array([1, "x", None], dtype=object),
        np.array(["2020-01-02"], dtype="datetime64[D]"),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i8", (2,))]),
    ]
    got = loaded(saved(arrays))
    for mine, theirs in zip(arrays, got, strict=True):
        assert theirs.dtype == mine.dtype
        assert theirs.shape == mine.shape
        assert repr(theirs) == repr(mine)
        assert theirs.flags.writeable
    scalars = [np.float32(1.5), np.int64(-3), np.bool_(True), np.str_("é"), np.float64(0.1)]
    assert loaded(saved(scalars)) == scalars
    assert [type(a) for a in loaded(saved(scalars))] == [type(a) for a in scalars]
    state = np.random.RandomState(3).get_state()
    assert loaded(saved(state))[2] == state[2]


@pytest.mark.parametrize("way", WAYS)
def test_state_dicts(way) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    state = model.state_dict()
    got = way(state)
    assert list(got) == list(state)
    assert got._metadata == state._metadata
    assert all(facula.equal(got[name], state[name]) for name in state)
    assert str(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).load_state_dict(got)) == (
        "<All keys matched successfully>"
    )


def test_optimizer_states() -> None:
    model = nn.Linear(2, 2)
    optimizer = facula.optim.Adam(model.parameters(), lr=0.1)
    model(facula.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    got = through_torch({"optimizer": state, "epoch": 3})
    assert got["epoch"] == 3
    assert got["optimizer"]["param_groups"] == state["param_groups"]
    assert facula.equal(got["optimizer"]["state"][0]["exp_avg"], state["state"][0]["exp_avg"])
    facula.optim.Adam(nn.Linear(2, 2).parameters()).load_state_dict(got["optimizer"])


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        self.activation = facula.nn.functional.relu
        self.register_buffer("steps", facula.zeros(1))

    def forward(self, x):
        return self.activation(self.layers(x))


class OwnState(nn.Module):
    def __setstate__(self, state):
        self.__dict__.update(state)
        self.was_run = True


def test_whole_modules() -> None:
    model = Net()
    got = loaded(saved(model), weights_only=False)
    assert type(got) is Net
    x = facula.randn(4, 2)
    assert facula.equal(got(x), model(x))
    assert [name for name, _ in got.named_parameters()] == [name for name, _ in model.named_parameters()]
    assert "steps" in got.state_dict()
    with pytest.raises(pickle.UnpicklingError, match="Net was not an allowed global by default"):
        loaded(saved(model))


def test_modules_that_run_code_when_brought_back_must_be_registered() -> None:
    data = saved(OwnState())
    with pytest.raises(pickle.UnpicklingError, match=r"never makes facula import or run anything.*add_safe_globals"):
        loaded(data, weights_only=False)
    with facula.serialization.safe_globals([OwnState]):
        assert loaded(data).was_run
    with pytest.raises(pickle.UnpicklingError):
        loaded(data)


@pytest.mark.parametrize("make", [lambda m: m.Linear(2, 3), lambda m: m.Sequential(m.Conv2d(1, 2, 3), m.ReLU())])
def test_torch_reads_our_modules_and_we_read_torchs(make) -> None:
    torch = pytest.importorskip("torch")
    ours = make(nn)
    theirs = torch.load(io.BytesIO(saved(ours)), weights_only=False)
    assert repr(theirs) == repr(ours)
    x = [[[[float(i * j) for i in range(4)] for j in range(5)]]] if len(list(ours.children())) else [[1.0, 2.0]]
    expected = theirs(torch.tensor(x)).flatten().tolist()
    assert ours(facula.tensor(x)).flatten().tolist() == pytest.approx(expected, rel=1e-5)
    for (name, value), (other_name, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other_name
        assert value.tolist() == other.tolist()
    buffer = io.BytesIO()
    torch.save(theirs, buffer)
    back = loaded(buffer.getvalue(), weights_only=False)
    assert type(back) is type(ours)
    assert back.state_dict()["0.weight" if "0.weight" in back.state_dict() else "weight"].tolist()


def test_generators() -> None:
    generator = facula.Generator().manual_seed(7)
    state = through_torch(generator.get_state())
    expected = facula.rand(4, generator=generator).tolist()
    other = facula.Generator()
    other.set_state(state)
    assert facula.rand(4, generator=other).tolist() == expected


def test_functions_as_attributes() -> None:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save([torch.relu, torch.nn.functional.gelu, torch.tanh], buffer)
    got = loaded(buffer.getvalue(), weights_only=False)
    assert got == [facula.relu, facula.nn.functional.gelu, facula.tanh]
    theirs = torch.load(io.BytesIO(saved(got)), weights_only=False)
    x = torch.tensor([-1.0, 0.5])
    for mine, other in zip((torch.relu, torch.nn.functional.gelu, torch.tanh), theirs, strict=True):
        assert mine(x).tolist() == other(x).tolist()
    torch.save(torch.save, buffer := io.BytesIO())
    with pytest.raises(pickle.UnpicklingError, match=r"torch\.serialization\.save"):
        loaded(buffer.getvalue(), weights_only=False)


def test_registered_classes() -> None:
    S = facula.serialization
    data = saved([Pair(1, facula.ones(2))])
    with pytest.raises(pickle.UnpicklingError, match=r"Weights only load failed(.|\n)*add_safe_globals\(\[.*Pair\]\)"):
        loaded(data)
    assert S.get_unsafe_globals_in_checkpoint(io.BytesIO(data)) == [f"{__name__}.Pair"]
    try:
        S.add_safe_globals([Pair])
        assert S.get_safe_globals() == [Pair]
        assert loaded(data)[0].left == 1
        assert S.get_unsafe_globals_in_checkpoint(io.BytesIO(data)) == []
    finally:
        S.clear_safe_globals()
    assert S.get_safe_globals() == []
    with S.safe_globals([(Pair, f"{__name__}.Pair")]):
        assert loaded(data)[0].right.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="Expected tuple of length 2"):
        S.add_safe_globals([(Pair,)])
    with pytest.raises(TypeError, match="Expected second item in tuple to be str"):
        S.add_safe_globals([(Pair, 3)])


Pair = namedtuple("Pair", "left right")


def test_map_location() -> None:
    seen: list = []
    data = saved([facula.ones(2), facula.zeros(3)])

    def same(storage, location):
        seen.append(location)
        return storage

    for where in (None, "cpu", facula.device("cpu"), {"cpu": "cpu"}, {"cuda:0": "cpu"}, same, lambda s, loc: None):
        assert [t.tolist() for t in loaded(data, map_location=where)] == [[1.0, 1.0], [0.0] * 3]
    assert seen == ["cpu", "cpu"]
    for where in ("meta", facula.device("meta"), {"cpu": "meta"}):
        got = loaded(data, map_location=where)
        assert [(str(t.device), tuple(t.shape)) for t in got] == [("meta", (2,)), ("meta", (3,))]
    with pytest.raises(RuntimeError, match="don't know how to restore data location"):
        loaded(data, map_location="nowhere")
    with pytest.raises(TypeError, match="map_location should be"):
        loaded(data, map_location=3)


def on_a_gpu(data: bytes) -> bytes:
    """The checkpoint as if its tensors had been on a GPU."""
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as rewritten:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("data.pkl"):
                content = content.replace(b"X\3\0\0\0cpu", b"X\6\0\0\0cuda:0")
            rewritten.writestr(name, content)
    return target.getvalue()


def test_a_gpu_that_is_not_there() -> None:
    cuda = getattr(facula, "cuda", None)
    if cuda is not None and cuda.is_available():
        pytest.skip("it is there")
    data = on_a_gpu(saved(facula.ones(2)))
    with pytest.raises(RuntimeError, match=r"on a CUDA device but torch.cuda.is_available\(\) is False.*map_location"):
        loaded(data)
    for where in ("cpu", {"cuda:0": "cpu"}, lambda storage, location: storage):
        assert loaded(data, map_location=where).tolist() == [1.0, 1.0]


def test_paths_and_files(tmp_path: Path) -> None:
    x = facula.arange(3)
    for where in (tmp_path / "a.pt", str(tmp_path / "b.tar.pt"), tmp_path / ".pt", tmp_path / "noext"):
        facula.save(x, where)
        assert facula.load(where).tolist() == [0, 1, 2]
    with open(tmp_path / "c.pt", "w+b") as file:
        file.write(b"in front")
        facula.save(x, file)
        file.seek(8)
        assert facula.load(file).tolist() == [0, 1, 2]
    assert zipfile.ZipFile(tmp_path / "a.pt").namelist()[0] == "a/data.pkl"
    assert sorted(os.listdir(tmp_path)) == [".pt", "a.pt", "b.tar.pt", "c.pt", "noext"]
    with pytest.raises(FileNotFoundError):
        facula.load(tmp_path / "missing.pt")


def test_mapping_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    facula.save({"x": facula.arange(1000.0), "n": 3}, path)
    got = facula.load(path, mmap=True)
    got["x"][0] = 5.0
    assert facula.load(path)["x"][0].item() == 0.0, "private: the file doesn't change"
    import mmap

    with facula.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        assert facula.serialization.get_default_mmap_options() == mmap.MAP_SHARED
        facula.load(path, mmap=True)["x"][0] = 7.0
    assert facula.serialization.get_default_mmap_options() == mmap.MAP_PRIVATE
    changed = facula.load(path, mmap=True)["x"]
    assert changed[:2].tolist() == [7.0, 1.0]
    os.unlink(path)
    assert changed.sum().item() == 499507.0, "the mapping outlives the file's name"
    with pytest.raises(ValueError, match="f must be a file path in order to use the mmap argument"):
        facula.load(io.BytesIO(saved(1)), mmap=True)
    with pytest.raises(ValueError, match=r"expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, but got 9"):
        facula.serialization.set_default_mmap_options(9)


def test_arguments() -> None:
    with pytest.raises(AttributeError, match="expected 'f' to be string, path, or a file-like object with a 'write'"):
        facula.save(1, 3)
    with pytest.warns(UserWarning, match="only the present format is written"):
        assert loaded(saved(1, _use_new_zipfile_serialization=False)) == 1
    with pytest.raises(RuntimeError, match="Can not safely load weights when explicit pickle_module is specified"):
        loaded(saved(1), weights_only=True, pickle_module=pickle)
    assert loaded(saved(1), pickle_module=pickle) == 1
    with pytest.raises(AttributeError, match=r"You can only torch.load from a file that is seekable"):
        facula.load(3)

    class Pipe(io.RawIOBase):
        def seekable(self):
            return False

    with pytest.raises(io.UnsupportedOperation, match=r"pre-load the data into a buffer like io.BytesIO"):
        facula.load(Pipe())


@pytest.mark.parametrize("way", WAYS)
def test_storages_by_themselves(way) -> None:
    x = facula.arange(3.0)
    got = way([x, x.storage()])
    assert got[1].tolist() == [0.0, 1.0, 2.0]
    got[1][1] = 7.0
    assert got[0].tolist() == [0.0, 7.0, 2.0]
    assert way(facula.arange(3, dtype=facula.uint8).untyped_storage()).tolist() == [0, 1, 2]


def test_one_storage_has_one_dtype() -> None:
    x = facula.ones(4)
    with pytest.raises(RuntimeError, match="Cannot save multiple tensors or storages that view the same data as diff"):
        saved([x, x.view(facula.int32)])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_protocols(protocol: int) -> None:
    value = {"x": facula.ones(2), "b": b"ab"}
    got = loaded(saved(value, pickle_protocol=protocol))
    assert got["b"] == b"ab"
    assert got["x"].tolist() == [1.0, 1.0]


def test_many_names_and_many_memo_entries() -> None:
    torch = pytest.importorskip("torch")
    value = [[facula.ones(1), f"text {i}", facula.float32, facula.Size([i])] for i in range(300)]
    for got in (loaded(saved(value)), torch.load(io.BytesIO(saved(value)))):
        assert [row[1] for row in got] == [row[1] for row in value]
        assert [tuple(row[3]) for row in got] == [(i,) for i in range(300)]
        assert got[299][0].tolist() == [1.0]
    assert len(saved(value)) < 300 * 330, "repeated names go by the memo"


def test_a_string_that_looks_like_a_name_stays() -> None:
    trap = "ctorch._utils\n_rebuild_tensor_v2\n cfacula.serialization.rebuild\nFloatStorage\n"
    value = {trap: facula.ones(2), "y": [trap, facula.ones(1)]}
    torch = pytest.importorskip("torch")
    got = torch.load(io.BytesIO(saved(value)))
    assert list(got) == [trap, "y"]
    assert got["y"][0] == trap
    assert got[trap].tolist() == [1.0, 1.0]


def test_old_formats() -> None:
    torch = pytest.importorskip("torch")
    value = {
        "x": torch.arange(6.0).view(2, 3).t(), "h": torch.ones(2, dtype=torch.bfloat16),
        "p": torch.nn.Parameter(torch.ones(1)), "n": [1, "a"],
    }  # fmt: skip
    value["tail"] = value["x"][1:]
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=False)
    got = loaded(buffer.getvalue())
    assert got["x"].tolist() == value["x"].tolist()
    assert got["tail"].tolist() == value["tail"].tolist()
    got["x"][1, 0] = 9.0
    assert got["tail"][0, 0].item() == 9.0
    assert got["h"].tolist() == [1.0, 1.0]
    assert got["n"] == [1, "a"]
    data = buffer.getvalue()
    for cut in (0, 1, 20, 100, len(data) // 2, len(data) - 1):
        with pytest.raises((RuntimeError, pickle.UnpicklingError, EOFError)):
            loaded(data[:cut])
    with pytest.raises(RuntimeError, match="mmap can only be used with files saved with"):
        path = Path(os.environ.get("TMPDIR", "/tmp")) / f"facula-old-{os.getpid()}.pt"
        path.write_bytes(data)
        try:
            facula.load(path, mmap=True)
        finally:
            path.unlink()
    with pytest.raises(RuntimeError, match="tar archive"):
        loaded(b"\0" * 257 + b"ustar" + b"\0" * 300)


def test_other_byte_orders() -> None:
    np = pytest.importorskip("numpy")
    data = saved([facula.arange(3), facula.from_numpy(np.ones(2, dtype=np.complex64))])
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(target, "w") as rewritten:
        for name in source.namelist():
            content = source.read(name)
            size = {"archive/data/0": 8, "archive/data/1": 4}.get(name)
            if size:
                content = b"".join(content[i : i + size][::-1] for i in range(0, len(content), size))
            rewritten.writestr(name, b"big" if name.endswith("byteorder") else content)
    got = loaded(target.getvalue())
    assert [t.tolist() for t in got] == [[0, 1, 2], [1, 1]]


def test_default_endianness() -> None:
    S = facula.serialization
    assert S.get_default_load_endianness() is None
    data = saved(facula.arange(2, dtype=facula.uint8), _disable_byteorder_record=True)
    S.set_default_load_endianness(S.LoadEndianness.NATIVE)
    try:
        assert S.get_default_load_endianness() is S.LoadEndianness.NATIVE
        assert loaded(data).tolist() == [0, 1]
    finally:
        S.set_default_load_endianness(None)
    with pytest.raises(TypeError, match="Invalid argument type"):
        S.set_default_load_endianness("little")


def test_the_same_content_gives_the_same_file() -> None:
    value = {"x": facula.ones(2), "y": [1, 2]}
    assert saved(value) == saved(value)
    S = facula.serialization
    S.set_crc32_options(False)
    try:
        assert not S.get_crc32_options()
        unchecked = saved(value)
    finally:
        S.set_crc32_options(True)
    assert unchecked != saved(value)
    assert loaded(unchecked)["x"].tolist() == [1.0, 1.0]


def test_torch_maps_our_files(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    facula.save([facula.arange(5.0), facula.arange(3)], tmp_path / "a.pt")
    got = torch.load(tmp_path / "a.pt", mmap=True)
    assert [t.tolist() for t in got] == [[0.0, 1.0, 2.0, 3.0, 4.0], [0, 1, 2]]
    torch.save([torch.arange(5.0)], tmp_path / "b.pt")
    assert facula.load(tmp_path / "b.pt", mmap=True)[0].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert warnings is not None
