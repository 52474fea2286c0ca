"""Bad input: PyTorch's type of exception, a message that says what is wrong, and an interpreter that goes on.

The cases are one line each. A line that begins with `=` has PyTorch's own first line too; `~` says it in other words.
Hostile checkpoints and workers of data loaders have more tests beside their modules.
"""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest

import facula

ROOT = Path(__file__).parents[1]

CASES = {
    "AssertionError": """
        = torch.rand(3, device="cuda")
        = torch.rand(3).to("cuda:3")
        = torch.rand(3).cuda()
        = torch.nn.Linear(2, 2).to("cuda")
        = torch.nn.Embedding(3, 4, padding_idx=7)
        ~ torch.utils.data.TensorDataset(torch.rand(2), torch.rand(3))
    """,
    "AttributeError": """
        ~ torch.nn.functional.mse_loss(torch.rand(2), "x")
        = torch.nn.functional.softmax("x", 0)
        = torch.nn.Linear(2, 2).nonsense
        ~ torch.nonsense
        = torch.rand(2).nonsense
    """,
    "FileNotFoundError": """
        = torch.load("/nonexistent/file.pt")
    """,
    "IndexError": """
        = torch.cat([torch.rand(2, 3)], dim=2)
        = torch.nn.functional.cross_entropy(torch.rand(2, 3), torch.tensor([0, 3]))
        = torch.nn.functional.cross_entropy(torch.rand(2, 3), torch.tensor([0, -1]))
        = torch.nn.functional.nll_loss(torch.rand(2, 3), torch.tensor([0, 9]))
        = torch.nn.functional.embedding(torch.tensor([5]), torch.rand(3, 4))
        = torch.nn.functional.embedding(torch.tensor([-1]), torch.rand(3, 4))
        = torch.nn.functional.softmax(torch.rand(2), dim=1)
        = torch.rand(3)[3]
        = torch.rand(3)[-4]
        = torch.rand(3)[0, 0]
        = torch.rand(3)[None, None, 0, 0]
        = torch.rand(3)[torch.tensor([3])]
        = torch.rand(3)[torch.tensor([-4])]
        = torch.rand(3)[[0, 5]]
        = torch.rand(3)[torch.tensor([True, False])]
        ~ torch.rand(3)[torch.tensor([0.5])]
        = torch.rand(3, 3)[torch.tensor([0, 1]), torch.tensor([0, 1, 2])]
        = torch.rand(3).__setitem__(3, 1.0)
        = torch.rand(3).__setitem__(torch.tensor([7]), 1.0)
        = torch.gather(torch.rand(3), 1, torch.tensor([0]))
        ~ torch.index_select(torch.rand(3), 0, torch.tensor([3]))
        ~ torch.index_select(torch.rand(3), 0, torch.tensor([[0]]))
        = torch.index_select(torch.rand(3), 1, torch.tensor([0]))
        ~ torch.take(torch.rand(3), torch.tensor([5]))
        ~ torch.rand(3).index_add_(0, torch.tensor([5]), torch.rand(1))
        = torch.rand(3).index_fill_(0, torch.tensor([5]), 1.0)
        = torch.select(torch.rand(3), 0, 5)
        = torch.rand(2, 3).sum(2)
        = torch.rand(2, 3).mean(-3)
        = torch.rand(0, 3).argmax(0)
        = torch.rand(2, 3).max(5)
        = torch.rand(3).sort(2)
        = torch.rand(3).cumsum(1)
        = torch.rand(3).squeeze(4)
        = torch.rand(3).unsqueeze(3)
        = torch.rand(2, 3).transpose(0, 2)
        = torch.flatten(torch.rand(2), 3)
        = torch.unbind(torch.tensor(1.0))
        = torch.movedim(torch.rand(2, 3), 0, 5)
    """,
    "NotImplementedError": """
        = torch.nn.functional.softmax(torch.arange(3), dim=0)
        ~ torch.rand(3, device="meta").to("cpu")
        = torch.rand(3, dtype=torch.int64)
        = torch.arange(3) & 1.5
        = torch.rand(3) & torch.rand(3)
        ~ torch.rand(3) << 1
        = torch.nn.Module()(1)
        ~ torch.nn.functional.interpolate(torch.rand(2, 2), scale_factor=2)
    """,
    "RuntimeError": """
        = torch.rand(2, 3) + torch.rand(4)
        = torch.rand(2, 3).add_(torch.rand(5))
        = torch.rand(3).add_(torch.rand(2, 3))
        = torch.rand(2, 3) * torch.rand(3, 2)
        = torch.rand(2, 3) == torch.rand(4)
        = torch.where(torch.rand(2) > 0, torch.rand(3), torch.rand(2))
        = torch.lerp(torch.rand(2), torch.rand(3), 0.5)
        = torch.addcmul(torch.rand(2), torch.rand(3), torch.rand(2))
        = torch.rand(2, 3) @ torch.rand(2, 3)
        = torch.mm(torch.rand(2), torch.rand(2, 3))
        = torch.mm(torch.rand(2, 3), torch.rand(4, 5))
        = torch.bmm(torch.rand(2, 3, 4), torch.rand(3, 4, 5))
        = torch.mv(torch.rand(2, 3), torch.rand(2))
        = torch.dot(torch.rand(2), torch.rand(3))
        = torch.dot(torch.rand(2, 2), torch.rand(2, 2))
        = torch.matmul(torch.rand(2, 3), torch.rand(4))
        = torch.matmul(torch.tensor(1.0), torch.rand(4))
        = torch.addmm(torch.rand(2, 2), torch.rand(2, 3), torch.rand(4, 2))
        = torch.einsum("ij,jk->ik", torch.rand(2, 3), torch.rand(4, 5))
        = torch.einsum("ij,jk->iz", torch.rand(2, 3), torch.rand(3, 5))
        = torch.rand(2, 3).float() @ torch.rand(3, 2).double()
        = torch.cat([torch.rand(2, 3), torch.rand(2, 4)])
        = torch.cat([torch.rand(2), torch.rand(2, 3)])
        = torch.stack([torch.rand(2), torch.rand(3)])
        = torch.stack([])
        = torch.split(torch.rand(5), [2, 2])
        = torch.split(torch.rand(5), -1)
        = torch.chunk(torch.rand(5), 0)
        = torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 2, 3, 3))
        = torch.nn.functional.conv2d(torch.rand(1, 3, 2, 2), torch.rand(4, 3, 3, 3))
        = torch.nn.functional.conv2d(torch.rand(3, 3), torch.rand(4, 3, 3, 3))
        = torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3), torch.rand(5))
        = torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3), stride=0)
        = torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 3, 3, 3), padding=-1)
        = torch.nn.functional.conv2d(torch.rand(1, 4, 8, 8), torch.rand(4, 2, 3, 3), groups=3)
        = torch.nn.functional.max_pool2d(torch.rand(1, 3, 2, 2), 3)
        = torch.nn.functional.max_pool2d(torch.rand(1, 3, 8, 8), 0)
        = torch.nn.functional.avg_pool2d(torch.rand(1, 3, 8, 8), 2, padding=2)
        = torch.nn.functional.linear(torch.rand(2, 3), torch.rand(4, 5))
        = torch.nn.functional.linear(torch.rand(2, 3), torch.rand(4, 3), torch.rand(5))
        = torch.nn.Linear(3, 4)(torch.rand(2, 5))
        = torch.nn.Linear(3, 4)(torch.rand(2, 3).double())
        = torch.nn.Conv2d(3, 4, 3)(torch.rand(1, 2, 8, 8))
        = torch.nn.BatchNorm1d(3)(torch.rand(2, 4))
        = torch.nn.LayerNorm(3)(torch.rand(2, 4))
        = torch.nn.functional.cross_entropy(torch.rand(2, 3), torch.tensor([0.0, 1.0]))
        = torch.nn.functional.mse_loss(torch.rand(2, 3), torch.rand(4))
        = torch.nn.functional.l1_loss(torch.rand(2, 3), torch.rand(4))
        = torch.nn.functional.binary_cross_entropy(torch.rand(2) + 5, torch.rand(2))
        = torch.nn.functional.embedding(torch.tensor([0.5]), torch.rand(3, 4))
        = torch.nn.functional.layer_norm(torch.rand(2, 3), [4])
        ~ torch.rand(3).__setitem__(0, torch.rand(2))
        ~ torch.rand(3).__setitem__(slice(0, 2), torch.rand(3))
        ~ torch.gather(torch.rand(3), 0, torch.tensor([3]))
        ~ torch.gather(torch.rand(3), 0, torch.tensor([-1]))
        = torch.gather(torch.rand(3, 3), 0, torch.tensor([0]))
        = torch.gather(torch.rand(3), 0, torch.tensor([0.0]))
        ~ torch.rand(3).scatter_(0, torch.tensor([5]), 1.0)
        ~ torch.rand(3).scatter(0, torch.tensor([5]), torch.rand(1))
        ~ torch.rand(3).scatter_add_(0, torch.tensor([-5]), torch.rand(1))
        ~ torch.rand(3).scatter_(0, torch.tensor([0]), torch.rand(1).double())
        ~ torch.index_select(torch.rand(3), 0, torch.tensor([0.5]))
        = torch.masked_select(torch.rand(3), torch.tensor([1, 0, 1]))
        ~ torch.rand(3).masked_fill(torch.tensor([1, 0, 1]), 0.0)
        ~ torch.rand(3).masked_fill(torch.tensor([True, False]), 0.0)
        = torch.nn.functional.one_hot(torch.tensor([3]), 2)
        = torch.nn.functional.one_hot(torch.tensor([-1]))
        = torch.bincount(torch.tensor([-1]))
        = torch.narrow(torch.rand(3), 0, 2, 5)
        = torch.rand(3).unfold(0, 5, 1)
        = torch.rand(2, 3).sum((0, 0))
        = torch.arange(3).mean()
        = torch.rand(0).max()
        = torch.rand(3).topk(5)
        = torch.rand(3).kthvalue(5)
        = torch.rand(6).view(4)
        = torch.rand(6).view(-1, -1)
        = torch.rand(6).view(-1, 4)
        = torch.rand(6).reshape(7)
        = torch.rand(2, 3).t().view(6)
        = torch.rand(3).expand(2, 4)
        = torch.rand(3, 2).expand(3)
        = torch.rand(2, 3).permute(0)
        = torch.rand(2, 3).permute(0, 0)
        = torch.rand(2, 3).flatten(1, 0)
        = torch.rand(2, 3, 4).t()
        = torch.rand(2, 3).repeat(2)
        = torch.rand(3).as_strided((5,), (1,))
        = torch.rand(3).as_strided((2,), (-1,))
        = torch.tril(torch.rand(3))
        = torch.roll(torch.rand(3), (1, 2), (0,))
        = torch.flip(torch.rand(3), (0, 0))
        = torch.empty(-1)
        ~ torch.zeros(2, -3)
        = torch.rand(-1)
        = torch.randn((2, -1))
        = torch.full((-1,), 0.0)
        ~ torch.empty(10**15)
        ~ torch.zeros(2**62)
        ~ torch.empty(2**40, 2**40)
        = torch.arange(0, 10, 0)
        = torch.arange(0, 10, -1)
        = torch.arange(0, float("inf"))
        = torch.arange(float("nan"))
        = torch.linspace(0, 1, -1)
        = torch.eye(-1)
        = torch.randint(5, 5, (2,))
        = torch.randint(0, (2,))
        = torch.randperm(-1)
        = torch.multinomial(torch.tensor([-1.0, 2.0]), 1)
        = torch.multinomial(torch.tensor([0.0, 0.0]), 1)
        = torch.multinomial(torch.rand(3), 5)
        ~ torch.bernoulli(torch.tensor([2.0]))
        = torch.normal(0.0, -1.0, (2,))
        = torch.rand(3).uniform_(1, 0)
        = torch.rand(3, device="nonsense")
        = torch.rand(3, device="cpu:7:8")
        = torch.device("quantum")
        = torch.rand(3, device="meta").item()
        ~ torch.rand(3, device="meta") + torch.rand(3)
        = torch.tensor(object())
        = torch.tensor(None)
        = torch.tensor([None])
        = torch.tensor(300, dtype=torch.uint8)
        = torch.nn.functional.pad(torch.rand(2), (1,))
        = torch.rand(2).to("x")
        ~ torch.rand(2).copy_(torch.rand(3))
        = torch.rand(2).clamp()
        = torch.rand(2).item()
        = bool(torch.rand(2))
        = torch.rand(2).requires_grad_().numpy()
        ~ torch.arange(3).requires_grad_()
        ~ torch.arange(3.0, requires_grad=True).add_(1)
        = torch.rand(2).backward()
        ~ torch.rand(2, requires_grad=True).backward()
        = (torch.rand(2, requires_grad=True) * 2).backward(torch.rand(3))
        = torch.autograd.grad(torch.rand(1), torch.rand(1))
        = torch.autograd.grad(torch.rand(1, requires_grad=True).sum(), torch.rand(1, requires_grad=True))
        = torch.rand(2).register_hook(print)
        = torch.tensor([1]) // 0
        = torch.tensor([1]) % 0
        ~ torch.tensor([True]) - torch.tensor([True])
        = -torch.tensor([True])
        = torch.arange(3).add_(0.5)
        = torch.arange(3).div_(2)
        = torch.ones(2, dtype=torch.bool).mul_(2)
        = torch.arange(3) ** -1
        = torch.sqrt(torch.rand(2), out=torch.rand(2).long())
        = torch.nn.Linear(2, 2).load_state_dict({})
        = torch.nn.Linear(2, 2).load_state_dict({"weight": torch.rand(3, 3), "bias": torch.rand(2)})
        = torch.save(torch.rand(2), "/nonexistent/file.pt")
        = torch.broadcast_tensors(torch.rand(2), torch.rand(3))
        ~ torch.meshgrid(torch.rand(2, 2))
        = torch.clamp(torch.rand(2), min=torch.rand(3))
        = torch.outer(torch.rand(2, 2), torch.rand(2))
        = torch.cross(torch.rand(2), torch.rand(2), dim=0)
        = torch.std(torch.arange(3))
        = torch.nn.functional.scaled_dot_product_attention(torch.rand(2, 3, 4), torch.rand(2, 3, 5), torch.rand(2, 3, 4))
        = torch.nn.functional.cosine_similarity(torch.rand(2, 3), torch.rand(2, 4))
        = torch.nn.functional.pixel_shuffle(torch.rand(1, 3, 2, 2), 2)
        = torch.where(torch.rand(2), 1.0, 2.0)
        = torch.allclose(torch.rand(2), torch.rand(2).double())
        = torch.tensor_split(torch.rand(3), -1)
        = torch.searchsorted(torch.rand(2, 3), torch.rand(3, 2))
        ~ torch.quantile(torch.rand(3), 2.0)
        = torch.histc(torch.rand(3), bins=0)
    """,
    "TypeError": """
        ~ torch.rand(3)["a"]
        ~ torch.rand(3).__setitem__(0, "x")
        = torch.device(1.5)
        = torch.rand(3, device="meta").numpy()
        ~ torch.rand(3, dtype="float32")
        ~ torch.zeros(3, dtype=float("nan"))
        = torch.tensor("a")
        ~ torch.tensor([[1], 2])
        = torch.from_numpy([1, 2])
        = torch.from_numpy("a")
        ~ torch.add(torch.rand(2), "x")
        ~ torch.add(torch.rand(2), None)
        ~ torch.add("x", torch.rand(2))
        ~ torch.add(torch.rand(2), object())
        = torch.rand(2) + "x"
        = torch.rand(2) + None
        = torch.rand(2) + [1, 2]
        = None * torch.rand(2)
        ~ torch.rand(2) @ 3
        = torch.exp("x")
        = torch.exp(None)
        = torch.exp(3.0)
        = torch.exp()
        ~ torch.exp(torch.rand(2), torch.rand(2), torch.rand(2))
        = torch.exp(torch.rand(2), nonsense=1)
        = torch.sum("x")
        ~ torch.sum(torch.rand(2), "x")
        = torch.cat([torch.rand(2), "x"])
        = torch.cat([torch.rand(2), None])
        ~ torch.stack(None)
        = torch.matmul(torch.rand(2), "x")
        = torch.relu("x")
        = torch.softmax(torch.rand(2), "x")
        = torch.sigmoid([1.0])
        = torch.mean([1.0])
        = torch.max("x")
        = torch.sort("x")
        = torch.reshape("x", (2,))
        ~ torch.reshape(torch.rand(2), "x")
        ~ torch.reshape(torch.rand(2), 2.0)
        ~ torch.rand(2).view(2.0)
        ~ torch.rand(2).view("x")
        ~ torch.rand(2).expand("x")
        ~ torch.rand(2).permute("x")
        ~ torch.transpose(torch.rand(2, 2), 0.5, 1)
        ~ torch.unsqueeze(torch.rand(2), 0.5)
        ~ torch.unsqueeze(torch.rand(2), None)
        = torch.squeeze("x")
        ~ torch.zeros("x")
        ~ torch.zeros(1.5)
        ~ torch.zeros(None)
        ~ torch.zeros(float("nan"))
        ~ torch.zeros([1, "x"])
        = torch.rand(float("inf"))
        ~ torch.eye(1.5)
        ~ torch.arange("x")
        ~ torch.arange(None)
        = torch.nn.functional.linear(None, torch.rand(2, 2))
        ~ torch.nn.functional.conv2d("x", torch.rand(1, 1, 1, 1))
        = torch.nn.functional.embedding("x", torch.rand(2, 2))
        = torch.nn.functional.dropout("x")
        = torch.nn.functional.layer_norm("x", [2])
        = torch.nn.functional.max_pool2d("x", 2)
        ~ torch.rand(2).to(object())
        ~ torch.rand(2).fill_("x")
        = torch.rand(2).copy_("x")
        ~ torch.rand(2).clamp("x")
        = float("x" + torch.rand(2))
        = len(torch.tensor(1.0))
        = iter(torch.tensor(1.0))
        = [][torch.tensor(1.0)]
        = [1, 2][torch.rand(2)]
        ~ torch.rand(2).exp_(1)
        = torch.add(torch.rand(2), torch.rand(2), out="x")
        = torch.optim.SGD(torch.rand(2), lr=0.1)
        = torch.optim.SGD(["x"], lr=0.1)
        = torch.nn.Sequential("x")
        ~ torch.nn.Linear("a", 2)
        = torch.set_default_dtype(torch.int64)
        = torch.finfo(torch.int64)
        = torch.iinfo(torch.float32)
        = torch.Size(["x"])
        = torch.dtype()
        ~ torch.rand(2, nonsense=3)
        ~ torch.isin("x", torch.rand(2))
        = torch.maximum(torch.rand(2), 3)
    """,
    "ValueError": """
        = torch.cat([])
        = torch.nn.BatchNorm2d(3)(torch.rand(2, 3))
        = torch.nn.BatchNorm1d(3)(torch.rand(1, 3))
        = torch.nn.functional.cross_entropy(torch.rand(2, 3), torch.tensor([0, 1, 2]))
        = torch.nn.functional.cross_entropy(torch.rand(2, 3), torch.tensor([0, 1]), reduction="none of these")
        = torch.nn.functional.binary_cross_entropy(torch.rand(2), torch.rand(3))
        = torch.nn.functional.binary_cross_entropy_with_logits(torch.rand(2), torch.rand(3))
        = torch.nn.functional.dropout(torch.rand(2), 1.5)
        = torch.rand(3)[::-1]
        = torch.tensor([[1, 2], [3]])
        = torch.tensor(2**70)
        = torch.tensor([2**63])
        ~ torch.rand(2).type("torch.NonsenseTensor")
        = torch.optim.SGD([], lr=0.1)
        = torch.optim.SGD([torch.rand(2)], lr=-1)
        = torch.optim.Adam([torch.rand(2, requires_grad=True)], betas=(2.0, 0.9))
        = torch.nn.Dropout(2.0)
        = torch.manual_seed("x")
        = torch.manual_seed(2**70)
        = torch.utils.data.DataLoader([1, 2], batch_size=0)
        = torch.utils.data.DataLoader([1, 2], num_workers=-1)
        = torch.utils.data.random_split([1, 2, 3], [1, 1])
        = torch.nn.init.xavier_uniform_(torch.rand(2))
    """,
}
LINES = [(kind, line.strip()) for kind, text in CASES.items() for line in text.strip().splitlines()]


