"""The ray model against exact chords, boxes over boxes, and the ellipses that linear interpolation is measured by."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import scipy.sparse
import torch
from ellipses import SHEPP_LOGAN, fan_sinogram, image, relative_error, sinogram

from operators import OPERATORS
from operators.fan_geometry import fan_beam
from operators.geometry import parallel_beam
from operators.rays import RAYS, ray_rows

ANGLES = np.array([0.0, 0.2, math.pi / 4, 0.9, math.pi / 2, 2.3, -1.0, 3.0])
BEAMS = {
    "parallel": lambda **scan: parallel_beam(angles=ANGLES, **scan),
    "flat": lambda **scan: fan_beam(angles=ANGLES, source_mm=11.0, detector_mm=14.0, **scan),
    "curved": lambda **scan: fan_beam(angles=ANGLES, source_mm=11.0, detector_mm=11.0, detector="curved", **scan),
}


def lines(g):
    """A point of the ray to the middle of each bin and its direction, (angles, bins, 2), from the scanner's drawing."""
    places = (np.arange(g.detectors) - g.detector_centre) * g.detector_spacing_mm
    starts, ways = np.zeros((2, g.angles_rad.size, g.detectors, 2))
    for a, angle in enumerate(g.angles_rad):
        along, towards = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        if not hasattr(g, "source_mm"):
            starts[a], ways[a] = places[:, None] * along, towards
            continue
        if g.detector == "flat":
            ends = g.detector_mm * towards + places[:, None] * along
        else:
            turn = places[:, None] / g.detector_mm
            ends = g.detector_mm * (np.cos(turn) * towards + np.sin(turn) * along)
        starts[a], ways[a] = -g.source_mm * towards, ends / np.linalg.norm(ends, axis=-1, keepdims=True)
    return starts, ways


