"""Metropolis-adjusted Langevin moves: the decision of the textbook, and the law kept at any size of step."""

from __future__ import annotations

import math

import torch
from test_steps import GAUSS, MIXTURE, VARIANCES, draw
from torch import Tensor

from recon.moves import langevin, mala, on_state
from recon.noise import CounterNoise


def accepted(prior, snr: float, rows: int = 400, sigma: float = 0.6) -> tuple[Tensor, Tensor]:
    """Which rows moved, and which would by the density itself, with the same noise."""
    x = prior.mean + (VARIANCES + sigma**2).sqrt() * draw(rows, 4, seed=2)
    noise = CounterNoise(3, range(rows), [0] * rows)
    moved = mala(snr)(prior.denoise, x, sigma, noise)
    noise = CounterNoise(3, range(rows), [0] * rows)
    e = 2 * (snr * sigma) ** 2
    proposal = x + e * prior.score(x, sigma) + math.sqrt(2 * e) * noise(x)

    def log_q(to: Tensor, start: Tensor) -> Tensor:
        return -(to - start - e * prior.score(start, sigma)).square().sum(1) / (4 * e)

    ratio = prior.log_density(proposal, sigma) - prior.log_density(x, sigma) + log_q(x, proposal) - log_q(proposal, x)
    uniform = torch.distributions.Normal(0.0, 1.0).cdf(noise(x[:, :1])[:, 0])
    keep = uniform.log() < ratio
    expected = torch.where(keep[:, None], proposal, x)
    return (moved - expected).abs().amax(1) < 1e-12, keep


def test_decisions_are_those_of_the_density():
    """Exact for a Gaussian; for a mixture all but rare ties."""
    same, keep = accepted(GAUSS, 0.6)
    assert bool(same.all()) and 0.1 < float(keep.double().mean()) < 0.95
    same, keep = accepted(MIXTURE, 0.5)
    assert float(same.double().mean()) > 0.99 and 0.1 < float(keep.double().mean()) < 0.98


def test_metropolis_keeps_a_law_that_langevin_steps_widen():
    """Ten large moves of exact draws; 40,000 rows know a variance to 0.7 % (one standard deviation)."""
    sigma, rows = 0.7, 40_000
    truth = VARIANCES + sigma**2
    x = GAUSS.mean + truth.sqrt() * draw(rows, 4, seed=4)
    generator = torch.Generator().manual_seed(0)
    ratios = {}
    for name, move in (("langevin", langevin(0.5)), ("mala", mala(0.5))):
        y = x
        for _ in range(10):
            y = move(GAUSS.denoise, y, sigma, lambda like: torch.randn(like.shape, generator=generator).to(like))
        ratios[name] = y.var(0) / truth
    assert float((ratios["mala"] - 1).abs().max()) < 0.03
    assert float((ratios["langevin"] - 1).max()) > 0.15


def test_no_move_at_level_zero():
    x = draw(3, 4)
    assert torch.equal(mala(0.5)(GAUSS.denoise, x, 0.0, torch.zeros_like), x)


def test_data_of_a_share_of_the_level():
    """`noised` scales the noise that the data are given; at 0 none is drawn."""

    def pull(v: Tensor, sigma: float) -> Tensor:
        return 0.25 * v

    x, n = draw(3, 4), draw(3, 4, seed=1)
    assert torch.allclose(on_state(pull, 0.5)(None, x, 0.8, lambda like: n), 0.25 * (x - 0.4 * n) + 0.4 * n)
    assert torch.equal(on_state(pull, 0.0)(None, x, 0.8, None), 0.25 * x)
