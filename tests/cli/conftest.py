"""The command `facula`, run as a user runs it: in a process of its own, from a folder that is not the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

Facula = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def facula(tmp_path: Path) -> Facula:
    """Run `facula ARGUMENTS` in a temporary folder; files given by keyword are written into it first."""

    def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "facula", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, str], str]:
    """Write a file into the temporary folder; returns its name."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return name

    return write
