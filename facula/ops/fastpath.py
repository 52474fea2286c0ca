"""The native fast path of pointwise operators: lookup, allocation, kernel call and graph node without the interpreter.

Each operator has a table, found from a context block, whose entries are keyed by the layouts (or, for Python numbers, the
types) of the operands. A hit does natively what `PointwiseOperator.__call__` does; anything else, from keyword arguments
to a recorder that listens, goes to the Python path, which fills the table. Without this module everything computes the
same, only slower: FACULA_REFERENCE=1 runs that way.
"""

import ctypes
from typing import Any

from facula.core.layout import CPU
from facula.kernel import link
from facula.kernel.language import (
    address_of,
    as_pointer,
    bitcast,
    call_address,
    call_extern,
    external,
    f64,
    i8,
    i64,
    kernel,
    offset,
    ptr,
    stack_array,
    unroll,
)  # fmt: skip
from facula.runtime import memory, native
from facula.runtime.launch import _kept, python_api
from facula.runtime.native import (
    OBJECT,
    as_int,
    bin_of,
    decref,
    fresh_tensor,
    incref,
    make_tensor,
    set_word,
    state,
    word,
)
from facula.runtime.objects import TensorBase

SLOTS, MOST_INPUTS, MOST_OUTPUTS, MOST_TAIL, ENTRIES = 16, 4, 3, 2, 64
C_SLOW, C_TABLE = 0, 1
(E_KEYS, E_ADDRESS, E_N, E_GRAIN, E_OUT, E_BIN, E_NBYTES, E_TAIL, E_TAILS, E_OUTPUTS, E_KINDS, E_DIFFERENTIABLE, E_INFO) = (
    0, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16,
)  # fmt: skip
E_HOLDER = E_INFO  # the list that keeps alive what the entry refers to (nobody asks for the gradient of no input)
ENTRY = 32
I_OPERATOR, I_OUTPUTS, I_EDGES, I_EDGE, I_SAVED, I_SAVE = 0, 1, 2, 3, 7, 8
TENSOR, FLOAT, INTEGER = 0, 1, 2
NUMBER = 64  # added to the position of a saved operand that is a Python number
PARALLEL_GRAINS = 4
ITEMS = tuple.__basicsize__ // 8  # where the items of a tuple begin, in words


@kernel
def is_none(o: OBJECT) -> i64:
    """1 for NULL and for None."""
    if o == 0:
        return 1
    if o == word(state(), native.S_NONE):
        return 1
    return 0


@kernel
def stale(t: OBJECT) -> i64:
    """1 for a view whose base was changed since its node was made."""
    base = word(t, native.T_BASE)
    if is_none(base) != 0:
        return 0
    node = word(base, native.T_NODE)
    mine = word(t, native.T_BASE_NODE)
    if node == mine:
        return 0
    if is_none(node) + is_none(mine) == 2:
        return 0
    return 1


@kernel
def make_edge(t: OBJECT) -> OBJECT:
    """Where the gradient of a tensor goes: the leaf itself, or (node, output)."""
    node = word(t, native.T_NODE)
    if is_none(node) != 0:
        incref(t)
        return t
    edge = call_extern("PyTuple_New", OBJECT, i64(2))
    incref(node)
    set_word(edge, ITEMS, node)
    set_word(edge, ITEMS + 1, call_extern("PyLong_FromLongLong", OBJECT, t[native.T_OUTPUT]))
    return edge


