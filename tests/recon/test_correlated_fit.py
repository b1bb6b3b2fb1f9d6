"""Chi-square under correlated noise: 1 for the truth and for draws of the posterior, the default's among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import recon
from operators import OPERATORS, CorrelatedGaussian
from recon.posterior import chi_square_band, fitted_degrees

SIZE, ITEMS, SAMPLES = 8, 64, 8


@pytest.fixture(scope="module")
def known():
    """A stationary Gaussian prior, a measurement with noise correlated along rows, the truth, and the posterior."""
    place = np.arange(SIZE)
    lag = np.abs(place[:, None] - place)
    row = np.exp(-np.minimum(lag, SIZE - lag) / 3)
    prior, factor = 0.25 * np.kron(row, row), np.linalg.cholesky(0.01 * 0.95**lag)
    noise = np.kron(np.eye(SIZE), factor @ factor.T)
    draws = np.random.default_rng(0)
    x = draws.standard_normal((ITEMS, SIZE**2)) @ np.linalg.cholesky(prior).T
    y = x + draws.standard_normal((ITEMS, SIZE**2)) @ np.linalg.cholesky(noise).T
    covariance = np.linalg.inv(np.linalg.inv(prior) + np.linalg.inv(noise))
    mean = y @ np.linalg.solve(noise, covariance)
    unit = draws.standard_normal((SAMPLES, ITEMS, SIZE**2))
    x, y, samples = (torch.from_numpy(v.reshape(*v.shape[:-1], 1, SIZE, SIZE))
                     for v in (x, y, mean + unit @ np.linalg.cholesky(covariance).T))  # fmt: skip
    measurement = recon.Measurement(OPERATORS["identity"]((SIZE, SIZE)), y, CorrelatedGaussian(factor))
    model = recon.GaussianPrior(torch.zeros(1, SIZE, SIZE, dtype=torch.float64), torch.from_numpy(prior))
    return measurement, model, x, samples, float(np.trace(np.linalg.solve(noise, covariance)))


def test_truth_and_draws_of_the_posterior_lie_in_the_band(known):
    m, _, x, samples, _ = known
    low, high = chi_square_band(m.count * ITEMS)
    for image in (x, *samples):
        assert low < float(m.chi_square(image).mean()) < high


def test_the_degrees_that_draws_spend_are_the_trace(known):
    m, _, _, samples, trace = known
    found = fitted_degrees(torch.stack([m.deviations(x) for x in samples])).mean()
    assert float(found) == pytest.approx(trace, rel=0.02) and trace > 0.9 * m.count


def test_the_default_fits_as_draws_do_and_first_order_steps_more_closely(known):
    m, prior, *_ = known

    def lack(steps: int, **options: str) -> float:
        drawn = recon.reconstruct(m, prior, "spectral", steps=steps, samples=4, seed=0, options=options).samples
        return 1 - float(torch.stack([m.chi_square(x.to(m.y)) for x in drawn]).mean())

    few, many = lack(25, step="ancestral"), lack(100, step="ancestral")
    assert few > 0.2 and many < few / 3
    assert max(abs(lack(25)), abs(lack(50))) < 0.03
