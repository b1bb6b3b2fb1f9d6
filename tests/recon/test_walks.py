"""The Gibbs sampler of the board of random walks: against sums over a grid, itself, and the Gaussian formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.benchmarks.levy import LAWS, Law, WalkPrior, gibbs

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
