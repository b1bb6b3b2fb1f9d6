"""The default's guidance with Jacobians that are not the covariance: blind ones, and ones that overshoot."""

from __future__ import annotations

import pytest
import torch
from law import field_problem, relative

import recon
from operators import Dense, Gaussian
from recon import guidance
from recon.condition import merged

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
    shift = guidance.spectral(problem.measurement.rows([0, 0]), problem.prior, 1e-13)
    return problem, sigma, C, x0, residual, exact, shift


@pytest.mark.parametrize("task", PROBLEMS)
def test_the_exact_jacobian_gives_bayes_rule(task):
    _, sigma, C, x0, _, exact, shift = case(task)
    found = shift(x0, lambda v, last=False: (v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma)
    assert relative(found.flatten(1), exact) < 1e-9


@pytest.mark.parametrize("factor", [0.0, 0.3])
@pytest.mark.parametrize("task", PROBLEMS)
def test_what_a_weak_jacobian_leaves_is_explained_by_the_spectrum(task, factor):
    """With J = f C / sigma^2: f of the exact shift, and (1 - f) of it through A^H S^-1 A C again; f = 0 is blind."""
    problem, sigma, C, x0, _, exact, shift = case(task)
    found = shift(x0, lambda v, last=False: factor * (v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma).flatten(1)
    S = problem.M @ C @ problem.M.T + problem.sigma_y**2 * torch.eye(len(problem.y), dtype=torch.float64)
    again = torch.linalg.solve(S, problem.M @ exact.T).T @ problem.M @ C
    assert relative(found, factor * exact + (1 - factor) * again) < 1e-9


@pytest.mark.parametrize("factor", [3.0, 100.0])
@pytest.mark.parametrize("task", PROBLEMS)
def test_a_jacobian_that_is_too_large_does_not_overshoot(task, factor):
    """With J = f C / sigma^2 the data are met about as well as with f = 1; an unguarded step misses them f - 1 fold."""
    problem, sigma, C, x0, residual, exact, shift = case(task)
    found = shift(x0, lambda v, last=False: factor * (v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma).flatten(1)
    left, least = ((residual - x @ problem.M.T).norm() / residual.norm() for x in (found, exact))
    assert float(left) < 1.5 * float(least) + 0.05


def test_a_jacobian_of_the_wrong_sign_does_no_harm():
    problem, sigma, C, x0, residual, _, shift = case("inpaint")
    found = shift(x0, lambda v, last=False: -(v.flatten(1) @ C).reshape(v.shape) / sigma**2, sigma).flatten(1)
    assert bool(found.isfinite().all()) and float((residual - found @ problem.M.T).norm()) < float(residual.norm())


@pytest.mark.parametrize("sigma", [0.05, 0.7, 20.0])
@pytest.mark.parametrize("level", [0.0, 0.3, 2.0])
def test_data_that_are_the_image_in_noise_are_merged_exactly(sigma, level):
    """E[x0 | x, y] of a mixture by its own formula, the mean of three Gaussian sources for each component."""
    generator = torch.Generator().manual_seed(4)
    means, x, noise = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 5, 5))
    prior = recon.MixturePrior(2 * means, 0.4 * torch.eye(3, dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0, 4.0]))
    y = 2 * means[[0, 1, 2, 3, 0]] + noise
    found = merged(prior.denoise, y, level)(x, sigma)
    if level == 0:
        assert torch.equal(found, y)
        return
    parts = torch.stack([x, y])
    widths = torch.tensor([sigma**2, level**2], dtype=torch.float64)
    spread = 1 / (1 / 0.4 + (1 / widths).sum())
    each = spread * (prior.means / 0.4 + (parts / widths[:, None, None]).sum(0)[:, None])
    # both observations given the component: normals of its mean, with what they share, 0.4, and their own noise
    shared = 0.4 * torch.ones(2, 2, dtype=torch.float64) + widths.diag()
    apart = (parts[:, :, None] - prior.means).permute(1, 2, 3, 0)
    logs = torch.distributions.MultivariateNormal(torch.zeros(2, dtype=torch.float64), shared).log_prob(apart).sum(2)
    shares = (logs + prior.weights.log()).softmax(1)
    assert relative(found, (shares[..., None] * each).sum(1)) < 1e-9


def test_the_default_draws_exactly_from_the_posterior_of_denoising():
    """Shares and spread of the modes of a mixture, without backpropagation, where guidance would err."""
    means = torch.tensor([[-2.0], [1.0]], dtype=torch.float64)
    prior = recon.MixturePrior(means, 0.3 * torch.eye(1, dtype=torch.float64), torch.tensor([0.7, 0.3]))
    m = recon.Measurement(Dense(torch.eye(1), (1,), (1,)), torch.full((1, 1), -0.3, dtype=torch.float64), Gaussian(1.2))
    post = recon.reconstruct(m, prior, steps=60, samples=4000)
    assert post.backpropagations == 0 and post.nfe == 60
    total = 0.3 + 1.2**2
    shares = (prior.weights.log() - 0.5 * (-0.3 - means[:, 0]).square() / total).softmax(0)
    centres = means[:, 0] + 0.3 / total * (-0.3 - means[:, 0])
    expected = float(shares @ centres)
    variance = float(shares @ (0.3 * 1.2**2 / total + centres.square())) - expected**2
    assert abs(float(post.samples.mean()) - expected) < 0.05
    assert float(post.samples.var()) == pytest.approx(variance, rel=0.06)