def outcome(torch: Any, code: str) -> BaseException | None:
    """The exception that the code ends in."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            eval(code, {"torch": torch})
    except Exception as error:
        return error
    return None


def first_line(error: BaseException | None) -> str:
    return str(error).split("\n")[0]


@pytest.mark.parametrize("kind,line", LINES, ids=[line[2:] for _, line in LINES])
def test_wrong_arguments(kind: str, line: str) -> None:
    error = outcome(facula, line[2:])
    assert type(error).__name__ == kind and str(error)


def test_messages_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    different = []
    for kind, line in LINES:
        theirs, ours = outcome(torch, line[2:]), outcome(facula, line[2:])
        assert type(theirs).__name__ == kind, line
        if line.startswith("=") and first_line(ours) != first_line(theirs):
            different.append((line[2:], first_line(ours), first_line(theirs)))
    assert not different


@pytest.mark.parametrize(
    "code,parts",
    [
        ("torch.rand(2, 3) + torch.rand(4, 5)", ("3", "5", "[2, 3]", "[4, 5]")),
        ("torch.rand(2, 3) @ torch.rand(4, 5)", ("2x3", "4x5")),
        ("torch.rand(3)[7]", ("7", "3")),
        ("torch.gather(torch.rand(3), 0, torch.tensor([7]))", ("7", "3")),
        ("torch.rand(3).index_select(0, torch.tensor([7]))", ("7", "3")),
        ("torch.nn.functional.embedding(torch.tensor([7]), torch.rand(3, 2))", ("7", "3")),
        ("torch.nn.functional.cross_entropy(torch.rand(2, 3), torch.tensor([0, 7]))", ("7",)),
        ("torch.nn.functional.linear(torch.rand(2, 3), torch.rand(4, 5))", ("2x3", "5x4")),
        ("torch.empty(10**15)", ("4", "bytes")),
        ("torch.rand(6).view(4)", ("[4]", "6")),
        ("torch.rand(2, 3).sum(5)", ("5", "-2", "1")),
        (
            "torch.nn.functional.conv2d(torch.rand(1, 3, 8, 8), torch.rand(4, 2, 3, 3))",
            ("[4, 2, 3, 3]", "[1, 3, 8, 8]"),
        ),
    ],
)
def test_messages_name_what_is_wrong(code: str, parts: tuple[str, ...]) -> None:
    """The shapes, or the index and its bound."""
    message = str(outcome(facula, code))
    assert all(part in message for part in parts), message


def test_recursive_lists() -> None:
    one: list[Any] = []
    one.append(one)
    two: list[Any] = []
    two += [two, two]
    mixed: list[Any] = [1]
    mixed.append(mixed)
    for wrong in (one, two, mixed, [one], [[1, 2], two]):
        with pytest.raises((TypeError, ValueError)):
            facula.tensor(wrong)
    for depth in (129, 100_000):
        deep: Any = 1.0
        for _ in range(depth):
            deep = [deep]
        with pytest.raises(ValueError, match="too many dimensions 'list'"):
            facula.tensor(deep)
    assert facula.tensor([[[[1.0]]]]).ndim == 4


def test_an_error_leaves_everything_as_it_was() -> None:
    """Targets of failed in-place operations, gradient mode, and the operators themselves."""
    x = facula.arange(6.0).reshape(2, 3)
    version = x._version
    for code in (
        "x.add_(torch.rand(5))",
        "x.__setitem__(7, 1)",
        "x.copy_(torch.rand(4))",
        "x.scatter_(0, torch.tensor([[9]]), 1.0)",
    ):
        with pytest.raises((RuntimeError, IndexError)):
            eval(code, {"torch": facula, "x": x})
    assert x.flatten().tolist() == [0, 1, 2, 3, 4, 5] and x._version in (version, version + 1)
    w = facula.ones(3, requires_grad=True)
    with pytest.raises(RuntimeError):
        w @ facula.ones(4)
    with pytest.raises(RuntimeError), facula.no_grad():
        w + facula.ones(4)
    assert facula.is_grad_enabled()
    (w * 2).sum().backward()
    assert w.grad.tolist() == [2, 2, 2]


def test_index_faults_do_not_linger() -> None:
    """A fault noted by a kernel is raised by the operation that made it, and by no later one."""
    x = facula.arange(4.0)
    for _ in range(3):
        with pytest.raises((IndexError, RuntimeError)):
            facula.gather(x, 0, facula.tensor([9]))
        assert facula.gather(x, 0, facula.tensor([3])).item() == 3
        with pytest.raises(IndexError):
            x[facula.tensor([0, 9])]
        assert x[facula.tensor([0, 3])].tolist() == [0, 3]


# -- files ---------------------------------------------------------------------------------------------------------------
class Full(io.BytesIO):
    """A file on a disk that is full after some bytes."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def write(self, data: Any) -> int:
        self.room -= len(memoryview(data).cast("B")) if len(data) else 0
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_full_disk_while_saving(room: int) -> None:
    with pytest.raises((OSError, RuntimeError), match="No space left"):
        facula.save({"w": facula.rand(10_000)}, Full(room))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_full_device() -> None:
    with pytest.raises((OSError, RuntimeError)):
        facula.save(facula.rand(1000), "/dev/full")


