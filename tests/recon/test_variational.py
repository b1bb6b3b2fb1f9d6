"""RED-diff against its paper's update, typed again; what it converges to; independence of the batch."""

from __future__ import annotations

import math

import torch
from law import relative, vector_problem
from torch import Tensor

import recon
from operators import Dense, Gaussian
from recon.variational import AdamDescent

D = 5
generator = torch.Generator().manual_seed(2)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_reddiff_is_the_published_update():
    """Mardani et al., 2023, algorithm 1, in VP coordinates, by torch's own Adam.

    x_t = alpha mu + sigma eps; loss |y - A mu|^2 / 2 + lambda (sigma / alpha) <sg(eps_theta - eps), mu>.
    """
    prior = recon.MixturePrior(2 * draw(3, D), 0.4 * torch.eye(D, dtype=torch.float64))
    matrix, y, first, weight, rate = draw(2, D), draw(4, 2), draw(4, D), 0.3, 0.07
    measurement = recon.Measurement(Dense(matrix, (D,), (2,)), y, Gaussian(0.1))
    levels = [20.0, 6.0, 2.0, 0.7, 0.2, 0.05, 0.0]
    noises = [draw(4, D) for _ in levels]
    stored = iter(noises)
    with torch.no_grad():
        step = AdamDescent(measurement, first, weight, rate)
        found = recon.sample(prior.denoise, 0 * first, levels, step, (), lambda like: next(stored))
    mu = first.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([mu], lr=rate, betas=(0.9, 0.99))
    for ratio, eps in zip(levels[:-1], noises, strict=False):
        alpha = 1 / math.sqrt(1 + ratio**2)
        sigma = ratio * alpha
        x = alpha * mu.detach() + sigma * eps
        predicted = (x - alpha * prior.denoise(x / alpha, ratio)) / sigma
        loss = 0.5 * (y - mu @ matrix.T).square().sum() + weight * sigma / alpha * ((predicted - eps) * mu).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert relative(found, mu.detach()) < 1e-10


def test_reddiff_preset_nears_the_mode_of_its_bound():
    """For a Gaussian prior and a level held fixed the gradient's mean vanishes at one mu, found here by hand."""
    problem = vector_problem()
    n, sigma, weight = len(problem.mu), 0.5, 0.25
    eye = torch.eye(n, dtype=torch.float64)
    shrink = sigma**2 * torch.linalg.inv(problem.C + sigma**2 * eye)  # mu - D(mu + noise), on average
    normal = problem.M.T @ problem.M + weight * shrink
    expected = torch.linalg.solve(normal, problem.M.T @ problem.y + weight * shrink @ problem.mu)
    rows, noise = 64, torch.Generator().manual_seed(1)
    step = AdamDescent(problem.measurement.rows([0] * rows), torch.zeros(rows, n, dtype=torch.float64), weight, 0.02)
    x = torch.zeros(rows, n, dtype=torch.float64)
    with torch.no_grad():
        for _ in range(600):
            x = step(problem.prior.denoise, x, sigma, sigma,
                     lambda like: torch.randn(like.shape, generator=noise, dtype=like.dtype))
    assert relative(x.mean(0), expected) < 0.03


def test_reddiff_of_a_network_call_a_step_in_any_batch():
    problem = vector_problem()
    whole = recon.reconstruct(problem.measurement, problem.prior, "reddiff", 15, 3, 2)
    parts = recon.reconstruct(problem.measurement, problem.prior, "reddiff", 15, 3, 2, batch_size=1)
    assert whole.nfe == 15 and whole.backpropagations == 0
    assert relative(parts.samples, whole.samples) < 1e-12
    assert float((whole.samples[0] - whole.samples[1]).abs().max()) > 1e-6
