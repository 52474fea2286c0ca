"""Every function of `nn.functional`: values and gradients of the same inputs, against PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest

import facula.nn.functional as F


def call(name: str, *shapes: Any, **options: Any) -> Any:
    """A program: the function on normal inputs of these shapes (other values as they are), and all gradients."""

    def program(torch: Any) -> Any:
        made = [
            torch.randn(*item).requires_grad_() if isinstance(item, tuple) else item(torch) if callable(item) else item
            for item in shapes
        ]
        given = {key: value(torch) if callable(value) else value for key, value in options.items()}
        result = getattr(torch.nn.functional, name)(*made, **given)
        outputs = [part for part in (result if isinstance(result, tuple) else (result,)) if part is not None]
        total = sum((part * part.detach().cos()).sum() for part in outputs if part.is_floating_point())
        leaves = [item for item in (*made, *given.values()) if getattr(item, "requires_grad", False)]
        if leaves and getattr(total, "requires_grad", False):
            total.backward()
        return [*outputs, *(leaf.grad for leaf in leaves)]

    program.name = name  # type: ignore[attr-defined]
    return program


def ints(high: int, *shape: int) -> Any:
    return lambda torch: torch.randint(0, high, shape)


def signs(*shape: int) -> Any:
    return lambda torch: torch.randint(0, 2, shape).float() * 2 - 1


def probabilities(*shape: int) -> Any:
    return lambda torch: torch.rand(*shape).mul(0.9).add(0.05).requires_grad_()


def log_probabilities(*shape: int) -> Any:
    return lambda torch: torch.randn(*shape).log_softmax(-1).detach().requires_grad_()


def places(trained: bool) -> Any:
    return lambda torch: (torch.rand(2, 3, 3, 2) * 2.6 - 1.3).requires_grad_(trained)


def values(*numbers: Any, **options: Any) -> Any:
    return lambda torch: torch.tensor(numbers, **options)


ACTIVATIONS = [
    *(
        call(n, (3, 4))
        for n in ("relu", "relu6", "hardsigmoid", "hardswish", "elu", "selu", "celu", "leaky_relu", "silu", "mish")
    ),
    *(
        call(n, (3, 4))
        for n in ("softsign", "tanhshrink", "sigmoid", "tanh", "glu", "gelu", "logsigmoid", "softplus", "hardshrink")
    ),
    *(call(n, (3, 4)) for n in ("softshrink", "hardtanh", "rrelu")),
    call("elu", (5,), alpha=0.5),
    call("celu", (5,), 0.5),
    call("leaky_relu", (5,), 0.3),
    call("threshold", (5,), 0.1, 20.0),
    call("hardtanh", (5,), -0.5, 0.2),
    call("hardtanh", (5,), 1.0, 0.2),
    call("gelu", (5,), approximate="tanh"),
    call("softplus", (5,), beta=2, threshold=1),
    call("prelu", (2, 3, 4), (3,)),
    call("prelu", (2, 3), (1,)),
    call("rrelu", (20,), training=True),
    call("glu", (4, 3), dim=0),
    call("glu", (3, 3)),
    call("glu", values(1.0)),
    call("softmax", (3, 4), dim=1),
    call("softmax", (3, 4)),
    call("softmax", (3, 4), dim=0, dtype=lambda torch: torch.float64),
    call("log_softmax", (3, 4), dim=-1),
    call("softmin", (3, 4), dim=-1),
    call("gumbel_softmax", (3, 4)),
    call("gumbel_softmax", (3, 4), tau=0.5, hard=True),
    call("normalize", (3, 4)),
    call("normalize", (3, 4), p=1.0, dim=0),
]

LOSSES = [
    *(
        call(n, (3, 4), (3, 4), reduction=r)
        for n in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
        for r in ("mean", "sum", "none")
    ),
    call("mse_loss", (3, 4), (3, 4), weight=probabilities(3, 4)),
    call("l1_loss", (3, 4), (3, 4), weight=probabilities(3, 4), reduction="sum"),
    call("huber_loss", (3, 4), (3, 4), weight=probabilities(3, 4), delta=0.3),
    call("mse_loss", (3, 4), (3, 4), reduction="other"),
    call("mse_loss", (3, 4), (3, 4), size_average=False),
    call("smooth_l1_loss", (6,), (6,), beta=0.2),
    call("smooth_l1_loss", (6,), (6,), beta=0.0),
    call("smooth_l1_loss", (6,), (6,), beta=-1.0),
    call("huber_loss", (6,), (6,), delta=-1.0),
    *(call("cross_entropy", (4, 5), ints(5, 4), reduction=r) for r in ("mean", "sum", "none")),
    call("cross_entropy", (4, 5), ints(5, 4), weight=lambda torch: torch.rand(5)),
    call("cross_entropy", (4, 5), ints(5, 4), label_smoothing=0.1),
    call("cross_entropy", (4, 5), ints(5, 4), weight=lambda torch: torch.rand(5), label_smoothing=0.1, ignore_index=2),
    call("cross_entropy", (4, 5), ints(5, 4), ignore_index=2),
    call("cross_entropy", (4, 5), lambda torch: torch.randn(4, 5).softmax(1)),
    call("cross_entropy", (4, 5), lambda torch: torch.randn(4, 5).softmax(1), label_smoothing=0.2),
    call("cross_entropy", (2, 5, 3, 3), ints(5, 2, 3, 3)),
    call("cross_entropy", (5,), lambda torch: torch.tensor(2)),
    *(call("nll_loss", log_probabilities(4, 5), ints(5, 4), reduction=r) for r in ("mean", "sum", "none")),
    call("nll_loss", log_probabilities(4, 5), ints(5, 4), ignore_index=1, weight=lambda torch: torch.rand(5)),
    call("nll_loss", (2, 5, 3, 3), ints(5, 2, 3, 3)),
    *(
        call("binary_cross_entropy", probabilities(3, 4), lambda torch: torch.rand(3, 4), reduction=r)
        for r in ("mean", "sum", "none")
    ),
    call("binary_cross_entropy", probabilities(3), lambda torch: torch.rand(3), weight=lambda torch: torch.rand(3)),
    call("binary_cross_entropy", probabilities(3), lambda torch: torch.rand(4)),
    call("binary_cross_entropy_with_logits", (3, 4), lambda torch: torch.rand(3, 4)),
    call(
        "binary_cross_entropy_with_logits",
        (3, 4),
        lambda torch: torch.rand(3, 4),
        pos_weight=lambda torch: torch.rand(4),
    ),
    call(
        "binary_cross_entropy_with_logits",
        (3, 4),
        lambda torch: torch.rand(3, 4),
        weight=lambda torch: torch.rand(4),
        reduction="sum",
    ),
    call("binary_cross_entropy_with_logits", values(100.0, -100.0), values(0.0, 1.0)),
    call("binary_cross_entropy_with_logits", (3,), lambda torch: torch.rand(4)),
    *(
        call("kl_div", log_probabilities(3, 4), lambda torch: torch.rand(3, 4), reduction=r)
        for r in ("mean", "sum", "none", "batchmean")
    ),
    call("kl_div", log_probabilities(3, 4), log_probabilities(3, 4), log_target=True, reduction="sum"),
    call("kl_div", log_probabilities(2), values(0.0, 1.0), reduction="sum"),
    call("poisson_nll_loss", (3, 4), ints(5, 3, 4)),
    call(
        "poisson_nll_loss",
        probabilities(3, 4),
        lambda torch: torch.randint(0, 5, (3, 4)).float(),
        log_input=False,
        full=True,
    ),
    call("gaussian_nll_loss", (3, 4), (3, 4), probabilities(3, 4)),
    call("gaussian_nll_loss", (3, 4), (3, 4), probabilities(3), full=True, reduction="none"),
    call("gaussian_nll_loss", (3, 4), (3, 4), 0.5),
    call("gaussian_nll_loss", (3, 4), (3, 4), probabilities(4)),
    call("gaussian_nll_loss", (3, 4), (3, 4), (3, 4)),
    call("hinge_embedding_loss", (3, 4), signs(3, 4)),
    call("soft_margin_loss", (3, 4), signs(3, 4)),
    call("margin_ranking_loss", (3,), (3,), signs(3), margin=0.3),
    call("margin_ranking_loss", (3,), (3, 1), signs(3)),
    call("cosine_embedding_loss", (3, 4), (3, 4), signs(3), margin=0.1),
    call("cosine_embedding_loss", (4,), (4,), lambda torch: torch.tensor(1.0)),
    call("triplet_margin_loss", (3, 4), (3, 4), (3, 4)),
    call("triplet_margin_loss", (3, 4), (3, 4), (3, 4), swap=True, p=1, reduction="none"),
    call("triplet_margin_loss", (3, 4), (3, 4), (3, 4), margin=-1.0),
    call("triplet_margin_with_distance_loss", (3, 4), (3, 4), (3, 4)),
    call("multi_margin_loss", (3, 4), ints(4, 3)),
    call("multi_margin_loss", (3, 4), ints(4, 3), p=2, margin=0.5, weight=lambda torch: torch.rand(4)),
    call("multi_margin_loss", (4,), lambda torch: torch.tensor(2)),
    call("multi_margin_loss", (3, 4), ints(4, 3), p=3),
    call("multilabel_margin_loss", (2, 4), values([3, 0, -1, 1], [1, -1, 0, 0])),
    call("multilabel_margin_loss", (4,), values(3, 0, -1, 1), reduction="sum"),
    call("multilabel_soft_margin_loss", (3, 4), lambda torch: torch.rand(3, 4), weight=lambda torch: torch.rand(4)),
    call("linear_cross_entropy", (3, 4), (5, 4), ints(5, 3), linear_bias=lambda torch: torch.rand(5), ignore_index=1),
    call("linear_cross_entropy", (3, 4), (5, 2, 4), ints(5, 3, 2), label_smoothing=0.1),
    call("linear_cross_entropy", (4,), (5, 2, 4), ints(5, 2)),
    call("linear_cross_entropy", (3, 4), (5, 3), ints(5, 3)),
    call("pairwise_distance", (3, 4), (3, 4)),
    call("pairwise_distance", (3, 4), (3, 4), p=1.0, keepdim=True),
    call("cosine_similarity", (3, 4), (3, 4)),
    call("cosine_similarity", (3, 4), (1, 4), dim=-1),
]

NORMALISATIONS = [
    call("batch_norm", (4, 3, 5), None, None, (3,), (3,), training=True),
    call("batch_norm", (4, 3), lambda torch: torch.randn(3), lambda torch: torch.rand(3), training=False),
    call("batch_norm", (1, 3), None, None, training=True),
    call("batch_norm", (4, 3), None, None, training=True, eps=-1.0),
    call("layer_norm", (4, 3, 5), [5], (5,), (5,)),
    call("layer_norm", (4, 3, 5), [3, 5]),
    call("group_norm", (2, 6, 4), 3, (6,), (6,)),
    call("group_norm", (6,), 3),
    call("rms_norm", (4, 5), [5], (5,)),
    call("instance_norm", (2, 3, 4)),
    call("instance_norm", (2, 3, 4, 4), weight=lambda torch: torch.rand(3), bias=lambda torch: torch.rand(3)),
    call("instance_norm", (2, 3, 1)),
    call("instance_norm", (2, 3, 4), lambda torch: torch.zeros(3), lambda torch: torch.ones(3), use_input_stats=False),
    call("local_response_norm", (2, 5, 3, 3), 3),
    call("local_response_norm", (2, 5), 3),
]

SHAPES = [
    call("linear", (2, 3), (4, 3), (4,)),
    call("linear", (2, 5, 3), (4, 3)),
    call("bilinear", (2, 3), (2, 4), (5, 3, 4), (5,)),
    call("bilinear", (2, 3), (2, 4), (5, 3, 3)),
    call("pdist", (4, 3)),
    call("conv1d", (2, 3, 8), (4, 3, 3), (4,), stride=2, padding=1),
    call("conv2d", (2, 4, 7, 7), (6, 2, 3, 3), (6,), padding=1, groups=2, dilation=2),
    call("conv2d", (2, 3, 7, 7), (6, 3, 3, 3), padding="same"),
    call("conv3d", (1, 2, 5, 5, 5), (3, 2, 3, 3, 3), (3,)),
    call("conv_transpose1d", (2, 3, 5), (3, 4, 3), (4,), stride=2),
    call("conv_transpose2d", (2, 3, 5, 5), (3, 4, 3, 3), (4,), stride=2, padding=1, output_padding=1),
    call("max_pool1d", (2, 3, 9), 3),
    call("max_pool2d", (2, 3, 8, 8), 2),
    call("max_pool2d", (2, 3, 8, 8), 3, stride=2, padding=1, return_indices=True),
    call("max_pool2d", (3, 8, 8), 3, ceil_mode=True),
    call("avg_pool1d", (2, 3, 9), 3),
    call("avg_pool2d", (2, 3, 8, 8), 3, 2, 1, count_include_pad=False),
    call("adaptive_avg_pool1d", (2, 3, 9), 4),
    call("adaptive_avg_pool2d", (2, 3, 7, 5), [3, None]),
    call("adaptive_max_pool1d", (2, 3, 9), 4),
    call("adaptive_max_pool2d", (2, 3, 7, 5), [3, 2], return_indices=True),
    call("lp_pool1d", (2, 3, 9), 2.0, 3),
    call("lp_pool2d", (2, 3, 8, 8), 2.0, 2),
    call("fractional_max_pool2d", (2, 3, 8, 9), 2, output_size=5, return_indices=True),
    call("fractional_max_pool2d", (3, 8, 9), 3, output_ratio=[0.5, 0.5]),
    call("fractional_max_pool3d", (2, 3, 7, 8, 9), 2, output_size=[3, 4, 1], return_indices=True),
    call("fractional_max_pool2d", (2, 3, 8, 9), 2),
    call("embedding", ints(5, 2, 3), (5, 4)),
    call("embedding", ints(5, 2, 3), (5, 4), padding_idx=1),
    call("embedding", ints(5, 2, 3), (5, 4), padding_idx=7),
    call("embedding_bag", ints(5, 2, 3), (5, 4), mode="sum"),
    call("embedding_bag", ints(5, 2, 3), (5, 4), padding_idx=1),
    call("embedding_bag", ints(5, 6), (5, 4), values(0, 2, 2), mode="mean"),
    call("embedding_bag", ints(5, 6), (5, 4), values(0, 2, 4, 6), mode="max", include_last_offset=True),
    call(
        "embedding_bag",
        ints(5, 2, 3),
        (5, 4),
        mode="sum",
        per_sample_weights=(lambda torch: torch.rand(2, 3).requires_grad_()),
    ),
    call("embedding_bag", ints(5, 2, 3), (5, 4), mode="other"),
    call("embedding_bag", ints(5, 2), (5, 4), mode="sum", offsets=values(0)),
    call("one_hot", ints(4, 2, 3), 5),
    call("one_hot", ints(4, 2, 3)),
    call("one_hot", values(-1)),
    call("one_hot", values(3), 2),
    call("one_hot", values(3.0)),
    call("pad", (2, 3), [1, 2], value=3.0),
    call("pad", (2, 3, 4), [1, -1, 0, 2]),
    call("pad", (2, 3, 4), [1, 2], mode="reflect"),
    call("pad", (1, 2, 4, 4), [1, 2, 3, 0], mode="reflect"),
    call("pad", (1, 2, 4, 4), [1, 2, 3, 0], mode="replicate"),
    call("pad", (1, 2, 4, 4), [1, 2, 3, 0], mode="circular"),
    call("pad", (2, 3), [1, 2, 3]),
    call("pad", (2,), [1, 2, 3, 4]),
    call("pixel_shuffle", (2, 8, 3, 3), 2),
    call("pixel_shuffle", (2, 7, 3, 3), 2),
    call("pixel_unshuffle", (2, 2, 6, 6), 2),
    call("channel_shuffle", (1, 6, 2, 2), 3),
    call("unfold", (2, 3, 5, 6), [2, 3]),
    call("unfold", (2, 3, 5, 6), 3, dilation=2, padding=1, stride=2),
    call("fold", (2, 12, 20), [5, 6], 2),
    call("fold", (2, 12, 9), [5, 5], 2, padding=1, stride=2),
    call("fold", (2, 12, 19), [5, 6], 2),
    call("affine_grid", (2, 2, 3), [2, 1, 3, 4], align_corners=False),
    call("affine_grid", (2, 2, 3), [2, 1, 3, 4], align_corners=True),
    *(
        call("grid_sample", (2, 3, 5, 4), places(m != "nearest"), mode=m, padding_mode=p, align_corners=c)
        for m in ("bilinear", "nearest", "bicubic")
        for p in ("zeros", "border", "reflection")
        for c in (False, True)
    ),
    call("grid_sample", (1, 2, 3, 4, 5), lambda torch: torch.rand(1, 2, 2, 2, 3) * 2 - 1, align_corners=False),
    call("interpolate", (1, 2, 4), scale_factor=2),
    call("interpolate", (1, 2, 4, 5), size=(7, 3)),
    call("interpolate", (1, 2, 4, 5), scale_factor=1.7),
    call("interpolate", (1, 2, 4, 5), size=(7, 3), mode="nearest-exact"),
    *(
        call("interpolate", (1, 2, 4, 5), size=(7, 3), mode=m, align_corners=c)
        for m in ("bilinear", "bicubic")
        for c in (False, True)
    ),
    call("interpolate", (1, 2, 4, 5), scale_factor=(1.5, 0.6), mode="bilinear"),
    call("interpolate", (1, 2, 4, 5), scale_factor=(1.5, 0.6), mode="bilinear", recompute_scale_factor=True),
    call("interpolate", (1, 2, 4), size=7, mode="linear"),
    call("interpolate", (1, 2, 2, 3, 4), size=(3, 4, 5), mode="trilinear"),
    call("interpolate", (1, 2, 4, 5), size=(2, 3), mode="area"),
    call("interpolate", (1, 2, 4, 5)),
    call("interpolate", (1, 2, 4, 5), size=3, scale_factor=2),
    call("interpolate", (1, 2, 4, 5), size=(3, 4, 5)),
    call("interpolate", (1, 2, 4, 5), size=3, align_corners=True),
    call("dropout", (6,), 0.5, False),
    call("dropout", (50,)),
    call("dropout", (5,), 1.5),
    call("dropout1d", (3, 4, 2), 0.5),
    call("dropout1d", (3, 4), 0.5),
    call("dropout1d", (3,), 0.5),
    call("dropout2d", (3, 4, 2, 2), 0.5),
    call("dropout3d", (3, 4, 2, 2, 2), 0.5),
    call("alpha_dropout", (50,), 0.3, True),
    call("feature_alpha_dropout", (3, 4, 2), 0.5, True),
    call("scaled_dot_product_attention", (2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 5)),
    call("scaled_dot_product_attention", (2, 4, 5), (2, 4, 5), (2, 4, 5), is_causal=True),
]


@pytest.mark.parametrize("program", [*ACTIVATIONS, *LOSSES, *NORMALISATIONS, *SHAPES], ids=lambda program: program.name)
def test_agrees_with_torch(agree_closely: Any, program: Any) -> None:
    agree_closely(program)


def test_every_public_name_is_a_function() -> None:
    for name in F.__all__:
        if name not in ("conv_tbc",):
            assert callable(getattr(F, name)), name


def test_unpool_puts_maxima_back(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        F = torch.nn.functional
        values, indices = F.max_pool2d(torch.randn(1, 2, 6, 6), 2, return_indices=True)
        return F.max_unpool2d(values, indices, 2), F.max_unpool2d(values, indices, 2, output_size=(1, 2, 7, 7))

    agree_closely(program)


def test_batch_norm_updates_running_statistics(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        mean, var = torch.zeros(3), torch.ones(3)
        out = torch.nn.functional.batch_norm(torch.randn(4, 3, 2), mean, var, training=True, momentum=0.3)
        return out, mean, var

    agree_closely(program)


def test_instance_norm_updates_running_statistics(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        mean, var = torch.zeros(3), torch.ones(3)
        out = torch.nn.functional.instance_norm(torch.randn(4, 3, 5), mean, var, momentum=0.3)
        return out, mean, var

    agree_closely(program)


def test_embedding_renormalises_rows(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        weight = torch.randn(5, 4) * 3
        return torch.nn.functional.embedding(torch.tensor([1, 3]), weight, max_norm=1.0), weight

    agree_closely(program)


def ctc(steps: int, labels: Any, times: Any, sizes: Any, samples: int = 0, **options: Any) -> Any:
    """A program: the loss of a softmax over five classes, and the gradient before the softmax."""

    def program(torch: Any) -> Any:
        logits = torch.randn(*((steps, samples, 5) if samples else (steps, 5))).requires_grad_()
        lengths = torch.tensor(times), torch.tensor(sizes)
        loss = torch.nn.functional.ctc_loss(logits.log_softmax(-1), torch.tensor(labels), *lengths, **options)
        loss.sum().backward()
        return loss, logits.grad

    return program


CTC = [
    ctc(6, [[1, 2, 2], [3, 1, 0]], [6, 5], [3, 2], samples=2),
    ctc(6, [1, 2, 2, 3, 1], [6, 5], [3, 2], samples=2, reduction="none"),
    ctc(6, [1, 1, 2], [6], [3], reduction="sum"),
    ctc(6, [0, 1], [6], [2], blank=4),
    ctc(3, [[1, 1, 1]], [3], [3], samples=1, zero_infinity=True),
    ctc(3, [[1]], [9], [1], samples=1),
    ctc(3, [[1]], [3], [1], samples=1, blank=7),
]


@pytest.mark.parametrize("program", CTC)
def test_ctc_agrees_with_torch(agree_closely: Any, program: Any) -> None:
    agree_closely(program)