def dense(g):
    rows = scipy.sparse.vstack(list(ray_rows(g, np.float64))).toarray()
    return rows.reshape(g.angles_rad.size, g.detectors, *g.shape)


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("scan", [
    dict(shape=(4, 5), detectors=301, detector_spacing_mm=0.031, detector_centre=150.3),
    dict(shape=(5, 3), detectors=240, spacing_mm=0.8, detector_spacing_mm=0.037, centre=(2.5, 1.1), detector_centre=93),
])
def test_narrow_bins_see_the_exact_length_of_an_oblique_ray_in_each_pixel(beam, scan):
    g = BEAMS[beam](**scan)
    starts, ways = lines(g)
    expected = np.zeros((g.angles_rad.size, g.detectors, *g.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, j in np.ndindex(g.shape):
            corner = np.array([j - 0.5 - g.centre[1], g.centre[0] - i - 0.5]) * g.spacing_mm - starts
            first, second = corner / ways, (corner + g.spacing_mm) / ways
            enter, leave = np.fmin(first, second).max(axis=-1), np.fmax(first, second).min(axis=-1)
            expected[:, :, i, j] = np.maximum(leave - enter, 0.0)
    oblique = np.abs(ways).min(axis=-1) > 0.15
    assert expected[oblique].max() > g.spacing_mm
    np.testing.assert_allclose(dense(g)[oblique], expected[oblique], atol=1e-9)


def test_a_ray_along_an_edge_sees_half_of_both_sides():
    g = parallel_beam((3, 4), [0.0, math.pi / 2], detectors=9, spacing_mm=1.0, detector_spacing_mm=0.5)
    across, down = dense(g).sum(axis=(2, 3))  # bins in the middle of pixels and on their edges take turns
    np.testing.assert_allclose(across, [1.5, 3, 3, 3, 3, 3, 3, 3, 1.5], atol=1e-9)
    np.testing.assert_allclose(down, [0, 2, 4, 4, 4, 4, 4, 2, 0], atol=1e-9)


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("width", [1.2, 3.1])
def test_wide_bins_see_a_box_through_a_box_and_a_tent(beam, width):
    g = BEAMS[beam](shape=(6, 5), detectors=9, spacing_mm=0.9, detector_spacing_mm=width, detector_centre=3.8)
    starts, ways = lines(g)
    expected = np.zeros((g.angles_rad.size, g.detectors, *g.shape))
    for i, j in np.ndindex(g.shape):
        away = np.array([j - g.centre[1], g.centre[0] - i]) * g.spacing_mm - starts
        u = away[..., 0] * ways[..., 1] - away[..., 1] * ways[..., 0]
        if beam == "parallel":
            bins = np.full_like(u, width)
        else:  # how far the ray moves at the pixel's distance, where it falls a bin further
            cosines = np.einsum("akc,ac->ak", ways, np.stack([-np.sin(ANGLES), np.cos(ANGLES)], axis=-1))
            turn = width / g.detector_mm * (cosines**2 if beam == "flat" else 1.0)
            bins = np.linalg.norm(away, axis=-1) * turn
        short, long = np.sort(np.abs(ways), axis=-1).transpose(2, 0, 1) * g.spacing_mm
        spread = np.maximum(short**2, bins**2 - 0.61 * short * long)
        other = np.sqrt(spread + np.maximum(bins**2 - spread, 0.0) / 3)
        tent = 2 - 2 * spread / other**2
        overlap = np.minimum(u + other / 2, long / 2) - np.maximum(u - other / 2, -long / 2)
        box = np.maximum(overlap, 0.0) / (long * other)
        # Three boxes, two of half the width: a second difference of ramps squared.
        ends = [(p * q * r, u + (p * long + (q + r) * other / 2) / 2) for p, q, r in product((-1, 1), repeat=3)]
        three = sum(sign * np.maximum(end, 0.0) ** 2 for sign, end in ends) / (2 * long * (other / 2) ** 2)
        expected[:, :, i, j] = g.spacing_mm**2 * ((1 - tent) * box + tent * three)
    np.testing.assert_allclose(dense(g), expected, atol=1e-9)


def joseph(x, angles, offsets):
    """Sums of linear interpolations, row by row of steep rays, column by column of the others; spacing 1."""
    size, found = len(x), np.zeros((angles.size, offsets.size))
    places = np.arange(size) - (size - 1) / 2
    for a, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        steep = abs(c) >= abs(s)
        for k in range(size):
            if steep:
                found[a] += np.interp((offsets + places[k] * s) / c, places, x[k], 0.0, 0.0)
            else:
                found[a] += np.interp((offsets - places[k] * c) / s, -places[::-1], x[::-1, k], 0.0, 0.0)
        found[a] /= max(abs(c), abs(s))
    return found


@pytest.mark.parametrize("subpixels", [1, 8])
def test_error_on_ellipses_is_no_larger_than_that_of_linear_interpolation(subpixels):
    size = 128
    A = OPERATORS["ct"](shape=(size, size), angles=60, projector="ray")
    x, (angles, offsets) = image(SHEPP_LOGAN, size, subpixels), (A.geometry.angles_rad, A.geometry.offsets_mm)
    fractions = (np.arange(16) + 0.5) / 16 - 0.5
    bins = np.mean([sinogram(SHEPP_LOGAN, size, angles, offsets + f) for f in fractions], axis=0)
    ours, theirs = A(torch.from_numpy(x)).numpy(), joseph(x, angles, offsets)
    for truth in (sinogram(SHEPP_LOGAN, size, angles, offsets), bins):
        assert relative_error(ours, truth) < relative_error(theirs, truth)
    assert ours.min() >= 0.0


@pytest.mark.parametrize("detector", ["flat", "curved"])
@pytest.mark.parametrize("rays", [1, 16])
def test_error_on_ellipses_is_smaller_than_that_of_strips(detector, rays):
    errors = {}
    for projector in ("ray", "strip"):
        A = OPERATORS["ct_fan"]((96, 96), 60, 211.0, 384.0, detector, projector=projector)
        y = A(torch.from_numpy(image(SHEPP_LOGAN, 96, 8))).numpy()
        errors[projector] = relative_error(y, fan_sinogram(SHEPP_LOGAN, 96, A.geometry, rays))
    assert errors["ray"] < 0.96 * errors["strip"], errors


@pytest.mark.parametrize("width", [0.4, 1.0, 2.7])
def test_how_many_entries_are_expected(width):
    g = parallel_beam((48, 48), 60, spacing_mm=1.0, detector_spacing_mm=width)
    held = sum(rows.nnz for rows in ray_rows(g)) / (48 * 48 * 60)
    assert RAYS.per_pixel(g) == pytest.approx(held, rel=0.03)
