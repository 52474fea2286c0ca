"""What whole processes cost: import, a first step with and without compiled kernels at hand, memory, disk, an example.

Comes in: which framework. Goes out: figures in seconds and bytes. Each figure is of processes started for it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.compare import CHECKOUT, environment

__all__ = ["Startup", "installed_bytes", "measure_startup"]

_FIRST_STEP = "benchmarks/programs/first_step.py"
_EXAMPLE = "examples/digits.py"


@dataclass
class Startup:
    """Seconds and bytes of one framework's processes."""

    import_seconds: float
    first_step_cold: float
    first_step_warm: float
    program_cold: float
    program_warm: float
    program_peak_bytes: int
    example_seconds: float
    example_peak_bytes: int
    installed_bytes: int


@dataclass
class _Process:
    output: str
    seconds: float
    peak_bytes: int


def measure_startup(framework: str, rounds: int, threads: int, quick: bool = False) -> Startup:
    """Run the start-up programs under a framework; minima over the rounds, but one run for each cold figure."""
    with tempfile.TemporaryDirectory() as folder:
        cache = {"FACULA_CACHE_DIR": str(Path(folder, "kernels"))}
        cold = _run_program(framework, [_FIRST_STEP], threads, cache)
        warm = [_run_program(framework, [_FIRST_STEP], threads, cache) for _ in range(rounds)]
        example = [_EXAMPLE, "--out", str(Path(folder, "digits")), "--epochs", "1" if quick else "5"]
        _run_program(framework, example, threads, cache)
        examples = [_run_program(framework, example, threads, cache) for _ in range(rounds)]
    return Startup(
        import_seconds=min(_import_seconds(framework, threads) for _ in range(rounds + 1)),
        first_step_cold=json.loads(cold.output)["step"],
        first_step_warm=min(json.loads(process.output)["step"] for process in warm),
        program_cold=cold.seconds,
        program_warm=min(process.seconds for process in warm),
        program_peak_bytes=min(process.peak_bytes for process in warm),
        example_seconds=min(process.seconds for process in examples),
        example_peak_bytes=min(process.peak_bytes for process in examples),
        installed_bytes=installed_bytes(framework),
    )


def _import_seconds(framework: str, threads: int) -> float:
    code = f"import time; begin = time.perf_counter(); import {framework}; print(time.perf_counter() - begin)"
    return float(_run([sys.executable, "-c", code], threads, {}).output)


def _run_program(framework: str, program: list[str], threads: int, extra: dict[str, str]) -> _Process:
    runner = [sys.executable] if framework == "torch" else [sys.executable, "-m", "facula", "run"]
    return _run(runner + program, threads, extra)


def _run(command: list[str], threads: int, extra: dict[str, str]) -> _Process:
    """Run a command to its end, with its wall time and the peak of its resident memory."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as complaints:
        begin = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=CHECKOUT, env={**environment(threads), **extra}, stdout=output, stderr=complaints
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        complaints.seek(0)
        if process.returncode:
            last = (complaints.read().strip().splitlines() or ["no message"])[-1]
            raise SystemExit(f"benchmarks: {' '.join(command)} ended with {process.returncode}: {last}")
        unit = 1 if sys.platform == "darwin" else 1024
        return _Process(output.read(), seconds, usage.ru_maxrss * unit)


def installed_bytes(framework: str) -> int:
    """What a framework and everything that it requires take on the disk, compiled bytecode not counted."""
    total, requirements = 0, {framework}
    if framework == "facula":
        spec = importlib.util.find_spec("facula")
        folders = spec.submodule_search_locations if spec is not None else None
        package = Path(next(iter(folders or [])))
        total = sum(file.stat().st_size for file in package.rglob("*") if file.is_file() and file.suffix != ".pyc")
        requirements = {"numpy", "llvmlite"}
    for name in _closure(requirements):
        for file in importlib.metadata.files(name) or []:
            path = Path(str(file.locate()))
            if file.suffix != ".pyc" and path.is_file():
                total += path.stat().st_size
    return total


def _closure(names: set[str]) -> set[str]:
    """The distributions and, again and again, the installed ones that they require without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found.add(name)
        for requirement in requirements:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            if match and "extra ==" not in requirement:
                waiting.append(match.group())
    return found
