"""The results as a page: tables in Markdown, with the targets and whether they are reached.

Comes in: results and start-up figures. Goes out: text. It measures nothing, and it leaves nothing out.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.compare import Result, Settings, geometric_mean
from benchmarks.startup import Startup

__all__ = ["Target", "page", "targets"]

_TITLES = {
    "dispatch": "Dispatch: what a call costs",
    "kernels": "Kernels: what the arithmetic costs",
    "eager": "Training steps, eager",
    "compiled": "Training steps: facula compiled, torch eager",
}
_MEANS = {"dispatch": 2.5, "kernels": 1.3, "eager": 2.0, "compiled": 4.0}
_SLOWEST = {"kernels": 0.8}


@dataclass
class Target:
    """Something to be reached: a figure, its bound, and on which side of it the figure must lie."""

    name: str
    value: float | None
    bound: float
    at_least: bool = True
    unit: str = ""

    @property
    def reached(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def targets(groups: dict[str, list[Result]], startups: dict[str, Startup]) -> list[Target]:
    """Every target whose figure was measured. A workload that failed counts as a target missed."""
    found = []
    for group, results in groups.items():
        ratios = [result.ratio for result in results if result.ratio is not None]
        complete = len(ratios) == len(results) and ratios
        found.append(Target(f"{group}, geometric mean", geometric_mean(ratios) if complete else None, _MEANS[group]))
        if group in _SLOWEST:
            found.append(Target(f"{group}, slowest", min(ratios) if complete else None, _SLOWEST[group]))
    if startups:
        baseline, candidate = startups["baseline"], startups["candidate"]
        found += [
            Target("import", candidate.import_seconds, 0.15, at_least=False, unit=" s"),
            Target("LeNet's first step, kernels cached", candidate.first_step_warm, 0.2, at_least=False, unit=" s"),
            Target("digits example, torch's wall time over facula's", _ratio(baseline, candidate), 1.0),
        ]
    return found


def _ratio(baseline: Startup, candidate: Startup) -> float:
    return baseline.example_seconds / candidate.example_seconds


def page(groups: dict[str, list[Result]], startups: dict[str, Startup], settings: Settings) -> str:
    """The whole page."""
    names = settings.baseline, settings.candidate
    sections = [_head(settings)]
    if names == ("torch", "facula"):
        sections.append(_target_table(targets(groups, startups)))
    sections += [_group_section(group, results, names) for group, results in groups.items()]
    if startups:
        sections.append(_startup_section(startups, names))
    return "\n\n".join(sections) + "\n"


def _head(settings: Settings) -> str:
    baseline, candidate = settings.baseline, settings.candidate
    versions = [f"{name} {_version(name)}" for name in dict.fromkeys((baseline, candidate))]
    versions += [f"numpy {version('numpy')}", f"llvmlite {version('llvmlite')}"]
    length = f"each at least {1000 * settings.seconds:.0f} ms long"
    machine = f"{_processor()}, {os.cpu_count()} processors, {platform.system()}; Python {platform.python_version()}"
    return f"""\
# Benchmarks

Written by `python -m benchmarks --write`; not to be edited by hand. A ratio is {baseline}'s time divided by
{candidate}'s: over 1, {candidate} is faster. The two run in turn, each in processes of its own, with {settings.threads}
threads: {settings.rounds} rounds of {settings.repeats} repeats, {length}; the minimum counts.

{machine}; {", ".join(versions)}."""


def _version(framework: str) -> str:
    if framework != "facula":
        return version(framework)
    import facula

    return str(facula.__version__)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _target_table(found: list[Target]) -> str:
    rows = []
    for target in found:
        value = "failed" if target.value is None else f"{target.value:.2f}{target.unit}"
        bound = f"{'at least' if target.at_least else 'at most'} {target.bound:g}{target.unit}"
        rows.append([target.name, bound, value, "reached" if target.reached else "**missed**"])
    return "## Targets\n\n" + _table(["", "target", "measured", ""], rows)


def _group_section(group: str, results: list[Result], names: tuple[str, str]) -> str:
    rows = []
    for result in results:
        cells = [_cell(result, "baseline"), _cell(result, "candidate")]
        rows.append([result.name, *cells, "-" if result.ratio is None else f"{result.ratio:.2f}"])
    ratios = [result.ratio for result in results if result.ratio is not None]
    if ratios:
        rows.append(["**geometric mean**", "", "", f"**{geometric_mean(ratios):.2f}**"])
        rows.append(["**slowest**", "", "", f"**{min(ratios):.2f}**"])
    failures = [f"- {result.name}: {error}" for result in results for error in result.errors.values()]
    text = f"## {_TITLES[group]}\n\n" + _table(["", *names, "ratio"], rows)
    return text + ("\n\nFailed:\n\n" + "\n".join(failures) if failures else "")


def _cell(result: Result, role: str) -> str:
    if role in result.times:
        return duration(result.times[role])
    return "failed"


def _startup_section(startups: dict[str, Startup], names: tuple[str, str]) -> str:
    baseline, candidate = startups["baseline"], startups["candidate"]
    rows = []
    for label, attribute, form in (
        ("import", "import_seconds", duration),
        ("LeNet's first step, empty kernel cache", "first_step_cold", duration),
        ("LeNet's first step, kernels cached", "first_step_warm", duration),
        ("a program of 101 LeNet steps, start to end, empty kernel cache", "program_cold", duration),
        ("the same, kernels cached", "program_warm", duration),
        ("its peak memory", "program_peak_bytes", megabytes),
        ("digits example, start to end", "example_seconds", duration),
        ("its peak memory", "example_peak_bytes", megabytes),
        ("installed, with everything required", "installed_bytes", megabytes),
    ):
        ours, theirs = getattr(candidate, attribute), getattr(baseline, attribute)
        rows.append([label, form(theirs), form(ours), f"{theirs / ours:.2f}"])
    return "## Whole processes\n\n" + _table(["", *names, "ratio"], rows)


def duration(seconds: float) -> str:
    """A time with three digits: 85.1 ns, 1.27 ms, 4.70 s."""
    for unit, size in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3)):
        if seconds < 999.5 * size:
            return f"{seconds / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{seconds:.2f} s"


def megabytes(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
