"""The shape of the house: which floor imports which, how long files are, what importing costs, which examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "facula"
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    "return_types": 0, "core": 0, "kernel": 1, "runtime": 2, "engine": 3, "ops": 4, "tensor": 5,
    "autograd": 6, "nn": 6, "optim": 6, "utils": 6, "serialization": 6, "testing": 6, "compile": 6,
    "cli": 8,
}  # fmt: skip
TOP = 7
"""The modules at the top of the package: its namespace and what builds it."""
SPEAKS_PUBLICLY = 6
"""From this floor on code may use the public namespace, as a user's code does (`import facula`, `facula.random`)."""
BUILDERS = {"facula.public", "facula.alias"}
"""What builds the public namespace is no part of it."""

UPWARD = {
    "facula/kernel/interpret.py -> facula.runtime": "the reference interpreter runs kernels that call the runtime's own",
    "facula/kernel/link.py -> facula.runtime": "symbols that kernels name are defined where they live",
    "facula/runtime/random/generator.py -> facula.tensor": "states and results of a generator are tensors to the user",
    "facula/core/device.py -> facula.runtime": "a device as a context manager changes where new tensors are made",
    "facula/core/device.py -> facula.tensor": "a device as a context manager changes where new tensors are made",
    "facula/tensor/tensor.py -> facula.autograd": "Tensor.backward is the entry into autograd's front door",
}
"""Imports that go upward, each inside a function, and why. Nothing may be added without a reason as good."""


def floor_of(module: str) -> int:
    parts = module.split(".")
    return FLOORS.get(parts[1], TOP) if len(parts) > 1 else TOP


def imports_of(path: Path) -> Iterator[tuple[str, bool]]:
    """(facula module, whether it is imported when the file is) for every import of the package in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ("facula", *path.relative_to(PACKAGE).parent.parts)

    def walk(node: ast.AST, top: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                for other in child.orelse:
                    yield from walk(ast.Module([other], []), top)
                continue
            if isinstance(child, ast.Import):
                yield from ((a.name, top) for a in child.names if a.name.split(".")[0] == "facula")
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    base = ".".join([*package[: len(package) - child.level + 1], *([base] if base else [])])
                if base == "facula":
                    yield from ((f"facula.{a.name}", top) for a in child.names)
                elif base.startswith("facula."):
                    yield base, top
            inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from walk(child, top and not inside)

    yield from walk(tree, True)


def test_imports_go_downward() -> None:
    wrong = []
    for path in FILES:
        relative = path.relative_to(ROOT).as_posix()
        own = (
            TOP + 2 if path.name == "__main__.py" else floor_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        )
        for target, top in imports_of(path):
            above = floor_of(target)
            if above == TOP and own >= SPEAKS_PUBLICLY and target not in BUILDERS:
                continue
            package = ".".join(target.split(".")[:2])
            if above > own and (top or f"{relative} -> {package}" not in UPWARD):
                wrong.append(f"{relative} imports {target}" + ("" if top else " (inside a function)"))
    assert not wrong, "\n".join(sorted(set(wrong)))


def test_files_are_short() -> None:
    lengths = {p.relative_to(ROOT).as_posix(): len(p.read_text(encoding="utf-8").splitlines()) for p in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > 700} == {}


def test_everything_is_python() -> None:
    compiled = {
        ".c",
        ".cc",
        ".cpp",
        ".cu",
        ".cxx",
        ".h",
        ".hpp",
        ".pxd",
        ".pyx",
        ".so",
        ".rs",
        ".f90",
        ".s",
        ".ll",
        ".o",
    }
    assert not [p for p in PACKAGE.rglob("*") if p.suffix.lower() in compiled]


def test_modules_say_what_they_are_for() -> None:
    trees = {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text(encoding="utf-8")) for p in FILES}
    assert [name for name, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_map_mentions_every_package() -> None:
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    packages = [p.parent.name for p in PACKAGE.glob("*/__init__.py")]
    assert [name for name in packages if f"{name}/" not in text and f"`{name}" not in text] == []


def python(code: str, *options: str) -> str:
    """Standard output of a fresh interpreter that runs `code` from the checkout."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_stays_light() -> None:
    """Once its kernels are in the object cache, importing loads neither NumPy nor what nobody asked for."""
    python("import facula; facula.rand(3) + 1")
    llvm = set(python("import sys, llvmlite.binding; print(*sys.modules)").split())
    loaded = set(python("import sys, facula; print(*sys.modules)").split()) - llvm
    heavy = {
        "numpy", "torch", "scipy", "sklearn", "PIL", "inspect", "dataclasses", "multiprocessing", "asyncio", "pickle",
        "unittest", "doctest", "json", "logging", "socket", "ssl", "http", "email", "xml", "sqlite3", "concurrent.futures",
    }  # fmt: skip
    assert sorted(heavy & loaded) == []


def test_import_is_quick() -> None:
    """A generous bound: the benchmark measures properly, this notices a slip of several times."""
    code = "import time; start = time.perf_counter(); import facula; print(time.perf_counter() - start)"
    python(code)
    assert min(float(python(code)) for _ in range(3)) < 1.0


def last_value_only(source: str, shown: bool) -> str:
    """`torch.manual_seed(0); torch.rand(3)` shows the numbers alone, and a line above no output shows nothing."""
    tree = ast.parse(source)
    for i, statement in enumerate(tree.body if not shown else tree.body[:-1]):
        if isinstance(statement, ast.Expr):
            tree.body[i] = ast.Assign([ast.Name("_", ast.Store())], statement.value, lineno=statement.lineno)
    return "; ".join(map(ast.unparse, tree.body)) + "\n" if len(tree.body) > 1 or not shown else source


def hide_torch() -> dict[str, ModuleType]:
    """Take what is known as torch out of the table of modules; gives what was there."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "torch"}


EXAMPLES = [p for p in FILES if ">>>" in p.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_examples_in_docstrings_run(path: Path) -> None:
    """`torch` in an example means facula; the module's own names are there too."""
    import numpy

    import facula

    assert callable(facula.compile)  # before its module is imported under the same name
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    if not hasattr(module, "__file__"):  # a function of the same name took its place in the package
        module = sys.modules[name]
    siblings = vars(sys.modules[name.rpartition(".")[0]]) if "." in name else {}
    names = {
        **siblings,
        **vars(module),
        "facula": facula,
        "numpy": numpy,
        "torch": facula,
        "nn": facula.nn,
        "F": facula.nn.functional,
    }
    finder = doctest.DocTestFinder(exclude_empty=True)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS, verbose=False)
    default = facula.get_default_dtype()
    finders, oracle = list(sys.meta_path), hide_torch()
    output: list[str] = []
    state = facula.random.get_rng_state() if hasattr(facula, "random") else None
    try:
        for case in finder.find(module, module=module, globs=names):
            for example in case.examples:
                example.source = last_value_only(example.source, bool(example.want))
            runner.run(case, out=output.append)
    finally:
        facula.set_default_dtype(default)
        sys.meta_path[:] = finders  # an example may make facula known as torch
        hide_torch()
        sys.modules.update(oracle)
        if state is not None:
            facula.random.set_rng_state(state)
    assert not runner.failures, "".join(output)
