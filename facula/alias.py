"""`import torch` made to mean facula: one rule, `torch.x.y` is `facula.x.y`, the same module object under both names.

Comes in: a name to stand for facula. Goes out: entries in `sys.modules` and a finder that makes the further ones as
they are imported, in this process and in the ones that multiprocessing spawns from it. Only the root is a module of its
own, because it differs in one thing: its `__version__` is the level of PyTorch's API, and `facula.__version__` is ours.

This module must never know which names the package has: what is missing is found out by asking for it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.metadata import Distribution, DistributionFinder
    from os import PathLike
    from pathlib import Path

__all__ = ["install_as"]

_HOUSE = __name__.rpartition(".")[0]
_SPAWN = "multiprocessing.spawn"


class _AliasLoader:
    """Answers the import of an alias with the module it stands for, unchanged."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if self.target == _HOUSE:
            self.spec = spec
            return _root_module(spec.name)
        module = import_module(self.target)
        self.spec = module.__spec__
        _explain_missing_names(module, spec.name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # the import system has put the alias's own here


class _AliasFinder:
    """Finds the modules under each alias, and gives spawned processes the same aliases."""

    def __init__(self) -> None:
        self.roots: dict[str, str] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, rest = name.partition(".")
        if root in self.roots:
            own = f"{self.roots[root]}.{rest}" if rest else self.roots[root]
            if not _exists(own):
                raise ModuleNotFoundError(f"facula has no {name} yet", name=name)
            return ModuleSpec(name, _AliasLoader(own), is_package=not rest)  # type: ignore[arg-type]
        if name == _SPAWN:
            spec = PathFinder.find_spec(name, path)
            if spec is not None and spec.loader is not None:
                spec.loader = _SpawnLoader(spec.loader)  # type: ignore[assignment]
            return spec
        return None

    def find_distributions(self, context: DistributionFinder.Context) -> list[Distribution]:
        """What `importlib.metadata.version("torch")` finds: libraries ask it before they import torch."""
        if self.roots.get(context.name or "") != _HOUSE:
            return []
        from importlib.metadata import Distribution

        from .torch_version import API_LEVEL

        name = context.name

        class AliasDistribution(Distribution):
            def read_text(self, filename: str) -> str | None:
                return (
                    f"Metadata-Version: 2.1\nName: {name}\nVersion: {API_LEVEL}\n" if filename == "METADATA" else None
                )

            def locate_file(self, path: str | PathLike[str]) -> Path:
                from pathlib import Path

                return Path(import_module(_HOUSE).__path__[0]).parent / path

        return [AliasDistribution()]


class _SpawnLoader:
    """Loads multiprocessing.spawn as ever, then makes what it sends to a new process carry the aliases."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        _carry_into_spawned(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)


class _InstallOnArrival:
    """Installs the aliases in the process that unpickles it: a new process does so before it runs the main script."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        # The new process knows nothing yet, not even where this package lies; `exec` is all that surely is there.
        home = import_module(_HOUSE).__path__[0].removesuffix(_HOUSE).rstrip("/\\")
        source = (
            "import sys\n"
            f"sys.path.append({home!r})\n"
            f"from {__name__} import install_as\n"
            f"for name in {[name for name, own in _finder.roots.items() if own == _HOUSE]!r}: install_as(name)\n"
        )
        return exec, (source,)


def _carry_into_spawned(spawn: ModuleType) -> None:
    original = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, object]:
        return {"aliases": _InstallOnArrival(), **original(name)}

    spawn.get_preparation_data = get_preparation_data  # type: ignore[attr-defined]
    # A fork server would import the main script before it hears of any alias.
    from multiprocessing import set_forkserver_preload

    set_forkserver_preload([])


def _exists(name: str) -> bool:
    """Whether a module of ours can be imported; its parents are."""
    if name in sys.modules:
        return True
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except ModuleNotFoundError as error:
        if error.name and name.startswith(error.name):
            return False  # a parent is no package
        raise


def _explain_missing_names(module: ModuleType, alias: str) -> None:
    """Make `alias.name` say that facula lacks it, where the module has no such name."""
    own_lookup = module.__dict__.get("__getattr__")

    def __getattr__(name: str) -> object:
        if own_lookup is not None:
            try:
                return own_lookup(name)
            except AttributeError as error:
                if error.name not in (None, name):
                    raise  # the name is there, and something behind it broke
        if name.startswith("__"):
            raise AttributeError(f"module {alias!r} has no attribute {name!r}", name=name, obj=module) from None
        raise AttributeError(f"facula has no {alias}.{name} yet", name=name, obj=module) from None

    module.__dict__["__getattr__"] = __getattr__


def _is_submodule(package: ModuleType, name: str, value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__ == f"{package.__name__}.{name}"


def _root_module(alias: str) -> ModuleType:
    """The package under another name: everything it has, and the version that programs ask PyTorch for."""
    from .torch_version import API_LEVEL

    house = import_module(_HOUSE)
    module = ModuleType(alias, house.__doc__)
    own = {"__name__", "__spec__", "__loader__", "__getattr__"}
    for name, value in vars(house).items():
        if name not in own and not _is_submodule(house, name, value):
            module.__dict__[name] = value
    module.__dict__["__version__"] = API_LEVEL

    def __getattr__(name: str) -> object:
        # Reached once for each submodule and each name that the package loads late: then it is an ordinary attribute.
        value = getattr(house, name)
        if _is_submodule(house, name, value):
            value = import_module(f"{alias}.{name}")
        module.__dict__[name] = value
        return value

    module.__dict__["__getattr__"] = __getattr__
    _explain_missing_names(module, alias)
    return module


_finder = _AliasFinder()


def install_as(name: str = "torch") -> ModuleType:
    """Make `import torch`, and every `import torch.x.y`, give facula from now on; returns the module.

    Args:
        name: the name that programs import, "torch" by default.

    Raises:
        RuntimeError: the real package of that name is imported already: its objects and facula's must not mix.
        ValueError: the name is not a plain identifier, or is facula's own.

    Example:
        >>> import facula
        >>> torch = facula.install_as("torch")
        >>> import torch.nn.functional as F
        >>> torch.__version__
        '2.13.0'
    """
    if not name.isidentifier() or name == _HOUSE:
        raise ValueError(f"install_as() needs a name other than {_HOUSE!r} that can be imported, not {name!r}")
    if name in _finder.roots:
        return sys.modules[name]
    if name in sys.modules:
        found = getattr(sys.modules[name], "__file__", None) or "built in"
        raise RuntimeError(
            f"{name} is already imported (from {found}), so facula cannot take its name: call install_as({name!r}) "
            f"before the first `import {name}`, in a notebook after restarting the kernel"
        )
    if not _finder.roots:
        sys.meta_path.insert(0, _finder)
        if _SPAWN in sys.modules:
            _carry_into_spawned(sys.modules[_SPAWN])
    _finder.roots[name] = _HOUSE
    if name == "torch":
        for companion, own in (("torchvision", f"{_HOUSE}.vision"), ("torchtext", f"{_HOUSE}.text")):
            if companion not in sys.modules and _exists(own):
                _finder.roots[companion] = own
    return import_module(name)
