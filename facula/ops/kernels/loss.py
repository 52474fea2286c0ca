"""Losses over classes, forward and backward, each in one pass over the rows; and the mean of an expression of two tensors.

For a row of scores x with target class t, weights w and smoothing s (0 where there is none):

    scores are logits           loss = (1 - s) w[t] (lse - x[t]) + s / n * sum_c w[c] (lse - x[c]),  lse = log(sum_c exp(x[c]))
    scores are log-probabilities loss = -w[t] x[t]

A target that equals `ignore` contributes nothing; one out of range is noted in the fault record. The mean divides by the
sum of w[t]. Sums over rows are taken in float64, in order, so results are the same bits on any number of threads.
"""

import math
from typing import Any, NamedTuple

from facula.kernel.language import (
    Value,
    as_pointer,
    cast,
    f64,
    gather,
    host,
    i64,
    kernel,
    load,
    offset,
    ptr,
    select,
    specialise,
    splat,
    store,
    tail_mask,
    udiv,
    unroll,
    urem,
    vec,
)
from facula.kernel.language import reduce as fold
from facula.kernel.math import exp_fast_nonpositive, log
from facula.ops.expression import Expr, evaluate
from facula.ops.kernels.index import record_fault
from facula.ops.kernels.pointwise import KERNEL_TYPES
from facula.ops.kernels.reduce import BLOCK, compute_type
from facula.ops.kernels.rows import added, folded, larger
from facula.ops.scalar import KERNEL

WHOLE = 16384
"""Up to this many scores the rows and their sum are one task."""


class ClassLoss(NamedTuple):
    """What a kernel over rows of scores is specialised on. `whole`: all rows are one task, which also sums them."""

    code: str
    target: str
    logits: bool
    weighted: bool
    smooth: bool
    reduction: str
    whole: bool


def _finish(out: Value, total: Value, form: ClassLoss, loss: Value, weight: Value) -> None:
    """Store the sum or the mean, and the sum of the weights."""
    T, C = KERNEL_TYPES[form.code], compute_type(form.code)
    store(total, 0, cast(weight, C))
    store(out, 0, cast(loss / weight if form.reduction == "mean" else loss, T))


