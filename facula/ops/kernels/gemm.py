"""Which kernels compute a product of float matrices, and how it is cut into independent pieces.

In: the sizes and strides (in elements) of C[m, n] = alpha * A[m, k] B[k, n] + plus, for a batch of matrices. Out: a
plan, one or two steps: packing B into a workspace, and the product. Pieces depend on the problem
alone, never on the number of threads, and no element's sum depends on the cut: results are the same bits on any machine
of one vector width.

Three ways are known:
- tiles on B where it lies (its rows contiguous, and not so large that its rows fall into the same cache sets);
- tiles on B packed into panels: each block packs its own columns, or a launch before it packs all if B is large;
- dot products along k, where both operands run along k and A has few rows (x @ W.T of a small batch).
A is never packed: a tile reads six rows of it, whatever their strides.
"""

import ctypes
import functools
import struct
from typing import NamedTuple

from facula.kernel.language import Kernel, Type, host
from facula.ops.kernels.gemm_blocks import (
    B_LOCAL,
    B_PACKED,
    B_TRANSPOSED,
    LOCAL_B,
    SWAPPED,
    pack_kernel,
    product_kernel,
)
from facula.ops.kernels.gemm_dot import dot_kernel
from facula.ops.kernels.gemm_tiles import ADD, RELU, SCALE, reads_edges

__all__ = ["Copy", "Plan", "Product", "Step", "plan_product", "words"]

DEPTH = 512  # longest piece of k of one pass: six rows of A in the first cache, a block of B in the second
BLOCK_COLUMNS = 256
BLOCK_WORK = 1 << 18, 1 << 24  # multiplications of one block: at least, at most
PIECE_WORK = 1 << 18  # multiplications that are worth a thread
DOT_BLOCK = 1 << 16  # elements of B that stay in the second cache while rows of A pass by
DOT_ROWS = 160
DIRECT_BYTES = 1 << 21  # a larger B is packed, if enough rows of A pay for it
SHARED_ROWS = 512  # with more rows of A, a large B is packed once for all blocks


class Product(NamedTuple):
    """C[m, n] = alpha * A[m, k] B[k, n] + plus, `batch` times; strides in elements. Rows of C and plus are contiguous.

    The batch is groups of `inner` matrices (0: one group): `*_batch` is the step inside a group, `*_outer` between
    groups; C and plus have the same step throughout. `plus_row` and `plus_batch` may be 0 (a bias);
    `adds` False means that there is no plus. `relu` clamps the result.
    """

    m: int
    n: int
    k: int
    a_row: int
    a_column: int
    b_row: int
    b_column: int
    c_row: int
    batch: int = 1
    a_batch: int = 0
    b_batch: int = 0
    c_batch: int = 0
    inner: int = 0
    a_outer: int = 0
    b_outer: int = 0
    adds: bool = False
    plus_row: int = 0
    plus_batch: int = 0
    alpha: float = 1.0
    relu: bool = False

    @property
    def flags(self) -> int:
        return (ADD if self.adds else 0) | (RELU if self.relu else 0) | (SCALE if self.alpha != 1.0 else 0)


class Step(NamedTuple):
    """One kernel over the range [0, count) in pieces of at least `grain`, and the numbers that it takes."""

    kernel: Kernel
    numbers: tuple[int | float, ...]
    count: int
    grain: int


class Plan(NamedTuple):
    """How to compute a product.

    product: the step with operands (C, A, B, plus, the address of its numbers as `words`), or without a plus (C, A, B,
    the address, 0). pack: None, or the step with operands (workspace, B, *numbers), whose workspace of `workspace`
    bytes (aligned to 64) then takes the place of B. If `swapped`, it is A that is packed and replaced.
    """

    product: Step
    pack: Step | None = None
    workspace: int = 0
    swapped: bool = False


def words(numbers: tuple[int | float, ...]) -> ctypes.Array[ctypes.c_int64]:
    """Numbers in memory as a kernel reads them: each an i64, or the bits of a double."""
    packed = struct.pack("".join("d" if isinstance(x, float) else "q" for x in numbers), *numbers)
    return (ctypes.c_int64 * len(numbers)).from_buffer_copy(packed)


class Copy(NamedTuple):
    """Instead of a plan: make operand 0 (A), 1 (B) or 2 (plus, broadcast to C's shape) contiguous and ask again."""

    operand: int


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step


@functools.cache
def _tile_shape() -> tuple[int, int]:
    """(rows, vectors) of a tile: accumulators, a row of B and one factor fill the registers."""
    return (6, 4) if host().registers >= 32 else (6, 2)


def plan_product(T: Type, p: Product) -> Plan | Copy:
    """The plan for a product of f32 or f64 matrices with m, n and batch > 0 (k may be 0).

    A `Copy` if B runs contiguously along neither its rows nor its columns, or where a copy is cheaper than the detour.
    """
    if p.n == 1 and p.m > 1 and p.c_row == 1 and 1 in (p.a_column, p.a_row):
        return _turned(T, p)
    if p.b_column == 1 or (p.n == 1 and p.b_row != 1):
        return _by_rows(T, p)
    if p.b_row == 1 or p.k <= 1:
        return _by_columns(T, p)
    return Copy(1)


def _turned(T: Type, p: Product) -> Plan | Copy:
    """A matrix times a vector is the vector, as a row, times the matrix transposed."""
    if p.adds and p.plus_row != 1:
        return Copy(2)
    turned = p._replace(
        m=1, n=p.m, a_row=0, a_column=p.b_row, b_row=p.a_column, b_column=p.a_row, c_row=p.m, a_batch=p.b_batch,
        b_batch=p.a_batch, a_outer=p.b_outer, b_outer=p.a_outer, plus_row=0,
    )  # fmt: skip
    found = plan_product(T, turned)
    if isinstance(found, Copy):
        return Copy(1 - found.operand)
    numbers = list(found.product.numbers)
    numbers[-2] |= SWAPPED  # type: ignore[operator]
    return found._replace(swapped=True, product=found.product._replace(numbers=tuple(numbers)))


