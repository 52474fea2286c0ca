"""Every operator, by its samples: the checks that hold for all of them.

A sample stands beside the definition (`@op.sample`) or follows from it (`facula.ops.samples`). A new operator is tested
here as soon as its file is imported; nothing in this file knows any of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import facula
from facula.autograd import gradcheck, gradgradcheck
from facula.core.layout import Layout
from facula.ops.define import REGISTRY, Operator
from facula.ops.elementwise import PointwiseOperator
from facula.ops.samples import Sample, definitions, samples_of
from facula.ops.view import ViewOperator

OPERATORS = {name: made for name, made in definitions().items() if samples_of(made)}
each_operator = pytest.mark.parametrize("name", sorted(OPERATORS))


def call(made: Any, sample: Sample) -> Any:
    """Run the operator; what it changes in place is a copy."""
    if isinstance(made, PointwiseOperator):
        return made(list(sample.args), sample.kwargs)
    if isinstance(made, ViewOperator):
        return made(*sample.args)
    if isinstance(made, Operator):
        if made.in_place:
            return made.call_in_place(sample.args[0].clone(), *sample.args[1:], **sample.kwargs)
        return made.call(*sample.args, **sample.kwargs)
    return REGISTRY[made.name](*sample.args, **sample.kwargs)


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same nesting with every tensor changed."""
    if isinstance(value, facula.Tensor):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)([mapped(v, change) for v in value])
    return value


def tensors(value: Any) -> list[Any]:
    """Every tensor of nested sequences."""
    found: list[Any] = []
    mapped(value, found.append)
    return found


def changed(sample: Sample, change: Callable[[Any], Any]) -> Sample:
    """The sample with every tensor changed."""
    return Sample(mapped(sample.args, change), {k: mapped(v, change) for k, v in sample.kwargs.items()})


def same(a: Any, b: Any, exact: bool = True) -> None:
    """Equal shapes, dtypes and values."""
    for x, y in zip(tensors([a]), tensors([b]), strict=True):
        assert x.shape == y.shape and x.dtype is y.dtype
        if exact:
            np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())
        else:
            np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=1e-5, atol=1e-5)


def in_torch(name: str) -> Any:
    """torch's function or method of that name, where there is one."""
    torch = pytest.importorskip("torch")
    for home in (torch, torch.Tensor, torch.nn.functional, torch.special):
        if hasattr(home, name):
            return getattr(home, name)
    return None


@each_operator
def test_values(name: str) -> None:
    """torch's values, shapes and dtypes, by the public name. (An operator that is not public is covered by its callers.)"""
    torch = pytest.importorskip("torch")
    function = in_torch(name)
    if function is None:
        pytest.skip("no such name in torch")
    for sample in samples_of(OPERATORS[name]):
        given = changed(sample, lambda t: torch.from_numpy(t.numpy().copy()))
        try:
            expected = function(*given.args, **given.kwargs)
        except TypeError:
            pytest.skip("torch's function of that name takes other arguments")
        for ours, theirs in zip(
            tensors([call(OPERATORS[name], sample)]),
            expected if isinstance(expected, (tuple, list)) else [expected],
            strict=True,
        ):
            assert tuple(ours.shape) == tuple(theirs.shape) and str(ours.dtype) == str(theirs.dtype)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-5)


