"""Filtered backprojection: level, scale, uneven and limited angles, and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ellipses import SHEPP_LOGAN, image, relative_error
from skimage.transform import iradon, radon

from operators import OPERATORS, fbp
from operators.adapters import skimage_geometry
from operators.fbp import WINDOWS, angular_weights, ramp_filtered

ct = OPERATORS["ct"]
DISC = np.array([(2.0, 0.6, 0.6, 0.0, 0.0, 0.0)])
RNG = np.random.default_rng(0)


def inside(size, radius=0.45):
    """Pixels well inside the disc."""
    return image(np.array([(1.0, radius, radius, 0.0, 0.0, 0.0)]), size) == 1


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("arguments", [
    dict(shape=(64, 64), angles=90),
    dict(shape=(65, 65), angles=91),
    dict(shape=(64, 64), angles=90, spacing_mm=0.3),
    dict(shape=(64, 64), angles=90, spacing_mm=0.3, detector_spacing_mm=0.21),
    dict(shape=(64, 64), angles=np.arange(180) * np.pi / 90),
    dict(shape=(64, 64), angles=np.sort(RNG.random(300)) * np.pi),
])
def test_level_of_a_disc(arguments, window):
    phantom = torch.from_numpy(image(DISC, arguments["shape"][0], 8))
    A = ct(**arguments)
    found = fbp(A, A(phantom), window)[inside(phantom.shape[0])]
    assert abs(float(found.mean()) - 2.0) < 0.004
    assert float(found.std()) < 0.03


def test_order_of_uneven_angles_does_not_matter():
    angles = RNG.random(40) * np.pi
    phantom = torch.from_numpy(image(SHEPP_LOGAN, 48, 4))
    shuffled = RNG.permutation(angles)
    first, second = (fbp(A, A(phantom)) for A in (ct(shape=(48, 48), angles=a) for a in (angles, shuffled)))
    torch.testing.assert_close(first, second, atol=1e-5, rtol=0)


def test_weights_are_half_the_gaps_to_the_neighbours():
    np.testing.assert_allclose(angular_weights(np.arange(6) * np.pi / 6), np.pi / 6)
    np.testing.assert_allclose(angular_weights(np.arange(12) * np.pi / 6), np.pi / 12)
    gaps = (np.pi - 1.0) / 2, 0.75, (np.pi - 0.5) / 2
    np.testing.assert_allclose(angular_weights(np.array([0.0, 0.5, 1.5])), gaps)
    np.testing.assert_allclose(angular_weights(np.array([1.0])), np.pi)
    assert angular_weights(RNG.random(30) * 3).sum() == pytest.approx(np.pi, rel=0.2)


def test_weights_of_a_limited_scan_do_not_cover_what_was_not_scanned():
    angles = np.deg2rad(np.arange(0, 120, 2))
    np.testing.assert_allclose(angular_weights(angles), np.deg2rad(2))
    # The same, across the end of the half turn.
    np.testing.assert_allclose(angular_weights(angles + 2.0), np.deg2rad(2))


@pytest.mark.parametrize("size", [64, 65, 128])
@pytest.mark.parametrize("window", ["ramp", "hann"])
def test_error_is_no_larger_than_that_of_scikit_image(size, window):
    theta = np.arange(90) * 2.0
    phantom = image(SHEPP_LOGAN, size, 8)
    A = ct(**skimage_geometry(size, theta))
    field = image(np.array([(1.0, 0.95, 0.95, 0.0, 0.0, 0.0)]), size) == 1
    ours = fbp(A, A(torch.from_numpy(phantom)), window).numpy()
    theirs = iradon(radon(phantom, theta, circle=True), theta, filter_name=window, circle=True)
    assert relative_error(ours[field], phantom[field]) <= relative_error(theirs[field], phantom[field])


def test_the_ramp_is_that_of_its_definition_in_space():
    """Convolution with the samples of the band-limited ramp, by a plain sum."""
    y = RNG.standard_normal(11)
    spacing = 0.7
    expected = np.zeros(11)
    for i, j in np.ndindex(11, 11):
        n = i - j
        kernel = 1 / (4 * spacing**2) if n == 0 else (-1 / (np.pi * n * spacing) ** 2 if n % 2 else 0.0)
        expected[i] += spacing * kernel * y[j]
    np.testing.assert_allclose(ramp_filtered(torch.from_numpy(y), spacing).numpy(), expected, atol=1e-13)


def test_batch_and_channels_stay():
    A = ct(shape=(16, 12), angles=9)
    y = torch.randn(2, 3, *A.out_shape)
    found = fbp(A, y)
    assert found.shape == (2, 3, 16, 12) and found.dtype == torch.float32
    torch.testing.assert_close(found[1, 2], fbp(A, y[1, 2]), atol=1e-6, rtol=0)


def test_refusals():
    A = ct(shape=(8, 8), angles=5)
    with pytest.raises(ValueError, match="window: got 'box'; expected 'ramp' or 'shepp-logan'"):
        fbp(A, torch.zeros(A.out_shape), "box")
    with pytest.raises(ValueError, match=r"y: got shape"):
        fbp(A, torch.zeros(A.out_shape[::-1]))
    with pytest.raises(ValueError, match="fbp: got CircularConvolution; expected an operator built by ct"):
        fbp(OPERATORS["blur"](shape=(8, 8), std=1.0), torch.zeros(8, 8))


@pytest.mark.parametrize("name, more", [
    ("ct", {}), ("ct_fan", dict(source_mm=30.0, detector_mm=40.0)),
    ("ct_fan", dict(source_mm=30.0, detector_mm=30.0, detector="curved")),
])
def test_backprojection_in_blocks_is_that_of_single_views_and_has_its_derivative(monkeypatch, name, more):
    monkeypatch.setattr("operators.backprojection.PIXELS", 37)
    monkeypatch.setattr("operators.backprojection.VIEWS", 3)
    A = OPERATORS[name](shape=(11, 12), angles=7, **more)
    y = torch.randn(2, *A.out_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    whole = fbp(A, y)
    single = sum(fbp(A, y * (torch.arange(7) == view)[:, None]) for view in range(7))
    torch.testing.assert_close(whole, single, atol=1e-12, rtol=0)
    v = torch.randn_like(whole)
    (gradient,) = torch.autograd.grad((whole * v).sum(), y)
    direction = torch.randn_like(y)
    torch.testing.assert_close((gradient * direction).sum(), (fbp(A, direction) * v).sum(), atol=1e-11, rtol=0)
