"""The objects of the hot path as native types, and the allocator behind them, in the kernel language.

`Storage`, `TensorBase` and `NodeBase` become C types with fields at fixed offsets (PyType_FromSpec), so that compiled code
reads and makes them without the interpreter. Offsets are counted in 8-byte words from the start of the object. What is
here has the semantics of the plain Python classes in `objects.py`, which take its place when FACULA_REFERENCE is set.

Reference counts are changed only by Py_IncRef and Py_DecRef; what native code refers to is never freed.
"""

import ctypes
import sys
from typing import Any

from facula.kernel import link
from facula.kernel.language import (
    as_pointer,
    call_address,
    call_extern,
    external,
    i8,
    i32,
    i64,
    kernel,
    ptr,
    unroll,
)  # fmt: skip
from facula.runtime.launch import _kept, make_builtin, python_api

REFERENCE, TYPE = 0, 1
# Storage
DATA, NBYTES, VERSION, VIEWS, OWNER, DEVICE, BLOCK, STORAGE_WEAK = 2, 3, 4, 5, 6, 7, 8, 9
STORAGE_WORDS = 10
# TensorBase
T_DATA, T_STORAGE, T_LAYOUT, T_NODE, T_GRAD, T_META, T_BASE, T_BASE_NODE, T_REQUIRES, T_OUTPUT = (
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    11,
)
TENSOR_OBJECTS = (T_STORAGE, T_LAYOUT, T_NODE, T_GRAD, T_META, T_BASE, T_BASE_NODE)
TENSOR_WORDS = 12
OWN_FIELDS = ("_node", "_output", "_requires_grad", "_base", "_base_node", "_grad", "_storage", "_layout", "_data")
"""What operations set on tensors: none of it makes a cycle that PyTorch would find."""
_own_fields = (ctypes.c_int64 * len(OWN_FIELDS))(*[id(sys.intern(name)) for name in OWN_FIELDS])
# NodeBase
(
    N_OPERATOR,
    N_EDGES,
    N_OUTPUTS,
    N_SAVED,
    N_VERSIONS,
    N_HOOKS,
    N_PRE,
    N_TENSOR_HOOKS,
    N_METADATA,
    N_SEQUENCE,
    N_RELEASED,
) = range(2, 13)
NODE_OBJECTS = (N_OPERATOR, N_EDGES, N_OUTPUTS, N_SAVED, N_VERSIONS, N_HOOKS, N_PRE, N_TENSOR_HOOKS, N_METADATA)
NODE_WORDS = 13

# The state block: words that native code and Python share.
(S_STORAGE_TYPE, S_TENSOR_TYPE, S_PARAMETER_TYPE, S_NODE_TYPE, S_CPU, S_MODE, S_OWNER, S_SEQUENCE, S_ALLOCATED, S_RESERVED, S_CACHED,
 S_PEAK, S_SYSTEM, S_LAYOUT_BIN, S_LAYOUT_NBYTES, S_NONE, S_NEW_SLOW, S_FLOAT, S_GET_GRAD, S_SET_GRAD, S_LIMIT,
 S_TYPE_ERROR, S_RECORDING) = range(23)  # fmt: skip
HUGE = 2 << 20
STATE = (ctypes.c_int64 * 32)()
MODE_GRAD, MODE_SLOW = 1, 2
_NOT_TENSOR = ctypes.create_string_buffer(b"cls must be a type derived from torch.Tensor")

OBJECT = ptr(i64)


def word(o: Any, k: int) -> Any:
    """The object that a field refers to."""
    return as_pointer(o, OBJECT)[k]


def set_word(o: Any, k: int, value: Any) -> None:
    as_pointer(o, OBJECT)[k] = value


def state() -> Any:
    return external("facula_state", i64)


def incref(o: Any) -> None:
    call_extern("Py_IncRef", None, o)


def decref(o: Any) -> None:
    call_extern("Py_DecRef", None, o)


def as_int(o: Any) -> Any:
    """A Python integer's value."""
    return call_extern("PyLong_AsLongLong", i64, o)


