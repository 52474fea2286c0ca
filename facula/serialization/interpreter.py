"""An interpreter for pickles that can't run code.

A pickle is a program for a stack machine, and Python's own machine calls whatever the program names. This one builds
plain Python data by itself; everything else is left to `Globals`, a table that says what a name stands for, what may be
called and how, and what may be given a state. What is not in the table is refused by name.

Comes in: the bytes of a pickle of protocol 2 to 5. Goes out: the object. Memory is proportional to the pickle's size.
Every malformed pickle raises `UnpicklingError` (or EOFError where it is cut off), with the position of the fault. This
module must never know tensors or archives.

Source: the opcodes are described in CPython's `Lib/pickletools.py`.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict, defaultdict, deque
from pickle import UnpicklingError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Protocol

    class Globals(Protocol):
        """What names stand for, and what may be done with them."""

        def find(self, module: str, name: str) -> Any:
            """The object that stands for a name; raises UnpicklingError for a name that isn't allowed."""

        def call(self, function: Any, arguments: tuple[Any, ...]) -> Any:
            """The result of REDUCE."""

        def new(self, cls: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
            """The result of NEWOBJ."""

        def build(self, instance: Any, state: Any) -> None:
            """Give the instance the state of BUILD."""


MAX_NESTING_OF_KEYS = 100
MAX_TUPLES_IN_KEY = 10_000
_MAPPINGS = (dict, OrderedDict, Counter, defaultdict)
_SEQUENCES = (list, deque)


class Unfinished:
    """Stands for an object between the opcode that makes it and the one that gives it its state."""

    __slots__ = ("function", "value")

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function  # from the state to the object
        self.value: Any = None


class Interpreter:
    """Runs one pickle.

    Args:
        data: the pickle, possibly followed by more.
        names: what the pickle may refer to.
        persistent_load: makes an object of a persistent id.
        encoding: of strings written by Python 2; "bytes" leaves them bytes.
        start: where in `data` the pickle begins.
    """

    def __init__(
        self,
        data: bytes,
        names: Globals,
        persistent_load: Callable[[Any], Any],
        encoding: str = "utf-8",
        start: int = 0,
    ) -> None:
        self.data = data
        self.position = start
        self.names = names
        self.persistent_load = persistent_load
        self.encoding = encoding
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object; afterwards `position` is where the pickle ends."""
        at = self.position
        try:
            while True:
                at = self._run_common()
                opcode = self.data[at]
                if opcode == _STOP:
                    return self.stack.pop()
                handler = _HANDLERS[opcode]
                if handler is None:
                    self.fail(f"Unsupported operand {opcode}")
                handler(self)
        except (UnpicklingError, EOFError, RuntimeError):
            raise
        except IndexError:
            raise UnpicklingError(f"pickle stack or memo underflow at byte {at}") from None
        except MemoryError:
            raise UnpicklingError(f"out of memory at byte {at} of the pickle") from None
        except Exception as error:
            raise UnpicklingError(f"{type(error).__name__} at byte {at} of the pickle: {error}") from error

    def _run_common(self) -> int:
        """Run on to an opcode that isn't one of the few that most of a large pickle consists of; where that is.

        These are what `_TABLE` says they are, written out: a call each would cost as much as PyTorch's own loading.
        """
        data, stack, memo, end = self.data, self.stack, self.memo, len(self.data)
        at = self.position
        while at < end:
            opcode = data[at]
            if opcode == _BINPUT and at + 2 <= end:
                memo[data[at + 1]] = stack[-1]
                at += 2
            elif opcode == _LONG_BINPUT and at + 5 <= end:
                memo[_U4.unpack_from(data, at + 1)[0]] = stack[-1]
                at += 5
            elif opcode == _BINUNICODE and at + 5 <= end:
                text = at + 5
                at = text + _U4.unpack_from(data, at + 1)[0]
                if at > end:
                    raise EOFError(f"pickle data was truncated: a string at byte {text} ends beyond it")
                stack.append(str(data[text:at], "utf-8", "surrogatepass"))
            elif opcode == _BINFLOAT and at + 9 <= end:
                stack.append(_FLOAT.unpack_from(data, at + 1)[0])
                at += 9
            elif opcode == _BININT1 and at + 2 <= end:
                stack.append(data[at + 1])
                at += 2
            elif opcode == _BININT2 and at + 3 <= end:
                stack.append(_U2.unpack_from(data, at + 1)[0])
                at += 3
            else:
                self.position = at + 1
                return at
        raise EOFError(f"Ran out of input: the pickle ends at byte {at} without a STOP")

    def fail(self, message: str) -> NoReturn:
        raise UnpicklingError(f"{message} (at byte {self.position - 1} of the pickle)")

    # Reading

    def take(self, count: int) -> bytes:
        at = self.position
        end = at + count
        if end > len(self.data):
            raise EOFError(f"pickle data was truncated: {count} bytes wanted at byte {at}, {len(self.data) - at} left")
        self.position = end
        return self.data[at:end]

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.take(form.size))[0]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise EOFError(f"pickle data was truncated: no end of the line at byte {self.position}")
        text = self.data[self.position : end]
        self.position = end + 1
        return text

    def name(self) -> str:
        return self.line().decode("utf-8")

    # The stack

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        if not self.marks:
            self.fail("no MARK on the stack")
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def mark(self) -> None:
        self.marks.append(len(self.stack))

    def pop(self) -> None:
        # A MARK is an entry of its own to POP, though not to us.
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        try:
            value = self.memo[index]
        except KeyError:
            self.fail(f"Memo value not found at index {index}")
        self.stack.append(value.value if type(value) is Unfinished else value)

    # Containers

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in _SEQUENCES:
            self.fail(f"Can only append to lists, but got {type(target)}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in _MAPPINGS:
            self.fail(f"Can only set items of dict, OrderedDict or Counter, but got {type(target)}")
        if len(items) % 2:
            self.fail("odd number of items for SETITEMS")
        for position in range(0, len(items), 2):
            key = items[position]
            if type(key) is not str:
                check_key(key)
            target[key] = items[position + 1]

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            self.fail(f"Can only add items to a set, but got {type(target)}")
        for item in items:
            check_key(item)
        target.update(items)

    def frozen(self, items: list[Any]) -> None:
        for item in items:
            check_key(item)
        self.stack.append(frozenset(items))

    # What is left to the table

    def reduce(self) -> None:
        arguments = self.stack.pop()
        if type(arguments) is not tuple:
            self.fail("REDUCE without a tuple of arguments")
        self.stack[-1] = self.names.call(self.stack[-1], arguments)

    def new_object(self, keywords: dict[str, Any]) -> None:
        arguments = self.stack.pop()
        if type(arguments) is not tuple or type(keywords) is not dict:
            self.fail("NEWOBJ without a tuple of arguments")
        self.stack[-1] = self.names.new(self.stack[-1], arguments, keywords)

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is Unfinished:
            # The memo holds the stand-in, so it must lead to the object.
            target.value = target.function(state)
            self.stack[-1] = target.value
        else:
            self.names.build(target, state)

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            self.fail("STACK_GLOBAL requires str")
        self.push(self.names.find(module, name))

    # Strings of Python 2

    def old_string(self, size: int) -> None:
        if size < 0:
            self.fail("BINSTRING pickle has negative byte count")
        data = self.take(size)
        self.push(data if self.encoding == "bytes" else data.decode(self.encoding))


def check_key(key: object) -> None:
    """Refuse keys whose hash would take for ever: Python hashes nested tuples on the machine's stack, shared ones
    anew."""
    pending = [(key, 0)] if isinstance(key, tuple) else []
    visited = 0
    while pending:
        each, depth = pending.pop()
        visited += 1
        if depth > MAX_NESTING_OF_KEYS or visited > MAX_TUPLES_IN_KEY:
            raise UnpicklingError("a dictionary's key, or an item of a set, consists of too many nested tuples")
        pending.extend((item, depth + 1) for item in each if isinstance(item, tuple))


def _unsigned(size: int) -> struct.Struct:
    return struct.Struct("<" + {1: "B", 2: "H", 4: "I", 8: "Q"}[size])


_U1, _U2, _U4, _U8 = (_unsigned(size) for size in (1, 2, 4, 8))
_I4, _FLOAT = struct.Struct("<i"), struct.Struct(">d")
_STOP, _BINPUT, _LONG_BINPUT, _BINUNICODE, _BINFLOAT, _BININT1, _BININT2 = b".qrXGKM"


def _integer(machine: Interpreter, text: bytes) -> None:
    # Protocol 0 writes booleans so, and long integers with a trailing letter.
    machine.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text.removesuffix(b"L")))


def _text(machine: Interpreter, size: int) -> None:
    machine.push(str(machine.take(size), "utf-8", "surrogatepass"))


def _top(machine: Interpreter, count: int) -> None:
    if len(machine.stack) < count:
        machine.fail("pickle stack underflow")
    machine.stack[-count:] = [tuple(machine.stack[-count:])]


_TABLE: dict[str, Callable[[Interpreter], Any]] = {
    # constants
    "N": lambda m: m.push(None),
    "\x88": lambda m: m.push(True),
    "\x89": lambda m: m.push(False),
    "K": lambda m: m.push(m.number(_U1)),
    "M": lambda m: m.push(m.number(_U2)),
    "J": lambda m: m.push(m.number(_I4)),
    "G": lambda m: m.push(m.number(_FLOAT)),
    "I": lambda m: _integer(m, m.line()),
    "L": lambda m: _integer(m, m.line()),
    "F": lambda m: m.push(float(m.line())),
    "\x8a": lambda m: m.push(int.from_bytes(m.take(m.number(_U1)), "little", signed=True)),
    "\x8b": lambda m: m.push(int.from_bytes(m.take(m.number(_U4)), "little", signed=True)),
    # strings
    "X": lambda m: _text(m, m.number(_U4)),
    "\x8c": lambda m: _text(m, m.number(_U1)),
    "\x8d": lambda m: _text(m, m.number(_U8)),
    "V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    "U": lambda m: m.old_string(m.number(_U1)),
    "T": lambda m: m.old_string(m.number(_I4)),
    "C": lambda m: m.push(m.take(m.number(_U1))),
    "B": lambda m: m.push(m.take(m.number(_U4))),
    "\x8e": lambda m: m.push(m.take(m.number(_U8))),
    "\x96": lambda m: m.push(bytearray(m.take(m.number(_U8)))),
    # tuples, lists, dictionaries, sets
    ")": lambda m: m.push(()),
    "\x85": lambda m: _top(m, 1),
    "\x86": lambda m: _top(m, 2),
    "\x87": lambda m: _top(m, 3),
    "t": lambda m: m.push(tuple(m.pop_mark())),
    "]": lambda m: m.push([]),
    "l": lambda m: m.push(m.pop_mark()),
    "a": lambda m: m.append([m.stack.pop()]),
    "e": lambda m: m.append(m.pop_mark()),
    "}": lambda m: m.push({}),
    "d": lambda m: _dictionary(m, m.pop_mark()),
    "s": lambda m: m.set_items(_last_two(m)),
    "u": lambda m: m.set_items(m.pop_mark()),
    "\x8f": lambda m: m.push(set()),
    "\x90": lambda m: m.add_items(m.pop_mark()),
    "\x91": lambda m: m.frozen(m.pop_mark()),
    # the stack and the memo
    "(": Interpreter.mark,
    "0": Interpreter.pop,
    "1": lambda m: m.pop_mark(),
    "2": lambda m: m.push(m.stack[-1]),
    "q": lambda m: m.put(m.number(_U1)),
    "r": lambda m: m.put(m.number(_U4)),
    "p": lambda m: m.put(int(m.line())),
    "\x94": lambda m: m.put(len(m.memo)),
    "h": lambda m: m.get(m.number(_U1)),
    "j": lambda m: m.get(m.number(_U4)),
    "g": lambda m: m.get(int(m.line())),
    # names and objects
    "c": lambda m: m.push(m.names.find(m.name(), m.name())),
    "\x93": Interpreter.stack_global,
    "R": Interpreter.reduce,
    "\x81": lambda m: m.new_object({}),
    "\x92": lambda m: m.new_object(m.stack.pop()),
    "b": Interpreter.build,
    "Q": lambda m: m.push(m.persistent_load(m.stack.pop())),
    # framing
    "\x80": lambda m: _protocol(m, m.number(_U1)),
    "\x95": lambda m: m.number(_U8),
}


def _last_two(machine: Interpreter) -> list[Any]:
    value, key = machine.stack.pop(), machine.stack.pop()
    return [key, value]


def _dictionary(machine: Interpreter, items: list[Any]) -> None:
    machine.push({})
    machine.set_items(items)


def _protocol(machine: Interpreter, number: int) -> None:
    if number > 5:
        machine.fail(f"unsupported pickle protocol: {number}")


_HANDLERS: list[Callable[[Interpreter], Any] | None] = [_TABLE.get(chr(code)) for code in range(256)]