def test_nothing_half_written_under_the_final_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files stands for the full disk; what was there before is still there."""
    code = """
        import resource, signal, sys, facula as torch
        path = sys.argv[1]
        torch.save({"w": torch.ones(4)}, path)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            torch.save({"w": torch.rand(100_000)}, path)
        except (OSError, RuntimeError):
            print("refused")
        print(torch.load(path)["w"].tolist())
    """
    done = run(code, str(tmp_path / "model.pt"))
    assert done.stdout.split("\n")[:2] == ["refused", "[1.0, 1.0, 1.0, 1.0]"], done.stdout + done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "zeros", "folder"])
def test_corrupt_checkpoints(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    facula.save({"w": facula.rand(1000), "step": 3}, path)
    content = bytearray(path.read_bytes())
    if damage == "empty":
        content = bytearray()
    elif damage == "text":
        content = bytearray(b"this is not a checkpoint " * 100)
    elif damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        at = content.index(b"data.pkl") + 80
        content[at : at + 20] = bytes(255 - b for b in content[at : at + 20])
    elif damage == "zeros":
        content = bytearray(len(content))
    path.write_bytes(content)
    if damage == "folder":
        path = tmp_path
    with pytest.raises((RuntimeError, OSError, EOFError, ValueError, __import__("pickle").UnpicklingError)) as caught:
        facula.load(path)
    assert str(caught.value)


def test_checkpoints_execute_nothing(tmp_path: Path) -> None:
    import pickle

    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'done'}",)

    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(Exception, match=r"system|posix|load|legacy|weights"):
        facula.load(path)
    assert not (tmp_path / "done").exists()


# -- other processes -----------------------------------------------------------------------------------------------------
def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True, cwd=ROOT, timeout=180,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["file", "inside a file", "unwritable", "empty name"])
def test_cache_folders_that_cannot_be_used(kind: str, tmp_path: Path) -> None:
    """Computing goes on without the cache, at the price of one warning."""
    file = tmp_path / "file"
    file.write_text("not a folder")
    folder = {
        "file": str(file),
        "inside a file": str(file / "cache"),
        "unwritable": "/proc/1/facula",
        "empty name": "",
    }[kind]
    code = """
        import facula as torch
        print((torch.ones(3) * 2 + 1).tolist())
    """
    done = run(code, FACULA_CACHE_DIR=folder)
    assert done.returncode == 0 and done.stdout.strip() == "[3.0, 3.0, 3.0]", done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("Warning") <= 1


def test_dataset_that_raises_in_a_worker() -> None:
    code = """
        import facula as torch

        class Bad(torch.utils.data.Dataset):
            def __len__(self): return 8
            def __getitem__(self, i):
                if i == 5: raise KeyError("item five is missing")
                return torch.tensor(float(i))

        if __name__ == "__main__":
            for workers in (0, 2):
                seen = []
                try:
                    for batch in torch.utils.data.DataLoader(Bad(), batch_size=2, num_workers=workers):
                        seen.append(batch.tolist())
                except KeyError as error:
                    print(seen, "item five is missing" in str(error))
    """
    done = run(code)
    assert done.stdout.strip().split("\n") == ["[[0.0, 1.0], [2.0, 3.0]] True"] * 2, done.stdout + done.stderr


FUZZ = """
import faulthandler, json, random, resource, signal, sys, warnings
warnings.simplefilter("ignore")
faulthandler.enable()
resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
import numpy as np
import facula as torch
from facula.ops.define import REGISTRY

