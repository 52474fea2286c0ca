"""The table of what a checkpoint may name, and what each name allows.

A name is looked up, never imported. Names of PyTorch lead to what stands for them here; Python's and NumPy's containers
are made by functions that check their arguments; anything else must have been registered by the program, with
`add_safe_globals`. With `weights_only=False` plain data classes of the standard library and modules are allowed as
well: those of `facula.nn`, and the program's own where bringing one back runs none of the program's code.

Comes in: names and arguments from a file. Goes out: objects, or `UnpicklingError` naming what was refused and how to
allow it. This module must never know opcodes or archives.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, defaultdict, deque
from pickle import UnpicklingError
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING

import facula
from facula.core.dtype import ALL_DTYPES
from facula.ops.define import FUNCTIONS
from facula.serialization import arrays, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

BLOCKED_MODULES = frozenset({"sys", "os", "posix", "nt"})
# What Python 2 called them, and pickles of protocol 2 still do.
_OLD_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "torch.tensor": "torch._tensor"}
_OLD_NAMES = {"builtins.xrange": "builtins.range", "builtins.unicode": "builtins.str", "builtins.long": "builtins.int"}

_registered: dict[str, Any] = {}


def full_name(obj: Any) -> str:
    """The name by which pickles refer to a class or function."""
    return f"{obj.__module__}.{obj.__qualname__}"


def register(objects: Iterable[Any]) -> None:
    """Allow these classes and functions; an item may be a pair (object, its name in the file)."""
    for item in objects:
        if isinstance(item, tuple):
            if len(item) != 2:
                raise ValueError(
                    "Expected tuple of length 2 (global, str of callable full path), "
                    f"but got tuple of length: {len(item)}"
                )
            if type(item[1]) is not str:
                raise TypeError(
                    f"Expected second item in tuple to be str of callable full path, but got: {type(item[1])}"
                )
            _registered[item[1]] = item
        else:
            _registered[full_name(item)] = item


def unregister(objects: Iterable[Any]) -> None:
    """Take back what `register` allowed."""
    for item in objects:
        _registered.pop(item[1] if isinstance(item, tuple) else full_name(item), None)


def registered() -> list[Any]:
    """What `register` was given."""
    return list(_registered.values())


def _registered_as(name: str) -> Any:
    for candidate in (name, _own_name(name)):
        found = _registered.get(candidate)
        if found is not None:
            return found[0] if isinstance(found, tuple) else found
    return None


def _own_name(name: str) -> str:
    """`torch.nn.Linear` as `facula.nn.Linear`."""
    return "facula" + name.removeprefix("torch") if name.startswith("torch.") else name


# Functions that check what they are given


def _wrong(name: str, arguments: object) -> NoReturn:
    raise UnpicklingError(f"{name} can't be called with {arguments!r:.100}")


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    # How protocol 2 writes bytes.
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        _wrong("_codecs.encode", (text, encoding))
    return text.encode("latin-1")


def _bytearray(*arguments: Any) -> bytearray:
    if not arguments:
        return bytearray()
    data, *encoding = arguments
    if type(data) is str and encoding in (["latin-1"], ["latin1"]):
        return bytearray(data, "latin-1")
    if type(data) is not bytes or encoding:
        _wrong("bytearray", arguments)  # bytearray(10**12) would be that large
    return bytearray(data)


def _bytes(*arguments: Any) -> bytes:
    if arguments:
        _wrong("bytes", arguments)
    return b""


def _items(kind: type) -> Callable[..., Any]:
    from facula.serialization.interpreter import check_key

    def make(items: Any = ()) -> Any:
        if type(items) not in (list, tuple):
            _wrong(kind.__name__, items)
        if kind is not deque:
            for item in items:
                check_key(item)
        return kind(items)

    return make


def _deque(items: Any = (), maxlen: Any = None) -> deque[Any]:
    if type(items) not in (list, tuple) or not (maxlen is None or type(maxlen) is int):
        _wrong("collections.deque", (items, maxlen))
    return deque(items, maxlen)


def _mapping(kind: type) -> Callable[..., Any]:
    from facula.serialization.interpreter import check_key

    def make(items: Any = None) -> Any:
        if items is None:
            return kind()
        if type(items) is dict:
            return kind(items)
        # Pairs, as Python 2 has them.
        if type(items) is not list or not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in items):
            _wrong(kind.__name__, items)
        for key, _ in items:
            check_key(key)
        return kind(items)

    return make


def _defaultdict(factory: Any = None) -> defaultdict[Any, Any]:
    if factory is not None and not any(factory is kind for kind in _PLAIN_TYPES):
        _wrong("collections.defaultdict", factory)
    return defaultdict(factory)


def _numbers(kind: Any, types: tuple[type, ...]) -> Callable[..., Any]:
    def make(*arguments: Any) -> Any:
        if not all(type(argument) in types for argument in arguments):
            _wrong(kind.__name__, arguments)
        return kind(*arguments)

    return make


def _size(sizes: Any) -> Any:
    if type(sizes) is not tuple or not all(type(size) is int for size in sizes):
        _wrong("torch.Size", sizes)
    return facula.Size(sizes)


def _parameter(data: Any, requires_grad: Any = True) -> Any:
    return rebuild._rebuild_parameter(data, requires_grad, None)


def _named_operator(holder: Any, name: Any) -> Any:
    """`getattr(torch._C._VariableFunctionsClass, "relu")`: how PyTorch pickles `torch.relu`."""
    found = FUNCTIONS["torch"].get(name) if type(name) is str else None
    if holder is not _OPERATORS or found is None:
        _wrong("getattr", (holder, name))
    return found


_OPERATORS = object()
_PLAIN_TYPES = (list, dict, set, int, float, str, bool, tuple, bytes)
_CALLS: dict[Any, Callable[..., Any]] = {
    set: _items(set),
    frozenset: _items(frozenset),
    list: _items(list),
    tuple: _items(tuple),
    OrderedDict: _mapping(OrderedDict),
    Counter: _mapping(Counter),
    dict: _mapping(dict),
    defaultdict: _defaultdict,
    deque: _deque,
    complex: _numbers(complex, (int, float)),
    range: _numbers(range, (int,)),
    slice: _numbers(slice, (int, type(None))),
    bytearray: _bytearray,
    bytes: _bytes,
    _encode: _encode,
    facula.Size: _size,
    facula.device: _numbers(facula.device, (str, int)),
    facula.nn.Parameter: _parameter,
    rebuild._rebuild_from_type_v2: rebuild._rebuild_from_type_v2,
    rebuild._get_layout: rebuild._get_layout,
    **{function: function for function in rebuild.TENSOR_FUNCTIONS},
    **arrays.CALLS,
}

SAFE_NAMES: dict[str, Any] = {
    "builtins.set": set,
    "builtins.complex": complex,
    "builtins.bytearray": bytearray,
    "builtins.bytes": bytes,
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "_codecs.encode": _encode,
    "torch.Size": facula.Size,
    "torch.device": facula.device,
    "torch.Tensor": facula.Tensor,
    "torch.nn.parameter.Parameter": facula.nn.Parameter,
    "torch.nn.Parameter": facula.nn.Parameter,
    "torch._tensor._rebuild_from_type_v2": rebuild._rebuild_from_type_v2,
    "torch.serialization._get_layout": rebuild._get_layout,
    "torch.storage.UntypedStorage": rebuild.UntypedStorage,
    "torch.UntypedStorage": rebuild.UntypedStorage,
    **{f"torch._utils.{function.__name__}": function for function in rebuild.TENSOR_FUNCTIONS},
    **{f"torch.{name}": kind for name, kind in rebuild.STORAGE_TYPES.items()},
    **{f"torch.{dtype.name}": dtype for dtype in ALL_DTYPES},
    **arrays.NAMES,
}
# Also for whole programs' checkpoints, which hold more than weights.
PLAIN_NAMES: dict[str, Any] = {
    **{f"builtins.{kind.__name__}": kind for kind in (*_PLAIN_TYPES, frozenset, range, slice)},
    "collections.defaultdict": defaultdict,
    "collections.deque": deque,
}
# Data classes of the standard library that do nothing but hold their arguments: imported only if a file names them.
_PLAIN_CLASSES = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    "datetime.date",
    "datetime.datetime",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "decimal.Decimal",
    "fractions.Fraction",
    "uuid.UUID",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "pathlib.PurePosixPath",
    "pathlib.PureWindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
}


class Names:
    """The names of one load; what `Interpreter` asks.

    Args:
        weights_only: allow tensors and plain containers only.
        before_foreign: called before code of a registered class or function runs, which may change loaded tensors.
    """

    def __init__(self, weights_only: bool, before_foreign: Callable[[], None] = lambda: None) -> None:
        self.weights_only = weights_only
        self._before_foreign = before_foreign
        self._classes: dict[int, Any] = {}  # allowed to be made and to be given a state, by identity
        self._functions: dict[int, Any] = {}  # allowed to be called, by identity

    def find(self, module: str, name: str) -> Any:
        full = current_name(module, name)
        module = _OLD_MODULES.get(module, module)
        if module in BLOCKED_MODULES:
            raise UnpicklingError(f"Trying to load unsupported GLOBAL {full} whose module {module} is blocked.")
        found = SAFE_NAMES.get(full)
        if found is not None:
            return found
        found = _registered_as(full)
        if found is not None:
            self._allow(found)
            return found
        if not self.weights_only:
            found = self._find_more(module, name, full)
            if found is not None:
                return found
        self._refuse(full)

    def _allow(self, found: Any) -> None:
        self._functions[id(found)] = found
        if isinstance(found, type):
            self._classes[id(found)] = found

    def _find_more(self, module: str, name: str, full: str) -> Any:
        if full in PLAIN_NAMES:
            return PLAIN_NAMES[full]
        if full in _PLAIN_CLASSES:
            from importlib import import_module

            found = getattr(import_module(module), name)
            self._allow(found)
            return found
        if full == "builtins.getattr":
            return _named_operator
        if full == "torch._C._VariableFunctionsClass":
            return _OPERATORS
        if full == "torch._C.Generator":
            return rebuild._rebuild_generator
        found = FUNCTIONS["torch"].get(name) if module == "torch" else None
        found = found or _function_of_nn(module, name) or _module_class(module, name)
        if isinstance(found, type):
            self._classes[id(found)] = found
        return found

    def _refuse(self, full: str) -> NoReturn:
        shown = full.removeprefix("builtins.")
        if self.weights_only:
            raise UnpicklingError(
                f"Unsupported global: GLOBAL {shown} was not an allowed global by default. "
                f"Please use `torch.serialization.add_safe_globals([{shown}])` or the "
                f"`torch.serialization.safe_globals([{shown}])` context manager to allowlist this global "
                "if you trust this class/function."
            )
        raise UnpicklingError(
            f"Unsupported global: GLOBAL {shown}. A file never makes facula import or run anything, also with "
            "weights_only=False. If you trust this class or function, import it and register it before loading: "
            f"`torch.serialization.add_safe_globals([{shown}])`. Registered classes are brought back by __new__ and "
            "__setstate__, as pickle does."
        )

    def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
        if id(function) in self._functions:
            self._before_foreign()
            return function(*arguments)
        if function is _named_operator or function is rebuild._rebuild_generator:
            return function(*arguments)
        checked = _CALLS.get(function) if _is_plain(function) else None
        if checked is None:
            raise UnpicklingError(f"Trying to call reduce for unrecognized function {function!r:.200}")
        return checked(*arguments)

    def new(self, cls: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if id(cls) in self._classes:
            return cls.__new__(cls, *arguments, **keywords)
        checked = _CALLS.get(cls) if isinstance(cls, type) else None
        if checked is None or keywords:
            raise UnpicklingError(
                "Can only create new object for nn.Parameter or classes allowlisted "
                f"via `add_safe_globals` but got {cls!r:.200}"
            )
        return checked(*arguments)

    def build(self, instance: Any, state: Any) -> None:
        cls = type(instance)
        if cls is OrderedDict:
            # `_metadata` of a module's state.
            if type(state) is not dict or not all(type(name) is str for name in state):
                raise UnpicklingError("the attributes of an OrderedDict are not a dictionary")
            instance.__dict__.update(state)
        elif id(cls) in self._classes:
            self._before_foreign()
            _set_state(instance, state)
        elif cls is facula.Generator:
            instance.set_state(state[-1])
        elif cls is facula.Tensor or cls is facula.nn.Parameter:
            raise UnpicklingError("the checkpoint stores tensors in a form older than PyTorch 0.4; save it again")
        else:
            raise UnpicklingError(
                "Can only build Tensor, Parameter, OrderedDict or types allowlisted "
                f"via `add_safe_globals`, but got {cls}"
            )


def current_name(module: str, name: str) -> str:
    """The full name that a pickle's `module` and `name` mean today."""
    full = f"{_OLD_MODULES.get(module, module)}.{name}"
    return _OLD_NAMES.get(full, full)


