"""The Gibbs sampler of the board of random walks: against sums over a grid, itself, and the Gaussian formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.benchmarks.walks import LAWS, Law, WalkPrior, gibbs, grid_mean

DENSITIES = {
    "laplace": lambda u: -u.abs(),
    "student2": lambda u: -1.5 * (1 + u.square() / 2).log(),
    "student3": lambda u: -2.0 * (1 + u.square() / 3).log(),
}


def quadrature(name: str, y: Tensor, matrix: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of two values by a sum over a grid."""
    line = torch.linspace(-12, 12, 961, dtype=torch.float64)
    x = torch.cartesian_prod(line, line)
    logs = DENSITIES[name](x[:, 0]) + DENSITIES[name](x[:, 1] - x[:, 0])
    weights = (logs - 0.5 * (y - x @ matrix.T).square().sum(1) / sigma**2).softmax(0)
    mean = weights @ x
    return mean, (weights[:, None] * (x - mean)).T @ (x - mean)


@pytest.mark.parametrize("name", DENSITIES)
def test_gibbs_equals_the_sum_over_a_grid(name):
    """200 chains of 60 sweeps: about 0.5 % of a standard deviation, and mixing."""
    matrix, sigma = torch.tensor([[1.0, 0.0], [0.3, 1.0]], dtype=torch.float64), 0.5
    y = torch.tensor([1.2, -0.8], dtype=torch.float64)
    mean, covariance, draws = gibbs(LAWS[name], y.expand(200, 2), matrix, sigma, 60, 15, 3, keep=1)
    expected, spread = quadrature(name, y, matrix, sigma)
    assert bool(((mean.mean(0) - expected).abs() < 0.03 * spread.diagonal().sqrt()).all())
    between = torch.cov(mean.T)
    assert torch.allclose(covariance.mean(0) + between, spread, atol=0.05 * float(spread.max()))
    assert bool(((draws[0].mean(0) - expected).abs() < 4 * (spread.diagonal() / 200).sqrt()).all())


@pytest.mark.parametrize("name", ["laplace", "student1"])
def test_two_chains_agree(name):
    law = LAWS[name]
    x = law.increments((2, 16), torch.Generator().manual_seed(1)).cumsum(1)
    eye = torch.eye(16, dtype=torch.float64)
    (a, spread, _), (b, _, _) = (gibbs(law, x, eye, 0.7, 600, 100, seed) for seed in (1, 2))
    assert float(((a - b) / spread.diagonal(dim1=1, dim2=2).sqrt()).abs().max()) < 0.25


def test_gauss_is_the_formula():
    law, sigma = Law("gauss", 0.25), 0.4
    walk = torch.ones(8, 8, dtype=torch.float64).tril()
    C, eye = 0.25 * walk @ walk.T, torch.eye(8, dtype=torch.float64)
    y = torch.linspace(-1, 2, 8, dtype=torch.float64)[None]
    mean, covariance, _ = gibbs(law, y, eye, sigma, 2, 0, 0)
    gain = torch.linalg.solve(C + sigma**2 * eye, C)
    assert torch.allclose(mean, y @ gain, atol=1e-12)
    assert torch.allclose(covariance[0], C - C @ gain, atol=1e-12)


def test_increments_follow_their_variances():
    """A chain u -> v -> u keeps the law: the quartiles of |u| stay those of independent draws."""
    for name, law in LAWS.items():
        if law.share < 1:  # of increments that are zero nothing is asked
            continue
        generator = torch.Generator().manual_seed(2)
        u = law.increments((20000, 1), generator)
        again = law.variances(u, generator).sqrt() * torch.randn(u.shape, generator=generator, dtype=torch.float64)
        quartiles = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
        before, after = (w.abs()[:, 0].quantile(quartiles) for w in (u, again))
        assert bool(((before - after).abs() < 0.05 * before.abs()).all()), name