# -- the allocator: a bin is [first free block, size of its blocks] ------------------------------------------------------
@kernel
def take_block(bin: OBJECT) -> i64:
    """The address of a block, from the bin or from the system; 0 if there is none."""
    head = bin[0]
    block = bin[1]
    words = state()
    if words[S_RECORDING] != 0:
        if call_extern("PyThreadState_Get", i64) != words[S_RECORDING]:
            head = i64(0)  # the free blocks belong to another thread's recording
    if head != 0:
        bin[0] = as_pointer(bin, OBJECT)[0][0]
        words[S_CACHED] = words[S_CACHED] - block
    else:
        if block < HUGE:
            head = call_extern("aligned_alloc", i64, i64(64), block)
        else:
            head = call_extern("aligned_alloc", i64, i64(HUGE), (block + (HUGE - 1)) & -HUGE)
            if head != 0:
                call_extern("madvise", i32, head, block, i32(14))  # MADV_HUGEPAGE
        if head == 0:
            return 0
        words[S_RESERVED] = words[S_RESERVED] + block
        words[S_SYSTEM] = words[S_SYSTEM] + 1
    used = words[S_ALLOCATED] + block
    words[S_ALLOCATED] = used
    if used > words[S_PEAK]:
        words[S_PEAK] = used
    return head


@kernel
def give_block(address: OBJECT, bin: OBJECT):
    """Put a block back into its bin, or give it to the system if too much is kept (but not while a recording may run:
    the blocks that it lets go of are its own).
    """
    block = bin[1]
    words = state()
    words[S_ALLOCATED] = words[S_ALLOCATED] - block
    if words[S_CACHED] + block > words[S_LIMIT]:
        if words[S_MODE] < MODE_SLOW:
            words[S_RESERVED] = words[S_RESERVED] - block
            call_extern("free", None, address)
            return
    words[S_CACHED] = words[S_CACHED] + block
    address[0] = bin[0]
    as_pointer(bin, OBJECT)[0] = address


@kernel
def storage_dealloc(s: OBJECT):
    """tp_dealloc of Storage."""
    if word(s, STORAGE_WEAK) != 0:
        call_extern("PyObject_ClearWeakRefs", None, s)
    if s[BLOCK] != 0:
        give_block(word(s, DATA), word(s, BLOCK))
    decref(word(s, OWNER))
    decref(word(s, DEVICE))
    kind = word(s, TYPE)
    call_extern("PyObject_Free", None, s)
    decref(kind)


def _gc_kernels(fields: Any) -> Any:
    @kernel
    def clear(s: OBJECT) -> i32:
        for k in unroll(fields):
            o = word(s, k)
            if o != 0:
                s[k] = 0
                decref(o)
        return 0

    @kernel
    def dealloc(s: OBJECT):
        call_extern("PyObject_GC_UnTrack", None, s)
        clear(s)
        kind = word(s, TYPE)
        call_extern("PyObject_GC_Del", None, s)
        decref(kind)

    @kernel
    def traverse(s: OBJECT, visit: ptr(i8), argument: ptr(i8)) -> i32:
        for k in unroll((*fields, TYPE)):
            o = word(s, k)
            if o != 0:
                result = call_address(visit, i32, o, argument)
                if result != 0:
                    return result
        return 0

    return clear, dealloc, traverse


tensor_clear, tensor_dealloc, tensor_traverse = _gc_kernels(TENSOR_OBJECTS)
node_clear, node_dealloc, node_traverse = _gc_kernels(NODE_OBJECTS)


@kernel
def tensor_setattr(self: OBJECT, name: OBJECT, value: OBJECT) -> i32:
    """tp_setattro of TensorBase. Tensors are made untracked by the cyclic collector; one that is given more than the
    fields that operations set (an attribute, hooks) may become part of a cycle, so it is tracked from then on.
    """
    result = call_extern("PyObject_GenericSetAttr", i32, self, name, value)
    if value != 0:
        for k in unroll(range(len(OWN_FIELDS))):
            if word(external("facula_own_fields", i64), k) == name:
                return result
        if call_extern("PyObject_GC_IsTracked", i32, self) == 0:
            call_extern("PyObject_GC_Track", None, self)
    return result


