"""The first training step of LeNet (batch 4) in a new process, and a hundred more; prints one line of JSON."""

from __future__ import annotations

import json
import time


def main() -> None:
    begin = time.perf_counter()
    import torch
    from torch import nn

    imported = time.perf_counter()

    torch.manual_seed(0)
    torch.set_num_threads(2)
    model = nn.Sequential(
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
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    x, y = torch.randn(4, 1, 28, 28), torch.randint(10, (4,))

    def step() -> float:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    ready = time.perf_counter()
    loss = step()
    done = time.perf_counter()
    for _ in range(100):
        step()
    print(json.dumps({"import": imported - begin, "build": ready - imported, "step": done - ready, "loss": loss}))


if __name__ == "__main__":
    main()
