"""`facula info`, `facula show` and `facula cache`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from facula.cli.info import format_bytes

Facula = Callable[..., "subprocess.CompletedProcess[str]"]


def test_info_says_what_a_report_needs(facula: Facula, tmp_path: Path) -> None:
    done = facula("info", environment={"FACULA_CACHE_DIR": str(tmp_path / "kernels")})
    assert done.returncode == 0, done.stderr
    rows = dict(re.split(r":\s+", line, maxsplit=1) for line in done.stdout.splitlines())
    assert rows["facula"].startswith("0.1.0 in ")
    assert rows["API level"] == "torch 2.13.0"
    assert "LLVM" in rows["llvmlite"]
    assert re.match(r"(128|256|512) bits", rows["vectors"])
    assert rows["threads"].endswith(f"of {os.cpu_count()} processors")
    assert re.fullmatch(rf"{re.escape(str(tmp_path / 'kernels'))} \(\d+ objects, .*B\)", rows["kernel cache"])
    assert rows["devices"].startswith("cpu, meta")


def test_cache_is_counted_and_cleared(facula: Facula, tmp_path: Path) -> None:
    kernels = {"FACULA_CACHE_DIR": str(tmp_path / "kernels")}
    facula("run", "-c", "import torch; torch.ones(3).exp()", environment=kernels)
    counted = facula("cache", environment=kernels).stdout
    found = re.fullmatch(rf"{re.escape(str(tmp_path / 'kernels'))}: (\d+) objects, .*B\n", counted)
    assert found and int(found[1]) > 0, counted
    cleared = facula("cache", "--clear", environment=kernels)
    assert f"{found[1]} objects removed" in cleared.stdout
    assert not list((tmp_path / "kernels").rglob("*.o"))


@pytest.mark.parametrize(
    ("form", "expected"), [("--source", r"def |for |return|load|store"), ("--ir", r"define "), ("--asm", r"\bret")]
)
def test_show_prints_the_generated_code(form: str, expected: str, facula: Facula) -> None:
    done = facula("show", "add", form)
    assert done.returncode == 0, done.stderr
    assert re.search(expected, done.stdout)


def test_show_refuses_what_is_not_there(facula: Facula) -> None:
    done = facula("show", "no_such_operation")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("facula: there is no operation 'no_such_operation'")
    done = facula("show", "add", "--dtype", "f99")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


def test_sizes_as_people_read_them() -> None:
    sizes = [0, 999, 1000, 1536, 123_456, 98_765_432, 5e12]
    assert [format_bytes(size) for size in sizes] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.5 kB",
        "123 kB",
        "98.8 MB",
        "5000 GB",
    ]
