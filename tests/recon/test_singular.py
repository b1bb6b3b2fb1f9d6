"""DDRM and DDNM+ have the law of their papers' updates by singular value; without singular vectors they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from affine import Affine, fresh, state
from law import Impulses, Problem, field_problem, preset_law, vector_problem
from test_recursions import STEPS, assert_same_law, eye, problem_of, run_vp, scaled_levels, tweedie
from torch import Tensor

import recon
from operators import OPERATORS, Gaussian

TASKS = ["vector", "inpaint", "blur", "downsample", "ct"]


def full_svd(problem: Problem) -> tuple[Tensor, Tensor, Tensor]:
    """Singular values of all n coefficients, those without data being 0; V (n, n); y-bar = S^+ U^T y."""
    U, s, Vh = torch.linalg.svd(problem.M, full_matrices=True)
    values = torch.zeros(len(Vh), dtype=s.dtype)
    values[: len(s)] = torch.where(s > 1e-9, s, 0.0)
    data = torch.zeros(len(Vh), dtype=s.dtype)
    data[: len(s)] = (U.T @ problem.y)[: len(s)] / torch.where(s > 1e-9, s, torch.inf)
    return values, Vh.T, data


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("eta, eta_b", [(0.85, 1.0), (0.4, 0.6)])
def test_ddrm(task, eta, eta_b):
    """Kawar et al., 2022, equations 7 and 8, in their VE coordinates, one coefficient after the other."""
    problem = problem_of(task)
    n, (s, V, data) = len(problem.mu), full_svd(problem)
    levels = recon.METHODS["ddrm"](problem.measurement, problem.prior, STEPS, Impulses(0)).sigmas
    mean, covariance = problem.mu, problem.C + levels[0] ** 2 * eye(n)
    for sigma, lower in zip(levels, levels[1:], strict=False):
        x = state(n)
        x0 = (x - problem.mu).under(problem.C @ torch.linalg.inv(problem.C + sigma**2 * eye(n))) + problem.mu
        rows = []  # of x-bar, x0-bar, data and noise in the coefficient's new value
        for i in range(n):
            if s[i] == 0:
                drift = math.sqrt(1 - eta**2) * lower / sigma
                rows.append((drift, 1 - drift, 0.0, eta * lower))
            elif lower < problem.sigma_y / s[i]:
                pull = math.sqrt(1 - eta**2) * lower / (problem.sigma_y / s[i])
                rows.append((0.0, 1 - pull, pull, eta * lower))
            else:
                left = lower**2 - problem.sigma_y**2 / s[i] ** 2 * eta_b**2
                rows.append((0.0, 1 - eta_b, eta_b, math.sqrt(left)))
        of_state, of_estimate, of_data, of_noise = torch.tensor(rows, dtype=torch.float64).T
        new = (
            x.under(torch.diag(of_state) @ V.T)
            + x0.under(torch.diag(of_estimate) @ V.T)
            + of_data * data
            + fresh(n).under(torch.diag(of_noise))
        )
        mean, covariance = new.under(V).law(mean, covariance)
    assert_same_law(preset_law("ddrm", problem, STEPS, eta=eta, eta_b=eta_b), (mean, covariance))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("sigma_y", [0.05, 0.5])
def test_ddnm_plus(task, sigma_y):
    """Wang et al., 2023, equations 17 to 19 and appendix I, with DDPM's a_t, b_t and sigma_t.

    x0 - S_t A^+ (A x0 - y), S_t = V diag(l) V^T, and noise of covariance V diag(g) V^T.
    """
    problem = (
        vector_problem(sigma_y=sigma_y)
        if task == "vector"
        else field_problem(task, (4, 6), sigma_y=sigma_y, sde=recon.VP())
    )
    n, (s, V, _) = len(problem.mu), full_svd(problem)
    inverse = torch.linalg.pinv(problem.M, rcond=1e-9)

    def update(x: Affine, a: float, b: float) -> Affine:
        x0, _ = tweedie(problem, x, a)
        alpha = a / b
        a_t, b_t = math.sqrt(b) * (1 - alpha) / (1 - a), math.sqrt(alpha) * (1 - b) / (1 - a)
        sigma_t = math.sqrt((1 - b) / (1 - a) * (1 - alpha))
        scale, spread = torch.ones(n, dtype=torch.float64), torch.full((n,), sigma_t**2, dtype=torch.float64)
        for i in range(n):
            if s[i] and sigma_t >= a_t * sigma_y / s[i]:
                spread[i] = sigma_t**2 - (a_t * sigma_y / s[i]) ** 2
            elif s[i]:
                scale[i], spread[i] = sigma_t * s[i] / (a_t * sigma_y), 0.0
        correction = (x0.under(problem.M) - problem.y).under(V @ torch.diag(scale) @ V.T @ inverse)
        return a_t * (x0 - correction) + b_t * x + fresh(n).under(V @ torch.diag(spread.sqrt()))

    expected = run_vp(problem, scaled_levels(problem, "ddnm_plus"), update)
    assert_same_law(preset_law("ddnm_plus", problem, STEPS), expected)


def test_time_travel_goes_up_again():
    problem = problem_of("inpaint")
    levels = scaled_levels(problem, "ddnm_plus", repeats=3)
    assert any(b < a for a, b in zip(levels, levels[1:], strict=False))
    post = recon.reconstruct(problem.measurement, problem.prior, "ddnm_plus", STEPS, samples=2, options={"repeats": 3})
    assert post.nfe == STEPS and bool(post.samples.isfinite().all())


@pytest.mark.parametrize("method", ["ddrm", "ddnm_plus"])
def test_operators_without_singular_vectors_are_refused(method):
    prior = recon.GaussianPrior(torch.zeros(1, 8, 8), torch.ones(8, 8))
    operator = OPERATORS["blur"](shape=(8, 8), std=1.0, boundary="zero")
    measurement = recon.Measurement(operator, torch.zeros(1, 1, 8, 8), Gaussian(0.1))
    with pytest.raises(ValueError, match=rf"got method '{method}' .*ZeroConvolution.*; use pigdm, moment, diffpir or"):
        recon.reconstruct(measurement, prior, method, steps=4, samples=1)
