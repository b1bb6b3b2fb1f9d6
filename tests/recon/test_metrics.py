"""PSNR and SSIM against formulas written out here, CRPS against its closed form for Gaussians."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from recon import metrics


def images(seed, items=3, channels=2, height=24, width=19):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(items, channels, height, width, generator=generator, dtype=torch.float64)


def test_psnr_is_the_formula_per_item():
    x, truth = images(0), images(1)
    expected = 10 * torch.log10(4 / (x - truth).square().mean((1, 2, 3)))
    torch.testing.assert_close(metrics.psnr(x, truth, 2.0), expected, rtol=1e-12, atol=0)


def test_psnr_of_the_truth_is_infinite():
    assert metrics.psnr(images(0), images(0), 1.0).isinf().all()


def wang_2004(x, truth, data_range):
    """SSIM of one channel as in the paper: Gaussian window of std 1.5 cut at 11 px, valid part."""

    def mean(a):
        return gaussian_filter(a, 1.5, truncate=3.5)

    mu, nu = mean(x), mean(truth)
    vx, vt, cov = mean(x * x) - mu**2, mean(truth * truth) - nu**2, mean(x * truth) - mu * nu
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    full = (2 * mu * nu + c1) * (2 * cov + c2) / ((mu**2 + nu**2 + c1) * (vx + vt + c2))
    return full[5:-5, 5:-5].mean()


def test_ssim_is_that_of_wang_2004_averaged_over_channels():
    x, truth = images(0), images(1)
    x = 0.7 * truth + 0.3 * x
    expected = [
        np.mean([wang_2004(a.numpy(), b.numpy(), 1.0) for a, b in zip(*pair, strict=True)])
        for pair in zip(x, truth, strict=True)
    ]
    torch.testing.assert_close(metrics.ssim(x, truth, 1.0), torch.tensor(expected), rtol=1e-10, atol=1e-12)
    assert torch.allclose(metrics.ssim(truth, truth, 1.0), torch.ones(3, dtype=torch.float64))


def test_numbers_of_an_item_do_not_depend_on_its_batch_mates_or_dtype():
    x, truth = images(0), images(1)
    for measure in (metrics.psnr, metrics.ssim):
        together = measure(x, truth, 1.0)
        assert together.shape == (3,) and together.dtype == torch.float64
        assert torch.equal(measure(x[1:2], truth[1:2], 1.0), together[1:2])
        assert torch.allclose(measure(x.float(), truth.float(), 1.0), together, rtol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_crps_has_the_expectation_of_a_gaussian_whatever_the_number_of_samples(count):
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(400, 500, generator=generator, dtype=torch.float64)
    samples = torch.randn(count, 400, 500, generator=generator, dtype=torch.float64)
    values = metrics.crps(samples, truth)
    assert values.shape == (400,)
    error = 4 * (values.std() / 20).item()
    assert abs(values.mean().item() - 1 / math.sqrt(math.pi)) < error < 0.007


def test_crps_of_pairs_written_out():
    samples = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    pairs = sum((a - b).abs() for a in samples for b in samples) / (3 * 2) / 2
    expected = (samples - 0.2).abs().mean() - pairs
    got = metrics.crps(samples[:, None, None], torch.full((1, 1), 0.2, dtype=torch.float64))
    assert got.item() == pytest.approx(expected.item(), rel=1e-14)


@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim])
def test_what_cannot_be_compared_is_refused(measure):
    x = images(0)
    with pytest.raises(ValueError, match=r"got images \(3, 2, 24, 19\) and truth \(3, 1, 24, 19\)"):
        measure(x, x[:, :1], 1.0)
    with pytest.raises(ValueError, match=r"got images \(24, 19\).*x\[None\]"):
        measure(x[0, 0], x[0, 0], 1.0)
    for data_range in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="data_range.*positive"):
            measure(x, x, data_range)


def test_small_images_have_no_ssim_and_one_sample_no_crps():
    x = images(0, height=10)
    with pytest.raises(ValueError, match="10x19 px.*at least 11.*psnr"):
        metrics.ssim(x, x, 1.0)
    with pytest.raises(ValueError, match="1 sample.*at least 2"):
        metrics.crps(x[:1], x[0])
    with pytest.raises(ValueError, match="samples of shape"):
        metrics.crps(x, x)
