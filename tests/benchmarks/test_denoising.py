"""The board of denoising: grey noise split into colours is white, and its mean is the grey noise."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.denoising import coloured, noised


def test_grey_noise_becomes_white_colour_noise_of_the_same_mean():
    clean = torch.full((2, 1, 64, 64), 0.5)
    noisy = noised(clean, 0.1, 0)
    found = coloured(noisy, 0.1, 1)
    torch.testing.assert_close(found.mean(1, keepdim=True), noisy)
    covariance = torch.cov((found - clean).transpose(0, 1).flatten(1))
    torch.testing.assert_close(covariance, 0.03 * torch.eye(3), atol=0.0012, rtol=0)
    assert float(covariance.diagonal().mean()) == pytest.approx(0.03, rel=0.02)
