"""install_as(): one rule for every module, and refusals that say what to do. In processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


def python(code: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [*paths, CHECKOUT]))
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )


def test_every_module_is_the_same_object_under_both_names() -> None:
    done = python(
        "import sys, facula\n"
        "torch = facula.install_as('torch')\n"
        "import torch.nn.functional, torch.optim.lr_scheduler, torch.utils.data\n"
        "import facula.nn.functional\n"
        "assert sys.modules['torch'] is torch is facula.install_as('torch')\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.startswith('torch.'):\n"
        "        own = 'facula' + name[5:]\n"
        "        assert module is sys.modules[own], name\n"
        "        assert module.__name__ == module.__spec__.name == own, name\n"
        "print(torch.Tensor is facula.Tensor, torch.__name__, str(torch.float32))\n"
    )
    assert done.stdout == "True torch torch.float32\n", done.stderr


def test_the_api_level_compares_as_versions_do() -> None:
    from facula.torch_version import API_LEVEL

    assert API_LEVEL == "2.13.0" == str(API_LEVEL) and hash(API_LEVEL) == hash("2.13.0")
    assert API_LEVEL > "2.4" and API_LEVEL >= (2, 13) and API_LEVEL < "3" and API_LEVEL <= "2.13.0+cpu"
    assert API_LEVEL != "2.12" and API_LEVEL == (2, 13, 0)
    with pytest.raises(TypeError):
        assert API_LEVEL > 2.4


def test_libraries_find_the_api_level_before_they_import_torch() -> None:
    done = python(
        "import facula\n"
        "facula.install_as('torch')\n"
        "from importlib.metadata import version\n"
        "from importlib.util import find_spec\n"
        "print(version('torch'), find_spec('torch') is not None, version('numpy') != version('torch'))\n"
    )
    assert done.stdout == "2.13.0 True True\n", done.stderr


def test_a_real_torch_already_imported_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("")
    done = python("import torch, facula\nfacula.install_as('torch')", tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert (
        last.startswith("RuntimeError: torch is already imported (from ") and "before the first `import torch`" in last
    )


@pytest.mark.parametrize("name", ["", "a.b", "facula"])
def test_impossible_names_are_refused(name: str) -> None:
    from facula.alias import install_as

    with pytest.raises(ValueError, match="needs a name other than 'facula'"):
        install_as(name)


def test_an_error_inside_a_module_is_not_called_a_missing_name(tmp_path: Path) -> None:
    done = python(
        "import types, sys\n"
        "import facula\n"
        "broken = types.ModuleType('facula.broken')\n"
        "broken.__dict__['__getattr__'] = lambda name: None.inner\n"
        "sys.modules['facula.broken'] = broken\n"
        "facula.install_as('torch')\n"
        "import torch.broken\n"
        "torch.broken.thing\n"
    )
    assert done.stderr.splitlines()[-1] == "AttributeError: 'NoneType' object has no attribute 'inner'"
