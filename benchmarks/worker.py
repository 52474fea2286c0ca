"""One process of a comparison: one framework runs workloads of one group and prints their times as JSON.

    python -m benchmarks.worker FRAMEWORK GROUP [--workloads NAME ...] [--repeats 5] [--seconds 0.02] [--threads 2]

Comes in: "torch" or "facula", which is then what `import torch` means here. Goes out, on standard output:
{"version": ..., "times": {name: seconds}, "errors": {name: message}}. It never imports both frameworks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from benchmarks import workloads

__all__ = ["measure", "timed_loop"]

_LOOP = """
def loop(_iterations, _clock):
    _begin = _clock()
    for _ in _iterations:
        {statement}
    return _clock() - _begin
"""


def timed_loop(statement: str, names: dict[str, Any]) -> Callable[[int], float]:
    """A function that runs the statement so many times and returns the seconds that this took."""
    namespace = dict(names)
    exec(compile(_LOOP.format(statement=statement), "<workload>", "exec"), namespace)
    loop: Callable[[Iterable[None], Callable[[], float]], float] = namespace["loop"]
    return lambda count: loop(repeat(None, count), time.perf_counter)


def measure(run: Callable[[int], float], repeats: int, seconds: float) -> float:
    """Seconds of one execution: the least of so many repeats, each of them at least `seconds` long."""
    run(3)  # whatever is made on a first call is made
    warm_until = time.perf_counter() + 2 * seconds
    while time.perf_counter() < warm_until:
        run(1)
    count, elapsed = 1, run(1)
    while elapsed < seconds:
        count = max(2 * count, min(100 * count, int(1.2 * count * seconds / max(elapsed, 1e-9))))
        elapsed = run(count)
    return min([elapsed, *(run(count) for _ in range(repeats - 1))]) / count


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.worker", description="Time one framework, in this process.")
    parser.add_argument("framework", choices=["torch", "facula"])
    parser.add_argument("group", choices=list(workloads.GROUPS))
    parser.add_argument("--workloads", nargs="*", help="only the ones whose name contains one of these")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.02, help="length of one repeat")
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()

    if wanted.framework == "facula":
        from facula.alias import install_as

        install_as("torch")
    import torch

    torch.set_num_threads(wanted.threads)
    times: dict[str, float] = {}
    errors: dict[str, str] = {}
    for workload in workloads.load(wanted.group):
        if wanted.workloads and not any(part in workload.name for part in wanted.workloads):
            continue
        torch.manual_seed(0)
        try:
            statement, names = workload.scene()
            if wanted.group == "compiled" and wanted.framework == "facula":
                names["step"] = torch.compile(names["step"])
            times[workload.name] = measure(timed_loop(statement, names), wanted.repeats, wanted.seconds)
        except Exception as error:
            errors[workload.name] = f"{type(error).__name__}: {error}".splitlines()[0]
    json.dump({"version": _version(wanted.framework), "times": times, "errors": errors}, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # what a framework does at exit is no part of this


def _version(framework: str) -> str:
    from importlib import import_module

    return str(import_module(framework).__version__)


if __name__ == "__main__":
    main()
