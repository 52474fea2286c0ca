"""Multi-head attention as one function: projections, masks, heads and the way back.

In: queries, keys and values of shape (length, batch, features), and the weights. Out: (length, batch, features) and,
if wanted, the
attention weights. It must never know about modules.

Source: Vaswani et al., "Attention is all you need", 2017.
"""

from __future__ import annotations

import math
from typing import Any

from facula.core.dtype import bool as bool_dtype
from facula.nn.functional import _operators as op
from facula.tensor.tensor import Tensor


def _in_projection_packed(
    q: Tensor, k: Tensor, v: Tensor, w: Tensor, b: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Project with one weight (3 E, E) that holds those of query, key and value; equal inputs share a product."""
    size = q.size(-1)
    if q is k and k is v:
        return op.linear(q, w, b).chunk(3, -1)
    if k is v:
        w_q, w_kv = w.split([size, size * 2])
        b_q, b_kv = b.split([size, size * 2]) if b is not None else (None, None)
        return (op.linear(q, w_q, b_q), *op.linear(k, w_kv, b_kv).chunk(2, -1))
    w_q, w_k, w_v = w.chunk(3)
    b_q, b_k, b_v = b.chunk(3) if b is not None else (None, None, None)
    return op.linear(q, w_q, b_q), op.linear(k, w_k, b_k), op.linear(v, w_v, b_v)


def _in_projection(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    b_q: Tensor | None = None,
    b_k: Tensor | None = None,
    b_v: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Project query, key and value with a weight each; all come out with the query's number of features."""
    size = q.size(-1)
    parts = (("query", q, w_q, b_q), ("key", k, w_k, b_k), ("value", v, w_v, b_v))
    for name, x, weight, bias in parts:
        if weight.shape != (size, x.size(-1)):
            raise AssertionError(f"expecting {name} weights shape of {(size, x.size(-1))}, but got {weight.shape}")
        if bias is not None and bias.shape != (size,):
            raise AssertionError(f"expecting {name} bias shape of {(size,)}, but got {bias.shape}")
    return op.linear(q, w_q, b_q), op.linear(k, w_k, b_k), op.linear(v, w_v, b_v)


def _mha_shape_check(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Whether there is a batch dimension; AssertionError when the arguments do not agree on it."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    kind, dims = ("batched", 3) if batched else ("unbatched", 2)
    if key.dim() != dims or value.dim() != dims:
        raise AssertionError(
            f"For {kind} (`query` {dims}-D), expected `key` and `value` to be {dims}-D but found {key.dim()}-D and "
            f"{value.dim()}-D "
            "tensors respectively"
        )
    if key_padding_mask is not None and key_padding_mask.dim() != dims - 1:
        raise AssertionError(
            f"For {kind} (`query` {dims}-D), expected `key_padding_mask` to be `None` or {dims - 1}-D but found "
            f"{key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} (`query` {dims}-D), expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{attn_mask.dim()}-D tensor instead"
            )
        if not batched and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            if attn_mask.shape != expected:
                raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}")
    return batched


def _none_or_dtype(input: Tensor | None) -> Any:
    if input is None:
        return None
    if isinstance(input, Tensor):
        return input.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


def _canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: Any,
    other_name: str,
    target_type: Any,
    check_other: bool = True,
) -> Tensor | None:
    """A mask to be added to the scores: minus infinity where a boolean mask is true."""
    if mask is None:
        return None
    if mask.dtype is not bool_dtype and not mask.is_floating_point():
        raise RuntimeError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype is not other_type:
        import warnings

        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=2,
        )
    if mask.is_floating_point():
        return mask
    return mask.new_zeros(mask.shape, dtype=target_type).masked_fill_(mask, -math.inf)