@kernel
def make_node(info: OBJECT, arguments: OBJECT, out: OBJECT):
    """Leave the node of this call behind `out`."""
    words = state()
    node = call_extern("PyType_GenericAlloc", OBJECT, word(words, native.S_NODE_TYPE), i64(0))
    call_extern("PyObject_GC_UnTrack", None, node)
    incref(word(info, I_OPERATOR))
    set_word(node, native.N_OPERATOR, word(info, I_OPERATOR))
    incref(word(info, I_OUTPUTS))
    set_word(node, native.N_OUTPUTS, word(info, I_OUTPUTS))
    count = info[I_EDGES]
    edges = call_extern("PyTuple_New", OBJECT, count)
    for k in range(count):
        as_pointer(offset(edges, ITEMS), OBJECT)[k] = make_edge(as_pointer(arguments, OBJECT)[info[k + I_EDGE]])
    set_word(node, native.N_EDGES, edges)
    count = info[I_SAVED]
    saved = call_extern("PyTuple_New", OBJECT, count)
    versions = call_extern("PyTuple_New", OBJECT, count)
    for k in range(count):
        position = info[k + I_SAVE]
        value = out
        version = i64(-1)
        if position >= NUMBER:
            value = as_pointer(arguments, OBJECT)[position - NUMBER]
            incref(value)
        elif position < 0:
            storage = word(out, native.T_STORAGE)
            incref(storage)
            value = make_tensor(
                storage, out[native.T_DATA], word(out, native.T_LAYOUT), word(words, native.S_TENSOR_TYPE)
            )
        else:
            value = as_pointer(arguments, OBJECT)[position]
            incref(value)
            version = word(value, native.T_STORAGE)[native.VERSION]
        as_pointer(offset(saved, ITEMS), OBJECT)[k] = value
        noted = word(words, native.S_NONE)
        if position >= NUMBER:
            incref(noted)
        else:
            noted = call_extern("PyLong_FromLongLong", OBJECT, version)
        as_pointer(offset(versions, ITEMS), OBJECT)[k] = noted
    set_word(node, native.N_SAVED, saved)
    set_word(node, native.N_VERSIONS, versions)
    words[native.S_SEQUENCE] = words[native.S_SEQUENCE] + 1
    node[native.N_SEQUENCE] = words[native.S_SEQUENCE]
    set_word(out, native.T_NODE, node)
    out[native.T_REQUIRES] = 1


@kernel
def run_kernel(address: OBJECT, slots: ptr(i64), n: i64, grain: i64):
    """The kernel over its range: here if small, on the pool if larger, without the interpreter's lock if large."""
    if n <= grain:
        call_address(address, None, slots, i64(0), n)
    elif n <= grain * PARALLEL_GRAINS:
        call_extern("facula_launch", None, address, slots, n, grain)
    else:
        saved = call_extern("PyEval_SaveThread", ptr(i8))
        call_extern("facula_launch", None, address, slots, n, grain)
        call_extern("PyEval_RestoreThread", None, saved)


