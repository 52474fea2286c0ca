"""The Tensor class: what a user holds. Its methods are the operators', attached from their registry.

Only what is not an operator stands here: attributes, conversions, the entry into autograd, hooks, copying and pickling.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.device import device as Device
from facula.core.layout import CPU, Size
from facula.engine.graph import Removable, edge_of, meta_of
from facula.ops import copy as copies
from facula.ops import view as views
from facula.ops.define import FUNCTIONS, METHODS
from facula.runtime.objects import Storage, TensorBase, register_tensor_class, wrap
from facula.tensor import creation, interop, methods


class Tensor(TensorBase):
    """A multi-dimensional array of one dtype, over memory that views, NumPy arrays and other tensors may share."""

    __slots__ = ("__dict__", "__weakref__")
    __array_priority__ = 1000
    _node: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = _legacy(args, kwargs.get("device"), dt.get_default_dtype())
        return made if cls is Tensor else Tensor._make_subclass(cls, made)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    # -- attributes -----------------------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The sizes of the dimensions."""
        return self._layout.size

    @property
    def dtype(self) -> dt.dtype:
        return self._layout.dtype

    @property
    def device(self) -> Device:
        return self._layout.device

    @property
    def ndim(self) -> int:
        return len(self._layout.shape)

    @property
    def layout(self) -> Any:
        from facula.tensor.formats import strided

        return strided

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made it."""
        edge_of(self)
        return self._node is None

    @property
    def requires_grad(self) -> bool:
        """Whether operations on it are recorded and a gradient is computed for it (or for what it came from)."""
        return bool(self._requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set whether autograd follows this leaf."""
        if self._node is not None:
            if not requires_grad:
                raise RuntimeError(
                    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
                )
            return self
        if requires_grad and self._layout.dtype.kind not in "fc":
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        self._requires_grad = 1 if requires_grad else 0
        return self

    @property
    def grad(self) -> Any:
        """The gradient that backward has added up here, or None. Of non-leaves only after `retain_grad()`."""
        if self._grad is None and self._node is not None and not (self._meta is not None and self._meta.retains_grad):
            import warnings

            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be populated "
                "during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, use "
                ".retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access the leaf "
                "Tensor instead.",
                UserWarning,
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, TensorBase):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._layout.shape != self._layout.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: expected {list(self._layout.shape)}, got {list(value._layout.shape)}"
                )
            if value._layout.dtype is not self._layout.dtype:
                raise RuntimeError(
                    f"assigned grad has data of a different type: expected {self._layout.dtype}, got {value._layout.dtype}"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_fn(self) -> Any:
        """The node of the operation that made it; None for leaves."""
        edge_of(self)
        return self._node

    @property
    def output_nr(self) -> int:
        return self._output

    @property
    def retains_grad(self) -> bool:
        return self._meta is not None and self._meta.retains_grad

    @property
    def data(self) -> Any:
        """The same memory outside autograd. Assigning replaces the memory, keeping the tensor's identity."""
        return wrap(self._storage, self._data, self._layout)

    @data.setter
    def data(self, value: Any) -> None:
        self._storage, self._data, self._layout = value._storage, value._data, value._layout

    @property
    def _version(self) -> int:
        return self._storage.version

    @property
    def T(self) -> Any:
        """The dimensions in reverse order."""
        return views._permute(self, tuple(range(len(self._layout.shape) - 1, -1, -1)))

    @property
    def mT(self) -> Any:
        """The last two dimensions exchanged."""
        if len(self._layout.shape) < 2:
            raise RuntimeError(
                f"tensor.mT is only supported on matrices or batches of matrices. Got {len(self._layout.shape)}-D tensor."
            )
        return views.transpose(self, -2, -1)

    @property
    def real(self) -> Any:
        """The real parts, as a view."""
        return FUNCTIONS["torch"]["real"](self)

    @real.setter
    def real(self, value: Any) -> None:
        METHODS["copy_"](FUNCTIONS["torch"]["real"](self), creation.as_tensor(value))

    @property
    def imag(self) -> Any:
        """The imaginary parts, as a view. RuntimeError for real tensors."""
        return FUNCTIONS["torch"]["imag"](self)

    @imag.setter
    def imag(self, value: Any) -> None:
        METHODS["copy_"](FUNCTIONS["torch"]["imag"](self), creation.as_tensor(value))

    @property
    def H(self) -> Any:
        """The conjugate transpose of a matrix."""
        if len(self._layout.shape) not in (0, 2):
            raise RuntimeError(
                f"tensor.H is only supported on matrices (2-D tensors). Got {len(self._layout.shape)}-D tensor."
            )
        return self.T.conj() if self._layout.dtype.kind == "c" else self.T

    @property
    def mH(self) -> Any:
        """The conjugate transpose of the last two dimensions."""
        return self.mT.conj() if self._layout.dtype.kind == "c" else self.mT

    is_cuda = is_sparse = is_quantized = is_mkldnn = is_nested = is_xpu = is_mps = is_ipu = is_maia = is_sparse_csr = (
        False
    )
    is_vulkan = is_mtia = is_xla = False
    names: Any = property(lambda self: (self._meta.names if self._meta else None) or (None,) * self.ndim)
    itemsize: Any = property(lambda self: self._layout.dtype.itemsize, doc="Bytes of one element.")
    nbytes: Any = property(lambda self: self._layout.nbytes, doc="Bytes of all elements.")
    is_meta: Any = property(lambda self: self._layout.device.type == "meta")
    is_cpu: Any = property(lambda self: self._layout.device.type == "cpu")

    # -- geometry -------------------------------------------------------------------------------------------------
    def size(self, dim: int | None = None) -> Any:
        """All sizes, or one."""
        return self._layout.size if dim is None else self._layout.shape[_dim(dim, len(self._layout.shape))]

    def stride(self, dim: int | None = None) -> Any:
        """How many elements lie between neighbours, for all dimensions or one."""
        return self._layout.stride if dim is None else self._layout.stride[_dim(dim, len(self._layout.shape))]

    def dim(self) -> int:
        return len(self._layout.shape)

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._layout.numel

    nelement = numel

    def element_size(self) -> int:
        return self._layout.dtype.itemsize

    def storage_offset(self) -> int:
        return (self._data - self._storage.data) // self._layout.dtype.itemsize

    def data_ptr(self) -> int:
        """The address of the first element."""
        return self._data

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie row by row without gaps (or as a memory format has them)."""
        if getattr(memory_format, "name", "") == "channels_last":
            from facula.core.strides import is_channels_last

            return is_channels_last(self._layout.shape, self._layout.stride)
        return self._layout.contiguous

    def is_floating_point(self) -> bool:
        return self._layout.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self._layout.dtype.is_complex

    def is_signed(self) -> bool:
        return self._layout.dtype.is_signed

    def is_inference(self) -> bool:
        return False

    def is_conj(self) -> bool:
        return False

    def is_neg(self) -> bool:
        return False

    def is_pinned(self, device: Any = None) -> bool:
        return False

    def is_shared(self) -> bool:
        return False

    def get_device(self) -> int:
        return -1

    def is_same_size(self, other: Any) -> bool:
        return bool(self._layout.shape == other._layout.shape)

    def is_nonzero(self) -> bool:
        return bool(self)

    def dim_order(self) -> tuple[int, ...]:
        """The dimensions from the outermost in memory to the innermost."""
        return tuple(sorted(range(self.ndim), key=lambda d: -self._layout.stride[d]))

    def adjoint(self) -> Any:
        """The conjugate transpose of the last two dimensions."""
        return FUNCTIONS["torch"]["adjoint"](self)

    def untyped_storage(self) -> Any:
        """The storage as bytes."""
        from facula.tensor.storage import UntypedStorage

        return UntypedStorage._of(self._storage)

    def storage(self) -> Any:
        """The storage as elements of this dtype."""
        from facula.tensor.storage import TypedStorage

        return TypedStorage._of(self._storage, self._layout.dtype)

    def is_set_to(self, tensor: Any) -> bool:
        """Whether both are the same geometry over the same memory."""
        return self._storage is tensor._storage and self._data == tensor._data and self._layout is tensor._layout

    def set_(self, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Tensor:
        """Take over another tensor's memory and geometry."""
        if isinstance(source, TensorBase):
            self._storage, self._data, self._layout = source._storage, source._data, source._layout
        elif source is None:
            empty = creation.empty(0, dtype=self._layout.dtype)
            self._storage, self._data, self._layout = empty._storage, empty._data, empty._layout
        else:
            storage: Storage = source._storage
            shape = views.sizes_of((size,)) if size is not None else (storage.nbytes // self._layout.dtype.itemsize,)
            self._layout = self._layout.with_shape(shape, None if stride is None else views.sizes_of((stride,)))
            self._storage, self._data = storage, storage.data + storage_offset * self._layout.dtype.itemsize
        return self

    # -- conversions ----------------------------------------------------------------------------------------------
    def to(self, *args: Any, **kwargs: Any) -> Any:
        """The tensor with another dtype or on another device; itself if nothing changes (unless copy=True)."""
        dtype, device, copy, memory_format = creation.to_arguments(args, kwargs)
        source = self._layout
        result = self
        if device is not None and device is not source.device:
            if source.device is not CPU:
                raise NotImplementedError(
                    "Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving module from meta to a different device."
                )
            result = creation.empty_like(result, device=device, dtype=dtype)
            return result.requires_grad_(self.requires_grad) if self.requires_grad else result
        if dtype is not None and dtype is not source.dtype:
            result = copies.convert(result, dtype)
        if memory_format is not None:
            result = copies.contiguous(result, memory_format) if memory_format.name != "preserve_format" else result
        return copies.clone(result) if copy and result is self else result

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The name of the type ('torch.FloatTensor'), or the tensor converted to a dtype or named type."""
        if dtype is None:
            return f"torch.{self._layout.dtype.scalar_name}Tensor"
        if isinstance(dtype, str):
            name = dtype.removeprefix("torch.").removesuffix("Tensor")
            dtype = next((d for d in dt.ALL_DTYPES if d.scalar_name == name), None)
            if dtype is None:
                raise ValueError(f"invalid type: '{dtype}'")
        return self.to(getattr(dtype, "dtype", dtype))

    def type_as(self, other: Any) -> Any:
        return self.to(other._layout.dtype)

    def cpu(self, memory_format: Any = None) -> Any:
        return self.to(CPU)

    def cuda(self, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
        return self.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)

    def pin_memory(self, device: Any = None) -> Any:
        raise RuntimeError("Cannot access accelerator device when none is available.")

    def share_memory_(self) -> Tensor:
        """Move the storage into memory that child processes share."""
        import mmap

        storage = self._storage
        if not isinstance(storage.owner, mmap.mmap):
            import ctypes

            shared = mmap.mmap(-1, max(1, storage.nbytes))
            address = ctypes.addressof(ctypes.c_char.from_buffer(shared))
            ctypes.memmove(address, storage.data, storage.nbytes)
            offset = self._data - storage.data
            del storage
            self._storage.move(address, shared)
            self._data = address + offset
        return self

    # -- autograd -------------------------------------------------------------------------------------------------
    def backward(
        self, gradient: Any = None, retain_graph: bool | None = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        """Add the gradients of this tensor to the `.grad` of the leaves it was computed from.

        Args:
            gradient: the weight of each element; needed unless the tensor has one element.
            retain_graph: keep what the graph saved, to differentiate again. Default: create_graph
            create_graph: record the computation of the gradients, for higher derivatives.
            inputs: only these leaves; default all.
        """
        from facula.autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this non-leaf in `.grad` too."""
        if not self._requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        if self._node is None or self.retains_grad:
            return
        import weakref

        meta_of(self).retains_grad = True
        me = weakref.ref(self)

        def keep(gradient: Any) -> None:
            tensor = me()
            if tensor is not None:
                tensor._grad = gradient if tensor._grad is None else tensor._grad + gradient

        self._hooks_on_node()[1 << 62] = keep

    def _hooks_on_node(self) -> dict[int, Any]:
        """The hooks that see the gradient of this non-leaf."""
        node: Any = self._node
        if node.tensor_hooks is None:
            node.tensor_hooks = []
        for output, known in node.tensor_hooks:
            if output == self._output:
                return known  # type: ignore[no-any-return]
        hooks: dict[int, Any] = {}
        node.tensor_hooks.append((self._output, hooks))
        return hooks

    def register_hook(self, hook: Any) -> Removable:
        """Call `hook(grad)` each time the gradient of this tensor is computed; a result replaces the gradient."""
        if not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        edge_of(self)
        if self._node is not None:
            return Removable(self._hooks_on_node(), hook)
        meta = meta_of(self)
        if meta.hooks is None:
            meta.hooks = {}
        return Removable(meta.hooks, hook)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Removable:
        """Call `hook(tensor)` after a gradient was added to this leaf's `.grad`."""
        if not self._requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if self._node is not None:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        meta = meta_of(self)
        if meta.post_accumulate_hooks is None:
            meta.post_accumulate_hooks = {}
        return Removable(meta.post_accumulate_hooks, hook)

    def detach_(self) -> Tensor:
        """Take this tensor out of the graph."""
        if self._base is not None and self._requires_grad:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._requires_grad, self._node = 0, None
        return self

    # -- Python ---------------------------------------------------------------------------------------------------
    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from facula.tensor.printing import tensor_str

        return tensor_str(self, tensor_contents=tensor_contents)

    def __format__(self, spec: str) -> str:
        if (not self._layout.shape and not self._requires_grad) or (not self._layout.shape and spec):
            return format(self.item(), spec)  # type: ignore[attr-defined]
        return object.__format__(self, spec)

    def __bool__(self) -> bool:
        if self._layout.numel == 1:
            return bool(self.item())  # type: ignore[attr-defined]
        if self._layout.numel == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")

    def __float__(self) -> float:
        return float(self.item())  # type: ignore[attr-defined]

    def __int__(self) -> int:
        return int(self.item())  # type: ignore[attr-defined]

    def __complex__(self) -> complex:
        return complex(self.item())  # type: ignore[attr-defined]

    def __index__(self) -> int:
        if self._layout.numel != 1 or self._layout.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())  # type: ignore[attr-defined]

    def __len__(self) -> int:
        if not self._layout.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._layout.shape[0]

    def __iter__(self) -> Any:
        if not self._layout.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(views.unbind(self, 0))

    def __reversed__(self) -> Any:
        """Reversed along every dimension."""
        return FUNCTIONS["torch"]["flip"](self, tuple(range(self.ndim)))

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (TensorBase, int, float, complex)):
            return bool(METHODS["any"](self == element).item())
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")

    def __hash__(self) -> int:
        return id(self)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        array = interop.numpy_(self)
        if dtype is not None:
            array = array.astype(dtype, copy=False)
        return array.copy() if copy else array

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array.dtype == bool:
            array = array.astype("uint8")
        return interop.from_array(array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __copy__(self) -> Any:
        return _same_memory(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self._node is not None:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment.  If you were "
                "attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
                "https://github.com/pytorch/pytorch/pull/103001"
            )
        if id(self) in memo:
            return memo[id(self)]
        storage = memo.get(id(self._storage))
        if storage is None:
            storage = Storage(self._storage.nbytes, self._layout.device)
            if storage.data:
                import ctypes

                ctypes.memmove(storage.data, self._storage.data, self._storage.nbytes)
            memo[id(self._storage)] = storage
        made = wrap(storage, storage.data + (self._data - self._storage.data), self._layout, type(self))
        made._requires_grad = self._requires_grad
        memo[id(self)] = made
        if self._grad is not None:
            made._grad = self._grad.__deepcopy__(memo)
        if self.__dict__:
            from copy import deepcopy

            made.__dict__.update(deepcopy(self.__dict__, memo))
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _from_pickle, (
            type(self),
            bytes(_bytes_of(self)),
            self._layout.shape,
            self._layout.dtype,
            bool(self._requires_grad),
            dict(self.__dict__),
        )

    def __dir__(self) -> list[str]:
        return sorted(set(object.__dir__(self)))

    @staticmethod
    def _make_subclass(cls: type, data: Any, require_grad: bool = False, **options: Any) -> Any:
        """A tensor of a subclass over the memory of `data`, a leaf."""
        made = wrap(data._storage, data._data, data._layout, cls)
        if require_grad:
            if data._layout.dtype.kind not in "fc":
                raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
            made._requires_grad = 1
        return made

    def as_subclass(self, cls: type) -> Any:
        """The same tensor as an instance of a subclass."""
        made = wrap(self._storage, self._data, self._layout, cls)
        made._requires_grad, made._node, made._output = self._requires_grad, self._node, self._output
        return made

    # -- new tensors of the same kind -------------------------------------------------------------------------------
    def new(self, *args: Any, **kwargs: Any) -> Any:
        return _legacy(args, None, self._layout.dtype)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
        return creation.tensor(data, dtype=dtype or self._layout.dtype, device=device, requires_grad=requires_grad)

    def new_zeros(
        self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any
    ) -> Any:
        return creation.zeros(
            *size, dtype=dtype or self._layout.dtype, device=device or self.device, requires_grad=requires_grad, **named
        )

    def new_ones(
        self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any
    ) -> Any:
        return creation.ones(
            *size, dtype=dtype or self._layout.dtype, device=device or self.device, requires_grad=requires_grad, **named
        )

    def new_empty(
        self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False, **named: Any
    ) -> Any:
        return creation.empty(
            *size, dtype=dtype or self._layout.dtype, device=device or self.device, requires_grad=requires_grad, **named
        )

    def new_full(
        self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        return creation.full(
            size,
            fill_value,
            dtype=dtype or self._layout.dtype,
            device=device or self.device,
            requires_grad=requires_grad,
        )

    def new_empty_strided(
        self, size: Any, stride: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
    ) -> Any:
        made = creation.empty_strided(size, stride, dtype=dtype or self._layout.dtype, device=device or self.device)
        return made.requires_grad_(requires_grad)


def _dim(dim: int, ndim: int) -> int:
    from facula.core.shapes import normalize_dim

    return normalize_dim(dim, ndim)


def _same_memory(tensor: Any) -> Any:
    made = wrap(tensor._storage, tensor._data, tensor._layout, type(tensor))
    made._requires_grad, made._node, made._output, made._grad = (
        tensor._requires_grad,
        tensor._node,
        tensor._output,
        tensor._grad,
    )
    made.__dict__.update(tensor.__dict__)
    return made


def _bytes_of(tensor: Any) -> Any:
    import ctypes

    dense = copies.contiguous(tensor.detach())
    return (ctypes.c_char * dense._layout.nbytes).from_address(dense._data).raw if dense._layout.nbytes else b""


def _from_pickle(
    cls: Any, content: bytes, shape: Any, dtype: Any, requires_grad: bool, attributes: dict[str, Any]
) -> Any:
    import ctypes

    made = creation.empty(shape, dtype=dtype)
    if content:
        ctypes.memmove(made._data, content, len(content))
    if cls is not Tensor:
        made = Tensor._make_subclass(cls, made)
    made._requires_grad = int(requires_grad)
    made.__dict__.update(attributes)
    return made


def _legacy(args: tuple[Any, ...], device: Any, dtype: dt.dtype) -> Any:
    """`Tensor(2, 3)` is uninitialised, `Tensor([2, 3])` holds the data."""
    if len(args) == 1 and isinstance(args[0], TensorBase):
        return wrap(args[0]._storage, args[0]._data, args[0]._layout)
    if len(args) == 1 and not isinstance(args[0], (int, Size)):
        return creation.tensor(args[0], dtype=dtype, device=device)
    return creation.empty(*(args or (0,)), dtype=dtype, device=device)


def attach_methods() -> None:
    """Give the class its operators: methods by name, and Python's operators."""
    methods.attach(Tensor)


register_tensor_class(Tensor)
