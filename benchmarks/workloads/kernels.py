"""What the arithmetic costs: one operation at a time, from thousands of elements to millions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.workloads import Scene, workload


@workload(
    ("add, 1e4 elements", 10_000),
    ("add, 1e6 elements", 1_000_000),
    ("add, 1.6e7 elements", 16_000_000),
)
def add(size: int) -> Scene:
    a, b = torch.randn(size), torch.randn(size)
    return "a + b", locals()


@workload(
    ("a * b + c, 1e4 elements", 10_000),
    ("a * b + c, 1e6 elements", 1_000_000),
)
def multiply_add(size: int) -> Scene:
    a, b, c = torch.randn(size), torch.randn(size), torch.randn(size)
    return "a * b + c", locals()


@workload(
    ("exp, 1e6 elements", "exp"),
    ("tanh, 1e6 elements", "tanh"),
)
def elementary(name: str) -> Scene:
    function, x = getattr(torch, name), torch.randn(1_000_000)
    return "function(x)", locals()


@workload("gelu, 1e6 elements")
def gelu() -> Scene:
    function, x = F.gelu, torch.randn(1_000_000)
    return "function(x)", locals()


@workload(
    ("softmax, 128 x 10", 128, 10),
    ("softmax, 64 x 1000", 64, 1000),
    ("softmax, 4096 x 512", 4096, 512),
)
def softmax(rows: int, columns: int) -> Scene:
    x = torch.randn(rows, columns)
    return "x.softmax(dim=1)", locals()


@workload(
    ("layer_norm, 128 x 64", 128, 64),
    ("layer_norm, 1024 x 768", 1024, 768),
)
def layer_norm(rows: int, columns: int) -> Scene:
    function, x, shape = F.layer_norm, torch.randn(rows, columns), (columns,)
    weight, bias = torch.ones(columns), torch.zeros(columns)
    return "function(x, shape, weight, bias)", locals()


@workload("sum of 1e6 elements")
def sum_of_all() -> Scene:
    x = torch.randn(1_000_000)
    return "x.sum()", locals()


@workload(
    ("sum over the last dimension, 1024 x 1024", 1),
    ("sum over the first dimension, 1024 x 1024", 0),
)
def sum_over(dim: int) -> Scene:
    x = torch.randn(1024, 1024)
    return "x.sum(dim)", locals()


@workload(
    ("matmul, 64 x 64 x 64", 64, 64, 64),
    ("matmul, 128 x 128 x 128", 128, 128, 128),
    ("matmul, 256 x 256 x 256", 256, 256, 256),
    ("matmul, 512 x 512 x 512", 512, 512, 512),
    ("matmul, 1024 x 1024 x 1024", 1024, 1024, 1024),
    ("matmul, 4 x 400 by 400 x 120", 4, 400, 120),
    ("matmul, 128 x 784 by 784 x 512", 128, 784, 512),
)
def matmul(rows: int, inner: int, columns: int) -> Scene:
    a, b = torch.randn(rows, inner), torch.randn(inner, columns)
    return "a @ b", locals()


@workload(
    ("x @ W.T, 4 x 400 by 120 x 400", 4, 400, 120),
    ("x @ W.T, 128 x 784 by 512 x 784", 128, 784, 512),
    ("x @ W.T, 512 x 512 by 512 x 512", 512, 512, 512),
)
def matmul_transposed(rows: int, inner: int, columns: int) -> Scene:
    x, weight = torch.randn(rows, inner), torch.randn(columns, inner)
    return "x @ weight.T", locals()


@workload(
    ("bmm, 32 of 64 x 64 x 64", 32, 64, 64, 64),
    ("bmm, 96 of 128 x 64 by 64 x 128", 96, 128, 64, 128),
)
def bmm(batch: int, rows: int, inner: int, columns: int) -> Scene:
    a, b = torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)
    return "a.bmm(b)", locals()


@workload(
    ("conv 1 -> 6, 5 x 5, on 28 x 28, batch 4", 4, 1, 6, 28, 5, 2),
    ("conv 1 -> 6, 5 x 5, on 28 x 28, batch 128", 128, 1, 6, 28, 5, 2),
    ("conv 6 -> 16, 5 x 5, on 14 x 14, batch 4", 4, 6, 16, 14, 5, 0),
    ("conv 6 -> 16, 5 x 5, on 14 x 14, batch 128", 128, 6, 16, 14, 5, 0),
    ("conv 64 -> 64, 3 x 3, on 56 x 56, batch 4", 4, 64, 64, 56, 3, 1),
    ("conv 256 -> 64, 1 x 1, on 28 x 28, batch 4", 4, 256, 64, 28, 1, 0),
    ("conv 64 depthwise, 3 x 3, on 56 x 56, batch 4", 4, 64, 64, 56, 3, 1, 64),
)
def convolution(
    batch: int, channels: int, filters: int, side: int, kernel: int, padding: int, groups: int = 1
) -> Scene:
    function, x = F.conv2d, torch.randn(batch, channels, side, side)
    weight, bias = torch.randn(filters, channels // groups, kernel, kernel), torch.randn(filters)
    return "function(x, weight, bias, 1, padding, 1, groups)", locals()


@workload("embedding 10000 x 128, 2048 indices")
def embedding() -> Scene:
    table, indices = torch.randn(10_000, 128), torch.randint(10_000, (32, 64))
    function = F.embedding
    return "function(indices, table)", locals()


@workload("embedding 1000 x 128, 2048 indices, forward and backward")
def embedding_and_backward() -> Scene:
    layer, indices = nn.Embedding(1000, 128), torch.randint(1000, (32, 64))
    gradient = torch.randn(32, 64, 128)
    return "layer(indices).backward(gradient)", locals()
