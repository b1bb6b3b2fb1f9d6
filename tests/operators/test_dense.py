"""Dense: layout, exact solves at full and deficient rank, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators import Dense


@pytest.fixture
def matrix():
    return torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_elements_are_in_row_major_order(matrix):
    A = Dense(matrix, (3, 4), (2, 3))
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(A(x), (x.reshape(5, 12) @ matrix.T).reshape(5, 2, 3), atol=0, rtol=1e-14)


def test_numpy_and_integer_matrices_are_taken():
    assert torch.equal(Dense(np.eye(2), (2,), (2,))(torch.ones(1, 2)), torch.ones(1, 2))
    assert torch.equal(Dense(torch.eye(2, dtype=torch.int64), (2,), (2,))(torch.ones(1, 2)), torch.ones(1, 2))


def test_the_matrix_is_a_copy(matrix):
    A = Dense(matrix, (12,), (6,))
    x = torch.ones(1, 12, dtype=torch.float64)
    before = A(x)
    matrix.zero_()
    assert torch.equal(A(x), before)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-11)])
def test_pinv_of_a_matrix_that_is_deficient_but_for_rounding(dtype, tolerance):
    generator = torch.Generator().manual_seed(1)
    tall, wide = (torch.randn(*shape, dtype=dtype, generator=generator) for shape in ((8, 3), (3, 9)))
    A = Dense(tall @ wide, (9,), (8,))
    y = torch.randn(2, 8, dtype=dtype, generator=generator)
    exact = torch.linalg.pinv(tall.double() @ wide.double(), rtol=1e-5)
    torch.testing.assert_close(A.pinv(y).double(), y.double() @ exact.T, atol=tolerance, rtol=0)
    assert A.svd()[1].numel() == 3


def test_zero_matrix():
    A = Dense(torch.zeros(3, 4), (4,), (3,))
    u = torch.randn(2, 3)
    assert torch.equal(A.pinv(u), torch.zeros(2, 4))
    torch.testing.assert_close(A.gram_solve(u, 0.5), 2 * u)


def test_rho_tiny_beside_the_spectrum_is_still_rho():
    A = Dense(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), (2,), (2,))
    z = A.gram_solve(torch.ones(1, 2), 1e-10)
    torch.testing.assert_close(z, torch.tensor([[1.0, 1e10]]))


@pytest.mark.parametrize("change, message", [
    (dict(matrix=torch.zeros(12, 6)), r"got shape \(12, 6\).*transpose"),
    (dict(in_shape=(5,)), r"matrix: got shape \(6, 12\); expected \(out_size, in_size\) = \(6, 5\)"),
    (dict(out_shape=(2, 2)), r"= \(4, 12\)"),
    (dict(matrix=torch.full((6, 12), float("nan"))), "NaN or infinite"),
    (dict(matrix=torch.zeros(6, 12, dtype=torch.complex64)), "expected a real matrix"),
    (dict(in_shape=(0,)), "in_shape: got 0"),
    (dict(in_shape=()), "in_shape"),
])
def test_refusals(matrix, change, message):
    with pytest.raises(ValueError, match=message):
        Dense(**{"matrix": matrix, "in_shape": (3, 4), "out_shape": (6,), **change})


def test_rows_are_known_to_be_orthonormal_without_a_decomposition(monkeypatch):
    monkeypatch.setattr("operators.basic.Dense._decompose", None)
    rows = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    slanted = rows.clone()
    slanted[0] = (rows[0] + 1e-3 * rows[1]) / (1 + 1e-6) ** 0.5  # of unit length, but not at right angles
    for matrix, known in ((rows, True), (rows[:4], True), (rows.float(), True), (2 * rows, False), (slanted, False)):
        assert Dense(matrix, (6,), (len(matrix),)).orthonormal_rows is known
    assert not Dense(rows[:, :4], (4,), (6,)).orthonormal_rows
