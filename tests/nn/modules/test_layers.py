"""Every layer against PyTorch's: representation, parameters of a seed, output and gradients."""

from __future__ import annotations

from typing import Any

import pytest

from facula import nn

CONSTRUCTED = """
nn.Linear(3, 4) | nn.Linear(3, 4, bias=False) | nn.Linear(3, 4, dtype=torch.float64) | nn.Bilinear(2, 3, 4) |
nn.Bilinear(0, 3, 4)
nn.Identity(3, a=2) | nn.Flatten() | nn.Unflatten(1, (2, 5)) | nn.Unflatten(1, 3) | nn.Unflatten(1.5, (2,)) |
nn.Unflatten("a", (2,))
nn.Conv1d(4, 6, 3, padding=1) | nn.Conv2d(4, 6, 3, stride=2, padding=(1, 2), dilation=2, groups=2, bias=False)
nn.Conv2d(4, 6, (3, 5), padding="same", padding_mode="reflect") | nn.Conv3d(4, 6, 3) | nn.ConvTranspose1d(4, 6, 3)
nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1) | nn.ConvTranspose3d(4, 6, 3) | nn.Conv2d(4, 6, 3, groups=3)
nn.Conv2d(4, 6, 3, groups=0) | nn.Conv2d(4, 6, 3, padding="same", stride=2) | nn.ConvTranspose2d(4, 6, 3,
padding_mode="reflect")
nn.MaxPool1d(2) | nn.MaxPool2d(2, stride=1, padding=1) | nn.MaxPool3d((1, 2, 3)) | nn.AvgPool1d(2) | nn.AvgPool2d(2) |
nn.AvgPool3d(2)
nn.LPPool1d(2, 3) | nn.LPPool2d(2, 3) | nn.LPPool3d(2, 3) | nn.AdaptiveAvgPool2d((None, 3)) | nn.AdaptiveMaxPool1d(3) |
nn.MaxUnpool2d(2)
nn.FractionalMaxPool2d(3, output_size=(13, 12)) | nn.FractionalMaxPool2d(3) | nn.FractionalMaxPool2d(3,
output_ratio=2.0)
nn.ReLU(True) | nn.ReLU6() | nn.Threshold(0.1, 20) | nn.RReLU() | nn.Hardtanh(-2, 2) | nn.Hardtanh(2, -2) |
nn.Sigmoid() | nn.Tanh() | nn.ELU()
nn.CELU(inplace=True) | nn.SELU() | nn.GLU() | nn.GELU() | nn.GELU("tanh") | nn.Hardshrink() | nn.Softshrink(0.3) |
nn.LeakyReLU(0.2, True)
nn.LogSigmoid() | nn.Softplus() | nn.PReLU(3) | nn.Softsign() | nn.Tanhshrink() | nn.Softmin(1) | nn.Softmax() |
nn.LogSoftmax(dim=-1)
nn.Softmax2d() | nn.Mish() | nn.SiLU() | nn.Hardswish() | nn.Hardsigmoid() | nn.Dropout(0.3) | nn.Dropout2d(2) |
nn.AlphaDropout()
nn.BatchNorm1d(3) | nn.BatchNorm2d(3, affine=False) | nn.BatchNorm2d(3, track_running_stats=False, momentum=None)
nn.BatchNorm2d(3, bias=False) | nn.InstanceNorm2d(3) | nn.InstanceNorm1d(3, affine=True, track_running_stats=True) |
nn.SyncBatchNorm(3)
nn.LayerNorm(3) | nn.LayerNorm((3, 4), elementwise_affine=False) | nn.LayerNorm([3, 4], bias=False) | nn.GroupNorm(2,
4) | nn.GroupNorm(3, 4)
nn.RMSNorm(3) | nn.LocalResponseNorm(2) | nn.CrossMapLRN2d(2) | nn.Embedding(10, 3) | nn.Embedding(10, 3,
padding_idx=-1, max_norm=1.0)
nn.Embedding(10, 3, padding_idx=10) | nn.Embedding(10, 3, padding_idx=0) | nn.Embedding.from_pretrained(torch.ones(3,
4))
nn.EmbeddingBag(10, 3, mode="sum", padding_idx=2) | nn.L1Loss() | nn.NLLLoss(weight=torch.ones(3)) | nn.KLDivLoss() |
nn.HuberLoss()
nn.CrossEntropyLoss(weight=torch.ones(3), label_smoothing=0.1) | nn.BCEWithLogitsLoss(pos_weight=torch.ones(2)) |
nn.CTCLoss()
nn.TripletMarginLoss(margin=-1) | nn.MultiMarginLoss(p=3) | nn.HuberLoss(delta="a") | nn.ZeroPad2d(2) |
nn.ZeroPad1d((1, 2)) | nn.ZeroPad3d(1)
nn.ConstantPad3d(2, 3.5) | nn.ReflectionPad2d((1, 2, 3, 4)) | nn.CircularPad3d(1) | nn.ReplicationPad1d(2) |
nn.Upsample(scale_factor=2)
nn.Upsample(size=(2, 3), mode="bilinear") | nn.UpsamplingBilinear2d(scale_factor=3) | nn.UpsamplingNearest2d(3) |
nn.PixelShuffle(2)
nn.PixelUnshuffle(2) | nn.ChannelShuffle(2) | nn.Fold((4, 5), 2) | nn.Unfold(3, padding=1) | nn.PairwiseDistance() |
nn.CosineSimilarity()
nn.LinearCrossEntropyLoss(3, 4, out_features=(2,), bias=True) | nn.LinearCrossEntropyLoss(3, 4, label_smoothing=2.0)
nn.LazyLinear(3) | nn.LazyConv2d(3, 2) | nn.LazyConvTranspose1d(3, 2) | nn.LazyBatchNorm2d() |
nn.LazyInstanceNorm1d(affine=False)
nn.RNN(3, 4, 2, nonlinearity="relu") | nn.LSTM(3, 4, bidirectional=True, batch_first=True) | nn.GRU(3, 4, num_layers=2,
dropout=0.2, bias=False)
nn.LSTM(3, 4, proj_size=2) | nn.RNN(3, 4, nonlinearity="x") | nn.GRU(3, 4, proj_size=2) | nn.LSTM(0, 4) | nn.LSTM(3,
4.5) | nn.LSTM(3, 4, proj_size=5)
nn.LSTM(3, 4, bias=3) | nn.LSTM(3, 4, dropout=2) | nn.RNNCell(3, 4, nonlinearity="relu") | nn.LSTMCell(3, 4,
bias=False) | nn.GRUCell(3, 4)
nn.MultiheadAttention(8, 2) | nn.MultiheadAttention(8, 2, kdim=3, vdim=5, add_bias_kv=True, bias=False) |
nn.MultiheadAttention(8, 3)
nn.MultiheadAttention(0, 1) | nn.TransformerEncoderLayer(8, 2, 16) | nn.TransformerDecoderLayer(8, 2, 16,
activation="gelu", norm_first=True)
nn.TransformerEncoderLayer(8, 2, 16, activation="x") | nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2,
nn.LayerNorm(8))
nn.Transformer(8, 2, 1, 1, 16) | nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]) | nn.AdaptiveLogSoftmaxWithLoss(8, 20,
[10, 5])
""".replace("\n", " | ")


