"""The rounds of a comparison: each framework in turn, in a process of its own; of each workload the minimum counts.

Comes in: groups, rounds and how long to time. Goes out: a `Result` a workload. Nothing is printed but progress.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["CHECKOUT", "Result", "Settings", "compare_group", "environment", "geometric_mean"]

CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """How a comparison is run. `baseline` is divided by `candidate`."""

    baseline: str = "torch"
    candidate: str = "facula"
    rounds: int = 5
    repeats: int = 5
    seconds: float = 0.02
    threads: int = 2
    workloads: tuple[str, ...] = ()


@dataclass
class Result:
    """The best times of one workload, in seconds, by role; or why there is none."""

    name: str
    times: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Baseline's time over candidate's: over 1, the candidate is faster."""
        if len(self.times) < 2:
            return None
        return self.times["baseline"] / self.times["candidate"]


def environment(threads: int) -> dict[str, str]:
    """The environment of a process that is timed: so many threads, and bytecode kept, as it is for installed packages."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONHASHSEED": "0"}


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))


def compare_group(group: str, settings: Settings) -> list[Result]:
    """Time every workload of a group under both frameworks."""
    results: dict[str, Result] = {}
    roles = [("baseline", settings.baseline), ("candidate", settings.candidate)]
    for round_number in range(settings.rounds):
        # Who goes first alternates: a machine that slows down while it works must not favour either.
        for role, framework in roles if round_number % 2 == 0 else roles[::-1]:
            print(f"  {group}: round {round_number + 1} of {settings.rounds}, {framework}", file=sys.stderr, flush=True)
            report = _run_worker(framework, group, settings)
            for name, seconds in report["times"].items():
                result = results.setdefault(name, Result(name))
                result.times[role] = min(seconds, result.times.get(role, math.inf))
            for name, message in report["errors"].items():
                results.setdefault(name, Result(name)).errors[role] = message
    return list(results.values())


def _run_worker(framework: str, group: str, settings: Settings) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.worker", framework, group, "--repeats", str(settings.repeats)]
    command += ["--seconds", str(settings.seconds), "--threads", str(settings.threads)]
    if settings.workloads:
        command += ["--workloads", *settings.workloads]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment(settings.threads), capture_output=True, text=True, timeout=1800
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SystemExit(f"benchmarks: the {framework} worker for {group} ended with {done.returncode}: {last}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report
