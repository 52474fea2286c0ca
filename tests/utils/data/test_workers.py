"""The loader with worker processes: same batches, shared memory, errors, dead workers, clean ends."""

from __future__ import annotations

import gc
import glob
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import facula
from facula.utils import data
from facula.utils.data import DataLoader
from facula.utils.data._utils import shared
from facula.utils.data._utils.errors import ExceptionWrapper
from facula.utils.data._utils.worker import numpy_seed
from tests.utils.data.samples import LargeSamples, Noise, Shares, Squares, Trouble, fails, listed, spell

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="forks"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


def leftovers() -> list[str]:
    return glob.glob(f"/dev/shm/facula-{os.getpid()}-*")


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    gc.collect()
    assert leftovers() == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_workers_change_nothing(workers: int, shuffle: bool) -> None:
    def batches(count: int) -> list:
        facula.manual_seed(4)
        loader = DataLoader(Squares(23), batch_size=4, shuffle=shuffle, num_workers=count)
        return [spell(batch) for batch in loader] + [facula.randint(1 << 30, ()).item()]

    assert batches(workers) == batches(0)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods(method: str) -> None:
    loader = DataLoader(Squares(5), batch_size=2, num_workers=1, multiprocessing_context=method)
    assert spell(list(loader)) == spell(list(DataLoader(Squares(5), batch_size=2)))


def test_each_generator_is_seeded_as_torch_does() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("numpy")

    def draws(lib, dataset) -> list:
        lib.manual_seed(11)
        return list(lib.utils.data.DataLoader(dataset, batch_size=None, num_workers=2))

    class TorchNoise(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int):
            import random

            import numpy as np

            info = torch.utils.data.get_worker_info()
            worker = (info.id, info.num_workers, info.seed, "Noise")
            return (index, torch.randint(1 << 30, ()).item(), random.random(), np.random.rand(), worker)

    assert draws(facula, Noise()) == draws(torch, TorchNoise())
    assert numpy_seed(12345678901, 3) == torch.utils.data._utils.worker._generate_state(12345678901, 3)


def test_worker_info_outside() -> None:
    assert data.get_worker_info() is None


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("persistent", [False, True])
def test_iterable_streams(batch_size: int | None, persistent: bool) -> None:
    torch = pytest.importorskip("torch")

    class TorchShares(Shares, torch.utils.data.IterableDataset):
        def __iter__(self):
            info = torch.utils.data.get_worker_info()
            cut = self.count * 2 // 3
            return iter([range(cut), range(cut, self.count), ()][info.id])

    def batches(lib, dataset) -> list:
        loader = lib.utils.data.DataLoader(dataset, batch_size=batch_size, num_workers=2, persistent_workers=persistent)
        return [spell(list(loader)), spell(list(loader))]

    assert batches(facula, Shares()) == batches(torch, TorchShares())


def test_persistent_workers_stay() -> None:
    loader = DataLoader(Squares(9), batch_size=2, num_workers=2, persistent_workers=True)
    first = spell(list(loader))
    pids = [process.pid for process in loader._iterator._workers]
    next(iter(loader))  # a pass that is left early: what is under way must not reach the next one
    assert spell(list(loader)) == first
    assert [process.pid for process in loader._iterator._workers] == pids


def test_out_of_order() -> None:
    class Uneven(Squares):
        def __getitem__(self, index: int):
            time.sleep(0.3 if index == 0 else 0)
            return index

    loader = DataLoader(Uneven(8), batch_size=1, num_workers=2, in_order=False, prefetch_factor=1)
    batches = [batch.item() for batch in loader]
    assert sorted(batches) == list(range(8))
    assert batches[0] != 0


def test_tensors_lie_in_shared_memory_and_it_is_used_again() -> None:
    loader = DataLoader(LargeSamples(), batch_size=2, num_workers=1)
    kept = None
    places = set()
    for number, batch in enumerate(loader):
        places.add(batch.data_ptr())
        assert batch.sum().item() == 30000.0 * (4 * number + 1)
        batch.add_(1.0)
        if number == 3:
            kept = batch
    assert len(places) <= 6
    assert kept.sum().item() == 30000.0 * (4 * 3 + 3), "a batch that is still held is never written over"
    assert leftovers() == []


def roundtrip(value: object, writer: shared.SegmentWriter, reader: shared.SegmentReader) -> object:
    tag, unpacker = reader.unpack(shared.pack(value, "tag", writer))
    assert tag == "tag"
    return unpacker.load()


@pytest.fixture
def pipe():
    return shared.SegmentWriter(f"facula-{os.getpid()}-test"), shared.SegmentReader(2)


