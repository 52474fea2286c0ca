"""What training costs: whole steps, from zero_grad to the optimizer's update.

The learning rates are tiny, so that thousands of steps on one batch leave the numbers what they were: a loss driven to
zero would time the arithmetic of denormal numbers.
"""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.workloads import Scene, workload


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, classes: int) -> Scene:
    """A step of classification on one batch of random labels."""
    y = torch.randint(classes, (len(x),))
    criterion = nn.CrossEntropyLoss()

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return "step(x, y)", {"step": step, "x": x, "y": y}


@workload(
    ("MLP 10-32-2, batch 16, SGD", "SGD"),
    ("MLP 10-32-2, batch 16, Adam", "Adam"),
)
def tiny_mlp(optimizer: str) -> Scene:
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 2))
    return training_step(model, getattr(torch.optim, optimizer)(model.parameters(), lr=1e-6), torch.randn(16, 10), 2)


@workload("MNIST MLP 784-512-10, batch 128, SGD")
def mnist_mlp() -> Scene:
    model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    return training_step(model, optimizer, torch.randn(128, 784), 10)


def lenet() -> nn.Module:
    """LeNet-5 for 28 x 28 images, with ReLU and max pooling as tutorials write it."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


@workload(
    ("LeNet, batch 4, SGD", 4),
    ("LeNet, batch 128, SGD", 128),
)
def lenet_step(batch: int) -> Scene:
    model = lenet()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    return training_step(model, optimizer, torch.randn(batch, 1, 28, 28), 10)
