"""The estimated noise level on real images, cut-off values and masks; it says when detail is in the way."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import data
from operators import OPERATORS
from recon.noise_level import estimate_noise


def sample(name):
    """A bundled image in [0, 1], (H, W), the middle 128 pixels of it."""
    found = data.read_images(data.bundled_samples()[name], to_gray=True)
    x = (found.values / found.value_max)[0, 0].astype(float)
    return x if len(x) <= 128 else x[64:192, 64:192]


def noisy(clean, sigma, seed=0):
    return clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)


@pytest.mark.parametrize("name", ["headct-1", "headct-2", "headct-3", "ct-chest", "mri-brain", "photo-rocks"])
@pytest.mark.parametrize("sigma", [0.01, 0.02, 0.05, 0.1])
def test_within_15_percent_on_real_images_or_said_to_be_doubtful(name, sigma):
    found = estimate_noise(noisy(sample(name), sigma))
    assert found.doubtful or found.sigma == pytest.approx(sigma, rel=0.15 if sigma > 0.02 else 0.25)
    assert sigma < 0.05 or found.sigma == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("name", ["headct-1", "ct-chest", "photo-rocks"])
@pytest.mark.parametrize("share", [0.01, 0.05, 0.1])
def test_sinograms_are_compared_along_the_detector(name, share):
    x = sample(name)
    clean = OPERATORS["ct"](shape=x.shape, angles=23)(torch.from_numpy(x)).numpy()
    found = estimate_noise(noisy(clean, share * clean.max()), along_rows=True)
    assert found.sigma == pytest.approx(share * clean.max(), rel=0.15)


@pytest.mark.parametrize("keep", [0.4, 0.7])
def test_hidden_pixels_are_no_neighbours(keep):
    x = sample("ct-chest")
    mask = np.random.default_rng(1).random(x.shape) < keep
    found = estimate_noise(noisy(x, 0.05) * mask, mask)
    assert found.sigma == pytest.approx(0.05, rel=0.15)


def test_white_noise_is_found_at_any_scale_and_offset():
    white = np.random.default_rng(0).standard_normal((3, 1, 80, 60))
    for scale, shift in ((1e-6, 0.0), (3.0, 1000.0)):
        found = estimate_noise(scale * white + shift)
        assert found.sigma == pytest.approx(scale, rel=0.04) and not found.doubtful


def test_values_cut_off_are_left_out():
    """A dark picture saved with 8 bits: half of its background is exactly 0, and says nothing of the noise."""
    x = np.where(np.hypot(*np.mgrid[-64:64, -64:64]) < 40, 0.5, 0.0)
    saved = np.round(np.clip(noisy(x, 0.05), 0, 1) * 255) / 255
    assert estimate_noise(saved).sigma == pytest.approx(0.05, rel=0.15)


def test_detail_everywhere_is_doubtful():
    texture = np.random.default_rng(0).random((40, 40)).repeat(3, 0).repeat(3, 1)
    assert estimate_noise(noisy(texture, 0.01)).doubtful


@pytest.mark.parametrize(("y", "mask"), [(np.zeros((32, 32)), None), (np.eye(8), None), (np.eye(40), np.eye(40) > 0)])
def test_what_has_no_noise_or_no_neighbours_is_refused(y, mask):
    with pytest.raises(ValueError, match="state the level"):
        estimate_noise(y, mask)