# -- making objects ----------------------------------------------------------------------------------------------------
@kernel
def make_storage(bin: OBJECT, nbytes: i64) -> OBJECT:
    """A storage over a block of the bin; NULL if there is no memory."""
    words = state()
    block = take_block(bin)
    if block == 0:
        return 0
    s = call_extern("PyType_GenericAlloc", OBJECT, word(words, S_STORAGE_TYPE), i64(0))
    s[DATA] = block
    s[NBYTES] = nbytes
    set_word(s, BLOCK, bin)
    cpu = word(words, S_CPU)
    incref(cpu)
    set_word(s, DEVICE, cpu)
    return s


@kernel
def make_tensor(storage: OBJECT, data: i64, layout: OBJECT, kind: OBJECT) -> OBJECT:
    """A tensor over a storage, whose reference it takes over. Untracked: results of operations are in no cycle."""
    t = call_extern("PyType_GenericAlloc", OBJECT, kind, i64(0))
    t[T_DATA] = data
    set_word(t, T_STORAGE, storage)
    incref(layout)
    set_word(t, T_LAYOUT, layout)
    call_extern("PyObject_GC_UnTrack", None, t)
    return t


@kernel
def fresh_tensor(layout: OBJECT, bin: OBJECT, nbytes: i64) -> OBJECT:
    """An uninitialised tensor of a CPU layout; NULL if there is no memory."""
    s = make_storage(bin, nbytes)
    if s == 0:
        return 0
    return make_tensor(s, s[DATA], layout, word(state(), S_TENSOR_TYPE))


@kernel
def py_new_tensor(self: OBJECT, arguments: OBJECT, count: i64) -> OBJECT:
    """new_tensor(layout)"""
    layout = word(arguments, 0)
    words = state()
    bin = word(layout, words[S_LAYOUT_BIN])
    result = OBJECT(0)
    if bin != 0:
        if bin != word(words, S_NONE):
            result = fresh_tensor(layout, as_pointer(bin_of(bin), i64), as_int(word(layout, words[S_LAYOUT_NBYTES])))
    if result == 0:
        result = call_extern("PyObject_Vectorcall", OBJECT, word(words, S_NEW_SLOW), arguments, count, OBJECT(0))
    return result


@kernel(inline=True)
def bin_of(number: OBJECT) -> OBJECT:
    """The bin whose address a Python integer holds."""
    return call_extern("PyLong_AsVoidPtr", OBJECT, number)


@kernel
def py_wrap(self: OBJECT, arguments: OBJECT, count: i64) -> OBJECT:
    """wrap(storage, address, layout, cls=None)"""
    address = as_int(word(arguments, 1))
    if address == -1:
        if call_extern("PyErr_Occurred", OBJECT) != 0:
            return 0
    storage = word(arguments, 0)
    incref(storage)
    words = state()
    kind = word(words, S_TENSOR_TYPE)
    if count > 3:
        if word(arguments, 3) != word(words, S_NONE):
            kind = word(arguments, 3)
            fits = call_extern("PyObject_IsSubclass", i32, kind, word(words, S_TENSOR_TYPE))
            if fits != 1:
                if fits == 0:
                    call_extern("PyErr_SetString", None, word(words, S_TYPE_ERROR), external("facula_not_tensor", i8))
                decref(storage)
                return 0
    t = make_tensor(storage, address, word(arguments, 2), kind)
    if count > 3:
        call_extern("PyObject_GC_Track", None, t)
    return t


@kernel
def py_next_sequence(self: OBJECT, arguments: OBJECT, count: i64) -> OBJECT:
    """next_sequence() -> int"""
    words = state()
    words[S_SEQUENCE] = words[S_SEQUENCE] + 1
    return call_extern("PyLong_FromLongLong", OBJECT, words[S_SEQUENCE])


