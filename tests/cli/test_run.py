"""`facula run` behaves as python does, and `import torch` gives facula."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

Facula = Callable[..., "subprocess.CompletedProcess[str]"]
Script = Callable[[str, str], str]


def test_a_script_sees_facula_as_torch(facula: Facula, script: Script) -> None:
    name = script(
        "program.py",
        "import sys, torch, facula\n"
        "import torch.nn.functional as F\n"
        "from torch import nn\n"
        "from torch.utils.data import DataLoader\n"
        "print(torch.add is facula.add, nn is facula.nn, F is sys.modules['facula.nn.functional'])\n"
        "print(torch.__version__, facula.__version__)\n"
        "print(torch.ones(2) + 1)\n",
    )
    done = facula("run", name)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["True True True", "2.13.0 0.1.0", "tensor([2., 2.])"]


def test_script_arguments_path_and_name(facula: Facula, script: Script, tmp_path: Path) -> None:
    script("folder/neighbour.py", "value = 3\n")
    name = script(
        "folder/program.py",
        "import sys, neighbour\nprint(sys.argv, sys.path[0], __name__, __file__, neighbour.value, __spec__)\n"
        "assert sys.modules['__main__'].__dict__ is globals()\n",
    )
    done = facula("run", name, "--epochs", "5", "-m", "--help")
    folder = tmp_path / "folder"
    argv = ["folder/program.py", "--epochs", "5", "-m", "--help"]
    assert done.stdout == f"{argv} {folder} __main__ {folder / 'program.py'} 3 None\n", done.stderr


def test_module_and_code(facula: Facula, script: Script, tmp_path: Path) -> None:
    script("package/__init__.py", "")
    script("package/__main__.py", "import sys, torch\nprint(__spec__.name, __package__, sys.argv, torch.__version__)\n")
    done = facula("run", "-m", "package", "a")
    argv = [str(tmp_path / "package" / "__main__.py"), "a"]
    assert done.stdout == f"package.__main__ package {argv} 2.13.0\n", done.stderr

    done = facula("run", "-c", "import sys, torch; print(torch.__version__, sys.argv, __name__)", "-x")
    assert done.stdout == "2.13.0 ['-c', '-x'] __main__\n", done.stderr


def test_folder_and_archive(facula: Facula, script: Script, tmp_path: Path) -> None:
    script("app/__main__.py", "import other\n")
    script("app/other.py", "import torch; print('ran')\n")
    with ZipFile(tmp_path / "app.zip", "w") as archive:
        for file in (tmp_path / "app").iterdir():
            archive.write(file, file.name)
    assert facula("run", "app").stdout == "ran\n"
    assert facula("run", "app.zip").stdout == "ran\n"


ENDINGS = {
    "exception": "def f():\n    raise ValueError('boom')\nf()\n",
    "chained": "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise KeyError('x') from e\n",
    "syntax": "def f(:\n",
    "exit status": "import sys; sys.exit(7)\n",
    "exit message": "raise SystemExit('no data')\n",
    "exit none": "raise SystemExit\n",
    "at exit": "import atexit; atexit.register(print, 'bye'); print('hi')\n",
    "hook": "import sys\nsys.excepthook = lambda t, e, tb: print('hook', t.__name__, tb.tb_lineno)\n1 / 0\n",
    "interrupt": "import atexit, os, signal\natexit.register(print, 'bye')\nos.kill(os.getpid(), signal.SIGINT)\n",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_as_under_python(ending: str, facula: Facula, script: Script, tmp_path: Path) -> None:
    name = script("program.py", ENDINGS[ending])
    ours = facula("run", name)
    python = subprocess.run([sys.executable, name], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ours.returncode, ours.stdout, ours.stderr) == (python.returncode, python.stdout, python.stderr)
    if ending == "interrupt":
        assert ours.returncode == -signal.SIGINT


def test_missing_names_say_whose_they_are(facula: Facula, script: Script) -> None:
    name = script(
        "program.py",
        "import torch\n"
        "for code in ('torch.no_such', 'torch.nn.NoSuch', 'import torch.no.such', 'from torch.nn import NoSuch'):\n"
        "    try:\n"
        "        exec(code)\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, '|', error)\n"
        "print(hasattr(torch, 'no_such'), getattr(torch.nn, 'NoSuch', None))\n",
    )
    lines = facula("run", name).stdout.splitlines()
    assert lines[0] == "AttributeError | facula has no torch.no_such yet"
    assert lines[1] == "AttributeError | facula has no torch.nn.NoSuch yet"
    assert lines[2] == "ModuleNotFoundError | facula has no torch.no yet"
    assert lines[3].startswith("ImportError | cannot import name 'NoSuch'")
    assert lines[4] == "False None"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_new_processes_have_the_alias(method: str, facula: Facula, script: Script) -> None:
    name = script(
        "program.py",
        "import multiprocessing, torch\n"
        "def work(queue):\n"
        "    import facula\n"
        "    queue.put((torch.__version__, torch.nn is facula.nn, float(torch.ones(3).sum())))\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context({method!r})\n"
        "    queue = context.SimpleQueue()\n"
        "    process = context.Process(target=work, args=(queue,))\n"
        "    process.start(); print(queue.get()); process.join()\n",
    )
    done = facula("run", name)
    assert done.stdout == "('2.13.0', True, 3.0)\n", done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run"], 2, "facula: run needs a script"),
        (["run", "nowhere.py"], 2, "facula: can't open 'nowhere.py': No such file or directory"),
        (["run", "-m"], 2, "facula: run -m needs a module after it"),
        (["run", "-m", "no_such_module"], 1, "facula: no module named no_such_module"),
        (["run", "--fast", "x.py"], 2, "facula: run has no option '--fast'"),
        (["train"], 2, "facula: there is no command 'train': try run, info, show or cache"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(
    arguments: list[str], status: int, message: str, facula: Facula
) -> None:
    done = facula(*arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(message) and done.stderr.count("\n") == 1


def test_help_and_version(facula: Facula) -> None:
    assert facula("--version").stdout == "facula 0.1.0\n"
    for arguments in ([], ["--help"], ["run", "--help"], ["info", "--help"], ["show", "--help"], ["cache", "--help"]):
        done = facula(*arguments)
        assert done.returncode == 0 and done.stdout.startswith("usage: facula"), done.stderr
