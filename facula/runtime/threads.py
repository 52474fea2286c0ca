"""The thread pool: pieces of a range, handed out to worker threads that never touch Python.

What comes in: a native function `f(context, lo, hi)` and a range. What goes out: every index of the range computed
once. The pieces depend on the range and the grain alone, never on the number of threads, so results are the same bits
on one thread and on many. It never knows what is computed, nor holds the interpreter's lock.

How a parallel launch goes. The launching thread takes `busy` (when it is taken, because another thread launches or
because this launch is inside another one, the pieces are computed serially), writes down the job, and opens a new
generation in the state word: (generation << 32) | open | workers inside. Workers that see a new generation enter by
adding one to an open state word, take pieces from a common counter until none is left, and leave by subtracting one.
The launching thread takes pieces too, then closes the state and waits only for the workers that entered; one that was
asleep all the while costs nothing. Between launches workers spin for some 50 us, then sleep on the generation.

Kernels reach the pool by the symbols `facula_launch` and `facula_parallel`, which `install` defines.
"""

import ctypes
import os
import sys
import threading
from typing import Any

from facula.kernel import link
from facula.kernel.language import (
    address_of,
    atomic,
    atomic_load,
    atomic_store,
    b1,
    call_address,
    call_extern,
    compare_exchange,
    external,
    i8,
    i32,
    i64,
    kernel,
    load,
    offset,
    pause,
    ptr,
    stack_array,
    store,
    udiv,
)

__all__ = ["get_num_interop_threads", "get_num_threads", "install", "set_num_interop_threads", "set_num_threads"]

PIECES = 256
"""A range is cut into at most so many pieces: enough to share among any number of cores."""

_WORKER_SPIN, _JOIN_SPIN = 50_000, 200_000  # nanoseconds before sleeping

_LINUX = sys.platform == "linux"
_MONOTONIC = 1 if _LINUX else 6  # CLOCK_MONOTONIC here and on macOS
_MACHINE = os.uname().machine if hasattr(os, "uname") else ""
_FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}.get(_MACHINE, 0) if _LINUX else 0
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT, FUTEX_WAKE on memory of this process alone
_BLOCK, _SETMASK = (0, 2) if _LINUX else (1, 3)

# The pool's memory, in 32-bit words; what different threads write lies in different cache lines.
_STATE, _GENERATION = 0, 1  # one 64-bit word and its upper half
_NEXT = 32
_JOB = 64  # 64-bit words: function, context, first index, number of indices, size of a piece
_BUSY = 96
_SLEEPERS = 112
_JOINER = 128
_ALIVE, _WANTED, _QUIT, _STARTED, _BIRTH = 144, 145, 146, 147, 148
_HANDLE, _SIGNALS, _SIGNALS_BEFORE, _MUTEX, _CONDITION = 160, 176, 208, 240, 272
_WORDS = 320

_OPEN = 1 << 31
_INSIDE = _OPEN - 1


# -- native: words, clock, sleeping ---------------------------------------------------------------------------------
def _word(index: int) -> Any:
    return offset(external("facula_pool", i32), index)


