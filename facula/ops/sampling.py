"""Random operators that make tensors: samples by tensors of probabilities, weights, means and deviations.

In: tensors that say how each element is distributed, a generator (None: the default one). Out: new tensors, or `out`.
"""

from __future__ import annotations

from typing import Any

from facula.core import dtype as dt
from facula.core.device import device as Device
from facula.core.layout import CPU, Layout, layout
from facula.core.shapes import broadcast_shapes
from facula.core.strides import dense_stride_like
from facula.ops.copy import copy_result, resize_output, strided_like
from facula.ops.define import FUNCTIONS, METHODS, layout_of, operator
from facula.ops.random import (
    bernoulli_,
    draw,
    exponential_,
    fill_normal,
    generator_of,
    integer,
    kernel_type,
    overwrite,
)
from facula.runtime import random as streams
from facula.runtime.objects import TensorBase, new_tensor
from facula.runtime.random import Generator


def output_of(shape: tuple[int, ...], dtype: dt.dtype, device: Device, out: Any) -> Any:
    """A new tensor, or `out` with that shape."""
    if out is None:
        return new_tensor(layout(shape, None, dtype, device))
    if not isinstance(out, TensorBase):
        raise TypeError(f"argument 'out' must be Tensor, not {type(out).__name__}")
    if out._layout.shape != shape:
        resize_output(out, shape)
    return out


@operator(method=True)
def bernoulli(input: Any, p: Any = None, *, generator: Any = None, out: Any = None) -> Any:
    """0 or 1 for each element of `input`, which holds the probability of 1 (or is only a shape, if p is given).

    Gradients are zero. RuntimeError for probabilities outside [0, 1].
    """
    geometry = layout_of(input, "bernoulli")
    result = output_of(geometry.shape, geometry.dtype, geometry.device, out)
    bernoulli_(result, input if p is None else p, generator=generator)
    return result


bernoulli.gradient(input=lambda grad: METHODS["mul"](grad, 0))


