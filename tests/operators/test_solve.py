"""Iterative solvers: accuracy by dtype, stopping per sample, singular and hopeless systems."""

from __future__ import annotations

import warnings

import pytest
import torch

from operators import Dense, FromFunctions, cg, conjugate_residuals, least_squares, operator_norm

SOLVERS = [cg, conjugate_residuals]


def positive_definite(condition, size=30, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))
    return ((basis * torch.logspace(0, -torch.tensor(condition).log10(), size)) @ basis.T).to(dtype)


def apply_to_rows(matrix):
    return lambda z: z @ matrix


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_default_tolerance_is_reached(solver, dtype, tolerance):
    matrix = positive_definite(30.0, dtype=dtype)
    b = torch.randn(4, 30, dtype=dtype)
    z = solver(apply_to_rows(matrix), b, 1)
    residual = (z @ matrix - b).norm(dim=1) / b.norm(dim=1)
    assert (residual <= 2 * tolerance).all(), residual


@pytest.mark.parametrize("solver", SOLVERS)
def test_solution_is_that_of_the_dense_solver(solver):
    matrix = positive_definite(100.0)
    b = torch.randn(2, 3, 30, dtype=torch.float64)
    exact = torch.linalg.solve(matrix, b[..., None])[..., 0]
    torch.testing.assert_close(solver(apply_to_rows(matrix), b, 1), exact, atol=1e-9, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_samples_stop_by_themselves(solver):
    matrix = positive_definite(1e4)
    b = torch.randn(30, dtype=torch.float64)
    easy = torch.linalg.eigh(matrix).eigenvectors[:, 0]  # one iteration suffices
    together = solver(apply_to_rows(matrix), torch.stack([b, easy, 1e-30 * b, 0 * b]), 1)
    for row, alone in zip(together, (b, easy, 1e-30 * b, 0 * b), strict=True):
        expected = solver(apply_to_rows(matrix), alone[None], 1)[0]
        torch.testing.assert_close(row, expected, atol=1e-11 * float(expected.norm()), rtol=0)
    assert torch.equal(together[3], torch.zeros(30, dtype=torch.float64))


@pytest.mark.parametrize("solver", SOLVERS)
def test_tiny_and_huge_right_hand_sides_in_float32(solver):
    matrix = positive_definite(10.0, dtype=torch.float32)
    b = torch.randn(30)
    z = solver(apply_to_rows(matrix), torch.stack([b, 1e-28 * b, 1e28 * b]), 1)
    torch.testing.assert_close(z[1] * 1e28, z[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(z[2] / 1e28, z[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("solver", SOLVERS)
def test_nan_stays_visible_and_in_its_sample(solver):
    matrix = positive_definite(10.0)
    b = torch.randn(2, 30, dtype=torch.float64)
    b[0, 3] = torch.nan
    z = solver(apply_to_rows(matrix), b, 1)
    assert z[0].isnan().all() and z[1].isfinite().all()


def test_conjugate_residuals_never_lose_ground_in_float32():
    matrix = positive_definite(1e12, size=200, dtype=torch.float32)
    b = torch.randn(1, 200)
    found = [conjugate_residuals(apply_to_rows(matrix), b, 1, 1e-6, n) for n in range(0, 400, 40)]
    norms = [(z @ matrix - b).norm() for z in found]
    assert all(later <= 1.01 * earlier for earlier, later in zip(norms, norms[1:], strict=False)), norms


def test_the_default_limit_warns_and_a_chosen_one_does_not():
    matrix = positive_definite(1e12, size=400, dtype=torch.float32)
    b = torch.randn(1, 400)
    with pytest.warns(RuntimeWarning, match="got a relative residual of .* after 1000 iterations; expected"):
        conjugate_residuals(apply_to_rows(matrix), b, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cg(apply_to_rows(matrix), b, 1, max_iterations=3)


def test_cg_after_n_steps_is_optimal_in_its_krylov_space():
    matrix = positive_definite(50.0, size=12)
    b = torch.randn(1, 12, dtype=torch.float64)
    basis = torch.linalg.qr(torch.stack([b[0], matrix @ b[0], matrix @ matrix @ b[0]], dim=1)).Q
    best = basis @ torch.linalg.solve(basis.T @ matrix @ basis, basis.T @ b[0])
    torch.testing.assert_close(cg(apply_to_rows(matrix), b, 1, max_iterations=3)[0], best, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shape", [(20, 12), (12, 20)])
def test_least_squares_of_a_rank_deficient_matrix(shape):
    generator = torch.Generator().manual_seed(3)
    thin = torch.randn(shape[0], 8, dtype=torch.float64, generator=generator)
    matrix = thin @ torch.randn(8, shape[1], dtype=torch.float64, generator=generator)
    y = torch.randn(3, shape[0], dtype=torch.float64, generator=generator)  # not in the range
    x = least_squares(lambda v: v @ matrix.T, lambda v: v @ matrix, y)
    torch.testing.assert_close(x, y @ torch.linalg.pinv(matrix).T, atol=1e-9, rtol=0)
    single = least_squares(lambda v: v @ matrix.T.float(), lambda v: v @ matrix.float(), y.float())
    torch.testing.assert_close(single.double(), x, atol=1e-4 * float(x.norm()), rtol=0)
    assert torch.equal(least_squares(lambda v: v @ matrix.T, lambda v: v @ matrix, 0 * y), 0 * x)


def test_gradients_flow_through_the_solvers():
    matrix = positive_definite(10.0, size=5)
    b = torch.randn(1, 5, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 5, dtype=torch.float64)
    for solver in SOLVERS:
        (gradient,) = torch.autograd.grad((solver(apply_to_rows(matrix), b, 1) * weights).sum(), b)
        torch.testing.assert_close(gradient[0], torch.linalg.solve(matrix, weights[0]), atol=1e-8, rtol=0)


def test_operator_norm_is_the_largest_singular_value():
    matrix = torch.randn(15, 10, generator=torch.Generator().manual_seed(0))
    norm = operator_norm(Dense(matrix, (10,), (15,)))
    largest = torch.linalg.matrix_norm(matrix, 2).item()
    assert 0.99 * largest <= norm <= 1.00001 * largest
    assert operator_norm(Dense(torch.zeros(2, 3), (3,), (2,))) == 0.0


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_must_be_above_zero(tolerance):
    with pytest.raises(ValueError, match="tolerance: got"):
        cg(lambda z: z, torch.ones(1, 2), 1, tolerance)


@pytest.mark.parametrize("shape", [(20, 12), (12, 20)])
def test_damped_least_squares(shape):
    matrix = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    y = torch.randn(3, shape[0], dtype=torch.float64)
    damping = torch.tensor([[0.0], [0.1], [30.0]], dtype=torch.float64)
    x = least_squares(lambda v: v @ matrix.T, lambda v: v @ matrix, y, damping=damping)
    for i in range(3):
        M = torch.cat([matrix, damping[i].sqrt() * torch.eye(shape[1], dtype=torch.float64)])
        expected = torch.linalg.pinv(M) @ torch.cat([y[i], torch.zeros(shape[1], dtype=torch.float64)])
        torch.testing.assert_close(x[i], expected, atol=1e-10, rtol=0)


def test_data_that_no_image_explains_do_not_spoil_the_damped_pseudo_inverse():
    """Twice as many data as unknowns, in float32: the part outside the range, over rho, drowns gram_solve's result."""
    matrix = torch.randn(80, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    A, rho = FromFunctions((40,), (80,), lambda x: x @ matrix.T.to(x), lambda y: y @ matrix.to(y)), 1e-3
    y = torch.randn(1, 80, dtype=torch.float64)
    expected = torch.linalg.solve(matrix.T @ matrix + rho * torch.eye(40, dtype=torch.float64), matrix.T @ y[0])
    direct = (A.damped_pinv(y.float(), rho).double()[0] - expected).norm() / expected.norm()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        through = (A.adjoint(A.gram_solve(y.float(), rho)).double()[0] - expected).norm() / expected.norm()
    assert direct < 1e-5 and through > 10 * direct


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_the_last_iteration_needs_no_more_than_an_energy(iterations):
    generator, asked = torch.Generator().manual_seed(3), []
    M = torch.randn(3, 7, 9, generator=generator, dtype=torch.float64)
    b = torch.randn(3, 9, generator=generator, dtype=torch.float64)

    def apply(z):
        asked.append(1)
        return torch.einsum("bij,bik,bk->bj", M, M, z) + 0.1 * z

    def energy(p):
        return (torch.einsum("bij,bj->bi", M, p).square().sum(1) + 0.1 * p.square().sum(1))[:, None]

    expected = cg(apply, b, 1, max_iterations=iterations)
    assert len(asked) == iterations
    torch.testing.assert_close(
        cg(apply, b, 1, max_iterations=iterations, energy=energy), expected, rtol=1e-12, atol=1e-14
    )
    assert len(asked) == 2 * iterations - 1