@pytest.mark.parametrize("text", [text.strip() for text in CONSTRUCTED.split("|") if text.strip()])
def test_representation_and_parameters_agree_with_torch(agree_closely: Any, agree: Any, text: str) -> None:
    agree(lambda torch: eval(text, {"torch": torch, "nn": torch.nn}))

    def parameters(torch: Any) -> Any:
        module = eval(text, {"torch": torch, "nn": torch.nn})
        lazy = torch.nn.parameter.is_lazy
        return [(name, None if lazy(value) else value) for name, value in module.state_dict().items()]

    agree_closely(parameters, tolerance=1e-6)


def layer(text: str, *shapes: Any) -> Any:
    """A program: the layer called on normal inputs of these shapes, with its output and all gradients."""

    def program(torch: Any) -> Any:
        module = eval(text, {"torch": torch, "nn": torch.nn})
        inputs = [
            torch.randn(*shape).requires_grad_() if isinstance(shape, tuple) else shape(torch) for shape in shapes
        ]
        outputs = module(*inputs)
        flat = _flat(outputs)
        sum((part * part.detach().cos()).sum() for part in flat).backward()
        leaves = [item for item in (*inputs, *module.parameters()) if item.requires_grad]
        return [flat, [leaf.grad for leaf in leaves], list(module.buffers())]

    program.name = text  # type: ignore[attr-defined]
    return program


def _flat(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for part in value for leaf in _flat(part)]
    return [] if value is None else [value]


