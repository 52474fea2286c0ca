"""How a tensor prints: `repr(tensor)`, character for character PyTorch's.

The numbers are laid out by one rule for the whole tensor: all integers, fixed point or scientific, in columns of one
width, wrapped at the line width, with the middle of large tensors left out. The facts about the tensor that its
numbers don't show (size, dtype, device, gradient) follow as suffixes.

Comes in: a tensor (`tensor_str`), or an array and those facts (`format_tensor`). Goes out: text. This module must
never know how a tensor is computed, stored or differentiated.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from facula.core import dtype as types
from facula.core.lazy import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from facula.core.dtype import dtype


class _Options:
    """The settings of `set_printoptions`."""

    __slots__ = ("edgeitems", "linewidth", "precision", "sci_mode", "threshold")

    def __init__(self) -> None:
        self.precision = 4
        self.threshold: float = 1000
        self.edgeitems = 3
        self.linewidth = 80
        self.sci_mode: bool | None = None


_options = _Options()

_PROFILES: dict[str, dict[str, float]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": inf, "edgeitems": 3, "linewidth": 80},
}


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors print. What is not given stays, except `sci_mode`, which goes back to automatic.

    Args:
        precision: digits after the point (4).
        threshold: a tensor with more elements is summarised (1000).
        edgeitems: elements shown at each end of a summarised dimension (3).
        linewidth: characters per line (80).
        profile: `'default'`, `'short'` or `'full'` (never summarise), applied before the others.
        sci_mode: scientific notation always (True), never (False), or where the numbers need it (None).
    """
    settings = dict(_PROFILES.get(profile, {})) if profile is not None else {}
    given = {"precision": precision, "threshold": threshold, "edgeitems": edgeitems, "linewidth": linewidth}
    settings.update({name: value for name, value in given.items() if value is not None})
    for name, value in settings.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def get_printoptions() -> dict[str, Any]:
    """The current settings, as keyword arguments of `set_printoptions`."""
    return {name: getattr(_options, name) for name in ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")}


class printoptions:
    """Settings for a block, restored after it: `with printoptions(precision=2): print(x)`."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def __enter__(self) -> None:
        self._before = get_printoptions()
        set_printoptions(**{"sci_mode": _options.sci_mode, **self._settings})

    def __exit__(self, *exception: object) -> None:
        set_printoptions(**self._before)


def tensor_str(tensor: Any, *, tensor_contents: str | None = None) -> str:
    """`repr(tensor)`. `tensor_contents` replaces the numbers.

    >>> import facula
    >>> tensor_str(facula.tensor([1.0, 2.5]))
    'tensor([1.0000, 2.5000])'
    """
    grad_fn = tensor.grad_fn
    is_plain = type(tensor).__name__ in ("Tensor", "Parameter")
    return format_tensor(
        None if tensor.device.type == "meta" or tensor_contents is not None else _as_array(tensor),
        shape=tuple(tensor.shape),
        dtype=tensor.dtype,
        device=None if tensor.device.type == "cpu" else str(tensor.device),
        grad_fn=None if grad_fn is None else grad_fn.name(),
        requires_grad=tensor.requires_grad,
        name="tensor" if is_plain else type(tensor).__name__,
        contents=tensor_contents,
    )


def parameter_str(parameter: Any) -> str:
    """`repr` of a module's parameter."""
    return f"Parameter containing:\n{tensor_str(parameter)}"


def _as_array(tensor: Any) -> NDArray[Any]:
    """The elements as a NumPy array; of types that NumPy lacks, the exactly equal values of a wider type."""
    values = tensor.detach().cpu()
    if tensor.dtype is types.bfloat16:
        bits = values.view(types.int16).numpy().astype(np.uint32)
        return np.asarray(bits << np.uint32(16)).view(np.float32)
    array: NDArray[Any] = values.resolve_conj().numpy() if tensor.dtype.is_complex else values.numpy()
    return array


def format_tensor(
    array: NDArray[Any] | None,
    *,
    shape: tuple[int, ...],
    dtype: dtype,
    device: str | None = None,
    grad_fn: str | None = None,
    requires_grad: bool = False,
    name: str = "tensor",
    contents: str | None = None,
) -> str:
    """The text of a tensor with the elements `array` (None: they are not shown, as on the meta device).

    Args:
        shape: the tensor's size, shown where the numbers don't show it.
        dtype: the element type, shown unless the numbers imply it.
        device: shown unless None.
        grad_fn: the name of the operation that made the tensor (`'AddBackward0'`), shown unless None.
        requires_grad: shown if True and there is no `grad_fn`.
        name: what stands before the parenthesis.
        contents: text instead of the numbers.
    """
    indent = len(name) + 1
    default = types.get_default_dtype()
    implied = {default, default.to_complex(), types.int64, types.bool}
    suffixes = [] if device is None else [f"device='{device}'"]
    if contents is not None:
        body = contents
    elif array is None:
        body = "..."
        suffixes.append(f"size={shape}")
        implied = {default}
    elif array.size == 0:
        body = "[]"
        if len(shape) != 1:
            suffixes.append(f"size={shape}")
        implied = {default}
    else:
        body = format_array(array, indent)
        if not _options.edgeitems:
            suffixes.append(f"size={shape}")
    if dtype not in implied:
        suffixes.append(f"dtype={dtype}")
    if grad_fn is not None:
        suffixes.append(f"grad_fn=<{grad_fn}>")
    elif requires_grad:
        suffixes.append("requires_grad=True")
    return _with_suffixes(f"{name}({body}", suffixes, indent)


def _with_suffixes(text: str, suffixes: list[str], indent: int) -> str:
    """Append each suffix to the last line, or to a new one where the line would grow too long."""
    line_length = len(text) - text.rfind("\n") + 1
    for suffix in suffixes:
        if line_length + len(suffix) + 2 > _options.linewidth:
            text += ",\n" + " " * indent + suffix
            line_length = indent + len(suffix)
        else:
            text += ", " + suffix
            line_length += len(suffix) + 2
    return text + ")"


def format_array(array: NDArray[Any], indent: int) -> str:
    """The bracketed numbers of a tensor that has some; lines after the first start at column `indent`."""
    summarize = array.size > _options.threshold
    shown = _edges(array) if summarize else array
    if array.dtype.kind == "c":
        columns: _Column = _ComplexColumn(shown)
    elif array.dtype.kind == "f":
        columns = _FloatColumn(shown)
    else:
        columns = _Column(shown)
    return _brackets(array, indent, summarize, columns)


def _edges(array: NDArray[Any]) -> NDArray[Any]:
    """The elements that a summary shows: they alone decide about notation and width."""
    count = _options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * count:
            ends = np.concatenate((np.arange(count), np.arange(size - count, size)))
            array = array.take(ends, axis=axis)
    return array


class _Column:
    """How every element of a tensor is written, decided by looking at all that are shown; this one for int and bool."""

    def __init__(self, shown: NDArray[Any]) -> None:
        self.width = max([1, *[len(str(value)) for value in shown.ravel().tolist()]])

    def write(self, value: Any) -> str:
        """One element, padded to the column's width."""
        return str(value).rjust(self.width)


class _FloatColumn(_Column):
    """Floating-point elements: `'1.'` if all are whole, `'1.5000'`, or `'1.5000e+00'` for very large or wide ranges."""

    def __init__(self, shown: NDArray[Any]) -> None:
        self.width = 1
        self.style = "whole"
        finite = np.asarray(shown[np.isfinite(shown) & (shown != 0)], dtype=np.float64)
        if not finite.size:
            return
        magnitude = np.abs(finite)
        smallest, largest = float(magnitude.min()), float(magnitude.max())
        whole = bool((finite == np.ceil(finite)).all())
        scientific = _options.sci_mode
        if scientific is None:
            # As Python floats the ratio may overflow to inf but never raise: smallest is not 0.
            scientific = largest / smallest > 1000.0 or largest > 1.0e8 or (not whole and smallest < 1.0e-4)
        if scientific:
            self.style = "scientific"
        elif not whole:
            self.style = "fixed"
        self.width = max([len(self._digits(value)) for value in finite.tolist()])

    def _digits(self, value: float) -> str:
        if self.style == "scientific":
            return f"{value:.{_options.precision}e}"
        if self.style == "fixed":
            return f"{value:.{_options.precision}f}"
        text = f"{value:.0f}"
        return text if text[-1] in "fn" else text + "."  # inf and nan stand without the point

    def write(self, value: Any) -> str:
        return self._digits(value).rjust(self.width)


class _ComplexColumn(_Column):
    """Complex elements: two columns, joined by a sign and closed by `j`."""

    def __init__(self, shown: NDArray[Any]) -> None:
        self.real, self.imag = _FloatColumn(shown.real), _FloatColumn(shown.imag)
        self.width = self.real.width + self.imag.width + 1

    def write(self, value: Any) -> str:
        imag = self.imag.write(value.imag).lstrip() + "j"
        return self.real.write(value.real) + (imag if imag[0] in "+-" else "+" + imag)


def _brackets(array: NDArray[Any], indent: int, summarize: bool, columns: _Column) -> str:
    """Nested brackets, one level a dimension: rows on lines of their own, matrices an empty line apart, and so on."""
    if array.ndim == 0:
        return columns.write(array.item())
    if summarize and not _options.edgeitems:
        return "[...]"
    if array.ndim == 1:
        return _row(array, indent, summarize, columns)
    parts = [
        "..." if position is None else _brackets(array[position], indent + 1, summarize, columns)
        for position in _positions(len(array), summarize)
    ]
    separator = "," + "\n" * (array.ndim - 1) + " " * (indent + 1)
    return "[" + separator.join(parts) + "]"


def _row(array: NDArray[Any], indent: int, summarize: bool, columns: _Column) -> str:
    per_line = max(1, (_options.linewidth - indent) // (columns.width + 2))
    words = [
        " ..." if position is None else columns.write(array[position].item())
        for position in _positions(len(array), summarize)
    ]
    lines = [", ".join(words[start : start + per_line]) for start in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def _positions(size: int, summarize: bool) -> Iterator[int | None]:
    """The indices of a dimension that are shown, None standing for those left out."""
    count = _options.edgeitems
    if not summarize or size <= 2 * count:
        yield from range(size)
        return
    yield from range(count)
    yield None
    yield from range(size - count, size)
