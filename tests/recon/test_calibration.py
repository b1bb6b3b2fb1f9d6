"""Exact draws are found calibrated, wrong ones are not; the pixels of an image err together throughout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from recon.calibration import LEVELS, calibration, compared, ranks, reliability


def fields(items, samples, size=12, width=1.0, shift=0.0, centres=1.0, seed=0):
    """Samples and truths of smooth Gaussian fields of std 1 whose centres differ; samples `width` as wide."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(samples + 2, items, 1, size, size, generator=generator, dtype=torch.float64)
    f = torch.fft.fftfreq(size, dtype=torch.float64)
    gain = torch.exp(-60 * (f[:, None] ** 2 + f**2))
    smooth = torch.fft.ifft2(torch.fft.fft2(white) * gain / gain.square().mean().sqrt()).real
    centre, truth, draws = centres * smooth[0], smooth[1], smooth[2:]
    return centre + shift + width * draws, centre + truth


def test_ranks_of_exact_draws_are_uniform_and_an_item_has_its_own():
    samples, truth = fields(400, 5)
    found = ranks(samples, truth)
    assert torch.equal(found, (samples < truth).sum(0))  # no two are equal here
    share = torch.bincount(found[..., 0, 0].flatten(), minlength=6) / 400  # one pixel an item: independent
    chi_square = float(((share * 400 - 400 / 6) ** 2 / (400 / 6)).sum())
    assert chi_square < 20.5  # 0.999 of five degrees of freedom
    assert torch.equal(ranks(samples[:, 3:5], truth[3:5], seed=3), ranks(samples, truth)[3:5])


def test_ties_are_broken_at_random():
    found = ranks(torch.zeros(4, 2, 100, 100), torch.zeros(2, 100, 100)).flatten()
    share = torch.bincount(found, minlength=5) / 20000
    assert len(share) == 5 and (share - 0.2).abs().max() < 4 * math.sqrt(0.16 / 20000)
    ends = ranks(torch.tensor([0.0, 1.0])[:, None, None].expand(2, 1, 4000), torch.zeros(1, 4000))
    assert set(ends.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("samples", [2, 4, 15])
def test_exact_draws_are_calibrated(samples):
    found = calibration([fields(300, samples)])
    assert found.p > 0.01 and found.ranks.shape == (300, samples + 1)
    for estimate, level in zip(found.covered, LEVELS, strict=True):
        assert estimate.low - 0.01 < level < estimate.high + 0.01
    assert found.total_spread_over_error == pytest.approx(1, rel=0.04)
    assert found.crps.mean() == pytest.approx(1 / math.sqrt(math.pi), rel=0.05)
    assert found.mae.mean() == pytest.approx(math.sqrt(2 / math.pi * (1 + 1 / samples)), rel=0.05)


def test_the_tests_find_as_many_right_posteriors_wrong_as_they_say():
    """150 results of 12 exact items: the share below p = 0.1 is 0.1; pixels counted as independent would give 0.8."""
    p = np.array([[c.slope.p, c.curvature.p] for c in (calibration([fields(12, 3, 8, seed=k)]) for k in range(150))])
    assert np.abs((p < 0.1).mean(0) - 0.1).max() < 0.07


def test_samples_too_narrow_give_a_u_and_too_wide_ones_a_hill():
    narrow, wide = (calibration([fields(100, 7, width=w)]) for w in (0.5, 2.0))
    assert narrow.p < 1e-6 and narrow.curvature.value > 0.2 and wide.p < 1e-6 and wide.curvature.value < -0.2
    bins = [b.value for b in narrow.bins]
    assert bins[0] > 2 * bins[4] and bins[-1] > 2 * bins[4]
    # the truth's deviation has variance 1, that of the mean of S samples 1 + w^2 / S
    expected = math.sqrt(0.25 * (1 + 1 / 7) / (1 + 0.25 / 7))
    assert narrow.total_spread_over_error == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("shift", [-0.4, 0.4])
def test_a_bias_gives_a_slope_against_it(shift):
    found = calibration([fields(100, 7, shift=shift)])
    assert found.slope.p < 1e-6 and found.slope.value * shift < 0
    # P(sample < truth) = Phi(-shift / sqrt 2), and the scaled mean rank is twice that less 1
    assert found.slope.value == pytest.approx(math.erf(-shift / 2), abs=0.04)


@pytest.mark.parametrize("samples", [4, 5, 16])
def test_a_right_posterior_is_reliable_at_every_std_however_few_its_samples(samples):
    """Pixels of std 1 to 3: grouped by their own std alone, four samples that agree by chance would seem too sure."""
    drawn, truth = fields(400, samples)
    scale = torch.linspace(1, 3, 12, dtype=torch.float64)
    found = calibration([(drawn * scale, truth * scale)]).groups
    assert len(found) == 10 and found[-1][0] > 1.2 * found[0][0]
    assert all(estimate.p > 0.001 and abs(estimate.value - 1) < 0.15 for _, _, estimate in found)
    naive = (drawn * scale).std(0).flatten()
    lowest = naive <= naive.quantile(0.1)
    wrong = ((drawn.mean(0) - truth) * scale).flatten()[lowest].square().mean()
    assert samples > 5 or wrong > 1.5 * naive[lowest].square().mean()


def test_reliability_shows_where_a_posterior_is_too_sure():
    drawn, truth = fields(200, 8, centres=0.0)
    scale = torch.where(torch.arange(12) < 6, 1.0, 3.0).double()
    said = torch.where(torch.arange(12) < 6, 1.0, 6.0).double()  # twice too wide where the std is large
    count, predicted, actual = reliability(drawn * said, truth * scale).sum(1)
    assert count.sum() == 2 * 200 * 144 and (count - 200 * 28.8).abs().max() < 2
    ratio = actual / predicted
    # halves of four: the truth's variance and a quarter of what is said, over five quarters of what is said
    assert ratio[0] == pytest.approx(1, abs=0.15) and ratio[-1] == pytest.approx((9 + 9) / 45, abs=0.1)


def test_results_of_other_sizes_and_numbers_of_samples_are_pooled_by_items():
    one, other = fields(6, 9, 12), fields(7, 4, 8, seed=1)
    found = calibration([one, other])
    assert found.samples == 4 and len(found.ranks) == 13 and found.reliability.shape == (3, 13, 10)
    alone = calibration([(one[0][:4], one[1])])
    assert np.array_equal(found.crps[:6], alone.crps) and np.array_equal(found.coverage[:6], alone.coverage)


def test_the_interval_of_a_mean_is_that_of_student():
    found = compared(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2.0)
    half = 2.7764451051977987 * math.sqrt(2.5 / 5)  # 0.975 of four degrees of freedom
    assert (found.value, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half), rel=1e-12)
    assert found.p == pytest.approx(0.230199641, rel=1e-6)
    assert math.isnan(compared(np.ones(4), 1.0).p) and compared(np.ones(5), 1.0).p == 1


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        calibration([(torch.zeros(1, 2, 1, 8, 8), torch.zeros(2, 1, 8, 8))])
    with pytest.raises(ValueError, match="no posterior"):
        calibration([])
    assert calibration([fields(3, 3)]).reliability is None