def _fast(count: int) -> Any:
    """fast(context, arguments): the result for `count` operands, or NULL (and no exception) to go the slow way."""

    @kernel
    def fast(context: OBJECT, arguments: OBJECT) -> OBJECT:
        words = state()
        mode = words[native.S_MODE]
        if mode >= native.MODE_SLOW:
            return 0
        if call_extern("PyThreadState_Get", OBJECT) != word(words, native.S_OWNER):
            return 0
        tensor_type = words[native.S_TENSOR_TYPE]
        parameter_type = words[native.S_PARAMETER_TYPE]
        entry = word(context, C_TABLE)
        if entry == 0:
            return 0
        given = [word(arguments, k) for k in unroll(range(count))]
        keys = [o[native.TYPE] for o in given]
        hash = i64(0)
        for k in unroll(range(count)):
            if keys[k] == tensor_type or keys[k] == parameter_type:
                keys[k] = given[k][native.T_LAYOUT]
            hash = hash * 3 + (keys[k] >> 4)
        entry = offset(entry, ((hash ^ (hash >> 7)) & (ENTRIES - 1)) * ENTRY)
        for k in unroll(range(count)):
            if entry[E_KEYS + k] != keys[k]:
                return 0
        kinds = entry[E_KINDS]
        info = OBJECT(0)
        if (mode & native.MODE_GRAD) * entry[E_DIFFERENTIABLE] != 0:
            mask = i64(0)
            for k in unroll(range(count)):
                if (kinds >> (2 * k)) & 3 == TENSOR:
                    if given[k][native.T_REQUIRES] != 0:
                        mask = mask | (1 << k)
                        if stale(given[k]) != 0:
                            return 0
            if mask != 0:
                info = as_pointer(offset(entry, E_INFO), OBJECT)[mask]
                if info == 0:
                    return 0
        # All of the entry is read before anything is made: making an object may run the collector, and the collector
        # anything, such as a call that puts another entry here. What the entry refers to is held meanwhile.
        layout = word(entry, E_OUT)
        bin = word(entry, E_BIN)
        nbytes = entry[E_NBYTES]
        outputs = entry[E_OUTPUTS]
        address = word(entry, E_ADDRESS)
        n = entry[E_N]
        grain = entry[E_GRAIN]
        tails = entry[E_TAIL]
        tail = [entry[E_TAILS + k] for k in unroll(range(MOST_TAIL))]
        holder = word(entry, E_HOLDER)
        incref(holder)
        slots = stack_array(i64, SLOTS)
        out = fresh_tensor(layout, bin, nbytes)
        if out == 0:
            decref(holder)
            return 0
        slots[0] = out[native.T_DATA]
        at = i64(1)
        results = out
        if outputs > 1:
            results = call_extern("PyTuple_New", OBJECT, outputs)
            set_word(results, ITEMS, out)
            while at < outputs:
                more = fresh_tensor(layout, bin, nbytes)
                if more == 0:
                    decref(results)
                    decref(holder)
                    return 0
                as_pointer(offset(results, ITEMS), OBJECT)[at] = more
                slots[at] = more[native.T_DATA]
                at = at + 1
        for k in unroll(range(count)):
            if (kinds >> (2 * k)) & 3 == TENSOR:
                slots[at] = given[k][native.T_DATA]
                at = at + 1
        for k in unroll(range(count)):
            kind = (kinds >> (2 * k)) & 3
            if kind == FLOAT:
                slots[at] = bitcast(call_extern("PyFloat_AsDouble", f64, given[k]), i64)
                at = at + 1
            elif kind == INTEGER:
                number = as_int(given[k])
                if number == -1:
                    if call_extern("PyErr_Occurred", OBJECT) != 0:
                        call_extern("PyErr_Clear", None)
                        decref(results)
                        decref(holder)
                        return 0
                slots[at] = number
                at = at + 1
        for k in unroll(range(MOST_TAIL)):
            if tails > k:
                slots[at] = tail[k]
                at = at + 1
        run_kernel(address, slots, n, grain)
        if info != 0:
            make_node(info, arguments, out)
        decref(holder)
        return results

    return fast


_FAST = {count: _fast(count) for count in range(1, MOST_INPUTS + 1)}


def _entry_points(count: int) -> Any:
    fast = _FAST[count]

    @kernel
    def call_function(self: OBJECT, arguments: OBJECT, given: i64, names: OBJECT) -> OBJECT:
        """A function of the interpreter whose `self` is the context's address."""
        context = bin_of(self)
        if names == 0:
            if given == count:
                result = fast(context, arguments)
                if result != 0:
                    return result
        return call_extern("PyObject_Vectorcall", OBJECT, word(context, C_SLOW), arguments, given, names)

    return call_function


_FUNCTIONS = {count: _entry_points(count) for count in range(1, MOST_INPUTS + 1)}
METHOD_CONTEXTS = {1: 80, 2: 112}
_contexts = {count: (ctypes.c_int64 * (2 * n))() for count, n in METHOD_CONTEXTS.items()}
_used = dict.fromkeys(METHOD_CONTEXTS, 0)
_method_addresses: dict[int, Any] = {}


