"""The examples do what the README says, on facula and, with the same numbers, on PyTorch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
LOSS = re.compile(r"epoch \d+: loss ([\d.]+), test loss ([\d.]+), test accuracy ([\d.]+)%")


def digits(out: Path, *launcher: str, epochs: int = 5) -> list[tuple[float, float, float]]:
    """Run the example; the losses and the accuracy of each epoch."""
    done = subprocess.run(
        [
            sys.executable,
            *launcher,
            str(CHECKOUT / "examples" / "digits.py"),
            "--epochs",
            str(epochs),
            "--out",
            str(out),
        ],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert f"wrote {out / 'digits.pt'} and {out / 'digits.png'}" in done.stdout
    assert "batch/s" in done.stderr  # the progress bar
    return [tuple(map(float, row)) for row in LOSS.findall(done.stdout)]  # type: ignore[misc]


@pytest.fixture(scope="module")
def run_on_facula(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[float, float, float]]]:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("digits")
    return out, digits(out, "-m", "facula", "run")


def test_digits_learns(run_on_facula: tuple[Path, list[tuple[float, float, float]]]) -> None:
    out, epochs = run_on_facula
    assert len(epochs) == 5
    assert epochs[-1][2] >= 97.0
    assert epochs[0][0] > epochs[-1][0]
    picture = (out / "digits.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n") and len(picture) > 10_000


def test_digits_repeats_itself(run_on_facula: tuple[Path, list[tuple[float, float, float]]], tmp_path: Path) -> None:
    _, epochs = run_on_facula
    assert digits(tmp_path, "-m", "facula", "run", epochs=2) == epochs[:2]


def test_digits_checkpoint_loads(run_on_facula: tuple[Path, list[tuple[float, float, float]]]) -> None:
    import facula

    out, epochs = run_on_facula
    checkpoint = facula.load(out / "digits.pt")
    assert checkpoint["epochs"] == 5 and checkpoint["seed"] == 0
    assert tuple(checkpoint["model"]["features.0.weight"].shape) == (16, 1, 5, 5)
    assert checkpoint["history"][-1]["loss"] == pytest.approx(epochs[-1][0], abs=1e-5)


def test_digits_agrees_with_torch(run_on_facula: tuple[Path, list[tuple[float, float, float]]], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    out, ours = run_on_facula
    theirs = digits(tmp_path)
    for (loss, test_loss, accuracy), (torch_loss, torch_test_loss, torch_accuracy) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(torch_loss, rel=1e-4)
        assert test_loss == pytest.approx(torch_test_loss, rel=1e-4)
        assert accuracy == torch_accuracy
    mine = torch.load(out / "digits.pt", weights_only=True)
    other = torch.load(tmp_path / "digits.pt", weights_only=True)
    assert list(mine["model"]) == list(other["model"])
    for name, value in mine["model"].items():
        assert torch.allclose(value, other["model"][name], atol=1e-3), name