def _check_key_padding_mask(key_padding_mask: Tensor, src_len: int, bsz: int) -> None:
    if key_padding_mask.size(0) != bsz:
        raise AssertionError(f"Expected key_padded_mask.shape[0] to be {bsz}, but got {key_padding_mask.size(0)}")
    if key_padding_mask.size(1) != src_len:
        raise AssertionError(f"Expected key_padded_mask.shape[1] to be {src_len}, but got {key_padding_mask.size(1)}")


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention in several heads, with its projections.

    Args:
        query, key, value: (L, N, E), (S, N, E_k), (S, N, E_v); or without N.
        embed_dim_to_check: E, which the query must have.
        num_heads: how many heads share E.
        in_proj_weight, in_proj_bias: (3 E, E), (3 E).
        bias_k, bias_v: (1, 1, E), appended to the keys and values. May be None.
        add_zero_attn: append a key and a value of zeros.
        dropout_p: the probability of dropping an attention weight in training.
        out_proj_weight, out_proj_bias: (E, E), (E).
        training: whether there is dropout. Default: True
        key_padding_mask: (N, S), true (or minus infinity) where a key is not to be seen. Default: none
        need_weights: also return the attention weights. Default: True
        attn_mask: (L, S) or (N num_heads, L, S), true (or minus infinity) where a query must not see a key. Default:
            none
        use_separate_proj_weight: use the next three instead of `in_proj_weight`. Default: False
        q_proj_weight, k_proj_weight, v_proj_weight: (E, E), (E, E_k), (E, E_v).
        static_k, static_v: (N num_heads, S, E / num_heads), in the place of the projected ones. Default: none
        average_attn_weights: return the mean over heads. Default: True
        is_causal: `attn_mask` is the causal one; it may then be left to the kernel. Default: False

    Returns:
        (L, N, E), and (N, L, S), or (N, num_heads, L, S), or None.
    """
    batched = _mha_shape_check(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        same_k, same_v = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same_k else key.unsqueeze(1)
        value = key if same_v else value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    length, batch, features = query.shape
    key_padding_mask = _canonical_mask(
        key_padding_mask, "key_padding_mask", _none_or_dtype(attn_mask), "attn_mask", query.dtype
    )
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None
    else:
        attn_mask = _canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, check_other=False)
        is_causal = is_causal and key_padding_mask is None
    head = _check_sizes(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
        for name, weight in zip("qkv", weights):
            if weight is None:
                raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
        biases = in_proj_bias.chunk(3) if in_proj_bias is not None else (None, None, None)
        q, k, v = _in_projection(query, key, value, *weights, *biases)  # type: ignore[arg-type]
    else:
        if in_proj_weight is None:
            raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
        q, k, v = _in_projection_packed(query, key, value, in_proj_weight, in_proj_bias)
    if attn_mask is not None:
        attn_mask = _three_dimensional(attn_mask, length, key.shape[0], batch * num_heads)
    extra = 0
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError(f"bias cannot be added to static {'key' if static_k is not None else 'value'}.")
        k = op.cat([k, bias_k.repeat(1, batch, 1)])
        v = op.cat([v, bias_v.repeat(1, batch, 1)])
        extra += 1
    elif bias_k is not None or bias_v is not None:
        given, missing = ("bias_k", "bias_v") if bias_k is not None else ("bias_v", "bias_k")
        raise AssertionError(f"{given} is set but {missing} is None")

    def heads(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], batch * num_heads, head).transpose(0, 1)

    q = heads(q)
    k = heads(k) if static_k is None else _check_static("static_k", static_k, batch * num_heads, head)
    v = heads(v) if static_v is None else _check_static("static_v", static_v, batch * num_heads, head)
    if add_zero_attn:
        zero = (batch * num_heads, 1, head)
        k = op.cat([k, k.new_zeros(zero)], 1)
        v = op.cat([v, v.new_zeros(zero)], 1)
        extra += 1
    source = k.size(1)
    mask = _merge(attn_mask, key_padding_mask, extra, batch, num_heads, source)
    dropout_p = dropout_p if training else 0.0
    if need_weights:
        scaled: Any = q * math.sqrt(1.0 / head)
        scores = scaled.bmm(k.transpose(-2, -1))
        attention = (scores if mask is None else scores + mask).softmax(-1)
        if dropout_p > 0.0:
            attention = op.dropout(attention, dropout_p, True)
        result = attention.bmm(v).transpose(0, 1).reshape(length * batch, features)
        shown: Tensor | None = attention.view(batch, num_heads, length, source)
        if average_attn_weights:
            shown = shown.mean(dim=1)  # type: ignore[union-attr]
        if not batched:
            shown = shown.squeeze(0)  # type: ignore[union-attr]
    else:
        if mask is not None:
            mask = mask.unsqueeze(0) if mask.size(0) == 1 else mask.view(batch, num_heads, -1, source)
        q, k, v = (x.view(batch, num_heads, x.shape[1], head) for x in (q, k, v))
        result = op.scaled_dot_product_attention(q, k, v, mask, dropout_p, is_causal)
        result = result.permute(2, 0, 1, 3).reshape(batch * length, features)
        shown = None
    result = op.linear(result, out_proj_weight, out_proj_bias)
    result = result.view(length, batch, result.size(1))
    return (result if batched else result.squeeze(1)), shown


def _check_sizes(query: Tensor, key: Tensor, value: Tensor, embed_dim: int, num_heads: int, separate: bool) -> int:
    """The number of features per head."""
    features = query.shape[-1]
    if features != embed_dim:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim}, but got {features}")
    head = features // num_heads
    if head * num_heads != features:
        raise AssertionError(f"embed_dim {features} not divisible by num_heads {num_heads}")
    if separate and key.shape[:2] != value.shape[:2]:
        raise AssertionError(f"key's sequence and batch dims {key.shape[:2]} do not match value's {value.shape[:2]}")
    if not separate and key.shape != value.shape:
        raise AssertionError(f"key shape {key.shape} does not match value shape {value.shape}")
    return head


def _three_dimensional(mask: Tensor, length: int, source: int, rows: int) -> Tensor:
    if mask.dim() not in (2, 3):
        raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported")
    expected = (length, source) if mask.dim() == 2 else (rows, length, source)
    if mask.shape != expected:
        raise RuntimeError(f"The shape of the {mask.dim()}D attn_mask is {mask.shape}, but should be {expected}.")
    return mask.unsqueeze(0) if mask.dim() == 2 else mask


def _check_static(name: str, static: Tensor, rows: int, head: int) -> Tensor:
    if static.size(0) != rows:
        raise AssertionError(f"expecting {name}.size(0) of {rows}, but got {static.size(0)}")
    if static.size(2) != head:
        raise AssertionError(f"expecting {name}.size(2) of {head}, but got {static.size(2)}")
    return static


def _merge(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, extra: int, batch: int, num_heads: int, source: int
) -> Tensor | None:
    """Both masks in one; the keys that were appended are seen by all."""
    if extra:
        from facula.nn.functional.padding import pad

        attn_mask = None if attn_mask is None else pad(attn_mask, (0, extra))
        key_padding_mask = None if key_padding_mask is None else pad(key_padding_mask, (0, extra))
    if key_padding_mask is None:
        return attn_mask
    _check_key_padding_mask(key_padding_mask, source, batch)
    padding = key_padding_mask.view(batch, 1, 1, source).expand(-1, num_heads, -1, -1)
    padding = padding.reshape(batch * num_heads, 1, source)
    return padding if attn_mask is None else attn_mask + padding