@each_operator
def test_strides_and_meta(name: str) -> None:
    """Inputs with gaps give what dense ones give; on the meta device the geometry is the same."""
    made = OPERATORS[name]

    def spread(t: Any) -> Any:
        return facula.stack([t, t], t.dim())[..., 1] if not isinstance(made, ViewOperator) else t

    for sample in samples_of(made):
        dense = call(made, changed(sample, lambda t: t.clone()))
        if not made.__class__.__name__.startswith("View"):
            same(call(made, changed(sample, spread)), dense, exact=isinstance(made, PointwiseOperator))
        result = call(made, sample)
        if any(isinstance(a, Layout) for a in sample.args):
            continue
        meta = call(
            made, changed(sample, lambda t: facula.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta"))
        )
        for a, b in zip(tensors([meta]), tensors([result]), strict=True):
            assert a.device.type == "meta" and (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride())


@each_operator
def test_gradients(name: str) -> None:
    """First and second derivatives against finite differences, in double precision."""
    made, checked = OPERATORS[name], 0
    for sample in samples_of(made, facula.float64):
        inputs = [t for t in tensors([sample.args]) if t.dtype is facula.float64]
        if not inputs or sum(t.numel() for t in inputs) > 30:
            continue
        leaves = [t.clone(memory_format=facula.contiguous_format).requires_grad_() for t in inputs]

        def function(*given: Any, sample: Sample = sample, inputs: list[Any] = inputs) -> Any:
            rest = iter(given)
            chosen = {id(t) for t in inputs}
            result = call(made, changed(sample, lambda x: next(rest) if id(x) in chosen else x))
            return mapped(result, lambda x: facula.view_as_real(x) if x.is_complex() else x)

        outputs = [o for o in tensors([function(*leaves)]) if o.requires_grad]
        if not outputs:
            assert not getattr(made, "rules", None) or not any(
                o.is_floating_point() for o in tensors([call(made, sample)])
            )
            return
        assert gradcheck(function, leaves)
        outputs = [o for o in tensors([function(*leaves)]) if o.requires_grad]  # anew: gradcheck has moved the leaves
        again = facula.autograd.grad([o.sum() for o in outputs], leaves, create_graph=True, allow_unused=True)
        if checked < 2 and any(g is not None and g.requires_grad for g in again):
            assert gradgradcheck(function, leaves)
        checked += 1


@each_operator
def test_in_place_and_out(name: str) -> None:
    """`name_` and `out=` give what the plain form gives."""
    made = OPERATORS[name]
    public = REGISTRY.get(name)
    for sample in samples_of(made):
        first = sample.args[0]
        if not isinstance(made, PointwiseOperator) or sample.kwargs:
            continue
        expected = call(made, sample)
        out = facula.empty(0, dtype=expected.dtype)
        if public is not None and hasattr(facula, name):
            try:
                returned = getattr(facula, name)(*sample.args, out=out)
            except TypeError:
                pass  # not a function with out=
            else:
                assert returned is out
                same(out, expected)
        method = getattr(facula.Tensor, name + "_", None)
        if method is not None and expected.shape == first.shape and facula.can_cast(expected.dtype, first.dtype):
            target = first.clone()
            version = target._version
            assert method(target, *sample.args[1:]) is target and target._version > version
            same(target, expected.to(first.dtype))


@each_operator
def test_compiled(name: str) -> None:
    """A compiled function of the inputs gives the eager values, for inputs it has not seen."""
    made = OPERATORS[name]
    sample = samples_of(made)[0]
    inputs = tensors([sample.args])
    if not inputs or not tensors([call(made, sample)])[0].numel():
        pytest.skip("nothing to compute")

    def step(*given: Any) -> Any:
        rest = iter(given)
        return [o.clone() for o in tensors([call(made, changed(sample, lambda t: next(rest)))])]

    compiled = facula.compile(step)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(4):
            given = [t.clone() for t in tensors([samples_of(made, seed=seed)[0].args])]
            same(compiled(*given), step(*given))
    assert len(compiled.programs) == 1


@pytest.mark.parametrize("name", sorted(n for n, made in OPERATORS.items() if isinstance(made, PointwiseOperator)))
def test_threads(name: str) -> None:
    """The same bits on one thread and on several."""
    made = OPERATORS[name]
    sample = changed(samples_of(made)[0], lambda t: t.reshape(-1)[:1].clone().expand(150_001).clone())
    before = facula.get_num_threads()
    try:
        facula.set_num_threads(1)
        alone = call(made, sample)
        facula.set_num_threads(3)
        same(call(made, sample), alone)
    finally:
        facula.set_num_threads(before)


def computed() -> dict[str, np.ndarray]:
    """Every output of every sample, with gradients of the first sample."""
    found: dict[str, np.ndarray] = {}
    for name, made in OPERATORS.items():
        for number, sample in enumerate(samples_of(made)):
            for k, out in enumerate(tensors([call(made, sample)])):
                found[f"{name} {number} {k}"] = out.numpy()
        sample = changed(samples_of(made)[0], lambda t: t.clone().requires_grad_() if t.is_floating_point() else t)
        outputs = [o for o in tensors([call(made, sample)]) if o.requires_grad]
        if outputs:
            sum((o * o).sum() for o in outputs).backward()
            for k, t in enumerate(tensors([sample.args])):
                if t.is_floating_point() and t.grad is not None:
                    found[f"{name} gradient {k}"] = t.grad.numpy()
    return found


def test_reference_path_agrees(tmp_path: Path) -> None:
    """Without the native fast path and object types: the same bits."""
    target = tmp_path / "reference.npz"
    done = subprocess.run(
        [sys.executable, __file__, str(target)], env={**os.environ, "FACULA_REFERENCE": "1"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    known = np.load(target)
    ours = computed()
    assert set(known.files) == set(ours)
    for key, value in ours.items():
        np.testing.assert_array_equal(known[key], value, err_msg=key)


if __name__ == "__main__":
    np.savez(sys.argv[1], **computed())