rng = random.Random(int(sys.argv[1]))

def values():
    f = torch.arange(12.0).reshape(3, 4)
    return [
        None, "x", object(), -1, 0, 1, 2, 3, 5, 2**40, 2**70, float("nan"), float("inf"), 1.5, True, [], [1, 2], (3, 4), (-1,), (0,), [[1], [2, 3]],
        f, f.t(), f.clone().requires_grad_(), torch.arange(3), torch.tensor([0, 100, -100]), torch.tensor([True, False, True]),
        torch.rand(3) + 1j * torch.rand(3), torch.empty(0), torch.empty(0, 3), torch.tensor(2), torch.tensor(1.5), torch.empty(3, 4, device="meta"),
        torch.rand(2, 3, 4), torch.rand(2, 3, 4, 5), f[:0], f.expand(2, 3, 4), torch.float32, torch.int64, "cpu", "meta", "sum", slice(None),
        Ellipsis, {}, lambda *a: 1, np.arange(3.0), torch.rand(4).half(), torch.rand(3, 4).bfloat16(), [f, f], [None],
    ]

def hang(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, hang)
skip = {"__class__", "__init_subclass__", "__subclasshook__", "__setstate__", "__new__", "__setattr__", "__delattr__", "__getattribute__"}
found = dict(REGISTRY)
found.update((f"Tensor.{n}", getattr(torch.Tensor, n, None)) for n in dir(torch.Tensor) if n not in skip)
found.update((f"functional.{n}", getattr(torch.nn.functional, n, None)) for n in dir(torch.nn.functional) if n[0] != "_")
targets = [(n, f) for n, f in sorted(found.items()) if callable(f) and not isinstance(f, type)]
odd, hangs, calls = {}, [], 0
for name, function in targets:
    pool = values()
    tensors = [v for v in pool if isinstance(v, torch.Tensor)]
    for _ in range(int(sys.argv[2])):
        given = [rng.choice(pool) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 3, 4)))]
        if name.startswith("Tensor.") or rng.random() < 0.7:
            given.insert(0, rng.choice(tensors))
        print(name, [getattr(v, "shape", v) for v in given], file=sys.stderr)
        sys.stderr.seek(0); sys.stderr.truncate()
        signal.setitimer(signal.ITIMER_REAL, 30)
        try:
            calls += 1
            result = function(*given)
            if isinstance(result, torch.Tensor) and result.numel() < 1000:
                repr(result)
                if result.requires_grad:
                    result.sum().backward()
        except KeyboardInterrupt:
            hangs.append(name)
        except SystemError as error:
            odd[name] = str(error)
        except Exception:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps({"calls": calls, "hangs": hangs, "odd": odd}))
"""


def test_any_arguments_at_all(tmp_path: Path) -> None:
    """Every function and method with arguments at random: exceptions may come out, but no crash, hang or SystemError."""
    last = tmp_path / "last"
    with last.open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", FUZZ, "7", "4"], stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT, timeout=300
        )  # fmt: skip
    assert done.returncode == 0, last.read_text()[-4000:]
    report = json.loads(done.stdout.strip().split("\n")[-1])
    assert report["calls"] > 2000 and not report["hangs"] and not report["odd"]
