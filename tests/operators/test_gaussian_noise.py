"""Gaussian noise: the draw and the likelihood are of one law."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from operators import Gaussian


def test_sample_adds_sigma_times_the_noise():
    clean, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    torch.testing.assert_close(Gaussian(0.3).sample(clean, noise), clean + 0.3 * noise)
    sigma = torch.rand(3, 1) + 0.1
    torch.testing.assert_close(Gaussian(sigma).sample(clean, noise), clean + sigma * noise)
    assert torch.equal(Gaussian(0.0).sample(clean, noise), clean)


@pytest.mark.parametrize("sigma", [0.7, torch.rand(4, 5, dtype=torch.float64) + 0.1])
def test_log_likelihood_is_that_of_scipy(sigma):
    y, clean = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = scipy.stats.norm.logpdf(y.numpy(), clean.numpy(), np.asarray(sigma)).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(Gaussian(sigma).log_likelihood(y, clean).numpy(), expected, rtol=1e-13)


@pytest.mark.parametrize("sigma", [-0.1, float("nan"), float("inf"), torch.tensor([0.1, -1.0])])
def test_sigma_out_of_range_is_refused(sigma):
    with pytest.raises(ValueError, match="sigma: got .*expected finite and zero or more"):
        Gaussian(sigma)


def test_what_does_not_fit_is_refused():
    y = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="noiseless data have no likelihood"):
        Gaussian(0.0).log_likelihood(y, y)
    with pytest.raises(ValueError, match="randn_like"):
        Gaussian(1.0).sample(y, torch.zeros(3))
    with pytest.raises(ValueError, match="batch axis"):
        Gaussian(1.0).log_likelihood(y[0], y[0])
    for sigma in (torch.ones(4), torch.ones(1, 2, 3)):
        with pytest.raises(ValueError, match="broadcastable to y"):
            Gaussian(sigma).log_likelihood(y, y)
