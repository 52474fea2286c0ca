"""The programs of `programs.py` and `custom_programs.py` show the same here as on the reference implementation."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import facula

HERE = Path(__file__).parent


def load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"facula_tests_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FILES = {name: load(name) for name in ("programs", "custom_programs")}
CASES = [(file, name) for file, module in FILES.items() for name in module.PROGRAMS]
KNOWN = {"inference_tensors_stay_out"}
"""Tensors made in inference mode are ordinary ones here: they may be used anywhere."""


@pytest.mark.parametrize(("file", "name"), CASES, ids=[name for _, name in CASES])
def test_as_the_reference(file: str, name: str) -> None:
    ours = FILES[file].run(name, facula)
    assert not (isinstance(ours, tuple) and ours and ours[0] == "raised"), ours
    torch = pytest.importorskip("torch")
    if name not in KNOWN:
        assert ours == FILES[file].run(name, torch)


def test_reference_mode() -> None:
    """Without the native fast path everything is the same."""
    script = (
        "import sys, importlib.util\n"
        "import facula\n"
        "for path in sys.argv[1:]:\n"
        "    spec = importlib.util.spec_from_file_location('m', path)\n"
        "    m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)\n"
        "    for name in m.PROGRAMS: print(name, m.run(name, facula))\n"
    )
    paths = [str(HERE / f"{name}.py") for name in FILES]
    outputs = []
    for reference in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True, cwd=HERE.parent.parent,
            env={**os.environ, "FACULA_REFERENCE": reference},
        )  # fmt: skip
        outputs.append(done.stdout.splitlines())
    assert len(outputs[0]) == len(CASES)
    for native, plain in zip(*outputs, strict=True):
        assert native == plain
