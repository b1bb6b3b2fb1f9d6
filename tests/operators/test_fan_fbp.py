"""Filtered backprojection of fan beams: analytic ellipses, scans of any arc, detectors set off, a far source."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from ellipses import fan_sinogram, image, relative_error

from operators import OPERATORS, fbp, field_of_view
from operators.fan_fbp import fan_backprojection, ray_shares
from operators.fan_geometry import fan_beam
from operators.filters import WINDOWS, angular_weights, ramp_filtered, scanned_arc, sine_ramp_filtered

SIZE, SPACING = 64, 0.9
SHORT = np.deg2rad(np.arange(0, 226, 1.25))
PHANTOM = np.array([(1.0, 0.6, 0.8, 0.05, 0.03, 20), (-0.5, 0.25, 0.3, 0.2, 0.1, 0), (0.8, 0.15, 0.1, -0.25, -0.3, 40)])
TRUE = image(PHANTOM, SIZE, 8)
BODY = image(np.array([(1.0, 0.13, 0.2, -0.25, 0.15, 0)]), SIZE) == 1  # within the large ellipse: 1
HOLE = image(np.array([(1.0, 0.18, 0.22, 0.2, 0.1, 0)]), SIZE) == 1  # within the second: 0.5
BOTH = pytest.mark.parametrize("detector", ["flat", "curved"])
SCANS = {
    "full": (dict(angles=180), 0.05),
    "full uneven": (dict(angles=np.sort(np.random.default_rng(0).random(400)) * 2 * np.pi), 0.06),
    "short": (dict(angles=SHORT), 0.05),
    "short across the end of the turn": (dict(angles=SHORT - np.deg2rad(100)), 0.05),
    "short of any order": (dict(angles=np.random.default_rng(1).permutation(SHORT)), 0.05),
    "more than short": (dict(angles=np.deg2rad(np.arange(10, 310, 1.25))), 0.05),
    "quarter offset": (dict(angles=180, detectors=92, detector_centre=45.75), 0.04),
    "detector set off": (dict(angles=180, detectors=70, detector_centre=20.0), 0.055),
    "detector set off the other way": (dict(angles=180, detectors=70, detector_centre=49.0), 0.055),
    "rotation centre off": (dict(angles=180, centre=(27.0, 35.0)), 0.05),
    "narrow bins": (dict(angles=180, detector_spacing_mm=0.4), 0.02),
}


def geometry_of(detector, **arguments):
    return fan_beam((SIZE, SIZE), source_mm=140.0, detector_mm=250.0, detector=detector, spacing_mm=SPACING,
                    **arguments)


def measured(phantom, geometry):
    return torch.from_numpy(fan_sinogram(phantom, SIZE * SPACING, geometry))


@BOTH
@pytest.mark.parametrize("scan", SCANS)
def test_values_of_ellipses_come_back(detector, scan):
    arguments, allowed = SCANS[scan]
    geometry = geometry_of(detector, **arguments)
    y = measured(PHANTOM, geometry)
    found = fan_backprojection(geometry, y, "ramp").numpy()
    assert found[BODY].mean() == pytest.approx(1.0, abs=0.003)
    assert found[HOLE].mean() == pytest.approx(0.5, abs=0.003)
    assert relative_error(found, TRUE) < allowed


@BOTH
def test_windows_keep_the_level_and_smooth(detector):
    geometry = geometry_of(detector, angles=90)
    noise = torch.randn(90, geometry.detectors, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = measured(PHANTOM, geometry)
    levels = [fan_backprojection(geometry, y, window).numpy()[HOLE].mean() for window in WINDOWS]
    np.testing.assert_allclose(levels, 0.5, atol=0.006)
    spreads = [float(fan_backprojection(geometry, noise, window).std()) for window in WINDOWS]
    assert spreads == sorted(spreads, reverse=True) and spreads[-1] < 0.5 * spreads[0]


@BOTH
def test_of_its_own_projections_by_the_operator(detector):
    A = OPERATORS["ct_fan"](shape=(32, 40), angles=120, source_mm=90.0, detector_mm=150.0, detector=detector)
    x = torch.zeros(2, 3, 32, 40)
    x[1, 2, 8:24, 10:30] = 1.0
    found = fbp(A, A(x), "hann")
    assert found.shape == x.shape and found.dtype == torch.float32
    assert float(found[1, 2, 11:21, 13:27].mean()) == pytest.approx(1.0, abs=0.01)
    assert float(found[0].abs().max()) == 0.0
    torch.testing.assert_close(found[1, 2], fbp(A, A(x)[1, 2], "hann"), atol=1e-6, rtol=0)


@BOTH
def test_a_far_source_gives_the_parallel_reconstruction(detector):
    common = dict(shape=(32, 32), detectors=47, spacing_mm=0.8)
    angles, far = np.arange(120) * np.pi / 60, 1e6
    parallel = OPERATORS["ct"](**common, angles=angles)
    y = parallel(torch.from_numpy(image(PHANTOM, 32, 4)))
    geometry = fan_beam(**common, angles=angles, source_mm=far, detector_mm=far, detector=detector)
    found, expected = fan_backprojection(geometry, y, "ramp"), fbp(parallel, y)
    assert relative_error(found.numpy(), expected.numpy()) < 0.03  # pixels cast boxes here and trapezoids there


@BOTH
@pytest.mark.parametrize("arguments", [
    dict(angles=64), dict(angles=np.deg2rad(np.arange(0, 226, 2.0))), dict(angles=np.deg2rad(np.arange(0, 330, 3.0))),
    dict(angles=64, detectors=60, detector_centre=18.0),
])
def test_the_rays_along_one_line_share_it(detector, arguments):
    """The shares of all rays (theta, gamma) and (theta - 2 gamma + pi, -gamma) that were measured sum to 1."""
    geometry = geometry_of(detector, **arguments)
    shares, gammas = ray_shares(geometry), geometry.fan_angles(np.arange(geometry.detectors))
    assert (shares >= 0).all() and (shares <= 1).all()
    start, arc = scanned_arc(geometry.angles_rad, 2 * math.pi)
    low, high = geometry.fan_angles(np.array([-0.5, geometry.detectors - 0.5]))
    twice = once = 0
    for i, j in np.ndindex(shares.shape):
        other = geometry.angles_rad[i] - 2 * gammas[j] + np.pi
        inside = (other - start) % (2 * np.pi) <= arc and low <= -gammas[j] <= high
        if not inside:
            assert shares[i, j] == pytest.approx(1.0)
            once += 1
        elif i % 4 == j % 8 == 0:
            turned = dataclasses.replace(geometry, angles_rad=np.concatenate([geometry.angles_rad, [other]]))
            if scanned_arc(turned.angles_rad, 2 * math.pi) != pytest.approx((start, arc)):
                continue  # nearer to an end of the arc than its last view
            bins = np.interp(-gammas[j], gammas, np.arange(gammas.size))
            there = np.interp(bins, np.arange(gammas.size), ray_shares(turned)[-1])
            assert shares[i, j] + there == pytest.approx(1.0, abs=0.004)
            twice += 1
    assert twice > 20
    assert (once > 50) == ("detectors" in arguments or arc < 2 * math.pi)


def test_full_turns_count_each_ray_by_half():
    np.testing.assert_array_equal(ray_shares(geometry_of("flat", angles=50)), 0.5)


def test_short_scans_have_no_streaks_along_their_ends():
    """Without shares that fall to zero the lines measured twice would count twice: the body's level tells."""
    geometry = geometry_of("flat", angles=SHORT)
    y = measured(PHANTOM, geometry)
    full = dataclasses.replace(geometry, angles_rad=np.arange(288) * (2 * np.pi / 288))
    whole = fan_backprojection(full, measured(PHANTOM, full), "ramp").numpy()
    found = fan_backprojection(geometry, y, "ramp").numpy()
    inside = TRUE > 0.1
    assert np.abs(found - whole)[inside].mean() < 0.01


