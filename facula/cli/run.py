"""`facula run`: a Python program as `python` would run it, with `import torch` giving facula.

Comes in: `SCRIPT ARG...`, `-m MODULE ARG...` or `-c CODE ARG...`. Goes out: what the program itself does and prints,
its exit status included; a traceback shows the program's frames only. It sees its own `sys.argv` and `sys.path[0]`.
"""

from __future__ import annotations

import os
import sys
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, NoReturn

from . import CommandError

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

__all__ = ["run"]

_HELP = """\
usage: facula run SCRIPT [ARG ...]
       facula run -m MODULE [ARG ...]
       facula run -c CODE [ARG ...]

Runs the program as python would, with torch and all its submodules standing for facula's.
"""


def run(arguments: list[str]) -> int:
    """Run the program that the arguments name, as `__main__`. Returns only if it ends without raising SystemExit."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if not arguments:
        raise CommandError("run needs a script, -m MODULE or -c CODE: for example, facula run train.py --epochs 5")
    form, rest = arguments[0], arguments[1:]
    if form in ("-m", "-c"):
        if not rest:
            raise CommandError(f"run {form} needs {'a module' if form == '-m' else 'some code'} after it")
        subject, rest = rest[0], rest[1:]
    elif form.startswith("-"):
        raise CommandError(f"run has no option {form!r}; the program's own arguments come after its name")
    else:
        subject = form

    if not sys.flags.safe_path and sys.path:
        sys.path[0] = {"-m": os.getcwd(), "-c": ""}.get(form) or _folder_of(subject, form)
    from ..alias import install_as

    try:
        install_as("torch")
    except RuntimeError as error:
        raise CommandError(str(error)) from None

    try:
        if form == "-c":
            sys.argv = ["-c", *rest]
            _execute(_compile(subject, "<string>"))
        elif form == "-m":
            sys.argv = ["-m", *rest]
            code, spec = _find_module(subject)
            sys.argv[0] = spec.origin or ""
            _execute(code, file=spec.origin, spec=spec)
        else:
            sys.argv = [subject, *rest]
            _run_path(subject)
    except (CommandError, SystemExit):
        raise
    except BaseException as error:
        return _report(error)
    return 0


def _folder_of(script: str, form: str) -> str:
    if form == "-c":
        return ""
    return script if os.path.isdir(script) else os.path.dirname(os.path.realpath(script))


def _run_path(path: str) -> None:
    if os.path.isdir(path) or _is_archive(path):
        sys.path[0] = path
        code, spec = _find_module("__main__", within=path)
        _execute(code, file=spec.origin, spec=spec)
        return
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise CommandError(f"can't open {path!r}: {error.strerror}") from None
    path = os.path.abspath(path)
    _execute(_compile(source, path), file=path)


def _is_archive(path: str) -> bool:
    if not os.path.isfile(path) or path.endswith(".py"):
        return False
    from zipfile import is_zipfile

    return is_zipfile(path)


def _find_module(name: str, within: str | None = None) -> tuple[CodeType, ModuleSpec]:
    """The code of a module, or of the `__main__` of a package, and its spec."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    spec: ModuleSpec | None
    try:
        spec = PathFinder.find_spec(name, [within]) if within else find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{name}.__main__")
    except (ModuleNotFoundError, ValueError) as error:
        if isinstance(error, ModuleNotFoundError) and not name.startswith(error.name or name):
            raise  # the module's own parent package asks for something else that is missing
        spec = None
    code = spec.loader.get_code(spec.name) if spec is not None and hasattr(spec.loader, "get_code") else None  # type: ignore[union-attr]
    if code is None or spec is None:
        raise CommandError(f"can't find '__main__' in {within!r}" if within else f"no module named {name}", status=1)
    return code, spec


def _compile(source: str | bytes, filename: str) -> CodeType:
    return compile(source, filename, "exec", dont_inherit=True)


def _execute(code: CodeType, file: str | None = None, spec: ModuleSpec | None = None) -> None:
    """Run code in a new `__main__`, which stays: threads, exit functions and pickles still need it later."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    main.__spec__ = spec
    main.__package__ = spec.parent if spec is not None else None
    if file is not None:
        main.__file__ = file
        main.__dict__["__cached__"] = spec.cached if spec is not None else None
    if spec is not None:
        main.__loader__ = spec.loader
    elif file is not None:
        from importlib.machinery import SourceFileLoader

        main.__loader__ = SourceFileLoader("__main__", file)
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _report(error: BaseException) -> int:
    """Hand an uncaught exception to `sys.excepthook` without the frames of this package's own; returns the status."""
    sys.last_type, sys.last_value = type(error), error
    sys.last_traceback = error.__traceback__ = _own_frames_removed(error.__traceback__)
    sys.excepthook(type(error), error, error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        _end_as_interrupted()
    return 1


def _own_frames_removed(traceback: TracebackType | None) -> TracebackType | None:
    here = __file__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == here:
        traceback = traceback.tb_next
    return traceback


def _end_as_interrupted() -> NoReturn:
    """Let the interpreter end the way it ends on Ctrl-C, by the signal itself, after the usual clean-up."""
    sys.excepthook = lambda *_: None
    raise KeyboardInterrupt
