"""Programs as people write them, trained for a few steps: the losses of a seed are PyTorch's.

They run in float64, so that rounding cannot hide a difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

import facula


def train(torch: Any, model: Any, optimizer: Any, loss_of: Callable[[], Any], steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def language_model(torch: Any) -> list[float]:
    """A small GPT with tied embeddings."""
    nn, F = torch.nn, torch.nn.functional
    width, heads, length, words = 16, 2, 8, 20

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.qkv = nn.Linear(width, 3 * width, bias=False)
            self.out = nn.Linear(width, width)
            self.mlp = nn.ModuleDict({"up": nn.Linear(width, 4 * width), "down": nn.Linear(4 * width, width)})
            self.drop = nn.Dropout(0.1)
            self.register_buffer("mask", torch.tril(torch.ones(length, length)).view(1, 1, length, length))

        def forward(self, x: Any) -> Any:
            batch, t, _ = x.size()
            parts = self.qkv(self.norm1(x)).split(width, dim=2)
            q, k, v = (part.view(batch, t, heads, width // heads).transpose(1, 2) for part in parts)
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(k.size(-1))
            scores = scores.masked_fill(self.mask[:, :, :t, :t] == 0, float("-inf"))
            mixed = self.drop(F.softmax(scores, dim=-1)) @ v
            mixed = mixed + F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).contiguous().view(batch, t, width))
            return x + self.mlp.down(F.gelu(self.mlp.up(self.norm2(x))))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
            self.blocks = nn.ModuleList(Block() for _ in range(2))
            self.head = nn.Linear(width, words, bias=False)
            self.words.weight = self.head.weight
            self.apply(self.initialise)

        def initialise(self, module: Any) -> None:
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, mean=0.0, std=0.02)

        def forward(self, x: Any) -> Any:
            h = self.words(x) + self.places(torch.arange(x.size(1)))
            for block in self.blocks:
                h = block(h)
            return self.head(h)

    model = Model()
    data = torch.randint(0, words, (200,))

    def loss() -> Any:
        starts = torch.randint(len(data) - length - 1, (4,))
        x = torch.stack([data[i : i + length] for i in starts])
        y = torch.stack([data[i + 1 : i + 1 + length] for i in starts])
        return F.cross_entropy(model(x).view(-1, words), y.view(-1))

    return train(torch, model, torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1), loss, 5)


def residual_network(torch: Any) -> list[float]:
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
            self.relu = nn.ReLU(inplace=True)
            self.down = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

        def forward(self, x: Any) -> Any:
            out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
            out += self.down(x)
            return self.relu(out)

    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 1, 1), nn.ReLU(True), nn.MaxPool2d(2), Block(4, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 5),
    )  # fmt: skip
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    losses = train(
        torch, model, optimizer, lambda: criterion(model(torch.randn(4, 3, 12, 12)), torch.randint(0, 5, (4,))), 4
    )
    model.eval()
    with torch.no_grad():
        return [*losses, model(torch.randn(2, 3, 12, 12)).sum().item()]


def sequence_classifier(torch: Any) -> list[float]:
    nn, F = torch.nn, torch.nn.functional

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(30, 8, padding_idx=0)
            self.lstm = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True, dropout=0.2)
            self.out = nn.Linear(12, 3)

        def forward(self, x: Any, lengths: Any) -> Any:
            packed = nn.utils.rnn.pack_padded_sequence(self.words(x), lengths, batch_first=True, enforce_sorted=False)
            _, (hidden, _) = self.lstm(packed)
            return self.out(torch.cat([hidden[-2], hidden[-1]], 1))

    model = Model()

    def loss() -> Any:
        x, lengths = torch.randint(1, 30, (4, 6)), torch.randint(2, 7, (4,))
        return F.nll_loss(F.log_softmax(model(x, lengths), dim=1), torch.randint(0, 3, (4,)))

    return train(torch, model, torch.optim.Adam(model.parameters(), lr=1e-2), loss, 4)


def adversarial_networks(torch: Any) -> list[float]:
    nn = torch.nn

    def initialise(module: Any) -> None:
        if type(module).__name__.find("Conv") != -1:
            nn.init.normal_(module.weight.data, 0.0, 0.02)

    maker = nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(True),
        nn.ConvTranspose2d(8, 1, 4, 2, 1, bias=False), nn.Tanh(),
    )  # fmt: skip
    judge = nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 1, 4), nn.Sigmoid()
    )
    maker.apply(initialise)
    judge.apply(initialise)
    criterion = nn.BCELoss()
    optimizers = [torch.optim.Adam(m.parameters(), lr=2e-3, betas=(0.5, 0.999)) for m in (judge, maker)]
    losses = []
    for _ in range(3):
        label = torch.full((4,), 1.0)
        judge.zero_grad()
        real = criterion(judge(torch.rand(4, 1, 8, 8) * 2 - 1).view(-1), label)
        real.backward()
        made = maker(torch.randn(4, 6, 1, 1))
        false = criterion(judge(made.detach()).view(-1), label.fill_(0.0))
        false.backward()
        optimizers[0].step()
        maker.zero_grad()
        fooled = criterion(judge(made).view(-1), torch.full((4,), 1.0))
        fooled.backward()
        optimizers[1].step()
        losses += [real.item() + false.item(), fooled.item()]
    return losses


def autoencoder(torch: Any) -> list[float]:
    nn, F = torch.nn, torch.nn.functional
    model = nn.ModuleDict(
        {"in": nn.Linear(10, 8), "mean": nn.Linear(8, 2), "log": nn.Linear(8, 2), "out": nn.Linear(2, 10)}
    )

    def loss() -> Any:
        x = torch.rand(6, 10)
        h = F.relu(model["in"](x))
        mean, log = model["mean"](h), model["log"](h)
        z = mean + torch.randn_like(log) * torch.exp(0.5 * log)
        error = F.binary_cross_entropy(torch.sigmoid(model["out"](z)), x, reduction="sum")
        return error - 0.5 * torch.sum(1 + log - mean.pow(2) - log.exp())

    return train(torch, model, torch.optim.Adam(model.parameters(), lr=1e-2), loss, 5)


def translator(torch: Any) -> list[float]:
    model = torch.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    mask = model.generate_square_subsequent_mask(4)

    def loss() -> Any:
        return model(torch.randn(2, 5, 8), torch.randn(2, 4, 8), tgt_mask=mask).pow(2).mean()

    return train(torch, model, torch.optim.Adam(model.parameters(), lr=1e-3), loss, 3)


PROGRAMS = [
    language_model,
    residual_network,
    sequence_classifier,
    adversarial_networks,
    autoencoder,
    translator,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_losses_are_those_of_torch(program: Callable[[Any], list[float]]) -> None:
    torch = pytest.importorskip("torch")
    found = []
    for package in (facula, torch):
        before = package.get_default_dtype()
        package.set_default_dtype(package.float64)
        try:
            package.manual_seed(11)
            found.append(program(package))
        finally:
            package.set_default_dtype(before)
    assert found[0] == pytest.approx(found[1], rel=1e-9)