def test_the_arc_of_a_scan():
    assert scanned_arc(np.arange(12) * np.pi / 6, 2 * np.pi)[1] == 2 * np.pi
    start, arc = scanned_arc(np.deg2rad([20.0, 10.0, 350.0, 0.0, 340.0]), 2 * np.pi)
    assert (np.rad2deg(start), np.rad2deg(arc)) == pytest.approx((335.0, 50.0))
    np.testing.assert_allclose(angular_weights(np.arange(12) * np.pi / 6, 2 * np.pi), np.pi / 6)
    np.testing.assert_allclose(angular_weights(np.deg2rad(np.arange(0, 226, 1.0)), 2 * np.pi), np.deg2rad(1.0))


def test_the_ramp_of_equal_angles_is_that_of_its_definition():
    y = np.random.default_rng(0).standard_normal(11)
    spacing, expected = 0.13, np.zeros(11)
    for i, j in np.ndindex(11, 11):
        n = i - j
        kernel = 1 / (4 * spacing**2) if n == 0 else (-1 / (np.pi * np.sin(n * spacing)) ** 2 if n % 2 else 0.0)
        expected[i] += spacing * kernel * y[j]
    np.testing.assert_allclose(sine_ramp_filtered(torch.from_numpy(y), spacing).numpy(), expected, atol=1e-12)
    narrow = ramp_filtered(torch.from_numpy(y), 1e-5), sine_ramp_filtered(torch.from_numpy(y), 1e-5)
    torch.testing.assert_close(*narrow, rtol=1e-7, atol=0)


def test_the_field_of_view_comes_back_from_a_detector_that_sees_all_of_it():
    small = np.array([(1.0, 0.3, 0.25, 0.05, 0.0, 10)])
    geometry = geometry_of("flat", angles=180, detectors=40)
    found = fan_backprojection(geometry, measured(small, geometry), "ramp").numpy()
    seen = field_of_view(geometry)
    assert 0.2 < seen.mean() < 0.6
    assert relative_error(found[seen], image(small, SIZE, 8)[seen]) < 0.09


def test_refusals():
    A = OPERATORS["ct_fan"](shape=(8, 8), angles=5, source_mm=20.0, detector_mm=20.0)
    with pytest.raises(ValueError, match="window: got 'box'; expected 'ramp' or 'shepp-logan'"):
        fbp(A, torch.zeros(A.out_shape), "box")
    with pytest.raises(ValueError, match=r"y: got shape"):
        fbp(A, torch.zeros(A.out_shape[::-1]))
