"""The element-wise part of a step of a gated recurrent layer, forward and backward.

Each row of a batch has its gates side by side: (N, gates * H). What a step computes from the products with its input
and its state is one loop over these rows; what the backward needs is kept. The range: rows.
"""

from typing import Any

from facula.kernel.language import host, i64, kernel, load, offset, ptr, specialise, splat, store, tail_mask
from facula.kernel.math import sigmoid, tanh
from facula.kernel.values import cast
from facula.ops.kernels.pointwise import KERNEL_TYPES


@specialise
def lstm_forward(code: str) -> Any:
    """(hidden, cell, kept) of the gates i, f, g, o, given as two summands, and the cell before; kept: i, f, g, o."""
    T = KERNEL_TYPES[code]
    lanes = host().lanes(T.itemsize)

    @kernel
    def lstm_forward(
        hidden: ptr(T), cell: ptr(T), kept: ptr(T), x: ptr(T), u: ptr(T), before: ptr(T), n: i64, lo: i64, hi: i64
    ):
        for row in range(lo, hi):
            xs, us, ks = offset(x, row * 4 * n), offset(u, row * 4 * n), offset(kept, row * 4 * n)
            hs, cs, bs = offset(hidden, row * n), offset(cell, row * n), offset(before, row * n)
            for j in range(0, n, lanes):
                mask = tail_mask(lanes, n - j)
                i = sigmoid(load(xs, j, lanes, mask) + load(us, j, lanes, mask))
                f = sigmoid(load(xs, j + n, lanes, mask) + load(us, j + n, lanes, mask))
                g = tanh(load(xs, j + 2 * n, lanes, mask) + load(us, j + 2 * n, lanes, mask))
                o = sigmoid(load(xs, j + 3 * n, lanes, mask) + load(us, j + 3 * n, lanes, mask))
                c = f * load(bs, j, lanes, mask) + i * g
                store(ks, j, i, mask)
                store(ks, j + n, f, mask)
                store(ks, j + 2 * n, g, mask)
                store(ks, j + 3 * n, o, mask)
                store(cs, j, c, mask)
                store(hs, j, o * tanh(c), mask)

    return lstm_forward


@specialise
def lstm_backward(code: str) -> Any:
    """(slopes of the gates, slope of the cell before) of the slopes of the hidden state, in two summands, and the cell."""
    T = KERNEL_TYPES[code]
    lanes = host().lanes(T.itemsize)

    @kernel
    def lstm_backward(
        gates: ptr(T), slope: ptr(T), kept: ptr(T), before: ptr(T), cell: ptr(T), above: ptr(T), later: ptr(T),
        after: ptr(T), n: i64, lo: i64, hi: i64,
    ):  # fmt: skip
        one = splat(cast(1.0, T), lanes)
        for row in range(lo, hi):
            gs, ks = offset(gates, row * 4 * n), offset(kept, row * 4 * n)
            ss, bs, cs = offset(slope, row * n), offset(before, row * n), offset(cell, row * n)
            hs, ls, ds = offset(above, row * n), offset(later, row * n), offset(after, row * n)
            for j in range(0, n, lanes):
                mask = tail_mask(lanes, n - j)
                i, f = load(ks, j, lanes, mask), load(ks, j + n, lanes, mask)
                g, o = load(ks, j + 2 * n, lanes, mask), load(ks, j + 3 * n, lanes, mask)
                t = tanh(load(cs, j, lanes, mask))
                dh = load(hs, j, lanes, mask) + load(ls, j, lanes, mask)
                dc = load(ds, j, lanes, mask) + dh * o * (one - t * t)
                store(gs, j, dc * g * i * (one - i), mask)
                store(gs, j + n, dc * load(bs, j, lanes, mask) * f * (one - f), mask)
                store(gs, j + 2 * n, dc * i * (one - g * g), mask)
                store(gs, j + 3 * n, dh * t * o * (one - o), mask)
                store(ss, j, dc * f, mask)

    return lstm_backward


@specialise
def gru_forward(code: str) -> Any:
    """(hidden, kept) of the gates r, z, n of the input and of the state, and the state before; kept: r, z, n, U h."""
    T = KERNEL_TYPES[code]
    lanes = host().lanes(T.itemsize)

    @kernel
    def gru_forward(hidden: ptr(T), kept: ptr(T), x: ptr(T), u: ptr(T), before: ptr(T), n: i64, lo: i64, hi: i64):
        for row in range(lo, hi):
            xs, us, ks = offset(x, row * 3 * n), offset(u, row * 3 * n), offset(kept, row * 4 * n)
            hs, bs = offset(hidden, row * n), offset(before, row * n)
            for j in range(0, n, lanes):
                mask = tail_mask(lanes, n - j)
                r = sigmoid(load(xs, j, lanes, mask) + load(us, j, lanes, mask))
                z = sigmoid(load(xs, j + n, lanes, mask) + load(us, j + n, lanes, mask))
                w = load(us, j + 2 * n, lanes, mask)
                new = tanh(load(xs, j + 2 * n, lanes, mask) + r * w)
                store(ks, j, r, mask)
                store(ks, j + n, z, mask)
                store(ks, j + 2 * n, new, mask)
                store(ks, j + 3 * n, w, mask)
                store(hs, j, (load(bs, j, lanes, mask) - new) * z + new, mask)

    return gru_forward


@specialise
def gru_backward(code: str) -> Any:
    """(slopes of the input's gates, of the state's gates, of the state before by itself) of the state's slope."""
    T = KERNEL_TYPES[code]
    lanes = host().lanes(T.itemsize)

    @kernel
    def gru_backward(
        gates: ptr(T), own: ptr(T), slope: ptr(T), kept: ptr(T), before: ptr(T), above: ptr(T), later: ptr(T), n: i64,
        lo: i64, hi: i64,
    ):  # fmt: skip
        one = splat(cast(1.0, T), lanes)
        for row in range(lo, hi):
            gs, os, ks = offset(gates, row * 3 * n), offset(own, row * 3 * n), offset(kept, row * 4 * n)
            ss, bs = offset(slope, row * n), offset(before, row * n)
            hs, ls = offset(above, row * n), offset(later, row * n)
            for j in range(0, n, lanes):
                mask = tail_mask(lanes, n - j)
                r, z = load(ks, j, lanes, mask), load(ks, j + n, lanes, mask)
                new, w = load(ks, j + 2 * n, lanes, mask), load(ks, j + 3 * n, lanes, mask)
                dh = load(hs, j, lanes, mask) + load(ls, j, lanes, mask)
                dn = dh * (one - z) * (one - new * new)
                dz = dh * (load(bs, j, lanes, mask) - new) * z * (one - z)
                dr = dn * w * r * (one - r)
                store(gs, j, dr, mask)
                store(gs, j + n, dz, mask)
                store(gs, j + 2 * n, dn, mask)
                store(os, j, dr, mask)
                store(os, j + n, dz, mask)
                store(os, j + 2 * n, dn * r, mask)
                store(ss, j, dh * z, mask)

    return gru_backward