@operator(method=True)
def multinomial(
    input: Any, num_samples: int, replacement: bool = False, *, generator: Any = None, out: Any = None
) -> Any:
    """Draw categories (int64) by their weights: rows of `input` (n or m x n, any positive scale) give rows of samples.

    Without replacement a category comes at most once. RuntimeError for rows that hold a negative, infinite or undefined
    weight or nothing above zero, and for more samples than categories without replacement.

    >>> torch.multinomial(torch.tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    geometry = layout_of(input, "multinomial")
    num_samples = integer("multinomial", "num_samples", 2, num_samples)
    if geometry.dtype.kind != "f":
        raise RuntimeError(
            f"multinomial only supports floating-point dtypes for input, got: {geometry.dtype.scalar_name}"
        )
    if out is not None and out._layout.dtype is not dt.int64:
        raise RuntimeError(f"multinomial expects Long tensor out, got: {out._layout.dtype.scalar_name}")
    if len(geometry.shape) not in (1, 2):
        raise RuntimeError("prob_dist must be 1 or 2 dim")
    *rows, categories = geometry.shape
    if num_samples <= 0:
        raise RuntimeError("cannot sample n_sample <= 0 samples")
    if not replacement and num_samples > categories:
        raise RuntimeError("cannot sample n_sample > prob_dist.size(-1) samples without replacement")
    if categories > 1 << 24:
        raise RuntimeError("number of categories cannot exceed 2^24")
    stream = generator_of(generator, "multinomial")
    if not replacement and num_samples > 1:
        return _choose_distinct(input, num_samples, stream, out)
    result = output_of((*rows, num_samples), dt.int64, geometry.device, out)
    if geometry.device is CPU and result._layout.numel:
        if num_samples == 1:
            _choose_one(input, result, stream)
        else:
            _choose_many(input, result, stream)
        result._storage.version += 1
    return result


_WRONG_ROW = {
    streams.choice.NEGATIVE: "invalid multinomial distribution (encountering probability entry < 0)",
    streams.choice.INFINITE: "invalid multinomial distribution (encountering probability entry = infinity or NaN)",
    streams.choice.EMPTY: "invalid multinomial distribution (sum of probabilities <= 0)",
}


def _rows_of(input: Any) -> tuple[Any, int, int, Any]:
    """(the weights row by row without gaps, number of rows, categories, kernel type)."""
    geometry = input._layout
    dense = METHODS["contiguous"](METHODS["detach"](input))
    rows = geometry.shape[0] if len(geometry.shape) == 2 else 1
    return dense, rows, geometry.shape[-1], kernel_type(geometry.dtype, "multinomial")


def _check_rows(dense: Any, rows: int, categories: int, element: Any, stream: Generator) -> None:
    wrong = stream.draw_checked(streams.choice.check_rows(element), rows, dense._data, categories)
    if wrong == streams.choice.EMPTY:
        raise RuntimeError(_WRONG_ROW[wrong])
    if wrong:
        raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")


def _choose_one(input: Any, result: Any, stream: Generator) -> None:
    dense, rows, categories, element = _rows_of(input)
    _check_rows(dense, rows, categories, element, stream)
    if dense._layout.stride != dense_stride_like(input._layout.shape, input._layout.stride):
        # The alarms are drawn in the order of the weights' memory: let them be a tensor of that geometry.
        scores = _scores(input, stream)
        overwrite(result, METHODS["argmax"](scores, -1, True))
        return
    kernel = streams.choice.choose_one(element)
    chosen = result if result._layout.contiguous else new_tensor(result._layout.dense())
    draw(stream, kernel, rows, (chosen, dense), (categories,))
    if chosen is not result:
        overwrite(result, chosen)


def _choose_many(input: Any, result: Any, stream: Generator) -> None:
    dense, rows, categories, element = _rows_of(input)
    room = new_tensor(layout((categories,), None, dt.float64, CPU))
    chosen = result if result._layout.contiguous else new_tensor(result._layout.dense())
    samples = result._layout.shape[-1]
    kernel = streams.choice.choose_many(element)
    wrong = stream.draw_checked(kernel, rows, chosen._data, dense._data, room._data, categories, samples)
    if wrong:
        raise RuntimeError(_WRONG_ROW[wrong])
    if chosen is not result:
        overwrite(result, chosen)


def _scores(input: Any, stream: Generator) -> Any:
    """Weights over exponential alarms: the largest score belongs to the alarm that rings first."""
    weights = METHODS["detach"](input)
    alarms = new_tensor(strided_like(input._layout, None))
    exponential_(alarms, 1.0, generator=stream)
    return METHODS["div"](weights, alarms)


def _choose_distinct(input: Any, num_samples: int, stream: Generator, out: Any) -> Any:
    dense, rows, categories, element = _rows_of(input)
    if input._layout.device is CPU and input._layout.numel:
        _check_rows(dense, rows, categories, element, stream)
    chosen = METHODS["topk"](_scores(input, stream), num_samples)[1]
    return chosen if out is None else copy_result(out, chosen)


# -- normal with tensors of means and deviations -----------------------------------------------------------------------
@operator(function=False)
def normal_around(mean: Any, std: Any, generator: Any, out: Any) -> Any:
    """Normal numbers with a mean and a deviation for each element; at least one of them is a tensor."""
    tensors = [x for x in (mean, std) if isinstance(x, TensorBase)]
    shape = broadcast_shapes(*[t._layout.shape for t in tensors])
    target = output_of(shape, tensors[0]._layout.dtype, tensors[0]._layout.device, out)
    if isinstance(std, TensorBase):
        if std._layout.dtype.is_complex:
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if (
            std._layout.device is CPU
            and std._layout.numel
            and not METHODS["item"](METHODS["all"](METHODS["ge"](std, 0)))
        ):
            raise RuntimeError("normal expects all elements of std >= 0.0")
        fill_normal(target, 0.0, 1.0, generator)
        METHODS["mul_"](target, std)
    else:
        fill_normal(target, 0.0, std, generator)
    METHODS["add_"](target, mean)
    return target


normal_around.gradient(
    mean=lambda grad, mean_layout: _zeros(mean_layout), std=lambda grad, std_layout: _zeros(std_layout)
)


def _zeros(geometry: Layout) -> Any:
    return FUNCTIONS["torch"]["zeros"](geometry.shape, dtype=geometry.dtype, device=geometry.device)