@pytest.mark.parametrize("count", [10, 100_000])
def test_views_and_aliases_survive(pipe, count: int) -> None:
    base = facula.arange(float(count))
    grid = facula.arange(count * 2).view(2, count).t()
    value = {"base": base, "again": base, "tail": base[5:], "grid": grid, "empty": facula.empty(0, 3), "text": "x"}
    got = roundtrip(value, *pipe)
    assert got["base"] is got["again"]
    assert got["tail"].tolist() == base[5:].tolist()
    got["base"][5] = -1.0
    assert got["tail"][0].item() == -1.0
    assert got["grid"].tolist() == grid.tolist()
    assert got["grid"].stride() == grid.stride()
    assert tuple(got["empty"].shape) == (0, 3)


def test_a_row_does_not_drag_its_matrix_along(pipe) -> None:
    matrix = facula.zeros(1000, 1000)
    assert len(shared.pack(matrix[3], None, pipe[0])) < 10_000
    assert len(shared.pack(matrix[:, 3], None, pipe[0])) < 10_000


def test_requires_grad_travels_with_leaves_only(pipe) -> None:
    leaf = facula.ones(3, requires_grad=True)
    assert roundtrip(leaf, *pipe).requires_grad
    with pytest.raises(RuntimeError, match="Cowardly refusing to serialize non-leaf tensor"):
        shared.pack(leaf * 2, None, pipe[0])


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "float16", "bfloat16", "float64", "complex64"])
def test_dtypes(pipe, dtype: str) -> None:
    np = pytest.importorskip("numpy")
    value = facula.ones(50_000).bfloat16() if dtype == "bfloat16" else facula.from_numpy(np.ones(50_000, dtype))
    got = roundtrip(value, *pipe)
    assert got.dtype is value.dtype
    assert got[:3].tolist() == value[:3].tolist()


def test_without_shared_memory_it_travels_in_the_message(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader = pipe
    monkeypatch.setattr(writer, "_folders", ["/nonexistent"])
    value = facula.arange(100_000)
    got = roundtrip(value, writer, reader)
    assert facula.equal(got, value)
    got.add_(1)


def test_a_full_memory_is_passed_over(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    got = roundtrip(facula.arange(100_000), *pipe)
    assert got[-1].item() == 99_999


def test_segments_of_the_past_make_way(pipe) -> None:
    writer, reader = pipe
    for step in range(1, 12):
        value = roundtrip(facula.zeros(20_000 * step**3), writer, reader)
        del value
        writer.give_back(reader.released())
        assert len(writer._free) <= 3
        assert len(reader._mapped) <= 4


def test_size_classes() -> None:
    for nbytes in (1, 65_536, 65_537, 1_000_000, 123_456_789):
        got = shared.size_class(nbytes)
        assert nbytes <= got <= max(65_536, nbytes * 1.125)


CAUGHT = {
    "value": ValueError,
    "key": KeyError,
    "unmakeable": RuntimeError,
    "stop": StopIteration,
    "local": RuntimeError,
}


@pytest.mark.parametrize("kind", CAUGHT)
def test_an_exception_keeps_its_type_and_traceback(kind: str) -> None:
    loader = DataLoader(Trouble(kind), num_workers=2)
    batches = iter(loader)
    assert [next(batches).item() for _ in range(3)] == [0, 1, 2]
    with pytest.raises(CAUGHT[kind]) as caught:
        next(batches)
    message = str(caught.value)
    assert "in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n" in message
    assert f"in {kind}\n" in message
    assert [batch.item() for batch in batches] == [4, 5], "the loader goes on"


def test_the_message_of_a_key_error_is_readable() -> None:
    with pytest.raises(KeyError) as caught:
        list(DataLoader(Trouble("key"), num_workers=2))
    message = str(caught.value)
    assert message.startswith("Caught KeyError in DataLoader worker process 1.\nOriginal Traceback (most recent call")
    assert "\\n" not in message


def test_an_exception_with_a_message_field() -> None:
    from tests.utils.data.samples import Worded

    with pytest.raises(Worded, match="Caught Worded in DataLoader worker process 0"):
        list(DataLoader(Trouble("worded"), num_workers=1))
    try:
        raise ValueError("here")
    except ValueError:
        wrapped = ExceptionWrapper(where="in a test")
    with pytest.raises(ValueError, match="Caught ValueError in a test"):
        wrapped.reraise()


@pytest.mark.parametrize("kind", ["unpicklable", "unreceivable"])
def test_a_sample_that_cannot_travel_is_an_error(kind: str) -> None:
    loader = iter(DataLoader(Trouble(kind), batch_size=None, num_workers=1))
    assert [next(loader) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Exception, match="DataLoader worker process 0"):
        next(loader)
    assert list(loader) == [4, 5]


@pytest.mark.parametrize(("kind", "reason"), [("killed", "killed by signal SIGKILL"), ("exits", "exit code 7")])
def test_a_dead_worker_is_an_error(kind: str, reason: str) -> None:
    loader = iter(DataLoader(Trouble(kind), num_workers=2))
    dead = loader._workers[1].pid
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=rf"DataLoader worker \(pid\(s\) {dead}\) exited unexpectedly.*{reason}"):
        list(loader)
    with pytest.raises(RuntimeError, match="exited unexpectedly"):
        next(loader)
    assert time.monotonic() - start < 5
    assert not any(process.is_alive() for process in loader._workers)


def test_an_interrupt_while_receiving_ends_the_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing.connection import Connection

    loader = iter(DataLoader(Squares(6), num_workers=1))
    next(loader)

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Connection, "recv_bytes", interrupted)
        next(loader)
    with pytest.raises(RuntimeError, match="was interrupted"):
        next(loader)
    assert not loader._workers[0].is_alive()