CALLED = [
    layer("nn.Linear(3, 4)", (2, 3)),
    layer("nn.Bilinear(2, 3, 4)", (5, 2), (5, 3)),
    layer(
        "nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5))", (2, 1, 8, 8)
    ),
    layer("nn.Conv2d(2, 3, 3, padding=1, padding_mode='circular')", (1, 2, 5, 5)),
    layer("nn.Conv1d(2, 3, 3, padding=2, padding_mode='reflect')", (1, 2, 5)),
    layer("nn.ConvTranspose2d(2, 3, 3, stride=2)", (1, 2, 4, 4)),
    layer("nn.BatchNorm1d(3)", (4, 3)),
    layer("nn.BatchNorm2d(3, momentum=None)", (4, 3, 2, 2)),
    layer("nn.BatchNorm2d(3, track_running_stats=False).eval()", (4, 3, 2, 2)),
    layer("nn.BatchNorm2d(3).eval()", (4, 3, 2, 2)),
    layer("nn.InstanceNorm1d(3, affine=True)", (3, 5)),
    layer("nn.LayerNorm(5)", (4, 5)),
    layer("nn.GroupNorm(2, 4)", (2, 4, 3)),
    layer("nn.RMSNorm(5)", (4, 5)),
    layer("nn.Embedding(7, 3)", lambda torch: torch.randint(0, 7, (2, 4))),
    layer("nn.PReLU(3)", (2, 3, 2)),
    layer("nn.Dropout(0.4)", (20,)),
    layer("nn.Softmax2d()", (3, 2, 2)),
    layer("nn.ZeroPad2d(1)", (1, 2, 3, 3)),
    layer("nn.CircularPad1d(1)", (1, 2, 3)),
    layer("nn.PixelShuffle(2)", (1, 4, 2, 2)),
    layer("nn.Upsample(scale_factor=2, mode='bilinear')", (1, 2, 3, 3)),
    layer("nn.CrossEntropyLoss()", (3, 5), lambda torch: torch.randint(0, 5, (3,))),
    layer("nn.MSELoss()", (3, 5), lambda torch: torch.rand(3, 5)),
    layer("nn.BCEWithLogitsLoss()", (3, 5), lambda torch: torch.rand(3, 5)),
    layer(
        "nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10], div_value=2.0)", (3, 8), lambda torch: torch.tensor([1, 7, 19])
    ),
    layer("nn.LazyConv2d(3, 2)", (1, 2, 4, 4)),
    layer("nn.LazyBatchNorm1d()", (4, 3)),
    layer("nn.RNN(3, 4, 2)", (5, 2, 3)),
    layer("nn.RNN(3, 4, nonlinearity='relu', bias=False)", (5, 3)),
    layer("nn.LSTM(3, 4, 2, bidirectional=True)", (5, 2, 3)),
    layer("nn.LSTM(3, 4, batch_first=True, proj_size=2)", (2, 5, 3)),
    layer("nn.LSTM(3, 4, 2, dropout=0.5)", (5, 2, 3)),
    layer("nn.GRU(3, 4, 2, bidirectional=True, batch_first=True)", (2, 5, 3)),
    layer("nn.RNNCell(3, 4)", (2, 3)),
    layer("nn.LSTMCell(3, 4)", (2, 3)),
    layer("nn.GRUCell(3, 4)", (3,)),
    layer("nn.GRU(3, 4)", (5, 2, 3), (1, 2, 4)),
    layer("nn.GRU(3, 4)", (5, 2, 3), (1, 2, 5)),
    layer("nn.GRU(3, 4)", (5, 2, 6)),
    layer("nn.LSTM(3, 4)", (5, 2, 3, 1)),
    layer("nn.LSTMCell(3, 4)", (2, 5)),
    layer("nn.MultiheadAttention(8, 2)", (4, 3, 8), (5, 3, 8), (5, 3, 8)),
    layer("nn.MultiheadAttention(8, 2, batch_first=True, add_zero_attn=True)", (3, 4, 8), (3, 5, 8), (3, 5, 8)),
    layer("nn.MultiheadAttention(8, 2, kdim=3, vdim=5, add_bias_kv=True)", (4, 3, 8), (5, 3, 3), (5, 3, 5)),
    layer("nn.MultiheadAttention(8, 2)", (4, 8), (5, 8), (5, 8)),
    layer("nn.MultiheadAttention(8, 2)", (4, 3, 7), (5, 3, 8), (5, 3, 8)),
    layer("nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)", (5, 3, 8)),
    layer("nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, activation='gelu', dropout=0.0)", (5, 8)),
    layer("nn.TransformerDecoderLayer(8, 2, 16, batch_first=True, dropout=0.0)", (3, 5, 8), (3, 4, 8)),
    layer("nn.Transformer(8, 2, 1, 1, 16, dropout=0.0)", (5, 3, 8), (4, 3, 8)),
]


