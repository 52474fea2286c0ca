"""`nn.functional`: everything a layer computes, as functions without state.

A name is looked up at its first use: functions composed here live in the files of this package, one per family; the
others are operators
and are taken from the registry.

In: names. Out: functions. It must never know about modules.
"""

from __future__ import annotations

from typing import Any

_FAMILIES = {
    "activation": (
        "_get_softmax_dim celu elu glu gumbel_softmax hardshrink hardsigmoid hardswish hardtanh leaky_relu "
        "log_softmax mish relu "
        "relu6 rrelu selu "
        "sigmoid silu softmax softmin softplus softshrink tanh threshold"
    ),
    "attention": (
        "_canonical_mask _check_key_padding_mask _in_projection _in_projection_packed _mha_shape_check _none_or_dtype "
        "multi_head_attention_forward"
    ),
    "dropouts": "alpha_dropout dropout dropout1d dropout2d dropout3d feature_alpha_dropout",
    "products": "bilinear pdist",
    "linear_loss": "linear_cross_entropy",
    "loss": (
        "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cosine_similarity cross_entropy "
        "ctc_loss "
        "gaussian_nll_loss hinge_embedding_loss huber_loss kl_div l1_loss margin_ranking_loss mse_loss "
        "multi_margin_loss "
        "multilabel_margin_loss multilabel_soft_margin_loss nll_loss pairwise_distance poisson_nll_loss "
        "smooth_l1_loss soft_margin_loss "
        "triplet_margin_loss triplet_margin_with_distance_loss"
    ),
    "normalization": (
        "_verify_batch_size _verify_spatial_size batch_norm group_norm instance_norm layer_norm local_response_norm "
        "normalize rms_norm"
    ),
    "padding": "pad",
    "pooling": (
        "_unpool_output_size adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d "
        "adaptive_max_pool1d_with_indices adaptive_max_pool2d adaptive_max_pool2d_with_indices adaptive_max_pool3d "
        "adaptive_max_pool3d_with_indices fractional_max_pool2d fractional_max_pool2d_with_indices "
        "fractional_max_pool3d "
        "fractional_max_pool3d_with_indices lp_pool1d lp_pool2d lp_pool3d max_pool1d max_pool1d_with_indices "
        "max_pool2d "
        "max_pool2d_with_indices max_pool3d max_pool3d_with_indices max_unpool1d max_unpool2d max_unpool3d"
    ),
    "sparse": "_no_grad_embedding_renorm_ embedding embedding_bag one_hot",
    "vision": (
        "affine_grid channel_shuffle fold grid_sample interpolate pixel_shuffle pixel_unshuffle unfold upsample "
        "upsample_bilinear "
        "upsample_nearest"
    ),
}
_HOMES = {name: family for family, names in _FAMILIES.items() for name in names.split()}

_OPERATOR_NAMES = (
    "avg_pool1d avg_pool2d avg_pool3d celu_ conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d "
    "conv_transpose3d elu_ gelu hardtanh_ leaky_relu_ linear logsigmoid prelu relu_ rrelu_ "
    "scaled_dot_product_attention selu_ softsign tanhshrink threshold_"
)
_OPERATORS = frozenset(_OPERATOR_NAMES.split())

__all__ = sorted(name for name in (*_HOMES, *_OPERATORS) if not name.startswith("_"))


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"facula.nn.functional.{_HOMES[name]}"), name)
    elif name in _OPERATORS:
        from facula.nn.functional import _operators as operators

        value = getattr(operators, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
