"""The thread pool: every index once, the same bits on any number of threads, and no trouble at fork, spawn or exit."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

from facula.kernel.language import address_of, call_extern, f32, i8, i64, kernel, parallel, ptr
from facula.runtime import launch, threads

threads.install()
N = 1 << 16


@kernel
def scale_add(out: ptr(f32), x: ptr(f32), a: f32, lo: i64, hi: i64):
    for i in range(lo, hi):
        out[i] = x[i] * a + out[i]


@kernel
def piece_sum(out: ptr(f32), x: ptr(f32), lo: i64, hi: i64):
    """Depends on how the range is cut, so equal bits mean equal pieces."""
    total = f32(0.0)
    for i in range(lo, hi):
        total += x[i]
        out[i] = total


@kernel
def inner(counts: ptr(i64), lo: i64, hi: i64):
    for i in range(lo, hi):
        counts[i] = counts[i] + 1


@kernel
def outer(rows: ptr(i64), slots: ptr(i64), width: i64, lo: i64, hi: i64):
    """Each index launches again, over a row of its own."""
    for i in range(lo, hi):
        slots[i] = slots[i] + i * width * 8
        call_extern("facula_launch", None, address_of(entry_of_inner), as_bytes(slots + i), width, i64(16))


@kernel
def entry_of_inner(slots: ptr(ptr(i64)), lo: i64, hi: i64):
    inner(slots[0], lo, hi)


def as_bytes(pointer):
    from facula.kernel.language import as_pointer

    return as_pointer(pointer, i8)


@kernel
def squares(out: ptr(i64), n: i64):
    for i in parallel(0, n, 100):
        out[i] = i * i


@pytest.fixture(autouse=True)
def keep_thread_count():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def run_scale_add(out, x, a, grain):
    launch.launch(scale_add.address(), len(x), grain, out.ctypes.data, x.ctypes.data, a)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("grain", [1, 7, 1000, N, 10 * N, 0])
def test_every_index_once(count, grain):
    threads.set_num_threads(count)
    x = np.arange(N, dtype="f4")
    for _ in range(5):
        out = np.ones(N, "f4")
        run_scale_add(out, x, 2.0, grain)
        assert (out == 2 * x + 1).all()


def test_empty_range_calls_nothing():
    launch.launch(0, 0, 1)
    launch.launch(0, -5, 1)


def test_same_bits_on_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal(N).astype("f4")
    results = []
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        out = np.zeros(N, "f4")
        launch.launch(piece_sum.address(), N, 100, out.ctypes.data, x.ctypes.data)
        results.append(out)
    assert (results[0] == results[1]).all() and (results[0] == results[2]).all()


def test_nested_launches_run_serially_and_completely():
    threads.set_num_threads(3)
    rows, width = 40, 500
    counts = np.zeros((rows, width), "i8")
    slots = np.full(rows, counts.ctypes.data, "i8")
    launch.launch(outer.address(), rows, 1, counts.ctypes.data, slots.ctypes.data, width)
    assert (counts == 1).all()


def test_parallel_loop():
    threads.set_num_threads(2)
    import ctypes

    out = np.zeros(10_000, "i8")
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(squares.address())(out.ctypes.data, len(out))
    assert (out == np.arange(10_000) ** 2).all()


def test_hammering_from_several_python_threads_while_the_size_changes():
    threads.set_num_threads(3)
    x = np.arange(N, dtype="f4")
    bad = []

    def work():
        for _ in range(100):
            out = np.ones(N, "f4")
            run_scale_add(out, x, 3.0, 500)
            if not (out == 3 * x + 1).all():
                bad.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for count in (1, 4, 2, 3, 1, 2):
        threads.set_num_threads(count)
    for worker in workers:
        worker.join()
    assert not bad


def test_workers_that_fell_asleep_still_work():
    import time

    threads.set_num_threads(3)
    x = np.arange(N, dtype="f4")
    for _ in range(5):
        out = np.ones(N, "f4")
        run_scale_add(out, x, 2.0, 100)
        assert (out == 2 * x + 1).all()
        time.sleep(0.002)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_launches():
    threads.set_num_threads(2)
    x = np.arange(N, dtype="f4")
    stop = threading.Event()

    def background():
        while not stop.is_set():
            run_scale_add(np.ones(N, "f4"), x, 2.0, 100)

    thread = threading.Thread(target=background)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                import signal

                signal.alarm(20)
                out = np.ones(N, "f4")
                run_scale_add(out, x, 2.0, 100)
                run_scale_add(out, x, 2.0, 100)
                os._exit(0 if (out == 4 * x + 1).all() else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


PROGRAM = """
    import sys, os, time, threading
    import numpy as np
    from facula.kernel.language import f32, i64, kernel, ptr
    from facula.runtime import threads
    from facula.runtime.launch import launch

    @kernel
    def double(x: ptr(f32), lo: i64, hi: i64):
        for i in range(lo, hi):
            x[i] = x[i] + x[i]

    def check():
        x = np.ones(100_000, "f4")
        launch(double.address(), len(x), 100, x.ctypes.data)
        assert (x == 2).all()
        return threads.get_num_threads()

    def background():
        while True:
            check()
