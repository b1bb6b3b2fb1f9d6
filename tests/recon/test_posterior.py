"""Coverage of the interval at every number of samples; the statistics against formulas written out here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recon.posterior import Posterior, chi_square_band, fitted_degrees

ITEMS, WIDTH = 200, 1000  # independent elements, so the Monte-Carlo error of a share is known


def gaussian(count, spread=1.0, seed=0):
    """Samples of N(centre, (spread * scale)^2) and a truth of N(centre, scale^2), element by element."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    centre, scale = draw(ITEMS, WIDTH), 0.1 + draw(ITEMS, WIDTH).abs()
    truth = centre + scale * draw(ITEMS, WIDTH)
    return Posterior(centre + spread * scale * draw(count, ITEMS, WIDTH)), truth


@pytest.mark.parametrize("count", [2, 4, 16, 64])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_a_right_gaussian_posterior_covers_what_it_says(count, level):
    posterior, truth = gaussian(count)
    share = posterior.coverage(truth, level)
    assert share.shape == (ITEMS,)
    error = math.sqrt(level * (1 - level) / (ITEMS * WIDTH))
    assert abs(share.mean().item() - level) < 4 * error < 0.005


@pytest.mark.parametrize("count", [2, 4, 16, 64])
@pytest.mark.parametrize("spread", [1 / math.sqrt(2), math.sqrt(2)])
def test_a_factor_of_root_two_in_the_spread_is_caught(count, spread):
    posterior, truth = gaussian(count, spread)
    error = math.sqrt(0.9 * 0.1 / (ITEMS * WIDTH))
    assert abs(posterior.coverage(truth).mean().item() - 0.9) > 20 * error
    # variances: the truth's 1 against spread^2, and the mean's own error, spread^2 / count
    expected = math.sqrt(spread**2 * (1 + 1 / count) / (1 + spread**2 / count))
    assert posterior.spread_over_error(truth).mean().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("count", [2, 4, 16, 64])
def test_spread_over_error_is_one_for_a_right_posterior(count):
    posterior, truth = gaussian(count)
    assert posterior.spread_over_error(truth).square().mean().item() == pytest.approx(1, rel=0.01)


def test_empirical_quantiles_of_few_samples_cover_less():
    posterior, truth = gaussian(4)
    low, high = posterior.quantiles([0.05, 0.95])
    assert ((truth >= low) & (truth <= high)).double().mean() < 0.6


def test_the_interval_is_the_formula():
    samples = torch.randn(4, 2, 1, 3, 5, dtype=torch.float64)
    posterior = Posterior(samples)
    mean, std = samples.numpy().mean(0), samples.numpy().std(0, ddof=1)
    assert np.allclose(posterior.mean, mean, rtol=1e-13) and np.allclose(posterior.std, std, rtol=1e-13)
    low, high = posterior.interval(0.9)
    half = 2.3533634348018264 * std * math.sqrt(1.25)  # t quantile 0.95, 3 degrees of freedom
    assert np.allclose(low, mean - half, rtol=1e-9) and np.allclose(high, mean + half, rtol=1e-9)
    assert torch.allclose(posterior.width(0.9), high - low)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_quantiles_are_those_of_numpy(count):
    samples = torch.randn(count, 2, 1, 3, 5, dtype=torch.float64)
    q = [0.0, 0.05, 0.3, 0.5, 1.0]
    assert np.allclose(Posterior(samples).quantiles(q), np.quantile(samples.numpy(), q, axis=0), rtol=1e-13)
    single = Posterior(samples).quantiles(0.5)
    assert single.shape == (2, 1, 3, 5)
    assert np.allclose(single, np.median(samples.numpy(), axis=0), rtol=1e-13)


def test_statistics_are_computed_once_and_only_when_asked_for():
    posterior = Posterior(torch.randn(3, 1, 1, 4, 4))
    assert "mean" not in vars(posterior) and "std" not in vars(posterior)
    assert posterior.mean is posterior.mean and posterior.std is posterior.std


def test_what_one_sample_cannot_say_is_refused():
    posterior = Posterior(torch.randn(1, 2, 1, 4, 4))
    assert torch.equal(posterior.mean, posterior.samples[0])
    for ask in (lambda: posterior.std, posterior.interval, lambda: posterior.coverage(posterior.mean)):
        with pytest.raises(ValueError, match="got 1 sample.*at least 2"):
            ask()


def test_wrong_shapes_and_numbers_are_refused():
    posterior = Posterior(torch.randn(3, 2, 1, 4, 4))
    with pytest.raises(ValueError, match=r"truth of shape \(1, 4, 4\).*\(2, 1, 4, 4\)"):
        posterior.coverage(torch.zeros(1, 4, 4))
    with pytest.raises(ValueError, match="level=90"):
        posterior.interval(90)
    with pytest.raises(ValueError, match="5 % is 0.05"):
        posterior.quantiles([5, 95])
    with pytest.raises(ValueError, match="sample and batch axes"):
        Posterior(torch.zeros(4, 4))


@pytest.mark.parametrize("count", [5, 200])
def test_chi_square_of_a_right_model_lies_in_its_band(count):
    white = torch.randn(40000, count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = chi_square_band(count, 0.9)
    found = white.square().mean(1)
    for share in ((found < low).double().mean(), (found > high).double().mean()):
        assert share.item() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("count", [2, 5])
def test_a_mean_fits_noise_to_the_degrees_that_its_samples_spend(count):
    """Exact draws of N(0, 1) given y = x + n: variance 1/2 each, so half of the data's degrees are spent."""
    generator = torch.Generator().manual_seed(1)
    truth, noise = torch.randn(2, 300, 400, generator=generator, dtype=torch.float64)
    y = truth + noise
    samples = y / 2 + math.sqrt(0.5) * torch.randn(count, 300, 400, generator=generator, dtype=torch.float64)
    fitted = fitted_degrees(y - samples)
    assert fitted.mean().item() / 400 == pytest.approx(0.5, rel=0.01)
    assert (y - samples).square().mean().item() == pytest.approx(1, rel=0.01)
    expected = 1 - (1 - 1 / count) * fitted.mean().item() / 400
    assert (y - samples.mean(0)).square().mean().item() == pytest.approx(expected, rel=0.01)
    with pytest.raises(ValueError, match="at least 2"):
        fitted_degrees(y[None])
