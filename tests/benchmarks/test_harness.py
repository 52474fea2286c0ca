"""The benchmark harness: its arithmetic, its report, and that facula runs every workload."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare import CHECKOUT, Result, Settings, geometric_mean
from benchmarks.report import duration, page, targets
from benchmarks.startup import Startup, installed_bytes
from benchmarks.worker import measure, timed_loop
from benchmarks.workloads import GROUPS


def startup(example: float, start: float) -> Startup:
    return Startup(start, 0.3, 0.1, 1.0, 0.5, 10**8, example, 2 * 10**8, 10**8)


def test_a_loop_runs_the_statement_as_often_as_asked() -> None:
    calls: list[int] = []
    elapsed = timed_loop("calls.append(1)", {"calls": calls})(17)
    assert len(calls) == 17 and 0 < elapsed < 1


def test_measure_takes_the_least_of_repeats_that_are_long_enough() -> None:
    cost, repeats = 1e-3, []

    def run(count: int) -> float:
        repeats.append(count)
        return count * cost * (1.5 if len(repeats) % 2 else 1.0)

    assert measure(run, repeats=4, seconds=0.02) == pytest.approx(cost)
    assert len(set(repeats[-4:])) == 1 and repeats[-1] * cost * 1.5 >= 0.02


def test_ratios_and_means() -> None:
    result = Result("add", {"baseline": 3e-6, "candidate": 1e-6})
    assert result.ratio == pytest.approx(3)
    assert Result("add", {"baseline": 1.0}, {"candidate": "RuntimeError: no"}).ratio is None
    assert geometric_mean([1, 4, 16]) == pytest.approx(4)


def test_a_failed_workload_misses_the_target_and_stands_in_the_report() -> None:
    good = Result("add", {"baseline": 3e-6, "candidate": 1e-6})
    bad = Result("sub", {"baseline": 1e-6}, {"candidate": "RuntimeError: no kernel"})
    reached = {target.name: target.reached for target in targets({"dispatch": [good]}, {})}
    assert reached == {"dispatch, geometric mean": True}
    assert not any(target.reached for target in targets({"dispatch": [good, bad]}, {}))
    pytest.importorskip("torch")  # the page names its version
    text = page({"dispatch": [good, bad]}, {}, Settings())
    assert "| add | 3.00 us | 1.00 us | 3.00 |" in text
    assert "| sub | 1.00 us | failed | - |" in text and "- sub: RuntimeError: no kernel" in text
    assert "**missed**" in text


def test_start_up_targets() -> None:
    found = {
        target.name: target.reached
        for target in targets({}, {"baseline": startup(5.0, 1.0), "candidate": startup(4.0, 0.2)})
    }
    assert found == {
        "import": False,
        "LeNet's first step, kernels cached": True,
        "digits example, torch's wall time over facula's": True,
    }


def test_durations_have_three_digits() -> None:
    assert [duration(value) for value in (8.51e-8, 1.27e-3, 0.0999, 4.7)] == ["85.1 ns", "1.27 ms", "99.9 ms", "4.70 s"]


def test_installed_size_counts_what_is_required() -> None:
    package = sum(file.stat().st_size for file in (CHECKOUT / "facula").rglob("*.py"))
    assert package < installed_bytes("facula") < 10**9


@pytest.mark.parametrize("group", GROUPS)
def test_facula_runs_every_workload(group: str) -> None:
    command = [sys.executable, "-m", "benchmarks.worker", "facula", group, "--repeats", "1", "--seconds", "0.0001"]
    done = subprocess.run(command, cwd=CHECKOUT, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["errors"] == {}
    assert report["times"] and all(math.isfinite(seconds) and seconds > 0 for seconds in report["times"].values())


def test_a_missing_framework_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "import importlib.util, runpy, sys\n"
        "find_spec = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find_spec(name, *rest)\n"
        "sys.argv = ['benchmarks', '--quick']\n"
        "runpy.run_module('benchmarks', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == "benchmarks: torch is not installed here: pip install torch\n"