@specialise
def class_loss(form: ClassLoss) -> Any:
    """The loss of each row. The range: rows, or one task for all of them.

    `losses` and `weights` get what each row contributes (the first is the result where nothing is reduced), `lse` what
    the gradient needs of logits. With `whole` the result and the sum of the weights go to `out` and `total` instead.
    """
    T, C, Index = KERNEL_TYPES[form.code], compute_type(form.code), KERNEL_TYPES[form.target]
    L = T if form.reduction == "none" else C
    lanes, count = host().lanes(C.itemsize), 4
    width = lanes * count
    logits, weighted, smooth, whole = form.logits, form.weighted, form.smooth, form.whole

    @kernel
    def class_loss(
        out: ptr(T),
        total: ptr(C),
        losses: ptr(L),
        weights: ptr(C),
        lse: ptr(C),
        x: ptr(T),
        target: ptr(Index),
        w: ptr(T),
        fault: ptr(i64),
        rows: i64,
        n: i64,
        inner: i64,
        ignore: i64,
        smoothing: f64,
        lo: i64,
        hi: i64,
    ):
        lowest = vec(C, lanes)(-math.inf)
        zeros = vec(C, lanes)(0.0)
        loss_sum = f64(0)
        weight_sum = f64(0)
        first = lo
        last = hi
        if whole:
            first = i64(0)
            last = rows
        for row in range(first, last):
            p = offset(x, row * n)
            given = cast(target[row], i64)
            loss = f64(0)
            weight = f64(0)
            if given != ignore:
                if (given < 0) | (given >= n):
                    record_fault(fault, given, row)
                else:
                    weight = f64(1)
                    if weighted:
                        weight = cast(w[given], f64)
                    if not logits:
                        p = offset(x, (udiv(row, inner) * n + given) * inner + urem(row, inner))
                        chosen = cast(p[0], f64)
                    else:
                        chosen = cast(p[given], f64)
                    if logits:
                        tops = [lowest for _ in unroll(range(count))]
                        main = n // width * width
                        for i in range(0, main, width):
                            for u in unroll(range(count)):
                                tops[u] = larger(cast(load(p, i + u * lanes, lanes), C), tops[u])
                        for i in range(main, n, lanes):
                            mask = tail_mask(lanes, n - i)
                            tops[0] = larger(select(mask, cast(load(p, i, lanes, mask), C), lowest), tops[0])
                        top = fold("max", folded(larger, tops))
                        shift = splat(top, lanes)
                        exponentials = f64(0)
                        plain = f64(0)
                        all_weights = f64(0)
                        for begin in range(0, n, BLOCK):
                            stop = min(begin + BLOCK, n)
                            sums = [zeros for _ in unroll(range(count))]
                            scores = zeros
                            heavy = zeros
                            end = begin + (stop - begin) // width * width
                            for i in range(begin, end, width):
                                for u in unroll(range(count)):
                                    value = cast(load(p, i + u * lanes, lanes), C)
                                    sums[u] = sums[u] + exp_fast_nonpositive(value - shift)
                                    if smooth:
                                        if weighted:
                                            factor = cast(load(w, i + u * lanes, lanes), C)
                                            scores = scores + value * factor
                                            heavy = heavy + factor
                                        else:
                                            scores = scores + value
                            for i in range(end, stop, lanes):
                                mask = tail_mask(lanes, stop - i)
                                value = cast(load(p, i, lanes, mask), C)
                                sums[0] = sums[0] + select(mask, exp_fast_nonpositive(value - shift), zeros)
                                if smooth:
                                    if weighted:
                                        factor = cast(load(w, i, lanes, mask), C)
                                        scores = scores + value * factor
                                        heavy = heavy + factor
                                    else:
                                        scores = scores + value
                            exponentials = exponentials + cast(fold("add", folded(added, sums)), f64)
                            if smooth:
                                plain = plain + cast(fold("add", scores), f64)
                                all_weights = all_weights + cast(fold("add", heavy), f64)
                        whole_row = log(exponentials) + cast(top, f64)
                        lse[row] = cast(whole_row, C)
                        if smooth:
                            count_of = cast(n, f64)
                            if not weighted:
                                all_weights = count_of
                            spread = whole_row * all_weights - plain
                            loss = (1.0 - smoothing) * weight * (whole_row - chosen) + smoothing / count_of * spread
                        else:
                            loss = weight * (whole_row - chosen)
                    else:
                        loss = -weight * chosen
            if whole:
                loss_sum = loss_sum + loss
                weight_sum = weight_sum + weight
            else:
                losses[row] = cast(loss, L)
                if form.reduction != "none":
                    weights[row] = cast(weight, C)
        if whole:
            _finish(out, total, form, loss_sum, weight_sum)

    return class_loss


@specialise
def class_loss_sum(form: ClassLoss) -> Any:
    """The result and the sum of the weights, from what each row contributes. The range: one task."""
    T, C = KERNEL_TYPES[form.code], compute_type(form.code)

    @kernel
    def class_loss_sum(out: ptr(T), total: ptr(C), losses: ptr(C), weights: ptr(C), rows: i64, lo: i64, hi: i64):
        loss = f64(0)
        weight = f64(0)
        for row in range(0, rows):
            loss = loss + cast(losses[row], f64)
            weight = weight + cast(weights[row], f64)
        _finish(out, total, form, loss, weight)

    return class_loss_sum