@kernel
def py_get_grad(self: OBJECT, arguments: OBJECT, count: i64) -> OBJECT:
    """Whether this thread records: the word's bit in the thread it speaks for, else what the Python getter says."""
    words = state()
    if call_extern("PyThreadState_Get", OBJECT) == word(words, S_OWNER):
        return call_extern("PyBool_FromLong", OBJECT, words[S_MODE] & MODE_GRAD)
    return call_extern("PyObject_Vectorcall", OBJECT, word(words, S_GET_GRAD), arguments, count, OBJECT(0))


@kernel
def py_set_grad(self: OBJECT, arguments: OBJECT, count: i64) -> OBJECT:
    """Make this thread record or not: (modes, value)."""
    words = state()
    if call_extern("PyThreadState_Get", OBJECT) == word(words, S_OWNER):
        truth = call_extern("PyObject_IsTrue", i32, word(arguments, 1))
        if truth < 0:
            return 0
        words[S_MODE] = (words[S_MODE] & ~MODE_GRAD) | i64(truth)
        nothing = word(words, S_NONE)
        incref(nothing)
        return nothing
    return call_extern("PyObject_Vectorcall", OBJECT, word(words, S_SET_GRAD), arguments, count, OBJECT(0))


# -- the types -----------------------------------------------------------------------------------------------------------
class _Slot(ctypes.Structure):
    _fields_ = (("slot", ctypes.c_int), ("pointer", ctypes.c_void_p))


class _Spec(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("basicsize", ctypes.c_int), ("itemsize", ctypes.c_int), ("flags", ctypes.c_uint),
        ("slots", ctypes.c_void_p),
    )  # fmt: skip


class _Member(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p), ("type", ctypes.c_int), ("offset", ctypes.c_ssize_t), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p),
    )  # fmt: skip


_OBJECT_MEMBER, _WORD_MEMBER = 6, 19
_DEALLOC, _TRAVERSE, _CLEAR, _MEMBERS, _SETATTR = 52, 71, 51, 72, 69
_DEFAULT, _BASETYPE, _HAVE_GC = 1 << 18, 1 << 10, 1 << 14


def _type(name: str, words: int, slots: list[tuple[int, Any]], members: list[tuple[str, int, int]], gc: bool) -> Any:
    table = (_Member * (len(members) + 1))(
        *[_Member(n.encode(), kind, 8 * at, n == "__weaklistoffset__", None) for n, at, kind in members]
    )
    all_slots = [_Slot(_MEMBERS, ctypes.addressof(table)), *[_Slot(i, k.address()) for i, k in slots], _Slot(0, None)]
    array = (_Slot * len(all_slots))(*all_slots)
    spec = _Spec(
        f"facula.runtime.objects.{name}".encode(),
        8 * words,
        0,
        _DEFAULT | _BASETYPE | (_HAVE_GC if gc else 0),
        ctypes.addressof(array),
    )
    _kept.extend([table, array, spec])
    make = python_api().PyType_FromSpec
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p]
    return make(ctypes.addressof(spec))


class Types:
    """The native types and builtins, made once by `install`."""

    storage: Any
    tensor: Any
    node: Any
    new_tensor: Any
    wrap: Any
    next_sequence: Any


types = Types()