def _by_rows(T: Type, p: Product) -> Plan:
    """B's rows are contiguous."""
    width = _tile_shape()[1] * host().lanes(T.itemsize)
    in_place = reads_edges() or p.n % width == 0  # otherwise the last panel must be padded
    fits = p.m < 192 or p.k * p.n * T.itemsize <= DIRECT_BYTES
    return _tiles(T, p, p.b_row, 0 if in_place and fits else B_PACKED)


def _by_columns(T: Type, p: Product) -> Plan | Copy:
    """B's columns are contiguous. The costs are in vector operations, fitted to measurements."""
    lanes = host().lanes(T.itemsize)
    width = _tile_shape()[1] * lanes
    dot_cost = p.m * p.n * (-(-p.k // lanes) + 3.2)
    tile_cost = 1.1 * p.m * _round_up(p.n, lanes) * p.k / lanes + 0.4 * _round_up(p.k, lanes) * _round_up(p.n, width)
    if p.m <= DOT_ROWS and dot_cost <= tile_cost:
        return _dots(T, p) if p.a_column == 1 or p.k <= 1 else Copy(0)
    return _tiles(T, p, p.b_column, B_PACKED | B_TRANSPOSED)


def _tiles(T: Type, p: Product, b_apart: int, flags: int) -> Plan:
    height, vectors = _tile_shape()
    width = vectors * host().lanes(T.itemsize)
    passes = max(1, -(-p.k // DEPTH)) if p.m > height else 1
    block_k = max(1, _round_up(-(-p.k // passes), 8) if passes > 1 else p.k)
    padded = _round_up(p.n, width)
    if flags & B_PACKED and (p.m < SHARED_ROWS or p.k * p.n * T.itemsize <= DIRECT_BYTES):
        flags ^= B_PACKED | B_LOCAL
        block_m, block_n = _columns(p, height, width, block_k)
    else:
        block_m, block_n = _blocks(p, height, width)
    inner = p.inner or p.batch
    packing, b_batch, b_outer, shared = None, p.b_batch, p.b_outer, p.b_batch == p.b_outer == 0
    if flags & B_PACKED:
        panels = (1 if shared else p.batch) * -(-p.k // block_k) * (padded // width)
        numbers: tuple[int | float, ...] = (p.n, p.k, b_apart, b_batch, inner, b_outer, block_k, flags)
        packing = Step(pack_kernel(T, vectors), numbers, panels, max(1, PIECE_WORK // 8 // (width * block_k)))
        b_batch = 0 if shared else p.k * padded
        b_outer = inner * b_batch
    numbers = (
        p.m, p.n, p.k, p.a_row, p.a_column, b_apart, p.c_row, p.plus_row, p.a_batch, b_batch, p.c_batch, p.plus_batch,
        inner, p.a_outer, b_outer, block_m, block_n, block_k, flags | p.flags, p.alpha,
    )  # fmt: skip
    count = p.batch * -(-p.m // block_m) * -(-p.n // block_n)
    product = Step(
        product_kernel(T, height, vectors), numbers, count, max(1, PIECE_WORK // max(1, block_m * block_n * p.k))
    )
    if packing is None:
        return Plan(product)
    return Plan(product, packing, (1 if shared else p.batch) * p.k * padded * T.itemsize)


def _blocks(p: Product, height: int, width: int) -> tuple[int, int]:
    """The size of a block of C: about 32 in all, none so small that it is not worth a launch."""
    least, most = BLOCK_WORK
    wanted = min(max(p.batch * p.m * p.n * p.k // 32, least), most)
    block_n = min(p.n, _round_up(BLOCK_COLUMNS, width))
    if block_n * 5 // 4 >= p.n:
        block_n = p.n
    if p.m <= height:  # B passes by once: cut it alone
        block_n = min(p.n, max(width, _round_up(wanted // max(1, p.m * p.k), width)))
    block_m = min(p.m, max(height, wanted // max(1, block_n * p.k) // height * height))
    return block_m, block_n


def _columns(p: Product, height: int, width: int, block_k: int) -> tuple[int, int]:
    """The size of a block that packs its own part of B: as many rows as possible, so that the packing pays."""
    block_n = min(p.n, max(1, LOCAL_B // (block_k * width)) * width, max(width, _round_up(-(-p.n // 8), width)))
    across = p.batch * -(-p.n // block_n)
    block_m = p.m if p.m <= 384 or across >= 16 else max(192, _round_up(-(-p.m * across // 16), height))
    return block_m, block_n


def _dots(T: Type, p: Product) -> Plan:
    lanes = host().lanes(T.itemsize)
    least = BLOCK_WORK[0] // max(1, p.m * p.k)
    block_n = min(max(DOT_BLOCK // max(1, p.k), lanes), max(-(-p.n // 16), least, lanes))
    block_n = min(p.n, _round_up(block_n, lanes))
    numbers = (
        p.m, p.n, p.k, p.a_row, p.b_column, p.c_row, p.plus_row, p.a_batch, p.b_batch, p.c_batch, p.plus_batch,
        p.inner or p.batch, p.a_outer, p.b_outer, block_n, p.flags, p.alpha,
    )  # fmt: skip
    grain = max(1, PIECE_WORK // max(1, p.m * block_n * p.k))
    return Plan(Step(dot_kernel(T), numbers, p.batch * -(-p.n // block_n), grain))
