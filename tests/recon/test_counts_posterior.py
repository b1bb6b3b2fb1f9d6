"""Photon counts behind a body from a start that knows nothing of it: sites, preconditioner, and a posterior known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import recon
from operators import OPERATORS, Gaussian, Laplace, Poisson, Rician, TransmissionCT
from recon.krylov import Goal
from recon.likeliest import most_probable
from recon.local_gain import gain, regularised_inverse
from recon.spaces import Way, image_space, weighted_space
from recon.stationary import back, symbol, transform
from recon.wiener import goal_of, solver

MODELS = {
    "laplace": Laplace(0.3), "poisson": Poisson(40.0, 2.0), "dark": TransmissionCT(1e4, 3.0),
    "bright": TransmissionCT(1e6), "rician": Rician(0.2), "gaussian": Gaussian(0.1),
}  # fmt: skip


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("spread", [0.02, 0.5, 20.0])
@pytest.mark.parametrize("name", MODELS)
def test_the_most_probable_value_of_a_datum_is_that_of_a_fine_grid(name, spread):
    """From estimates that lie far on both sides of the truth; `dark` rays are expected to count nothing, or all.

    Laplace noise is rounded off within its scale of the data, and so may its mode be.
    """
    slack = 0.3 if name == "laplace" else 1e-3
    model, truth = MODELS[name], torch.tensor([[0.3, 0.8, 2.0, 5.0]], dtype=torch.float64)
    y = model.sample(truth, *(0.3 * normal(1, 4, seed=k) for k in range(model.draws)))
    for estimate in (truth / 4, truth + 0.2, 2 * truth + 1):
        found = most_probable(model, y, estimate, torch.full_like(estimate, spread))
        grid = torch.linspace(1e-3, 14.0, 28001, dtype=torch.float64)[:, None]
        for i in range(4):
            value = model.log_likelihood(y[:, i : i + 1].expand(len(grid), 1), grid)
            value = value - 0.5 * ((grid[:, 0] - estimate[0, i]) / spread) ** 2
            best = int(value.argmax())
            size = (value[best] - value[max(0, best - 400)]).clamp(min=1e-12)  # the parabola 0.2 away
            std = 0.2 / math.sqrt(2 * float(size)) if best >= 400 else 0.1
            assert abs(float(found[0, i] - grid[best, 0])) < 0.05 * std + slack, (estimate, i)


def test_wide_spreads_lead_to_the_data_and_narrow_ones_to_the_estimate():
    model, y = TransmissionCT(1e5, 3.0), torch.tensor([[9e4, 2e3, 60.0]], dtype=torch.float64)
    estimate = torch.tensor([[4.0, 0.1, 9.0]], dtype=torch.float64)
    near, far = (most_probable(model, y, estimate, torch.full_like(y, s)) for s in (1e-6, 1e3))
    torch.testing.assert_close(near, estimate, rtol=0, atol=1e-5)
    torch.testing.assert_close(far, (1e5 / y).log(), rtol=1e-3, atol=1e-4)


def test_where_the_spread_is_wide_the_measurement_is_that_of_the_logarithm():
    """Of many counts: log(I0 / y) with its own noise, whatever the estimate."""
    A = OPERATORS["ct"](shape=(8, 8), angles=5)
    model, x = TransmissionCT(1e6, 3.0), 0.3 + 0.1 * normal(2, 1, 8, 8)
    clean = A(x)
    m = recon.Measurement(A, model.sample(clean, *(normal(*clean.shape, seed=k) for k in range(2))), model)
    line_integrals, noise = model.logarithmic(m.y)
    expected = recon.Measurement(A, line_integrals, noise).whitened()
    for start in (0.0 * x, x, 2.0 * x):
        found = m.linearised(start, torch.full((2, 1, 1, 1), 1e3, dtype=torch.float64))
        torch.testing.assert_close(found.operator(x), expected.operator(x), rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(found.residual(x), expected.residual(x), rtol=0, atol=0.02)


def modulated(size: int) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    """A smooth gain D over a decade, a falling response K, and D^(1/2) K D^(1/2)."""
    ramp = torch.linspace(-1, 1, size, dtype=torch.float64)
    D = (1.15 * torch.exp(-2 * (ramp[:, None] ** 2 + ramp**2)))[None, None].exp() / 2
    rows, columns = torch.fft.fftfreq(size, dtype=torch.float64), torch.fft.rfftfreq(size, dtype=torch.float64)
    K = 1 / (0.02 + rows[:, None] ** 2 + columns**2).sqrt()[None, None]
    return D, K, lambda x: D.sqrt() * back(transform(D.sqrt() * x) * K, x)


def test_the_gain_of_a_modulated_operator_is_found():
    D, _, apply = modulated(64)
    like = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    found = gain(apply, symbol(apply, like)[0], like)
    ratio = found / D / (found / D).mean()
    inside = (..., slice(8, -8), slice(8, -8))  # the window goes round the border
    assert float((ratio[inside] - 1).abs().mean()) < 0.1
    assert float(D.max() / D.min()) > 2


def test_an_even_gain_gives_the_stationary_inverse():
    _, K, _ = modulated(32)
    like, power = torch.zeros(1, 1, 32, 32, dtype=torch.float64), torch.full((1, 1, 32, 17), 0.7).double()
    inverse = regularised_inverse(lambda x: back(transform(x) * K, x), K, like)(power)
    b = normal(1, 1, 32, 32)
    torch.testing.assert_close(inverse(b), back(transform(b) / (1 + K * power), b), rtol=0, atol=1e-9)


def test_weights_of_two_decades_cost_half_the_error_that_they_cost_without_the_gain():
    """Error after as many iterations, in standard deviations of the posterior."""
    rows = torch.fft.fftfreq(64, dtype=torch.float64)
    prior = recon.GaussianPrior(torch.zeros(1, 64, 64).double(), 1e-3 / (1e-4 + rows[:, None] ** 2 + rows**2) ** 1.5)
    A = OPERATORS["ct"](shape=(64, 64), angles=40)
    chord = A(torch.ones(1, 1, 64, 64, dtype=torch.float64))
    sigma = torch.exp(2.5 * chord / chord.max()) * 0.1
    clean = A(prior.sample(normal(1, 1, 64, 64, seed=1)))
    m = recon.Measurement(A, clean + sigma * normal(*chord.shape), Gaussian(sigma))
    white = m.whitened()
    def whole(sigma: float) -> Goal:
        return Goal(0.0)

    exact = image_space(white, prior)(200, whole).solve(white.y, 3.0).shift

    def error(way: Way) -> float:
        e = way.solve(white.y, 3.0).shift - exact
        energy = prior.error_filter(e, 3.0, -0.5).square().sum() + white.operator(e).square().sum()
        return float((energy / e.numel()).sqrt())

    assert error(weighted_space(white, prior)(12, whole)) < 0.6 * error(image_space(white, prior)(12, whole))
    chosen = solver(white, prior, goal_of(white, 0.05))
    assert chosen.name == "weighted" and error(chosen) < 0.05 * 3.0 / prior.data_std


@pytest.mark.parametrize("I0", [30.0, 1e4])
def test_posterior_of_counts_from_a_wide_prior_is_that_of_importance_sampling(I0):
    """3 x 3 pixels whose line integrals the prior spreads over 1 .. 8: few counts in the dark, many in the light."""
    A, model = OPERATORS["ct"](shape=(3, 3), angles=4), TransmissionCT(I0, 1.0)
    mean = torch.full((1, 3, 3), 1.0, dtype=torch.float64)
    prior = recon.GaussianPrior(mean, torch.full((1, 3, 3), 0.25, dtype=torch.float64))
    clean = A(mean[None] + 0.5 * normal(1, 1, 3, 3, seed=4).clamp(min=-1.5))
    m = recon.Measurement(A, model.sample(clean, *(normal(*clean.shape, seed=k + 5) for k in range(2))), model)

    def log_posterior(x: Tensor) -> Tensor:
        data = m.noise.log_likelihood(m.y.expand(len(x), *m.y.shape[1:]), A(x))
        return data - 0.5 * ((x - 1) / 0.5).square().flatten(1).sum(1)

    x = mean[None]
    for _ in range(60):  # the mode, and the curvature there
        near = m.linearised(x)
        J = near.operator(torch.eye(9, dtype=torch.float64).reshape(9, 1, 3, 3)).flatten(1).T
        precision = J.T @ J + 4 * torch.eye(9, dtype=torch.float64)
        slope = J.T @ near.residual(x).flatten() - 4 * (x.flatten() - 1)
        x = x + torch.linalg.solve(precision, slope).reshape(x.shape)
    draws = normal(40000, 9, seed=9) * 1.15
    root = torch.linalg.cholesky(precision).T
    around = x + torch.linalg.solve_triangular(root, draws.T, upper=True).T.reshape(-1, 1, 3, 3)
    logs = log_posterior(around) + 0.5 * (draws / 1.15).square().sum(1)
    weights = (logs - logs.max()).exp() / (logs - logs.max()).exp().sum()
    assert float(1 / weights.square().sum()) > 4000
    expected = (weights[:, None] * around.flatten(1)).sum(0)
    std = (weights[:, None] * (around.flatten(1) - expected).square()).sum(0).sqrt()

    many = recon.reconstruct(m.rows([0] * 250), prior, "spectral", steps=40, samples=1, batch_size=250)
    found = many.samples[0].flatten(1)
    assert float(((found.mean(0) - expected) / std).square().mean().sqrt()) < 0.25  # 0.06 by chance
    assert -0.15 < float((found.std(0) / std).log().mean()) < 0.05  # few steps make it narrow