@specialise
def class_loss_gradient(form: ClassLoss) -> Any:
    """The gradient of the scores. The range: rows."""
    T, C, Index = KERNEL_TYPES[form.code], compute_type(form.code), KERNEL_TYPES[form.target]
    lanes = host().lanes(C.itemsize)
    logits, weighted, smooth, reduction = form.logits, form.weighted, form.smooth, form.reduction

    @kernel
    def class_loss_gradient(
        out: ptr(T),
        grad: ptr(T),
        x: ptr(T),
        target: ptr(Index),
        w: ptr(T),
        lse: ptr(C),
        total: ptr(C),
        n: i64,
        ignore: i64,
        smoothing: f64,
        lo: i64,
        hi: i64,
    ):
        zeros = vec(C, lanes)(0.0)
        all_weights = f64(0)
        if smooth:
            if weighted:
                for i in range(0, n):
                    all_weights = all_weights + cast(w[i], f64)
            else:
                all_weights = cast(n, f64)
        for row in range(lo, hi):
            p = offset(x, row * n)
            q = offset(out, row * n)
            given = cast(target[row], i64)
            factor = f64(0)
            weight = f64(1)
            known = (given != ignore) & (given >= 0) & (given < n)
            if known:
                factor = cast(load(grad, row if reduction == "none" else 0), f64)
                if reduction == "mean":
                    factor = factor / cast(total[0], f64)
                if weighted:
                    weight = cast(w[given], f64)
            share = f64(0)
            if smooth:
                share = smoothing / cast(n, f64)
                weight = weight * (1.0 - smoothing)
            even = splat(cast(factor * share, C), lanes)
            if logits:
                slope = splat(cast(factor * (weight + share * all_weights), C), lanes)
                shift = splat(lse[row], lanes)
                if known:
                    for i in range(0, n, lanes):
                        mask = tail_mask(lanes, n - i)
                        value = exp_fast_nonpositive(cast(load(p, i, lanes, mask), C) - shift) * slope
                        if smooth:
                            if weighted:
                                value = value - even * cast(load(w, i, lanes, mask), C)
                            else:
                                value = value - even
                        store(q, i, cast(value, T), mask)
                else:
                    for i in range(0, n, lanes):
                        store(q, i, cast(zeros, T), tail_mask(lanes, n - i))
                if known:
                    chosen = exp_fast_nonpositive(cast(p[given], C) - lse[row]) * cast(
                        factor * (weight + share * all_weights), C
                    )
                    if smooth:
                        less = factor * share
                        if weighted:
                            less = less * cast(w[given], f64)
                        chosen = chosen - cast(less, C)
                    q[given] = cast(chosen - cast(factor * weight, C), T)
            else:
                for i in range(0, n, lanes):
                    store(q, i, cast(zeros, T), tail_mask(lanes, n - i))
                if known:
                    q[given] = cast(-factor * weight, T)

    return class_loss_gradient


@specialise
def class_columns_gradient(form: ClassLoss) -> Any:
    """The gradient of log-probabilities (N, n, inner). The range: strips of one vector of neighbouring targets."""
    T, C, Index = KERNEL_TYPES[form.code], compute_type(form.code), KERNEL_TYPES[form.target]
    lanes = host().lanes(8)
    weighted, reduction = form.weighted, form.reduction

    @kernel
    def class_columns_gradient(
        out: ptr(T),
        grad: ptr(T),
        target: ptr(Index),
        w: ptr(T),
        total: ptr(C),
        n: i64,
        inner: i64,
        ignore: i64,
        lo: i64,
        hi: i64,
    ):
        zeros = vec(C, lanes)(0.0)
        strips = udiv(inner + lanes - 1, i64(lanes))
        for task in range(lo, hi):
            sample = udiv(task, strips)
            at = urem(task, strips) * lanes
            mask = tail_mask(lanes, inner - at)
            q = offset(out, sample * n * inner + at)
            given = cast(load(target, sample * inner + at, lanes, mask), i64)
            if reduction == "none":
                slope = -cast(load(grad, sample * inner + at, lanes, mask), C)
            elif reduction == "mean":
                slope = splat(-cast(grad[0], C) / total[0], lanes)
            else:
                slope = splat(-cast(grad[0], C), lanes)
            if weighted:
                safe = select((given >= 0) & (given < splat(n, lanes)), given, vec(i64, lanes)(0))
                slope = slope * cast(gather(w, safe, mask), C)
            slope = select(given == splat(ignore, lanes), zeros, slope)
            for i in range(0, n):
                store(q, i * inner, cast(select(given == splat(i, lanes), slope, zeros), T), mask)

    return class_columns_gradient


