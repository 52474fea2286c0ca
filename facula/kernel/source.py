"""Where a kernel's text comes from, and what its compiled form depends on.

`syntax` finds the syntax tree of a function in its file, parsed once per file. `fingerprint` tells, without parsing,
whether a compiled object still belongs to a function: it covers the byte code, the constants, and everything that the
function refers to by name (other kernels, macros, numbers, types), to any depth.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import types as python_types
from typing import Any

from facula.kernel.errors import KernelError
from facula.kernel.files import module_digest, ours
from facula.kernel.types import Type

_files: dict[str, dict[int, ast.FunctionDef]] = {}
_fingerprints: dict[tuple[int, ...], tuple[Any, str]] = {}
_dictionaries: dict[int, tuple[Any, int, str]] = {}
_cycles = [0]
_LIBRARY = ast.__file__.removesuffix("ast.py")


def syntax(function: python_types.FunctionType) -> ast.FunctionDef:
    """The `def` of a function."""
    filename = function.__code__.co_filename
    if filename not in _files:
        import linecache

        text = "".join(linecache.getlines(filename, function.__globals__))
        if not text:
            raise KernelError(f"the source of kernel {function.__name__} is not available ({filename})")
        index: dict[int, ast.FunctionDef] = {}
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                for line in range(min([d.lineno for d in node.decorator_list] + [node.lineno]), node.lineno + 1):
                    index[line] = node
        _files[filename] = index
    found = _files[filename].get(function.__code__.co_firstlineno)
    if found is None:
        raise KernelError(f"no def at {filename}:{function.__code__.co_firstlineno}")
    return found


def forget(filename: str) -> None:
    """Parse the file anew next time (interactive use)."""
    _files.pop(filename, None)


def captured(function: python_types.FunctionType) -> dict[str, Any]:
    """The names that the function takes from the scopes around it, with their values now."""
    names = function.__code__.co_freevars
    cells = function.__closure__ or ()
    found = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def _constants(code: python_types.CodeType, update: Any) -> None:
    update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, python_types.CodeType):
            _constants(constant, update)
        elif isinstance(constant, frozenset):  # in an order that does not differ between processes
            update("|".join(sorted(map(repr, constant))).encode())
        elif not isinstance(constant, str) or constant != code.co_name:
            update(repr(constant).encode())
    update("|".join(code.co_names).encode())
    update("|".join(code.co_varnames).encode())  # calls with keywords bind them


def _names(code: python_types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, python_types.CodeType):
            found |= _names(constant)
    return found


def describe(value: Any, visiting: tuple[int, ...] = ()) -> str:
    """A string that changes when a compile-time value changes."""
    if isinstance(value, (int, float, str, bytes, bool, type(None))):
        return repr(value)
    if isinstance(value, Type):
        return value.name
    if isinstance(value, (tuple, list)):
        return "[" + ",".join(describe(v, visiting) for v in value) + "]"
    if isinstance(value, dict):
        known = _dictionaries.get(id(value))
        if known is not None and known[0] is value and known[1] == len(value):
            return known[2]
        text = "{" + ",".join(f"{describe(k, visiting)}:{describe(v, visiting)}" for k, v in value.items()) + "}"
        text = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        _dictionaries[id(value)] = (value, len(value), text)
        return text
    if isinstance(value, (set, frozenset)):
        return "{" + ",".join(sorted(describe(v, visiting) for v in value)) + "}"
    if isinstance(value, python_types.FunctionType):
        if _settled(value.__code__.co_filename, value.__module__) and not value.__closure__:
            return f"{value.__module__}.{value.__qualname__}"
        return fingerprint(value, visiting)
    wrapped = getattr(value, "__wrapped__", None)  # functools.cache
    if wrapped is not None:
        return describe(wrapped, visiting)
    described = getattr(value, "kernel_fingerprint", None)  # kernels, expressions, targets: they know themselves
    if described is not None and not isinstance(value, type):
        return described(visiting) if callable(described) else str(described)
    return _describe_object(value, visiting)


def _settled(filename: str, module: str) -> bool:
    """Whether code belongs to the language itself, whose text is part of every key, or to a library: known by name."""
    if module.startswith("facula."):
        return module.startswith("facula.kernel.")
    return not filename or "site-packages" in filename or filename.startswith((_LIBRARY, "<frozen"))


def _describe_object(value: Any, visiting: tuple[int, ...]) -> str:
    """Objects of classes that know nothing of kernels: by their attributes, and by the methods of their class."""
    if isinstance(value, python_types.MethodType):
        return describe(value.__func__, visiting) + describe(value.__self__, visiting)
    kind = value if isinstance(value, type) else type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if id(value) in visiting or isinstance(value, (python_types.ModuleType, python_types.BuiltinFunctionType)):
        return getattr(value, "__name__", name)
    visiting = (*visiting, id(value))
    if type(value).__module__ == "functools" and hasattr(value, "func"):  # partial
        return describe((value.func, value.args, value.keywords), visiting)
    if isinstance(value, type):
        if ours(kind.__module__):
            return name + module_digest(kind.__module__)
        if _settled(getattr(sys.modules.get(kind.__module__), "__file__", None) or "", kind.__module__):
            return name
        methods = {
            k: v for k, v in vars(kind).items() if isinstance(v, (python_types.FunctionType, int, float, str, Type))
        }
        return name + describe(list(methods.items()), visiting)
    if hasattr(value, "dtype") and hasattr(value, "tobytes"):  # NumPy's numbers and arrays
        return f"{value.dtype}{value.shape}{value.tobytes().hex()}"
    return name + describe(list(getattr(value, "__dict__", {}).items()), visiting) + describe(kind, visiting)


def fingerprint(function: python_types.FunctionType, visiting: tuple[int, ...] = ()) -> str:
    """A digest of the function and of all that it refers to."""
    text = (
        _house_fingerprint(function, visiting) if ours(function.__module__) else _body_fingerprint(function, visiting)
    )
    # One code object may serve functions with other types and defaults.
    signature = (function.__annotations__, function.__defaults__, function.__kwdefaults__)
    if not any(signature) or id(function) in visiting:
        return text
    visiting = (*visiting, id(function))
    annotations = ",".join(f"{name}:{describe(kind, visiting)}" for name, kind in signature[0].items())
    return f"{text}({annotations};{describe(signature[1:], visiting)})"


def _house_fingerprint(function: python_types.FunctionType, visiting: tuple[int, ...]) -> str:
    """One of facula's own functions: its place in its file, the file's digest, and what the scopes around it gave."""
    place = f"{module_digest(function.__module__)}:{function.__qualname__}:{function.__code__.co_firstlineno}"
    if not function.__closure__ or id(function) in visiting:
        return place
    visiting = (*visiting, id(function))
    given = ",".join(f"{name}={describe(value, visiting)}" for name, value in captured(function).items())
    return f"{place}({given})"


def _body_fingerprint(function: python_types.FunctionType, visiting: tuple[int, ...]) -> str:
    closed = bool(function.__closure__)
    # A factory gives the same code other annotations each time; types are interned.
    key = (id(function.__code__), *map(id, (function.__annotations__ or {}).values()))
    known = _fingerprints.get(key)
    if known is not None and not closed and known[0] is function.__code__:
        return known[1]
    if id(function) in visiting:
        _cycles[0] += 1
        return function.__qualname__
    cycles = _cycles[0]
    visiting = (*visiting, id(function))
    digest = hashlib.blake2b(digest_size=16)
    _constants(function.__code__, digest.update)
    for name, value in captured(function).items():
        digest.update(f"{name}={describe(value, visiting)};".encode())
    names = _names(function.__code__)
    for name in sorted(names):
        if name in function.__globals__:
            value = function.__globals__[name]
            if isinstance(value, (python_types.ModuleType, type)):  # a module, or a class of constants
                for attribute in sorted(names & vars(value).keys()):
                    digest.update(f"{name}.{attribute}={describe(vars(value)[attribute], visiting)};".encode())
            else:
                digest.update(f"{name}={describe(value, visiting)};".encode())
    result = digest.hexdigest()
    if not closed and (len(visiting) == 1 or cycles == _cycles[0]):  # part of a cycle is known only from its start
        _fingerprints[key] = (function.__code__, result)
    return result
