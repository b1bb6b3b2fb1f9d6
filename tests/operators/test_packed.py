"""Packed matrices beside those held whole, with their transposes exactly matched; tomography that chooses them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch

from operators import OPERATORS, dense_matrix, dot_test
from operators.packed import PackedMatrix
from operators.sparse import SparseMatrix

SCANS = {
    "parallel": ("ct", dict(shape=(23, 20), angles=np.array([0.1, 0.4, 1.9, 2.2, 3.0]), projector="ray")),
    "parallel strips": ("ct", dict(shape=(20, 20), angles=12, projector="strip")),
    "fan": ("ct_fan", dict(shape=(20, 20), angles=8, source_mm=50.0, detector_mm=80.0)),
    "curved": ("ct_fan", dict(shape=(18, 21), angles=7, source_mm=50.0, detector_mm=80.0, detector="curved")),
}


@pytest.fixture
def tiny(monkeypatch):
    """Tiles and blocks of which a small matrix has many; no matrix held whole, no exact solves."""
    monkeypatch.setattr("operators.packed.TILE", 150)
    monkeypatch.setattr("operators.packed.BLOCK", 1000)
    monkeypatch.setattr("operators.folded.BUDGET", 0)


@pytest.mark.parametrize("scan", SCANS)
def test_packed_tomography_is_the_same_but_for_the_rounding_of_weights(tiny, monkeypatch, scan):
    name, parameters = SCANS[scan]
    packed = OPERATORS[name](**parameters)
    monkeypatch.setattr("operators.folded.BUDGET", 2**30)
    whole = OPERATORS[name](**parameters)
    assert isinstance(packed.matrix, PackedMatrix) and isinstance(whole.matrix, SparseMatrix)
    assert len(packed.matrix.blocks) > 2 and packed.matrix.entries == whole.matrix.entries
    expected = dense_matrix(whole)
    torch.testing.assert_close(dense_matrix(packed), expected, atol=1e-5 * float(expected.max()), rtol=0)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("batch", [1, 5, 40])
def test_the_adjoint_is_exactly_matched(tiny, scan, batch):
    name, parameters = SCANS[scan]
    A = OPERATORS[name](**parameters)
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        assert dot_test(A, dtype, 0) <= tolerance
        x = torch.randn(batch, 1, *A.in_shape, dtype=dtype).requires_grad_()
        y = torch.randn(batch, 1, *A.out_shape, dtype=dtype)
        with torch.no_grad():
            left, right, scale = (A(x) * y).sum(), (x * A.adjoint(y)).sum(), A(x).norm() * y.norm()
        assert abs(float(left - right)) <= 5 * tolerance * float(scale)
        (gradient,) = torch.autograd.grad(0.5 * (A(x) - y).square().sum(), x)
        expected = A.adjoint(A(x.detach()) - y)
        assert (gradient - expected).norm() <= 3 * tolerance * expected.norm()
        single = torch.cat([A(one[None]) for one in x.detach()])
        assert (A(x) - single).norm() <= 3 * tolerance * single.norm()


def test_an_operator_of_its_own():
    matrix = scipy.sparse.random(30, 24, 0.2, format="csr", rng=np.random.default_rng(0))
    A = PackedMatrix([matrix[:7], matrix[7:]], (4, 6), (5, 6))
    x = torch.rand(2, 3, 4, 6, dtype=torch.float64)
    expected = torch.from_numpy((matrix @ x.reshape(6, 24).T.numpy()).T).reshape(2, 3, 5, 6)
    torch.testing.assert_close(A(x), expected, atol=1e-4, rtol=0)
    assert A.adjoint(expected).shape == x.shape
    with pytest.raises(ValueError, match="got a matrix of 30 x 24 zeros; expected data that see the image"):
        PackedMatrix([matrix * 0.0 - matrix * 0.0], (4, 6), (5, 6))
