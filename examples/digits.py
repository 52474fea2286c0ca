"""Train LeNet on scikit-learn's handwritten digits: 1797 real images of 8x8 pixels, shipped with scikit-learn.

    digits.py [--epochs 5] [--batch-size 16] [--lr 0.005] [--seed 0] [--out runs/digits]

Prints the loss of each epoch and the test accuracy; writes a checkpoint and the learning curve into ``--out``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # draw into a file: no display is needed

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split
from tqdm import tqdm


class LeNet(nn.Module):
    """LeNet-5 (LeCun et al. 1998) for 8x8 images, with its tanh and average pooling."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=5, padding=2),  # (N, 16, 8, 8)
            nn.Tanh(),
            nn.AvgPool2d(2),  # (N, 16, 4, 4)
            nn.Conv2d(16, 32, kernel_size=5, padding=2),  # (N, 32, 4, 4)
            nn.Tanh(),
            nn.AvgPool2d(2),  # (N, 32, 2, 2)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(32 * 2 * 2, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, classes),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


def load_data(seed: int) -> tuple[Dataset, Dataset]:
    """The digits as (image, label) pairs, the pixels with mean 0 and deviation 1, split 80 : 20 at random."""
    digits = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1)
    images = (images - images.mean()) / images.std()
    labels = torch.from_numpy(digits.target).long()
    data = TensorDataset(images, labels)
    test = len(data) // 5
    return random_split(data, [len(data) - test, test], generator=torch.Generator().manual_seed(seed))


def train_epoch(
    model: nn.Module, loader: DataLoader, criterion: nn.Module, optimizer: torch.optim.Optimizer, bar: tqdm
) -> float:
    """One pass over the training data. Returns the mean loss per image."""
    model.train()
    total = 0.0
    for images, labels in loader:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
        bar.update()
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, criterion: nn.Module) -> tuple[float, float]:
    """Mean loss per image and the fraction classified correctly."""
    model.eval()
    total, correct = 0.0, 0
    for images, labels in loader:
        logits = model(images)
        total += criterion(logits, labels).item() * len(labels)
        correct += (logits.argmax(dim=1) == labels).sum().item()
    return total / len(loader.dataset), correct / len(loader.dataset)


def draw_curve(history: list[dict], path: Path) -> None:
    """Losses on the left axis, test accuracy on the right one, against the epoch."""
    epochs = [row["epoch"] for row in history]
    figure, left = plt.subplots(figsize=(7, 4.2))
    left.plot(epochs, [row["loss"] for row in history], "o-", color="tab:blue", label="training loss")
    left.plot(epochs, [row["test_loss"] for row in history], "o--", color="tab:cyan", label="test loss")
    left.set(xlabel="epoch", ylabel="cross-entropy", title="LeNet on handwritten digits")
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_ylim(bottom=0)
    left.grid(alpha=0.3)
    right = left.twinx()
    right.plot(epochs, [100 * row["accuracy"] for row in history], "s-", color="tab:red", label="test accuracy")
    right.set_ylabel("test accuracy, %")
    right.set_ylim(top=101)
    lines = left.get_lines() + right.get_lines()
    left.legend(lines, [line.get_label() for line in lines], loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train LeNet on scikit-learn's handwritten digits.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.005, help="learning rate of Adam")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"), help="folder for digits.pt and digits.png")
    args = parser.parse_args()
    if args.epochs < 1 or args.batch_size < 1:
        parser.error("--epochs and --batch-size must be at least 1")
    return args


def main() -> None:
    args = parse_arguments()
    torch.manual_seed(args.seed)
    train_set, test_set = load_data(args.seed)
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True)
    test_loader = DataLoader(test_set, batch_size=256)

    model = LeNet()
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.2)

    history = []
    with tqdm(total=args.epochs * len(train_loader), unit="batch", mininterval=0.2) as bar:
        for epoch in range(1, args.epochs + 1):
            bar.set_description(f"epoch {epoch}")
            loss = train_epoch(model, train_loader, criterion, optimizer, bar)
            test_loss, accuracy = evaluate(model, test_loader, criterion)
            scheduler.step()
            history.append({"epoch": epoch, "loss": loss, "test_loss": test_loss, "accuracy": accuracy})
            tqdm.write(f"epoch {epoch}: loss {loss:.5f}, test loss {test_loss:.5f}, test accuracy {accuracy:.2%}")
    print(f"test accuracy: {history[-1]['accuracy']:.2%}")

    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epochs": args.epochs,
        "seed": args.seed,
        "history": history,
    }
    torch.save(checkpoint, args.out / "digits.pt")
    draw_curve(history, args.out / "digits.png")
    print(f"wrote {args.out / 'digits.pt'} and {args.out / 'digits.png'}")


if __name__ == "__main__":
    main()