def _method_kernels(count: int) -> Any:
    """Methods get the tensor where functions get their context, so each has an entry of its own that knows its number."""
    fast = _FAST[count]

    @kernel
    def call_method(context: OBJECT, self: OBJECT, arguments: OBJECT, given: i64, names: OBJECT) -> OBJECT:
        all = stack_array(OBJECT, 20)
        all[0] = self
        extra = given
        if names != 0:
            extra = extra + names[2]
        if extra > 18:
            return call_extern("PyObject_Vectorcall", OBJECT, word(context, C_SLOW), arguments, i64(0), OBJECT(0))
        for k in range(extra):
            all[k + 1] = as_pointer(arguments, OBJECT)[k]
        if names == 0:
            if given == count - 1:
                result = fast(context, as_pointer(all, i64))
                if result != 0:
                    return result
        return call_extern("PyObject_Vectorcall", OBJECT, word(context, C_SLOW), all, given + 1, names)

    def entry(index: int) -> Any:
        @kernel
        def method(self: OBJECT, arguments: OBJECT, given: i64, names: OBJECT) -> OBJECT:
            return call_method(
                offset(external(f"facula_contexts_{count}", i64), 2 * index), self, arguments, given, names
            )

        return method

    entries = [entry(i) for i in range(METHOD_CONTEXTS[count])]

    @kernel
    def method_addresses(out: ptr(ptr(i8))):
        for i in unroll(range(len(entries))):
            out[i] = address_of(entries[i])

    return method_addresses


def _addresses(count: int) -> Any:
    found = _method_addresses.get(count)
    if found is None:
        link.define(f"facula_contexts_{count}", ctypes.addressof(_contexts[count]))
        found = (ctypes.c_int64 * METHOD_CONTEXTS[count])()
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_method_kernels(count).address())(ctypes.addressof(found))
        _method_addresses[count] = found
    return found


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


_FASTCALL_KEYWORDS = 0x82


def _definition(name: str, address: int, doc: str | None) -> Any:
    made = _MethodDef(name.encode(), address, _FASTCALL_KEYWORDS, (doc or "").encode())
    _kept.append(made)
    return made