def test_derivative_of_the_denoiser_is_the_covariance():
    """Up to the chain's own noise, v^T J by finite differences of the same chain, for small increments of x."""
    prior = WalkPrior(LAWS["gauss"], size=6)
    x = torch.linspace(0, 1, 6, dtype=torch.float64)[None].requires_grad_(True)
    v = torch.randn(1, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradient = torch.autograd.grad((prior.denoise(x, 0.5) * v).sum(), x)[0]
    moved = (prior.denoise(x.detach() + 1e-5 * v, 0.5) - prior.denoise(x.detach() - 1e-5 * v, 0.5)) / 2e-5
    assert math.isclose(float((gradient * v).sum()), float((moved * v).sum()), rel_tol=1e-6)


def mixture_of_supports(y: Tensor, matrix: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Mean and covariance of two Bernoulli-Laplace steps: a sum over the four supports and over a grid of values."""
    law, line = LAWS["bernoulli"], torch.linspace(-12, 12, 1921, dtype=torch.float64)
    slab = (law.share / (2 * law.parameter)) * torch.exp(-line.abs() / law.parameter) * float(line[1] - line[0])
    none = torch.zeros(1, dtype=torch.float64)
    line, mass = torch.cat([line, none]), torch.cat([slab, none + 1 - law.share])
    u = torch.cartesian_prod(line, line)
    x = u.cumsum(1)
    logs = torch.cartesian_prod(mass.log(), mass.log()).sum(1) - 0.5 * (y - x @ matrix.T).square().sum(1) / sigma**2
    weights = logs.softmax(0)
    mean = weights @ x
    return mean, (weights[:, None] * (x - mean)).T @ (x - mean)


@pytest.mark.parametrize("y", [(1.2, -0.8), (1.4, 1.9)])
def test_gibbs_with_a_point_mass_equals_the_sum(y):
    matrix, sigma = torch.tensor([[1.0, 0.0], [0.3, 1.0]], dtype=torch.float64), 0.5
    y = torch.tensor(y, dtype=torch.float64)
    mean, covariance, draws = gibbs(LAWS["bernoulli"], y.expand(200, 2), matrix, sigma, 80, 20, 3, keep=1)
    expected, spread = mixture_of_supports(y, matrix, sigma)
    deviations = spread.diagonal().sqrt()
    assert bool(((mean.mean(0) - expected).abs() < 0.05 * deviations).all()), (mean.mean(0), expected)
    assert torch.allclose(covariance.mean(0) + torch.cov(mean.T), spread, atol=0.08 * float(spread.max()))
    assert bool(((draws[0].mean(0) - expected).abs() < 4 * deviations / math.sqrt(200)).all())
    still = (draws[0][:, 1] == draws[0][:, 0]).double().mean()
    assert 0.0 < float(still) < 1.0  # the second step is zero in some draws


@pytest.mark.parametrize("sigma", [0.05, 0.9, 1.9, 4.0])
@pytest.mark.parametrize("name", ["laplace", "bernoulli"])
def test_grid_equals_gibbs(name, sigma):
    """The posterior mean of ten steps, to the error of the chains; its derivative is their covariance."""
    law, d = LAWS[name], 10
    generator = torch.Generator().manual_seed(4)
    x = law.increments((1, d), generator).cumsum(1)
    x = x + sigma * torch.randn(1, d, generator=generator, dtype=torch.float64)
    eye = torch.eye(d, dtype=torch.float64)
    chains, covariance, _ = gibbs(law, x.expand(60, d), eye, sigma, 100, 25, 5)
    leaf = x.clone().requires_grad_(True)
    found = grid_mean(law, leaf, sigma)
    deviations = covariance.mean(0).diagonal().sqrt()
    assert float(((found[0].detach() - chains.mean(0)).abs() / deviations).max()) < 0.08
    v = torch.randn(d, generator=generator, dtype=torch.float64)
    slope = torch.autograd.grad(found[0] @ v, leaf)[0][0] * sigma**2
    spread = covariance.mean(0) + torch.cov(chains.T)
    assert float((slope - spread @ v).norm() / (spread @ v).norm()) < 0.15


def test_support_is_that_of_the_increments():
    """Data far above the noise show which steps are zero."""
    law = LAWS["bernoulli"]
    u = law.increments((3, 24), torch.Generator().manual_seed(8))
    eye = torch.eye(24, dtype=torch.float64)
    mean, _, draws = gibbs(law, u.cumsum(1), eye, 1e-3, 20, 10, 2, keep=5)
    assert float((mean - u.cumsum(1)).abs().max()) < 0.01
    assert float((draws.diff(dim=2).abs() < 1e-9).double().mean()) == pytest.approx(
        float((u[:, 1:] == 0).double().mean()), abs=0.08
    )


def test_measured_error_covariance_is_that_of_gauss():
    """Where it is the same for every x, so that few draws are enough; between the levels it is interpolated."""
    d, variance, sigma = 6, 0.25, 0.3
    prior = WalkPrior(LAWS["gauss"], size=d)
    prior.measured_rows = 4
    walk = torch.ones(d, d, dtype=torch.float64).tril()
    C, eye = variance * walk @ walk.T, torch.eye(d, dtype=torch.float64)
    expected = C @ torch.linalg.inv(C + sigma**2 * eye) * sigma**2
    found, root = (prior.error_filter(eye, sigma, power) for power in (1.0, 0.5))
    assert float((found - expected).norm() / expected.norm()) < 0.05
    assert torch.allclose(root @ root, found, atol=1e-10)