@pytest.mark.parametrize("program", CALLED, ids=lambda program: program.name)
def test_output_and_gradients_agree_with_torch(agree_closely: Any, program: Any) -> None:
    agree_closely(program, tolerance=5e-5)


MASKS = [
    {"need_weights": True, "attn_mask": lambda torch: torch.ones(4, 5).triu(1).bool()},
    {"need_weights": False, "attn_mask": lambda torch: torch.randn(4, 5)},
    {"need_weights": False, "attn_mask": lambda torch: torch.randn(6, 4, 5)},
    {"need_weights": True, "key_padding_mask": lambda torch: torch.tensor([[False] * 4 + [True]] * 3)},
    {"need_weights": False, "key_padding_mask": lambda torch: torch.tensor([[False] * 3 + [True] * 2] * 3)},
    {"average_attn_weights": False},
    {"is_causal": True},
    {"attn_mask": lambda torch: torch.ones(4, 4)},
]


@pytest.mark.parametrize("options", MASKS)
def test_attention_masks_agree_with_torch(agree_closely: Any, options: dict[str, Any]) -> None:
    def program(torch: Any) -> Any:
        attention = torch.nn.MultiheadAttention(8, 2)
        made = {key: value(torch) if callable(value) else value for key, value in options.items()}
        return attention(torch.randn(4, 3, 8), *[torch.randn(5, 3, 8)] * 2, **made)

    agree_closely(program)


def test_encoder_detects_causal_masks(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        nn = torch.nn
        encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), 2)
        mask = nn.Transformer.generate_square_subsequent_mask(5)
        x = torch.randn(5, 3, 8)
        padding = torch.tensor([[False] * 4 + [True]] * 3)
        return encoder(x, mask=mask), encoder(x, src_key_padding_mask=padding), mask

    agree_closely(program)


def test_packed_sequences_agree_with_torch(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        rnn = torch.nn.utils.rnn
        results = []
        for text in ("nn.LSTM(3, 4, 2, bidirectional=True)", "nn.GRU(3, 4)", "nn.RNN(3, 4)"):
            model = eval(text, {"nn": torch.nn})
            x = torch.randn(5, 3, 3).requires_grad_()
            packed = rnn.pack_padded_sequence(x, [2, 5, 3], enforce_sorted=False)
            output, state = model(packed)
            padded, lengths = rnn.pad_packed_sequence(output)
            (padded * padded.detach().cos()).sum().backward()
            results.append([padded, lengths, _flat(state), x.grad, [p.grad for p in model.parameters()]])
        return results

    agree_closely(program, tolerance=5e-5)


def test_transposed_convolution_takes_an_output_size(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        up = torch.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
        return up(torch.randn(1, 2, 3, 3), output_size=(6, 6)), up(torch.randn(1, 2, 3, 3), output_size=(9, 9))

    agree_closely(program)


def test_every_exported_layer_can_be_found() -> None:
    for name in nn.__all__:
        assert getattr(nn, name) is not None
    assert nn.modules.conv.Conv2d is nn.Conv2d
    assert nn.modules.activation.MultiheadAttention is nn.MultiheadAttention
    assert nn.modules.container.ParameterList is nn.ParameterList
    assert nn.modules.batchnorm.LazyBatchNorm1d is nn.LazyBatchNorm1d


def test_a_conv_can_be_given_another_forward() -> None:
    seen = []

    class Quiet(nn.Linear):
        def forward(self, input: Any) -> Any:
            seen.append(input)
            return input

    assert Quiet(1, 1)(3) == 3 and seen == [3]


def test_encoder_gives_zeros_for_padding_in_inference(agree_closely: Any) -> None:
    def program(torch: Any) -> Any:
        nn = torch.nn
        results = []
        for options in ({}, {"norm_first": True}, {"activation": "gelu"}, {"batch_first": False}):
            layer = nn.TransformerEncoderLayer(8, 2, 16, **{"batch_first": True, **options})
            encoder = nn.TransformerEncoder(layer, 2).eval()
            x = torch.randn(3, 5, 8) if options.get("batch_first", True) else torch.randn(5, 3, 8)
            for padding in ([[False] * 4 + [True]] * 3, [[True] + [False] * 4] * 3):
                with torch.no_grad():
                    results.append(encoder(x, src_key_padding_mask=torch.tensor(padding)))
        return results

    agree_closely(program)
