"""Scaled dot-product attention: two products with the masked softmax between them.

In: queries (*, L, E), keys (*, S, E), values (*, S, Ev), a mask. Out: (*, L, Ev).

Source: A. Vaswani et al., "Attention is all you need" (2017).
"""

from __future__ import annotations

import math
from typing import Any

from facula.core import dtype as dt
from facula.core import errors
from facula.core.layout import Layout, register_cache
from facula.core.shapes import broadcast_shapes
from facula.ops.copy import contiguous
from facula.ops.define import FUNCTIONS, METHODS, composite, layout_of, operator
from facula.ops.dispatch import Launch
from facula.ops.kernels import attention as kernels
from facula.ops.softmax import _softmax_backward
from facula.runtime.objects import new_tensor

_plans: dict[Any, Any] = register_cache({})

BLOCK = 128
"""Queries that causal attention computes at a time."""
BLOCKED = 3 * BLOCK
"""Length from which it does."""


def _plan(own: Layout, mask: Layout | None, seen: int) -> tuple[Launch, Layout]:
    shape = own.shape
    n, queries = shape[-1], shape[-2]
    heads = shape[-3] if len(shape) > 2 else 1
    steps = [0, 0, 0]
    if mask is not None:
        sizes = (1,) * (4 - len(mask.shape)) + mask.shape
        strides = (0,) * (4 - len(mask.shape)) + mask.stride
        steps = [0 if size == 1 else stride for size, stride in zip(sizes[:3], strides[:3], strict=True)]
    code = "" if mask is None else mask.dtype.code
    rows = own.numel // n if n else 0
    return Launch(
        kernels.attention_weights(own.dtype.code, code, seen > 0),
        rows,
        max(1, 8192 // max(1, n)),
        (n, heads, queries, *steps, seen),
    ), own.dense()


@operator("attention_weights", function=False)
def _weights(scores: Any, mask: Any, seen: int) -> Any:
    """The softmax of scores (*, L, S) where the mask lets them be seen, or with the mask added; zeros where nothing is seen.

    seen: how many keys the first query sees, the second one more, and so on; 0 for all.
    """
    own = scores._layout
    if mask is not None:
        given = mask._layout
        if given.shape[-1:] != own.shape[-1:] or len(own.shape) > 4:
            mask = mask.expand(own.shape)
            given = mask._layout
        if len(given.shape) > 4 or (given.stride[-1] != 1 and own.shape[-1] != 1):
            mask = contiguous(mask)
        if len(own.shape) > 4:
            mask = mask.reshape(-1, *own.shape[-3:])
    key = (own, mask if mask is None else mask._layout, seen)
    plan = _plans.get(key)
    if plan is None:
        plan = _plans[key] = _plan(*key)
    launch, target = plan
    x, out = scores if own.contiguous else contiguous(scores), new_tensor(target)
    launch((out, x, x if mask is None else mask))
    return out


_weights.gradient(
    scores=lambda grad, out: _softmax_backward(grad, out, -1),
    mask=lambda grad, out, mask_layout: _softmax_backward(grad, out, -1) if mask_layout.dtype.kind == "f" else None,
)


def _check(query: Any, key: Any, value: Any, mask: Any) -> None:
    q, k, v = (
        layout_of(x, "scaled_dot_product_attention", i + 1, n)
        for i, (x, n) in enumerate(((query, "query"), (key, "key"), (value, "value")))
    )
    if q.dtype is not k.dtype or q.dtype is not v.dtype:
        names = [x.dtype.c_name if hasattr(x.dtype, "c_name") else x.dtype.name for x in (q, k, v)]
        raise RuntimeError(
            f"Expected query, key, and value to have the same dtype, but got query.dtype: {names[0]} key.dtype: {names[1]} and "
            f"value.dtype: {names[2]} instead."
        )
    if min(len(q.shape), len(k.shape), len(v.shape)) < 2:
        raise RuntimeError(
            f"Expected query, key, and value to all be  at least 2 dimensional, but got query.dim: {len(q.shape)} key.dim: "
            f"{len(k.shape)} and value.dim: {len(v.shape)} instead."
        )
    if mask is not None and mask._layout.dtype is not dt.bool and mask._layout.dtype is not q.dtype:
        raise RuntimeError(
            "Expected attn_mask dtype to be bool or float or to match query dtype, but got attn_mask.dtype: "
            f"{mask._layout.dtype.name} and  query.dtype: {q.dtype.name} instead."
        )
    if q.dtype.kind != "f":
        raise errors.not_implemented("scaled_dot_product_attention", q.dtype)


def _in_blocks(query: Any, across: Any, value: Any) -> Any:
    """Causal attention, some queries at a time with the keys that they can see: nearly half of the products are zero."""
    matmul, narrow, parts = FUNCTIONS["torch"]["matmul"], METHODS["narrow"], []
    length = query._layout.shape[-2]
    for first in range(0, length, BLOCK):
        count = min(BLOCK, length - first)
        scores = matmul(narrow(query, -2, first, count), narrow(across, -1, 0, first + count))
        parts.append(matmul(_weights(scores, None, first + 1), narrow(value, -2, 0, first + count)))
    return FUNCTIONS["torch"]["cat"](parts, -2)


@composite(namespaces=("torch.nn.functional", "torch._C._nn"))
def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """softmax(query @ key.T * scale + mask) @ value for query (*, L, E), key (*, S, E) and value (*, S, Ev): (*, L, Ev).

    attn_mask: boolean, true where a key is seen, or numbers to be added to the scores; broadcast to (*, L, S). is_causal: query
    i sees keys 0..i. scale: by default 1 / sqrt(E). enable_gqa: the heads (dimension -3) of key and value are repeated to
    those of the query. A query that sees nothing gets zeros.

    >>> torch.nn.functional.scaled_dot_product_attention(torch.zeros(1, 2), torch.zeros(3, 2), torch.eye(3))
    tensor([[0.3333, 0.3333, 0.3333]])
    """
    _check(query, key, value, attn_mask)
    matmul, shape = FUNCTIONS["torch"]["matmul"], query._layout.shape
    factor = 1.0 / math.sqrt(shape[-1]) if scale is None and shape[-1] else 1.0 if scale is None else float(scale)
    if enable_gqa:
        heads = shape[-3]
        key, value = (
            x if x._layout.shape[-3] == heads else METHODS["repeat_interleave"](x, heads // x._layout.shape[-3], -3)
            for x in (key, value)
        )
    query, across = query * factor, METHODS["transpose"](key, -2, -1)
    if is_causal and attn_mask is None and not dropout_p and shape[-2] == key._layout.shape[-2] >= BLOCKED:
        return _in_blocks(query, across, value)
    scores = matmul(query, across)
    if attn_mask is not None:
        whole = broadcast_shapes(scores._layout.shape, attn_mask._layout.shape)
        if whole != scores._layout.shape:
            scores = METHODS["expand"](scores, whole)
    weights = _weights(scores, attn_mask, 1 if is_causal else 0)
    if dropout_p > 0.0:
        weights = FUNCTIONS["torch"]["dropout"](weights, dropout_p, True)
    return matmul(weights, value)


@_weights.sample
def _(make: Any) -> Any:
    yield (make(2, 3, 4, 5), None, 0), {}
    yield (make(2, 3, 5, 5), make(3, 5, 5), 2), {}
