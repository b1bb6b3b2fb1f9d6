"""The default's guidance with Jacobians that are not the covariance: blind ones, and ones that overshoot."""

from __future__ import annotations

import pytest
import torch
from law import field_problem, relative

from recon import guidance

PROBLEMS = ["inpaint", "blur", "ct"]


def case(task: str):
    """A problem, x0 for two items, and the dense C, S^-1 and shift of the exact covariance at sigma = 0.7."""
    problem, sigma = field_problem(task, (4, 6)), 0.7
    n = len(problem.mu)
    C = problem.prior.error_filter(torch.eye(n, dtype=torch.float64).reshape(n, 1, 4, 6), sigma, 1.0).flatten(1)
    S = problem.M @ C @ problem.M.T + problem.sigma_y**2 * torch.eye(len(problem.y), dtype=torch.float64)
    x0 = torch.randn(2, 1, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    residual = problem.y - x0.flatten(1) @ problem.M.T
    exact = torch.linalg.solve(S, residual.T).T @ problem.M @ C
    shift = guidance.spectral(problem.measurement.rows([0, 0]), problem.prior, 1000, 1e-13)
    return problem, sigma, C, x0, residual, exact, shift


@pytest.mark.parametrize("task", PROBLEMS)
def test_the_exact_jacobian_gives_bayes_rule(task):
    _, sigma, C, x0, _, exact, shift = case(task)
    found = shift(x0, lambda v: (v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma)
    assert relative(found.flatten(1), exact) < 1e-9


@pytest.mark.parametrize("factor", [0.0, 0.3])
@pytest.mark.parametrize("task", PROBLEMS)
def test_what_a_weak_jacobian_leaves_is_explained_by_the_spectrum(task, factor):
    """With J = f C / sigma^2: f of the exact shift, and (1 - f) of it through A^H S^-1 A C again; f = 0 is blind."""
    problem, sigma, C, x0, _, exact, shift = case(task)
    found = shift(x0, lambda v: factor * (v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma).flatten(1)
    S = problem.M @ C @ problem.M.T + problem.sigma_y**2 * torch.eye(len(problem.y), dtype=torch.float64)
    again = torch.linalg.solve(S, problem.M @ exact.T).T @ problem.M @ C
    assert relative(found, factor * exact + (1 - factor) * again) < 1e-9


@pytest.mark.parametrize("factor", [3.0, 100.0])
@pytest.mark.parametrize("task", PROBLEMS)
def test_a_jacobian_that_is_too_large_does_not_overshoot(task, factor):
    """With J = f C / sigma^2 the data are met about as well as with f = 1; an unguarded step misses them f - 1 fold."""
    problem, sigma, C, x0, residual, exact, shift = case(task)
    found = shift(x0, lambda v: factor * (v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma).flatten(1)
    left, least = ((residual - x @ problem.M.T).norm() / residual.norm() for x in (found, exact))
    assert float(left) < 1.5 * float(least) + 0.05


def test_a_jacobian_of_the_wrong_sign_does_no_harm():
    problem, sigma, C, x0, residual, _, shift = case("inpaint")
    found = shift(x0, lambda v: -(v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma).flatten(1)
    assert bool(found.isfinite().all()) and float((residual - found @ problem.M.T).norm()) < float(residual.norm())