def install() -> Types:
    """Make the types. The state block's pointers to classes and slow paths are filled in by `objects.py`."""
    from facula.runtime import memory, threads

    threads.install()
    link.define("facula_state", ctypes.addressof(STATE))
    link.define("facula_own_fields", ctypes.addressof(_own_fields))
    STATE[S_NONE], STATE[S_FLOAT], STATE[S_MODE] = id(None), id(float), MODE_GRAD
    STATE[S_LIMIT], STATE[S_TYPE_ERROR] = memory.CACHE_LIMIT, id(TypeError)
    link.define("facula_not_tensor", ctypes.addressof(_NOT_TENSOR))
    o, w = _OBJECT_MEMBER, _WORD_MEMBER
    types.storage = _type(
        "Storage", STORAGE_WORDS, [(_DEALLOC, storage_dealloc)],
        [("data", DATA, w), ("nbytes", NBYTES, w), ("version", VERSION, w), ("views", VIEWS, w), ("owner", OWNER, o), ("device", DEVICE, o),
         ("block", BLOCK, w), ("__weaklistoffset__", STORAGE_WEAK, w)], False,
    )  # fmt: skip
    types.tensor = _type(
        "TensorBase", TENSOR_WORDS, [(_DEALLOC, tensor_dealloc), (_TRAVERSE, tensor_traverse), (_CLEAR, tensor_clear), (_SETATTR, tensor_setattr)],
        [("_data", T_DATA, w), ("_storage", T_STORAGE, o), ("_layout", T_LAYOUT, o), ("_node", T_NODE, o), ("_grad", T_GRAD, o),
         ("_meta", T_META, o), ("_base", T_BASE, o), ("_base_node", T_BASE_NODE, o), ("_requires_grad", T_REQUIRES, w),
         ("_output", T_OUTPUT, w)], True,
    )  # fmt: skip
    types.node = _type(
        "NodeBase", NODE_WORDS, [(_DEALLOC, node_dealloc), (_TRAVERSE, node_traverse), (_CLEAR, node_clear)],
        [("operator", N_OPERATOR, o), ("edges", N_EDGES, o), ("outputs", N_OUTPUTS, o), ("saved", N_SAVED, o), ("versions", N_VERSIONS, o),
         ("hooks", N_HOOKS, o), ("pre_hooks", N_PRE, o), ("tensor_hooks", N_TENSOR_HOOKS, o), ("metadata_dict", N_METADATA, o),
         ("sequence", N_SEQUENCE, w), ("released", N_RELEASED, w)], True,
    )  # fmt: skip
    STATE[S_STORAGE_TYPE] = id(types.storage)
    types.new_tensor = make_builtin("new_tensor", py_new_tensor.address(), "An uninitialised dense tensor of a layout.")
    types.wrap = make_builtin(
        "wrap", py_wrap.address(), "A tensor over existing memory: wrap(storage, address, layout, cls=None)."
    )
    types.next_sequence = make_builtin(
        "next_sequence", py_next_sequence.address(), "The next number in the order of recorded operations."
    )
    return types


def bind(new_slow: Any, layout_class: Any, cpu: Any) -> None:
    """Give native code what lives above it: the slow way to make a tensor, and where a layout keeps its fields."""
    _kept.extend([new_slow, cpu])
    STATE[S_NEW_SLOW], STATE[S_CPU] = id(new_slow), id(cpu)
    probe, mark = layout_class(), object()
    size = layout_class.__basicsize__ // 8
    for field, at in (("bin", S_LAYOUT_BIN), ("nbytes", S_LAYOUT_NBYTES)):
        setattr(probe, field, mark)
        words = (ctypes.c_int64 * size).from_address(id(probe))
        STATE[at] = next(i for i in range(2, size) if words[i] == id(mark))
        delattr(probe, field)


def mode_property(get_elsewhere: Any, set_elsewhere: Any) -> Any:
    """`grad_enabled` as a property: the state block's bit in the thread that it speaks for, Python functions elsewhere."""
    _kept.extend([get_elsewhere, set_elsewhere])
    STATE[S_GET_GRAD], STATE[S_SET_GRAD] = id(get_elsewhere), id(set_elsewhere)
    STATE[S_OWNER] = thread_state()
    getter = make_builtin("get_grad", py_get_grad.address(), py_get_grad.__doc__ or "")
    setter = make_builtin("set_grad", py_set_grad.address(), py_set_grad.__doc__ or "")
    return property(getter, setter)


def thread_state() -> int:
    """The address of the running thread's state, which native code knows threads by."""
    get = python_api().PyThreadState_Get
    get.restype = ctypes.c_void_p
    return int(get())