class PairLoss(NamedTuple):
    """What the sum of an expression of two tensors is specialised on. `numbers`: names of the numbers in it.

    checked: elements of the first that are not probabilities are noted in the fault record.
    """

    expression: Expr
    inputs: tuple[str, ...]
    code: str
    numbers: tuple[str, ...]
    whole: bool
    checked: bool


PAIR_BLOCK = 16384
"""Elements that one task sums."""


@specialise
def pair_sum(form: PairLoss) -> Any:
    """The sum of the expression over blocks of elements, divided by `divisor` where one block is all there is.

    Slots: out (parts in float64, or the result), inputs, numbers, count, divisor, fault.
    """
    T, C = KERNEL_TYPES[form.code], compute_type(form.code)
    lanes, count = host().lanes(C.itemsize), 4
    width = lanes * count
    names, numbers, whole, checked = form.inputs, form.numbers, form.whole, form.checked
    R = T if whole else f64
    many = len(names)

    def term(pointers: list[Value], at: Value, mask: Any, given: dict[str, Value]) -> Value:
        values = {name: cast(load(p, at, lanes, mask), C) for name, p in zip(names, pointers, strict=True)}
        return evaluate([form.expression], {**values, **given}, KERNEL)[0]  # type: ignore[no-any-return]

    def numbers_of(slots: Value) -> dict[str, Value]:
        return {
            name: splat(cast(load(as_pointer(offset(slots, 1 + many + k), f64)), C), lanes)
            for k, name in enumerate(numbers)
        }

    @kernel
    def pair_sum(slots: ptr(i64), lo: i64, hi: i64):
        out = load(as_pointer(slots, ptr(R)))
        pointers = [load(as_pointer(offset(slots, 1 + k), ptr(T))) for k in unroll(range(many))]
        given = numbers_of(slots)
        n = slots[1 + many + len(numbers)]
        divisor = load(as_pointer(offset(slots, 2 + many + len(numbers)), f64))
        fault = load(as_pointer(offset(slots, 3 + many + len(numbers)), ptr(i64)))
        zeros = vec(C, lanes)(0.0)
        ones = vec(C, lanes)(1.0)
        beyond = zeros > ones
        for task in range(lo, hi):
            total = f64(0)
            first = task * PAIR_BLOCK
            last = min(first + PAIR_BLOCK, n)
            for begin in range(first, last, BLOCK):
                stop = min(begin + BLOCK, last)
                sums = [zeros for _ in unroll(range(count))]
                end = begin + (stop - begin) // width * width
                for i in range(begin, end, width):
                    for u in unroll(range(count)):
                        sums[u] = sums[u] + term(pointers, i + u * lanes, None, given)
                        if checked:
                            chance = cast(load(pointers[0], i + u * lanes, lanes), C)
                            beyond = beyond | ~((chance >= zeros) & (chance <= ones))
                for i in range(end, stop, lanes):
                    mask = tail_mask(lanes, stop - i)
                    if checked:
                        chance = cast(load(pointers[0], i, lanes, mask), C)
                        beyond = beyond | ~((chance >= zeros) & (chance <= ones))
                    sums[0] = sums[0] + select(mask, term(pointers, i, mask, given), zeros)
                total = total + cast(fold("add", folded(added, sums)), f64)
            if whole:
                total = total / divisor
            out[task] = cast(total, R)
        if checked:
            if fold("or", beyond):
                record_fault(fault, i64(0), i64(0))

    return pair_sum


@specialise
def sum_blocks(code: str) -> Any:
    """The sum of float64 parts, divided. The range: one task."""
    T = KERNEL_TYPES[code]

    @kernel
    def sum_blocks(out: ptr(T), parts: ptr(f64), n: i64, divisor: f64, lo: i64, hi: i64):
        total = f64(0)
        for i in range(0, n):
            total = total + parts[i]
        out[0] = cast(total / divisor, T)

    return sum_blocks
