"""The product kernels against NumPy: every tile edge, every way to store the operands, and not a byte out of bounds."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from facula.kernel.language import f32, f64
from facula.ops.kernels.gemm import Copy, Plan, Product, Step, plan_product, words

TYPES = {np.dtype("f4"): f32, np.dtype("f8"): f64}
PAGE = mmap.PAGESIZE


class Guarded:
    """Memory that ends (or begins) at a page nobody may touch."""

    def __init__(self) -> None:
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.maps: list[tuple[mmap.mmap, int]] = []

    def array(self, shape: tuple[int, ...], dtype: str, at_end: bool) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pages = -(-max(size, 1) // PAGE)
        area = mmap.mmap(-1, (pages + 2) * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(area))
        for page in (0, pages + 1):
            assert self.libc.mprotect(ctypes.c_void_p(base + page * PAGE), ctypes.c_size_t(PAGE), 0) == 0
        self.maps.append((area, base))
        start = PAGE + (pages * PAGE - size if at_end else 0)
        return np.frombuffer(area, dtype, int(np.prod(shape)), start).reshape(shape)


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    yield Guarded()


def launch(step: Step, operands: list[int], pieces: int = 1) -> None:
    """Run a step as the runtime would, in `pieces` pieces."""
    slots = np.zeros(32, "i8")
    slots[: len(operands)] = operands
    for i, number in enumerate(step.numbers, len(operands)):
        if isinstance(number, float):
            slots[i : i + 1].view("f8")[0] = number
        else:
            slots[i] = number
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(step.kernel.address())
    bounds = np.linspace(0, step.count, pieces + 1).astype(int)
    for lo, hi in reversed(list(itertools.pairwise(bounds))):
        function(slots.ctypes.data, int(lo), int(hi))


def run(
    plan: Plan, c: np.ndarray, a: np.ndarray, b: np.ndarray, plus: np.ndarray | None = None, pieces: int = 1
) -> None:
    addresses = [a.ctypes.data, b.ctypes.data]
    packed = 0 if plan.swapped else 1
    work = np.full(plan.workspace // c.itemsize + 16 + 64, np.nan, c.dtype)
    if plan.pack is not None:
        aligned = (work.ctypes.data + 63) // 64 * 64
        used = (aligned - work.ctypes.data) // c.itemsize + plan.workspace // c.itemsize
        work[used:] = 7
        launch(plan.pack, [aligned, addresses[packed]], pieces)
        assert (work[used:] == 7).all()
        addresses[packed] = aligned
    numbers = words(plan.product.numbers)
    last = [ctypes.addressof(numbers), 0] if plus is None else [plus.ctypes.data, ctypes.addressof(numbers)]
    launch(plan.product._replace(numbers=()), [c.ctypes.data, *addresses, *last], pieces)


def strides(x: np.ndarray) -> tuple[int, ...]:
    return tuple(s // x.itemsize for s in x.strides)


def product(
    a: np.ndarray, b: np.ndarray, c: np.ndarray, plus: np.ndarray | None = None, pieces: int = 1, **more: object
) -> Plan:
    """c = alpha * a @ b + plus for 2-d views of any strides, c with contiguous rows."""
    (ar, ac), (br, bc) = strides(a), strides(b)
    adds = {} if plus is None else {"adds": True, "plus_row": strides(plus)[0]}
    problem = Product(a.shape[0], b.shape[1], a.shape[1], ar, ac, br, bc, strides(c)[0], **adds, **more)
    plan = plan_product(TYPES[c.dtype], problem)
    if isinstance(plan, Copy):
        assert plan.operand == 0  # of the operands below only a transposed A is ever better copied
        return product(np.ascontiguousarray(a), b, c, plus, pieces, **more)
    run(plan, c, a, b, plus, pieces)
    return plan


def stored(values: np.ndarray, by_columns: bool, guard: Guarded, at_end: bool) -> np.ndarray:
    """The same matrix in guarded memory."""
    source = values.T if by_columns else values
    memory = guard.array(source.shape, values.dtype.str, at_end)
    memory[...] = source
    return memory.T if by_columns else memory


EDGES = [
    (1, 1, 1), (1, 17, 33), (2, 15, 16), (3, 16, 15), (5, 63, 8), (6, 64, 64), (7, 65, 31), (12, 128, 10), (13, 130, 3),
    (4, 120, 400), (33, 10, 84), (64, 1, 100), (1, 100, 64), (1, 1, 1000), (128, 33, 70), (200, 48, 600),
    (19, 300, 1100), (530, 1030, 520),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("a_columns", [False, True])
@pytest.mark.parametrize("b_columns", [False, True])
@pytest.mark.parametrize("m,n,k", EDGES)
def test_equals_numpy_within_guarded_memory(
    m: int, n: int, k: int, a_columns: bool, b_columns: bool, dtype: str, guarded: Guarded
) -> None:
    rng = np.random.default_rng(m * n + k)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    expected = a.astype("f8") @ b.astype("f8")
    for at_end in (True, False):
        c = guarded.array((m, n), dtype, at_end)
        c[...] = np.nan
        product(stored(a, a_columns, guarded, at_end), stored(b, b_columns, guarded, at_end), c)
        np.testing.assert_allclose(c, expected, rtol=0, atol=(1e-5 if dtype == "f4" else 1e-13) * np.sqrt(k) * 4)


@pytest.mark.parametrize("m,n,k", [(3, 20, 40), (50, 70, 90), (300, 100, 40), (300, 1, 40), (2, 300, 20)])
@pytest.mark.parametrize("b_columns", [False, True])
def test_epilogue_and_row_strides(m: int, n: int, k: int, b_columns: bool) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((m, k)).astype("f4"), rng.standard_normal((k, n)).astype("f4")
    b = np.asfortranarray(b) if b_columns else b
    bias, matrix = rng.standard_normal((1, n)).astype("f4"), rng.standard_normal((m, n)).astype("f4")
    memory = np.full((m, n + 5), 9.0, "f4")
    c = memory[:, :n]
    product(a, b, c, np.broadcast_to(bias, (m, n)), relu=True)
    np.testing.assert_allclose(c, np.maximum(a @ b + bias, 0), atol=1e-4)
    product(a, b, c, matrix, alpha=-0.5)
    np.testing.assert_allclose(c, -0.5 * (a @ b) + matrix, atol=1e-4)
    before = c.copy()
    product(a, b, c, c)
    np.testing.assert_allclose(c, a @ b + before, atol=1e-4)
    assert (memory[:, n:] == 9).all()


def test_long_sums_are_cut_and_keep_the_epilogue() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((40, 1700)).astype("f4"), rng.standard_normal((1700, 70)).astype("f4")
    bias = rng.standard_normal((1, 70)).astype("f4")
    c = np.full((40, 70), np.nan, "f4")
    product(a, b, c, np.broadcast_to(bias, (40, 70)), relu=True, alpha=2.0)
    np.testing.assert_allclose(c, np.maximum(2.0 * (a.astype("f8") @ b) + bias, 0), atol=2e-3)


def test_nothing_to_sum() -> None:
    c = np.full((9, 5), np.nan, "f4")
    for b in (np.zeros((0, 5), "f4"), np.zeros((5, 0), "f4").T):
        c[...] = np.nan
        product(np.zeros((9, 0), "f4"), b, c)
        assert (c == 0).all()
    product(np.zeros((9, 0), "f4"), np.zeros((0, 5), "f4"), c, np.broadcast_to(np.arange(5, dtype="f4"), (9, 5)))
    assert (c == np.arange(5)).all()


def test_a_of_any_strides_and_b_that_must_be_copied() -> None:
    rng = np.random.default_rng(3)
    a = rng.standard_normal((20, 30)).astype("f4")[::2, ::3]
    b = rng.standard_normal((10, 40)).astype("f4")
    c = np.zeros((10, 40), "f4")
    product(a, b, c)
    np.testing.assert_allclose(c, a @ b, atol=1e-5)
    product(np.broadcast_to(a[:1, :1], (10, 10)), b, c)
    np.testing.assert_allclose(c, np.broadcast_to(a[:1, :1], (10, 10)) @ b, atol=1e-5)
    assert plan_product(f32, Product(10, 20, 10, 10, 1, 80, 2, 20)) == Copy(1)


@pytest.mark.parametrize("m,n,k", [(8, 8, 8), (70, 65, 33), (5, 40, 100), (200, 70, 20)])
@pytest.mark.parametrize("b_columns", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_batches(m: int, n: int, k: int, b_columns: bool, shared: bool) -> None:
    rng = np.random.default_rng(4)
    a = rng.standard_normal((6, m, k)).astype("f4")
    b = rng.standard_normal((1 if shared else 6, n, k) if b_columns else (1 if shared else 6, k, n)).astype("f4")
    view = b.transpose(0, 2, 1) if b_columns else b
    c = np.full((6, m, n), np.nan, "f4")
    (_, br, bc) = strides(view)
    problem = Product(m, n, k, k, 1, br, bc, n, batch=6, a_batch=m * k, b_batch=0 if shared else n * k, c_batch=m * n)
    plan = plan_product(f32, problem)
    assert isinstance(plan, Plan)
    run(plan, c, a, b)
    np.testing.assert_allclose(c, a @ view, atol=1e-4)


@pytest.mark.parametrize("m,n,k", [(8, 8, 8), (70, 65, 33), (5, 40, 100), (200, 70, 20)])
@pytest.mark.parametrize("b_columns", [False, True])
def test_heads_of_attention_need_no_copy(m: int, n: int, k: int, b_columns: bool) -> None:
    """(groups, rows, heads, columns) seen as (groups, heads, rows, columns): two strides step through the batch."""
    rng = np.random.default_rng(8)
    a = rng.standard_normal((3, m, 2, k)).astype("f4").transpose(0, 2, 1, 3)
    b = rng.standard_normal((3, n, 2, k) if b_columns else (3, k, 2, n)).astype("f4").transpose(0, 2, 1, 3)
    b = b.swapaxes(2, 3) if b_columns else b
    c = np.full((3, 2, m, n), np.nan, "f4")
    (ao, ai, ar, ac), (bo, bi, br, bc) = strides(a), strides(b)
    plan = plan_product(f32, Product(m, n, k, ar, ac, br, bc, n, 6, ai, bi, m * n, 2, ao, bo))
    assert isinstance(plan, Plan)
    run(plan, c, a, b)
    np.testing.assert_allclose(c, a @ b, atol=1e-4)


@pytest.mark.parametrize("m,n,k", [(256, 256, 256), (300, 700, 90), (4, 1000, 300), (1, 900, 900)])
@pytest.mark.parametrize("b_columns", [False, True])
def test_the_cut_does_not_change_a_bit(m: int, n: int, k: int, b_columns: bool) -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((m, k)).astype("f4"), rng.standard_normal((k, n)).astype("f4")
    b = np.asfortranarray(b) if b_columns else b
    whole, pieces = np.zeros((m, n), "f4"), np.zeros((m, n), "f4")
    product(a, b, whole)
    product(a, b, pieces, pieces=7)
    assert (whole == pieces).all()


def test_not_a_number_stays_in_its_row_and_column() -> None:
    rng = np.random.default_rng(6)
    for m, n in ((70, 70), (4, 30)):
        a, b = rng.standard_normal((m, 50)).astype("f4"), rng.standard_normal((50, n)).astype("f4")
        a[m - 1, 7] = np.nan
        b[3, n - 1] = np.inf
        for order in (b, np.asfortranarray(b)):
            c = np.zeros((m, n), "f4")
            product(a, order, c)
            assert np.isnan(c[m - 1]).all() and np.isfinite(c[: m - 1, : n - 1]).all()
            assert not np.isfinite(c[:, n - 1]).any()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("k", [0, 1, 15, 64, 65, 4096, 10001])
def test_inner_product(dtype: str, k: int, guarded: Guarded) -> None:
    from facula.ops.kernels.gemm_dot import inner_kernel

    rng = np.random.default_rng(9)
    a, b, c = guarded.array((k,), dtype, True), guarded.array((k,), dtype, True), guarded.array((1,), dtype, True)
    a[...], b[...] = rng.standard_normal(k), rng.standard_normal(k)
    launch(Step(inner_kernel(TYPES[c.dtype]), (k,), 1, 1), [c.ctypes.data, a.ctypes.data, b.ctypes.data])
    np.testing.assert_allclose(c[0], a.astype("f8") @ b.astype("f8"), atol=1e-4 if dtype == "f4" else 1e-11)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "i8"])
@pytest.mark.parametrize("m,n,k", [(1, 1, 1), (4, 64, 3), (7, 70, 9), (3, 5, 0)])
def test_integers_wrap_around(dtype: str, m: int, n: int, k: int, guarded: Guarded) -> None:
    from facula.kernel import types
    from facula.ops.kernels.gemm_exact import ROWS, exact_kernel

    T = types.scalar_types[f"{dtype[0]}{int(dtype[1]) * 8}"]
    rng = np.random.default_rng(7)
    a, b, c = (guarded.array(shape, dtype, True) for shape in ((2, m, k), (2, k, n), (2, m, n)))
    for x in (a, b):
        x[...] = rng.integers(0, 100, x.shape)
    step = Step(exact_kernel(T), (m, n, k, k, 1, n, m * k, k * n), 2 * -(-m // ROWS), 1)
    launch(step, [c.ctypes.data, a.ctypes.data, b.ctypes.data])
    assert (c == (a @ b)).all()


NARROW = """
import sys
import facula.kernel.target as target
bits, fma = int(sys.argv[1]), sys.argv[2] == "fma"
target.host().vector_bits, target.host().has_fma = bits, fma
sys.path.insert(0, sys.argv[3])
import numpy as np
import test_gemm as t
from facula.kernel.language import host
assert host().vector_bits == bits
guard = t.Guarded()
for dtype, edges in (("f4", t.EDGES), ("f8", t.EDGES[::4])):
    for m, n, k in edges:
        for ways in range(4):
            t.test_equals_numpy_within_guarded_memory(m, n, k, bool(ways & 1), bool(ways & 2), dtype, guard)
for b_columns in (False, True):
    t.test_epilogue_and_row_strides(50, 70, 90, b_columns)
    t.test_batches(70, 65, 33, b_columns, True)
"""


@pytest.mark.parametrize("bits,fma", [(256, "fma"), (128, "no"), (512, "fma")])
def test_other_vector_widths(bits: int, fma: str) -> None:
    """The same answers with the tiles of other processors (those no wider than this one)."""
    from facula.kernel.language import host

    if bits > host().vector_bits:
        pytest.skip("wider than this machine")
    if bits == host().vector_bits and fma == "fma":
        pytest.skip("the host itself")
    done = subprocess.run(
        [sys.executable, "-c", NARROW, str(bits), fma, __file__.rsplit("/", 1)[0]],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