def is_allowed(full: str) -> bool:
    """Whether a file that names this loads with `weights_only=True`."""
    if full.rpartition(".")[0] in BLOCKED_MODULES:
        return False
    return SAFE_NAMES.get(full) is not None or _registered_as(full) is not None


def names_in(content: bytes) -> list[str]:
    """The full names in a pickle, in order, without running it."""
    import pickletools

    found: dict[str, None] = {}
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "GLOBAL":
            found[current_name(*str(argument).split(" ", 1))] = None
        elif opcode.name == "STACK_GLOBAL":
            found[current_name(*strings[-2:])] = None
        elif isinstance(argument, str):
            strings.append(argument)
    return list(found)


def _is_plain(function: Any) -> bool:
    """Whether looking `function` up in a dictionary runs no code of its own."""
    return isinstance(function, (type, FunctionType, BuiltinFunctionType, arrays.NumpyName))


def _function_of_nn(module: str, name: str) -> Any:
    if module not in ("torch.nn.functional", "torch._C._nn") or name.startswith("_"):
        return None
    found = getattr(facula.nn.functional, name, None)
    return found if isinstance(found, (FunctionType, BuiltinFunctionType)) else None


def _module_class(module: str, name: str) -> type | None:
    """A class of `facula.nn`, or of the program if bringing an object of it back runs none of the program's code."""
    base = facula.nn.Module
    if module.startswith(("torch.nn.", "facula.nn.")):
        found = getattr(facula.nn, name, None)
        return found if isinstance(found, type) and issubclass(found, (base, facula.nn.Parameter)) else None
    found = sys.modules.get(module)
    for part in name.split("."):
        found = vars(found).get(part) if found is not None and hasattr(found, "__dict__") else None
    if not isinstance(found, type) or type(found) is not type(base) or not issubclass(found, base):
        return None
    for method in ("__new__", "__setstate__", "__setattr__", "__getattribute__", "__del__"):
        definer = next((each for each in found.__mro__ if method in vars(each)), object)
        if definer is not object and not definer.__module__.startswith("facula."):
            return None
    return found


def _set_state(instance: Any, state: Any) -> None:
    """As pickle does: by `__setstate__` if the class has one, else into `__dict__` and the slots."""
    setter = getattr(type(instance), "__setstate__", None)
    if setter is not None:
        setter(instance, state)
        return
    slots = None
    if type(state) is tuple and len(state) == 2:
        state, slots = state
    if state:
        instance.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(instance, name, value)