class Table:
    """The native table of one operator, and the contexts through which native code finds it."""

    def __init__(self) -> None:
        self.words: Any = None
        self.contexts: list[Any] = []
        self.holders: dict[int, list[Any]] = {}

    def serve(self, context: Any, slow: Any) -> None:
        """Let a context (two words) lead here, or to `slow`."""
        _kept.append(slow)
        context[C_SLOW], context[C_TABLE] = id(slow), ctypes.addressof(self.words) if self.words is not None else 0
        self.contexts.append(context)

    def clear(self) -> None:
        """Forget every entry (their layouts may be freed)."""
        if self.words is not None:
            ctypes.memset(self.words, 0, ctypes.sizeof(self.words))
        self.holders.clear()

    def entry(self, keys: list[int]) -> Any:
        """The place in the table for these keys."""
        if self.words is None:
            self.words = (ctypes.c_int64 * (ENTRIES * ENTRY))()
            for context in self.contexts:
                context[C_TABLE] = ctypes.addressof(self.words)
        mixed = 0
        for key in keys:
            mixed = mixed * 3 + (key >> 4)
        place = (mixed ^ (mixed >> 7)) & (ENTRIES - 1)
        return (ctypes.c_int64 * ENTRY).from_address(ctypes.addressof(self.words) + 8 * ENTRY * place)

    def insert(self, operands: Any, plan: Any) -> Any:
        """Let native code serve calls of this kind from now on; None if they need the Python path each time."""
        launch, outs = plan.launch, plan.outs
        if (
            len(operands) > MOST_INPUTS or len(outs) > MOST_OUTPUTS or len(launch.tail) > MOST_TAIL or launch.n <= 0
            or outs[0].device is not CPU or launch.fault is not None or not launch.address or any(o is not outs[0] for o in outs)
        ):  # fmt: skip
            return None
        kinds, keys = 0, []
        for k, x in enumerate(operands):
            if isinstance(x, TensorBase):
                if x._layout.device is not CPU:
                    return None
                keys.append(id(x._layout))
            elif type(x) is float and plan.compute.kind == "f":
                kinds |= FLOAT << (2 * k)
                keys.append(id(float))
            elif type(x) is int and plan.compute.kind in "iu":
                kinds |= INTEGER << (2 * k)
                keys.append(id(int))
            else:
                return None
        entry = self.entry(keys)
        known = list(entry[E_KEYS : E_KEYS + MOST_INPUTS])
        if known == keys + [0] * (MOST_INPUTS - len(keys)) and entry[E_ADDRESS]:
            return entry
        out = outs[0]
        if out.bin is None:
            out.bin = memory.bin_address(out.nbytes)
        words = [0] * ENTRY
        words[E_KEYS : E_KEYS + len(keys)] = keys
        words[E_ADDRESS], words[E_N], words[E_GRAIN] = launch.address, launch.n, launch.grain
        words[E_OUT], words[E_BIN], words[E_NBYTES] = id(out), out.bin, out.nbytes
        words[E_TAIL] = len(launch.tail)
        words[E_TAILS : E_TAILS + len(launch.tail)] = [_bits(x) for x in launch.tail]
        words[E_OUTPUTS], words[E_KINDS], words[E_DIFFERENTIABLE] = len(outs), kinds, out.dtype.kind in "fc"
        words[E_HOLDER] = self._hold([plan])
        entry[:] = words
        return entry

    def _hold(self, what: list[Any]) -> int:
        """The address of a list that lives as long as an entry names it as its holder."""
        if len(self.holders) > 2 * ENTRIES:
            named = set(self.words[E_HOLDER::ENTRY])
            for address in self.holders.keys() - named:
                del self.holders[address]
        self.holders[id(what)] = what
        return id(what)

    def insert_gradient(self, operands: Any, plan: Any, needed: Any, derivative: Any) -> None:
        """Let native code make the node when just these inputs require grad."""
        if len(plan.outs) != 1 or len(derivative.saved) > 6 or any(p is None for _, p in derivative.saved):
            return
        entry = self.insert(operands, plan)
        if entry is None:
            return
        mask = 0
        for i in needed:
            mask |= 1 << i
        if entry[E_INFO + mask]:
            return
        tensors = [p for _, p in derivative.saved]
        tensors = [p + NUMBER if p >= 0 and not isinstance(operands[p], TensorBase) else p for p in tensors]
        info = (ctypes.c_int64 * 16)()
        info[I_OPERATOR], info[I_OUTPUTS] = id(derivative), id(plan.outs)
        info[I_EDGES], info[I_SAVED] = len(needed), len(tensors)
        info[I_EDGE : I_EDGE + len(needed)] = list(needed)
        info[I_SAVE : I_SAVE + len(tensors)] = tensors
        self.holders[entry[E_HOLDER]].extend([info, derivative, plan.outs])
        entry[E_INFO + mask] = ctypes.addressof(info)


def _bits(x: Any) -> int:
    """A number as the word that a slot holds."""
    return ctypes.c_int64.from_buffer(ctypes.c_double(x)).value if isinstance(x, float) else x


def function(name: str, table: Table, count: int, slow: Any, doc: str | None = None) -> Any:
    """A built-in function of `count` operands that is served from the table."""
    context = (ctypes.c_int64 * 2)()
    _kept.append(context)
    table.serve(context, slow)
    definition = _definition(name, _FUNCTIONS[count].address(), doc)
    address = ctypes.addressof(context)
    _kept.append(address)
    new = python_api().PyCFunction_NewEx
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p]
    return new(ctypes.addressof(definition), address, None)


def method(cls: Any, name: str, table: Table, count: int, slow: Any, doc: str | None = None) -> Any:
    """The same as a method descriptor of a class; None when all entries are taken."""
    index = _used.get(count)
    if index is None or index >= METHOD_CONTEXTS[count]:
        return None
    _used[count] += 1
    addresses = _addresses(count)
    context = (ctypes.c_int64 * 2).from_address(ctypes.addressof(_contexts[count]) + 16 * index)
    table.serve(context, slow)
    definition = _definition(name, addresses[index], doc)
    new = python_api().PyDescr_NewMethod
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.py_object, ctypes.c_void_p]
    return new(cls, ctypes.addressof(definition))
