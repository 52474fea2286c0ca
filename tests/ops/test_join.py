"""Putting together, repeating, turning; matrices and tables made of vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import facula

A, B = np.arange(6.0).reshape(2, 3), -np.arange(6.0).reshape(2, 3)
CASES: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (lambda a, b: facula.cat([a, b], 1), lambda a, b: np.concatenate([a, b], 1)),
    (lambda a, b: facula.stack([a, b], -1), lambda a, b: np.stack([a, b], -1)),
    (lambda a, b: facula.hstack([a, b]), lambda a, b: np.hstack([a, b])),
    (lambda a, b: facula.vstack([a, b]), lambda a, b: np.vstack([a, b])),
    (lambda a, b: facula.dstack([a, b]), lambda a, b: np.dstack([a, b])),
    (lambda a, b: a.repeat(2, 2), lambda a, b: np.tile(a, (2, 2))),
    (lambda a, b: facula.tile(a, (2,)), lambda a, b: np.tile(a, 2)),
    (lambda a, b: a.repeat_interleave(2, 0), lambda a, b: np.repeat(a, 2, 0)),
    (lambda a, b: a.repeat_interleave(facula.tensor([1, 0, 2]), 1), lambda a, b: np.repeat(a, [1, 0, 2], 1)),
    (lambda a, b: facula.flip(a, dims=(0, 1)), lambda a, b: np.flip(a, (0, 1))),
    (lambda a, b: facula.roll(a, (1, 2), (0, 1)), lambda a, b: np.roll(a, (1, 2), (0, 1))),
    (lambda a, b: facula.rot90(a, 3, (1, 0)), lambda a, b: np.rot90(a, 3, (1, 0))),
    (lambda a, b: facula.diag(a[0]), lambda a, b: np.diag(a[0])),
    (lambda a, b: facula.diagflat(a, 1), lambda a, b: np.diagflat(a, 1)),
    (lambda a, b: facula.vander(a[1]), lambda a, b: np.vander(a[1])),
    (lambda a, b: facula.cross(a, b + 1, 1), lambda a, b: np.cross(a, b + 1)),
    (lambda a, b: facula.meshgrid(a[0], b[1], indexing="xy")[0], lambda a, b: np.meshgrid(a[0], b[1])[0]),
    (lambda a, b: facula.block_diag(a, b), lambda a, b: np.block([[a, 0 * a], [0 * b, b]])),
    (
        lambda a, b: facula.trapezoid(a, dx=2),
        lambda a, b: getattr(np, "trapezoid", getattr(np, "trapz", None))(a, dx=2),
    ),
    (lambda a, b: facula.gradient(a[0] ** 2, spacing=2.0)[0], lambda a, b: np.gradient(a[0] ** 2, 2.0)),
    (lambda a, b: facula.cov(a), lambda a, b: np.cov(a)),
    (lambda a, b: facula.cdist(a, b), lambda a, b: np.linalg.norm(a[:, None] - b[None], axis=-1)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_against_numpy(number: int) -> None:
    mine, known = CASES[number]
    result = mine(facula.from_numpy(A.copy()), facula.from_numpy(B.copy()))
    np.testing.assert_allclose(result.numpy(), known(A, B), rtol=1e-12)
    assert facula.autograd.gradcheck(mine, [facula.from_numpy(x + 0.1).requires_grad_() for x in (A, 2 * B)])


def test_tables() -> None:
    assert facula.tril_indices(2, 3).tolist() == [[0, 1, 1], [0, 0, 1]]
    assert facula.triu_indices(2, 2, 1).tolist() == [[0], [1]]
    assert facula.combinations(facula.arange(3)).tolist() == [[0, 1], [0, 2], [1, 2]]
    assert facula.cartesian_prod(facula.arange(2), facula.tensor([5, 6])).tolist() == [[0, 5], [0, 6], [1, 5], [1, 6]]


def test_errors() -> None:
    a = facula.zeros(2, 3)
    with pytest.raises(ValueError, match="non-empty"):
        facula.cat([])
    with pytest.raises(RuntimeError, match="Expected size 3 but got size 2 for tensor number 1"):
        facula.cat([a, facula.zeros(2, 2)], 0)
    with pytest.raises(RuntimeError, match="equal size"):
        facula.stack([a, facula.zeros(3, 2)])
    with pytest.raises(TypeError, match="element 1"):
        facula.cat([a, 1])
