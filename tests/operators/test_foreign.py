"""Operators made of functions, of scipy's operators, and ours in scipy's solvers."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator, aslinearoperator, lsqr

from operators import OPERATORS, Dense, check, dense_matrix, from_functions, from_scipy, mri, to_scipy

RNG = np.random.default_rng(2)
MATRIX = RNG.standard_normal((6, 12))


def counted():
    """A LinearOperator that knows no matmat, as users write them."""
    return LinearOperator((6, 12), matvec=lambda v: MATRIX @ v, rmatvec=lambda v: MATRIX.T @ v, dtype=np.float64)


@pytest.mark.parametrize("matrix", [
    MATRIX, aslinearoperator(MATRIX), counted(), scipy.sparse.csr_array(MATRIX), scipy.sparse.coo_matrix(MATRIX),
    MATRIX.astype(np.float32),
], ids=["array", "operator", "matvec", "csr", "coo", "float32"])
def test_scipy_to_ours(matrix):
    A = from_scipy(matrix, (3, 4), (2, 3))
    exact = Dense(torch.from_numpy(MATRIX), (3, 4), (2, 3))
    x = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(A(x), exact(x), atol=2e-6, rtol=0)
    torch.testing.assert_close(dense_matrix(A), torch.from_numpy(MATRIX), atol=1e-6, rtol=0)
    y = torch.randn(2, 5, 2, 3, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((A(x) * y).sum(), x)
    torch.testing.assert_close(gradient, A.adjoint(y), atol=1e-14, rtol=0)
    assert A(x.float()).dtype == torch.float32
    if np.dtype(matrix.dtype) == np.float64:
        assert check(A).ok, check(A)


def test_integers_become_floats():
    A = from_scipy(scipy.sparse.csr_array(np.array([[1, 2, 0]])), (3,), (1,))
    assert A(torch.tensor([[1.0, 1.0, 1.0]])).item() == 3.0


def test_second_derivatives_through_foreign_code():
    A = from_scipy(counted(), (3, 4), (2, 3))
    x = torch.randn(1, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(A, x) and torch.autograd.gradgradcheck(lambda v: A(v).square(), x)


@pytest.mark.parametrize("name", ["ct", "mri"])
def test_ours_to_scipy(name):
    A = OPERATORS["ct"](shape=(5, 6), angles=4) if name == "ct" else mri(shape=(4, 5), acceleration=2)
    outside = to_scipy(A)
    matrix = dense_matrix(A).numpy()
    assert outside.shape == matrix.shape and outside.dtype == np.float64
    x, y = RNG.standard_normal(matrix.shape[1]), RNG.standard_normal(matrix.shape[0])
    np.testing.assert_allclose(outside @ x, matrix @ x, atol=1e-13)
    np.testing.assert_allclose(outside.H @ y, matrix.T @ y, atol=1e-13)
    pair = np.stack([x, 2 * x], axis=1)
    np.testing.assert_allclose(outside @ pair, matrix @ pair, atol=1e-12)
    np.testing.assert_allclose(outside.matvec(x[:, None]), (matrix @ x)[:, None], atol=1e-13)
    solution = lsqr(outside, y, atol=1e-14, btol=1e-14, iter_lim=2000)[0]
    ours = A.pinv(torch.from_numpy(y).reshape(1, *A.out_shape)).numpy().ravel()
    np.testing.assert_allclose(solution, ours, atol=1e-6)
    assert to_scipy(A, torch.float32).dtype == np.float32
    again = from_scipy(outside, A.in_shape, A.out_shape)
    torch.testing.assert_close(dense_matrix(again), dense_matrix(A), atol=1e-14, rtol=0)


def test_three_lines_make_an_operator():
    def put_back(y):
        return torch.stack([y, torch.zeros_like(y)], dim=-2).flatten(-3, -2)

    A = from_functions(lambda x: x[..., ::2, :], put_back, (4, 5), (2, 5))
    assert check(A).ok, check(A)
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(A(x), x[..., ::2, :])
    torch.testing.assert_close(A.pinv(A(x)), put_back(x[..., ::2, :]))


def test_functions_may_leave_torch():
    def outside(x):
        return torch.from_numpy(np.cumsum(x.detach().numpy(), axis=-1))

    def back(y):
        return torch.from_numpy(np.cumsum(y.detach().numpy()[..., ::-1], axis=-1)[..., ::-1].copy())

    A = from_functions(outside, back, (7,), (7,))
    assert check(A).ok, check(A)
    x = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(A, x)


def test_refusals():
    with pytest.raises(TypeError, match="forward: got tuple; expected a function; the order is forward, adjoint"):
        from_functions((3,), (3,), lambda x: x, lambda y: y)
    with pytest.raises(ValueError, match=r"matrix: got shape \(6, 12\); expected \(out_size, in_size\) = \(12, 6\)"):
        from_scipy(MATRIX, (2, 3), (3, 4))
    with pytest.raises(ValueError, match="dtype complex128; expected a real matrix"):
        from_scipy(1j * MATRIX, (3, 4), (2, 3))