"""


def run_program(tmp_path, tail, **environment):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAM) + textwrap.dedent(tail))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path]), **environment}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0 and not done.stderr, (done.returncode, done.stderr)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "ending",
    [
        "check()",  # workers spin
        "check(); time.sleep(0.05)",  # workers sleep
        "check(); os._exit(0)",
        "threading.Thread(target=background, daemon=True).start(); time.sleep(0.05)",  # workers work
    ],
)
def test_exit_with_live_workers(tmp_path, ending):
    run_program(tmp_path, f"threads.set_num_threads(3)\n{ending}\n")


def test_multiprocessing_start_methods(tmp_path):
    tail = """
    if __name__ == "__main__":
        import multiprocessing
        threads.set_num_threads(2)
        check()
        for method in ("fork", "spawn"):
            if method in multiprocessing.get_all_start_methods():
                with multiprocessing.get_context(method).Pool(2) as pool:
                    counts = pool.starmap(check, [()] * 4)
                print(method, *counts)
    """
    out = run_program(tmp_path, tail, OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    assert out.splitlines()[-1] == "spawn 1 1 1 1"
    assert "fork 2 2 2 2" in out or len(out.splitlines()) == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OMP_NUM_THREADS": "3"}, "3"),
        ({"OMP_NUM_THREADS": "3", "FACULA_NUM_THREADS": "5"}, "5"),
        ({"OMP_NUM_THREADS": "4,2"}, "4"),
    ],
)
def test_environment_sets_the_number(tmp_path, variables, expected):
    assert run_program(tmp_path, "print(check())", **variables) == expected


def test_bad_numbers_are_refused():
    for bad in (0, -1, 1 << 20):
        with pytest.raises(RuntimeError, match="set_num_threads expects a positive integer"):
            threads.set_num_threads(bad)
    with pytest.raises(RuntimeError, match="set_num_threads expects an int, but got float"):
        threads.set_num_threads(2.0)
    with pytest.raises(RuntimeError, match="set_num_interop_threads expects a positive integer"):
        threads.set_num_interop_threads(0)
    assert threads.get_num_interop_threads() >= 1


def test_launch_refuses_what_is_not_a_number():
    function = inner.address()
    for bad in (
        (),
        (1, 2),
        (1.0, 2, 3),
        (function, 2.0, 1),
        ("a", 1, 1),
        (function, 1, 1, None),
        (function, 1, 1) + (1,) * 33,
    ):
        with pytest.raises(TypeError):
            launch.launch(*bad)
    with pytest.raises(OverflowError):
        launch.launch(function, 1, 1, 1 << 70)


def test_launch_leaves_reference_counts_alone():
    x = np.ones(4, "f4")
    address, value = x.ctypes.data, 1.5
    before = sys.getrefcount(address), sys.getrefcount(value)
    for _ in range(1000):
        assert launch.launch(scale_add.address(), 4, 100, address, address, value) is None
    assert (sys.getrefcount(address), sys.getrefcount(value)) == before
