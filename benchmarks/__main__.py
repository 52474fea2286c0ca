"""`python -m benchmarks`: time facula against PyTorch and report it.

Comes in: which groups, how many rounds. Goes out: the report on standard output, and with --write docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from dataclasses import replace

from benchmarks.compare import CHECKOUT, Settings, compare_group
from benchmarks.report import page, targets
from benchmarks.startup import measure_startup
from benchmarks.workloads import GROUPS

_START = "start"


def main() -> int:
    wanted = _parse()
    for framework in {wanted.baseline, wanted.candidate}:
        if importlib.util.find_spec(framework) is None:
            print(f"benchmarks: {framework} is not installed here: pip install {framework}", file=sys.stderr)
            return 2
    settings = Settings(wanted.baseline, wanted.candidate, wanted.rounds, workloads=tuple(wanted.workloads or ()))
    if wanted.quick:
        settings = replace(settings, rounds=min(settings.rounds, 2), repeats=3, seconds=0.005)
    chosen = wanted.group or [*GROUPS, _START]
    groups = {group: compare_group(group, settings) for group in GROUPS if group in chosen}
    startups = {}
    if _START in chosen:
        rounds = 1 if wanted.quick else min(settings.rounds, 3)
        for role, framework in (("baseline", settings.baseline), ("candidate", settings.candidate)):
            print(f"  start: {framework}", file=sys.stderr, flush=True)
            startups[role] = measure_startup(framework, rounds, settings.threads, wanted.quick)
    text = page(groups, startups, settings)
    print(text, end="")
    if wanted.write:
        (CHECKOUT / "docs" / "benchmarks.md").write_text(text, encoding="utf-8")
    return 0 if all(target.reached for target in targets(groups, startups)) or not wanted.strict else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time facula against PyTorch.")
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that everything runs")
    parser.add_argument("--group", action="append", choices=[*GROUPS, _START], help="only this one (may be repeated)")
    parser.add_argument("--workloads", nargs="+", metavar="PART", help="only those with one of these in their names")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md (needs the whole run)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 unless every target is reached")
    parser.add_argument("--baseline", choices=["torch", "facula"], default="torch")
    parser.add_argument("--candidate", choices=["torch", "facula"], default="facula", help="torch checks the harness")
    wanted = parser.parse_args()
    if wanted.rounds < 1:
        parser.error("--rounds must be at least 1")
    if wanted.write and (wanted.quick or wanted.group or wanted.workloads):
        parser.error("--write is for the whole run: leave out --quick, --group and --workloads")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