def test_a_killed_worker_leaves_no_files() -> None:
    for _ in range(10):
        loader = iter(DataLoader(LargeSamples(), num_workers=1))
        next(loader)
        os.kill(loader._workers[0].pid, signal.SIGKILL)
        with pytest.raises(RuntimeError, match="exited unexpectedly"):
            list(loader)
        assert leftovers() == []


def test_a_timeout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from facula.utils.data._utils import pool

    monkeypatch.setattr(pool, "GRACE", 0.1)
    loader = iter(DataLoader(Trouble("slow"), num_workers=1, timeout=0.5))
    assert next(loader).item() == 0
    with pytest.raises(RuntimeError, match=r"DataLoader timed out after 0\.5 seconds"):
        list(loader)
    workers = loader._workers
    del loader
    gc.collect()
    assert not any(process.is_alive() for process in workers), "a worker that doesn't end is killed"


def test_init_functions() -> None:
    with pytest.raises(OSError, match="worker 0 has no disk"):
        list(DataLoader(Squares(3), num_workers=1, worker_init_fn=fails))
    with pytest.raises(AssertionError, match="prefetch_factor must be greater than 0"):
        iter(DataLoader([1], num_workers=1, prefetch_factor=0))


def test_large_tasks_and_large_results_do_not_block_each_other() -> None:
    indices = [list(range(1000, 61_000))] * 6
    loader = DataLoader(range(61_000), batch_sampler=indices, num_workers=1, collate_fn=listed, prefetch_factor=4)
    assert [len(batch) for batch in loader] == [60_000] * 6


def test_leaving_early_ends_the_workers() -> None:
    loader = iter(DataLoader(Squares(1000), num_workers=2))
    next(loader)
    workers = loader._workers
    del loader
    gc.collect()
    assert not any(process.is_alive() for process in workers)


def test_two_loaders_at_once() -> None:
    first, second = (iter(DataLoader(Squares(6), num_workers=1)) for _ in range(2))
    workers = first._workers
    pairs = [(spell(a), spell(b)) for a, b in zip(first, second, strict=True)]
    assert all(a == b for a, b in pairs)
    assert not workers[0].is_alive()


SCRIPT = """
    import os, sys, time
    sys.path.insert(0, {root!r})
    from tests.utils.data.samples import Squares
    from facula.utils.data import DataLoader
    loader = iter(DataLoader(Squares(10_000), num_workers=2, persistent_workers=True))
    next(loader)
    print(*(process.pid for process in loader._workers), flush=True)
"""


def run_script(more: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(SCRIPT.format(root=str(Path(__file__).parents[3]))) + more
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def gone(pids: list[int]) -> bool:
    """Whether these processes end within a few seconds."""
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        if not any(os.path.exists(f"/proc/{pid}") and "zombie" not in _state(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/status") as status:
            return status.read()
    except OSError:
        return "zombie"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")
class TestTheEnd:
    def test_of_the_program(self) -> None:
        script = run_script("")
        out, err = script.communicate(timeout=30)
        assert (script.returncode, err) == (0, "")
        assert gone([int(pid) for pid in out.split()])

    def test_by_ctrl_c(self) -> None:
        script = run_script("time.sleep(30)")
        pids = [int(pid) for pid in script.stdout.readline().split()]
        for pid in [script.pid, *pids]:
            os.kill(pid, signal.SIGINT)
        _, err = script.communicate(timeout=30)
        assert err.count("Traceback") == 1, "the program's own, none from a worker"
        assert gone(pids)

    def test_by_a_kill(self) -> None:
        script = run_script("time.sleep(30)")
        pids = [int(pid) for pid in script.stdout.readline().split()]
        script.kill()
        script.communicate(timeout=30)
        assert gone(pids)
        assert glob.glob(f"/dev/shm/facula-{script.pid}-*") == []
