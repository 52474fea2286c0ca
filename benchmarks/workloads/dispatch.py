"""What a call costs: operations so small that nearly all of their time is the framework's own."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.workloads import Scene, workload


@workload("add, 10 elements")
def add() -> Scene:
    a, b = torch.randn(10), torch.randn(10)
    return "a + b", locals()


@workload("add, 10 elements, recorded for backward")
def add_with_grad() -> Scene:
    a, b = torch.randn(10, requires_grad=True), torch.randn(10)
    return "a + b", locals()


@workload("chain of 5 operations and backward, 10 elements")
def chain_and_backward() -> Scene:
    a, b = torch.randn(10, requires_grad=True), torch.randn(10)

    def chain() -> None:
        ((a * b + a).tanh() - b).sum().backward()

    return "chain()", locals()


@workload("Linear(16, 16) forward, 4 rows")
def linear_forward() -> Scene:
    layer, x = nn.Linear(16, 16), torch.randn(4, 16)
    return "layer(x)", locals()


@workload("Linear(16, 16) forward and backward, 4 rows")
def linear_and_backward() -> Scene:
    layer, x = nn.Linear(16, 16), torch.randn(4, 16)
    return "layer(x).sum().backward()", locals()