def _long(index: int) -> Any:
    return offset(external("facula_pool", i64), index // 2)


def _address(index: int) -> Any:
    return offset(external("facula_pool", ptr(i8)), index // 2)


def _generation(state: Any) -> Any:
    return i32(state >> 32)


@kernel
def clock() -> i64:
    """Nanoseconds of a clock that never goes back."""
    time = stack_array(i64, 2)
    call_extern("clock_gettime", i32, i32(_MONOTONIC), time)
    return time[0] * 1_000_000_000 + time[1]


@kernel
def sleep_while(word: ptr(i32), value: i32):
    """Sleep while the word has this value. May wake without reason."""
    if _FUTEX:
        call_extern("syscall", i64, i64(_FUTEX), word, i64(_WAIT), i64(value), i64(0), i64(0), i64(0))
    else:
        call_extern("pthread_mutex_lock", i32, _word(_MUTEX))
        if atomic_load(word) == value:
            call_extern("pthread_cond_wait", i32, _word(_CONDITION), _word(_MUTEX))
        call_extern("pthread_mutex_unlock", i32, _word(_MUTEX))


@kernel
def wake(word: ptr(i32), count: i64):
    """Wake at least `count` of those who sleep on the word."""
    if _FUTEX:
        call_extern("syscall", i64, i64(_FUTEX), word, i64(_WAKE), count, i64(0), i64(0), i64(0))
    else:
        call_extern("pthread_mutex_lock", i32, _word(_MUTEX))
        call_extern("pthread_cond_broadcast", i32, _word(_CONDITION))
        call_extern("pthread_mutex_unlock", i32, _word(_MUTEX))


# -- native: pieces -------------------------------------------------------------------------------------------------
@kernel
def take_pieces():
    """Compute pieces of the present job until none is left."""
    function, context = load(_address(_JOB), 0), load(_address(_JOB), 1)
    job = _long(_JOB)
    first, count, piece = job[2], job[3], job[4]
    taken = atomic("add", _long(_NEXT), piece)
    while taken < count:
        call_address(function, None, context, first + taken, first + min(taken + piece, count))
        taken = atomic("add", _long(_NEXT), piece)


@kernel
def next_generation(seen: i32) -> i64:
    """The state, once its generation is another than the one seen: spin, then sleep."""
    until = clock() + _WORKER_SPIN
    while True:
        for _ in range(64):
            state = atomic_load(_long(_STATE))
            if _generation(state) != seen:
                return state
            pause()
        if clock() > until:
            atomic("add", _word(_SLEEPERS), 1)
            sleep_while(_word(_GENERATION), seen)
            atomic("sub", _word(_SLEEPERS), 1)
            until = clock() + _WORKER_SPIN


@kernel
def worker(_: ptr(i8)) -> ptr(i8):
    """The life of a worker thread."""
    seen = atomic_load(_word(_BIRTH))
    while True:
        state = next_generation(seen)
        seen = _generation(state)
        if atomic_load(_word(_QUIT)) != 0:
            break
        while (state & _OPEN) != 0:
            state, entered = compare_exchange(_long(_STATE), state, state + 1)
            if entered:
                take_pieces()
                before = atomic("sub", _long(_STATE), 1)
                if (before & (_OPEN | _INSIDE)) == 1:  # closed, and this was the last one: somebody may sleep on it
                    if atomic("xchg", _word(_JOINER), 0) == 1:
                        wake(_word(_JOINER), 1)
                break
            seen = _generation(state)
    atomic("sub", _word(_ALIVE), 1)
    return 0


@kernel
def start_workers():
    """Create the threads, with signals left to the interpreter's own. Fewer than wanted will do."""
    atomic_store(_word(_BIRTH), atomic_load(_word(_GENERATION)))
    handle, nothing = _long(_HANDLE), ptr(i8)(0)
    call_extern("pthread_sigmask", i32, i32(_BLOCK), _word(_SIGNALS), _word(_SIGNALS_BEFORE))
    for _ in range(i64(atomic_load(_word(_WANTED)))):
        atomic("add", _word(_ALIVE), 1)
        if call_extern("pthread_create", i32, handle, nothing, address_of(worker), nothing) == 0:
            call_extern("pthread_detach", i32, handle[0])
        else:
            atomic("sub", _word(_ALIVE), 1)
    call_extern("pthread_sigmask", i32, i32(_SETMASK), _word(_SIGNALS_BEFORE), nothing)
    atomic_store(_word(_STARTED), 1)


@kernel
def take_pool() -> b1:
    """Try to become the only thread that launches."""
    _, taken = compare_exchange(_word(_BUSY), i32(0), i32(1))
    return taken


@kernel
def open_generation(state_bits: i64):
    """Begin a new generation with these low bits."""
    state = atomic_load(_long(_STATE))
    atomic("xchg", _long(_STATE), (((state >> 32) + 1) << 32) | state_bits)


@kernel
def wait_for_workers():
    """Until all that entered have left: spin, then sleep."""
    until = clock() + _JOIN_SPIN
    spins = 0
    while (atomic_load(_long(_STATE)) & _INSIDE) != 0:
        pause()
        spins += 1
        if (spins & 63) == 0:
            if clock() > until:
                atomic("xchg", _word(_JOINER), 1)
                if (atomic_load(_long(_STATE)) & _INSIDE) != 0:
                    sleep_while(_word(_JOINER), i32(1))


@kernel
def facula_parallel(function: ptr(i8), context: ptr(i8), lo: i64, hi: i64, grain: i64):
    """function(context, from, to) for pieces of [lo, hi) that are multiples of `grain`, on the pool when it is free."""
    count = hi - lo
    unit = max(grain, 1)
    if count <= unit:
        if count > 0:
            call_address(function, None, context, lo, hi)
        return
    piece = udiv(count + (unit * PIECES - 1), unit * PIECES) * unit
    if atomic_load(_word(_WANTED)) > 0:
        if take_pool():
            if atomic_load(_word(_STARTED)) == 0:
                start_workers()
            store(_address(_JOB), 0, function)
            store(_address(_JOB), 1, context)
            job = _long(_JOB)
            job[2] = lo
            job[3] = count
            job[4] = piece
            atomic_store(_long(_NEXT), 0)
            open_generation(i64(_OPEN))
            if atomic_load(_word(_SLEEPERS)) > 0:
                wake(_word(_GENERATION), udiv(count - 1, piece))
            take_pieces()
            atomic("and", _long(_STATE), ~_OPEN)
            wait_for_workers()
            atomic_store(_word(_BUSY), 0)
            return
    for first in range(lo, hi, piece):
        call_address(function, None, context, first, min(first + piece, hi))


@kernel
def facula_launch(function: ptr(i8), slots: ptr(i8), n: i64, grain: i64):
    """function(slots, lo, hi) for pieces of [0, n)."""
    facula_parallel(function, slots, i64(0), n, grain)


@kernel
def resize(workers: i32):
    """End all workers, and have so many started by the next parallel launch."""
    while not take_pool():
        call_extern("sched_yield", i32)
    if atomic_load(_word(_STARTED)) != 0:
        atomic_store(_word(_QUIT), 1)
        open_generation(i64(0))
        while atomic_load(_word(_ALIVE)) > 0:
            wake(_word(_GENERATION), i64(1 << 30))
            call_extern("sched_yield", i32)
        atomic_store(_word(_QUIT), 0)
        atomic_store(_word(_STARTED), 0)
    atomic_store(_word(_WANTED), workers)
    atomic_store(_word(_BUSY), 0)


# -- Python: making the pool and setting its size -------------------------------------------------------------------
_lock = threading.Lock()
_pool = 0  # the address of its memory, which is never freed: threads may use it to the very end
_resize: Any = None
_threads: int | None = None
_interop: int | None = None


def install() -> None:
    """Make the pool and define its symbols. Kernels that launch others or loop in parallel are loaded after this."""
    global _pool, _resize
    if _resize is not None:
        return
    with _lock:
        if _resize is not None:
            return
        libc = ctypes.CDLL(None) if sys.platform != "win32" else None
        if libc is None:
            raise RuntimeError("facula's thread pool needs POSIX threads, which this system does not have")
        libc.calloc.restype = ctypes.c_void_p
        libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
        _pool = (libc.calloc(1, 4 * _WORDS + 128) + 127) & -128
        _prepare(libc)
        link.define("facula_pool", _pool)
        link.define("facula_parallel", facula_parallel.address())
        link.define("facula_launch", facula_launch.address())
        resize_pool = ctypes.CFUNCTYPE(None, ctypes.c_int32)(resize.address())
        resize_pool(get_num_threads() - 1)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _after_fork(libc))
        _resize = resize_pool


def _prepare(libc: Any) -> None:
    """The parts of the pool's memory that do not start as zeros."""
    signals = ctypes.c_void_p(_pool + 4 * _SIGNALS)
    libc.sigfillset(signals)
    import signal

    for fault in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        libc.sigdelset(signals, int(fault))
    libc.pthread_mutex_init(ctypes.c_void_p(_pool + 4 * _MUTEX), None)
    libc.pthread_cond_init(ctypes.c_void_p(_pool + 4 * _CONDITION), None)


def _after_fork(libc: Any) -> None:
    """A child has none of its parent's threads: it starts with an empty pool and makes its own when it needs them."""
    wanted = ctypes.c_int32.from_address(_pool + 4 * _WANTED)
    kept = wanted.value
    ctypes.memset(_pool, 0, 4 * _WORDS)
    _prepare(libc)
    wanted.value = kept


def _usable_cpus() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _physical_cores() -> int:
    """Cores that this process may run on; two hardware threads of a core count once."""
    cpus = _usable_cpus()
    cores = set()
    for cpu in cpus:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") as file:
                cores.add(file.read().strip())
        except OSError:
            return len(cpus)
    return len(cores)


def _default_threads() -> int:
    for variable in ("FACULA_NUM_THREADS", "OMP_NUM_THREADS"):
        chosen = os.environ.get(variable, "").split(",")[0].strip()
        if chosen.isdigit() and int(chosen) > 0:
            return int(chosen)
    return _physical_cores()


def get_num_threads() -> int:
    """How many threads an operation may use: the number set, or FACULA_NUM_THREADS, or OMP_NUM_THREADS, or the
    physical cores that the process may run on.

    >>> import facula as torch
    >>> torch.set_num_threads(2)
    >>> torch.get_num_threads()
    2
    """
    global _threads
    if _threads is None:
        _threads = _default_threads()
    return _threads


def _positive(what: str, count: Any) -> int:
    if isinstance(count, bool) or not isinstance(count, int):
        raise RuntimeError(f"{what} expects an int, but got {type(count).__name__}")
    if not 0 < count < 1 << 15:
        raise RuntimeError(f"{what} expects a positive integer")
    return count


def set_num_threads(num: int) -> None:
    """Use so many threads within an operation from now on. Waits for a launch in progress. The results stay the same
    to the bit. RuntimeError unless `num` is a positive int.
    """
    global _threads
    _threads = _positive("set_num_threads", num)
    if _resize is not None:
        _resize(_threads - 1)


def get_num_interop_threads() -> int:
    """The number given to `set_num_interop_threads`, else the number of usable processors. Operations of facula run
    one after another, so nothing depends on it.
    """
    return _interop if _interop is not None else len(_usable_cpus())


def set_num_interop_threads(num: int) -> None:
    """Record the number; it can be given once, as in PyTorch. RuntimeError unless `num` is a positive int."""
    global _interop
    num = _positive("set_num_interop_threads", num)
    if _interop is not None:
        raise RuntimeError(
            "Error: cannot set number of interop threads after parallel work has started "
            "or set_num_interop_threads called"
        )
    _interop = num
