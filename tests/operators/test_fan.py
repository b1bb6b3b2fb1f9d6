"""Fan beams against polygon areas, analytic ellipses, the parallel beam of a far source; geometry; refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ellipses import LOPSIDED, SHEPP_LOGAN, fan_sinogram, image, relative_error, sinogram

from operators import OPERATORS, dense_matrix, field_of_view

ct, ct_fan = OPERATORS["ct"], OPERATORS["ct_fan"]
BOTH = pytest.mark.parametrize("detector", ["flat", "curved"])


def mean_lengths(g, rays=400):
    """Lengths of rays in each pixel from where they cross its four sides, averaged over each bin, dense."""
    u = (np.arange(g.detectors)[:, None] + (np.arange(rays) + 0.5) / rays - 0.5 - g.detector_centre)
    u = u * g.detector_spacing_mm
    if g.detector == "flat":
        ends = np.stack([u, np.full_like(u, g.detector_mm)])
    else:
        ends = np.stack([np.sin(u / g.detector_mm), np.cos(u / g.detector_mm)]) * g.detector_mm
    found = np.zeros((g.angles_rad.size, g.detectors, *g.shape))
    for a, angle in enumerate(g.angles_rad):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        towards = np.einsum("ij,jkr->ikr", turn, ends) / np.linalg.norm(ends, axis=0)
        source = turn @ [0.0, -g.source_mm]
        for i, j in np.ndindex(g.shape):
            corner = np.array([j - 0.5 - g.centre[1], g.centre[0] - i - 0.5]) * g.spacing_mm - source
            first, second = ((corner + side)[:, None, None] / towards for side in (0.0, g.spacing_mm))
            enter, leave = np.minimum(first, second).max(axis=0), np.maximum(first, second).min(axis=0)
            found[a, :, i, j] = np.maximum(leave - enter, 0.0).mean(axis=-1)
    return found


@BOTH
@pytest.mark.parametrize("arguments", [
    dict(shape=(4, 5)),
    dict(shape=(5, 3), spacing_mm=0.7, detector_spacing_mm=0.62, centre=(2.5, 1.0)),
    dict(shape=(3, 4), detectors=3, detector_spacing_mm=4.4, detector_centre=0.4),
])
def test_entries_are_mean_lengths_of_the_rays_of_a_bin(detector, arguments):
    """Areas are exact; the distance is that of the pixel's middle, which errs the less the farther the source is."""
    errors = []
    for source in (10.0, 100.0):
        A = ct_fan(angles=np.array([0.2, 0.9, 2.3, -1.0]), detector=detector, source_mm=source, detector_mm=2 * source,
                   projector="strip", **arguments)
        expected = mean_lengths(A.geometry)
        found = dense_matrix(A).reshape(expected.shape).numpy()
        assert expected.max() > 0.2
        errors.append(relative_error(found, expected))
    assert errors[0] < 0.012 and errors[1] < 0.0012, errors


@BOTH
def test_error_on_ellipses_falls_with_the_pixel(detector):
    errors = []
    for size in (32, 64, 128):
        A = ct_fan(shape=(size, size), angles=30, source_mm=120.0, detector_mm=200.0, detector=detector, detectors=44,
                   spacing_mm=64 / size, detector_spacing_mm=4.0, detector_centre=20.3)
        truth = fan_sinogram(SHEPP_LOGAN, 64.0, A.geometry, subrays=32)
        errors.append(relative_error(A(torch.from_numpy(image(SHEPP_LOGAN, size, 4))).numpy(), truth))
    assert errors[-1] < 0.008, errors
    assert errors[-1] < 0.35 * errors[0], errors


@BOTH
@pytest.mark.parametrize("shape, centre", [((48, 48), None), ((49, 49), (20.0, 27.5))])
def test_a_lopsided_phantom_lies_where_it_should(detector, shape, centre):
    A = ct_fan(shape=shape, angles=np.array([0.0, 0.5, 2.0, 4.0]), source_mm=70.0, detector_mm=100.0,
               detector=detector, centre=centre)
    truth = fan_sinogram(LOPSIDED, float(shape[0]), A.geometry, subrays=8)
    found = A(torch.from_numpy(image(LOPSIDED, shape[0], 8))).numpy()
    assert relative_error(found, truth) < 0.025
    for wrong in (found[:, ::-1], np.roll(found, 1, axis=1), np.roll(found, -1, axis=1), found[::-1]):
        assert relative_error(wrong, truth) > 0.1, "the test sees a mirrored, shifted or reordered sinogram"


@BOTH
def test_a_far_source_is_a_parallel_beam(detector):
    shape, angles, x = (12, 15), np.array([0.0, 0.3, 1.2, 3.0, 5.0]), torch.rand(12, 15, dtype=torch.float64)
    common = dict(shape=shape, angles=angles, detectors=22, spacing_mm=0.8, centre=(5, 8), detector_centre=10.2)
    parallel = ct(**common, detector_spacing_mm=1.1)(x)
    gaps = []
    for far in (1e4, 1e6):
        y = ct_fan(**common, source_mm=far, detector_mm=2 * far, detector=detector, detector_spacing_mm=2.2)(x)
        gaps.append(relative_error(y.numpy(), parallel.numpy()))
    assert gaps[1] < 1e-5 and gaps[1] < 0.02 * gaps[0], gaps


@BOTH
def test_opposite_rays_measure_the_same(detector):
    """The ray (theta, gamma) and that of (theta - 2 gamma + pi, -gamma) are one line."""
    A = ct_fan(shape=(64, 64), angles=[0.7], source_mm=90.0, detector_mm=90.0, detector=detector, detectors=41)
    gammas = A.geometry.fan_angles(np.arange(41))
    opposite = ct_fan(shape=(64, 64), angles=0.7 - 2 * gammas + np.pi, source_mm=90.0, detector_mm=90.0,
                      detector=detector, detectors=41)
    x = torch.from_numpy(image(SHEPP_LOGAN, 64, 2))
    there, back = A(x)[0].numpy(), np.diag(opposite(x).numpy()[:, ::-1])
    assert relative_error(back, there) < 0.015
    phi, t = 0.7 - gammas, 90.0 * np.sin(gammas)
    exact = [sinogram(SHEPP_LOGAN, 64.0, phi[k : k + 1], t[k : k + 1])[0, 0] for k in range(41)]
    np.testing.assert_allclose(fan_sinogram(SHEPP_LOGAN, 64.0, A.geometry)[0], exact, atol=1e-9)


@BOTH
@pytest.mark.parametrize("shape", [(16, 16), (5, 8), (8, 5), (1, 6)])
def test_default_bins_see_the_whole_image(detector, shape):
    A = ct_fan(shape=shape, angles=17, source_mm=14.0, detector_mm=30.0, detector=detector)
    assert field_of_view(A.geometry).all()
    seen = A.adjoint(torch.ones(A.out_shape, dtype=torch.float64))
    wider = ct_fan(shape=shape, angles=17, source_mm=14.0, detector_mm=30.0, detector=detector,
                   detectors=A.out_shape[1] + 8)
    all_there_is = wider.adjoint(torch.ones(wider.out_shape, dtype=torch.float64))
    torch.testing.assert_close(seen, all_there_is, atol=1e-10, rtol=0)
    assert (A.out_shape[1] - shape[1]) % 2 == 0, "at angle 0 bins face columns"
    assert A.geometry.detector_spacing_mm == pytest.approx(30 / 14)


def test_a_count_is_evenly_spread_over_a_full_turn_without_its_end():
    angles = ct_fan(shape=(4, 4), angles=4, source_mm=10.0, detector_mm=20.0).geometry.angles_rad
    np.testing.assert_allclose(angles, np.arange(4) * np.pi / 2)


@pytest.mark.parametrize("name, arguments", [
    ("ct", dict(shape=(40, 40), angles=90)),
    ("ct_fan", dict(shape=(40, 40), angles=180, source_mm=80.0, detector_mm=160.0)),
    ("ct_fan", dict(shape=(41, 40), angles=180, source_mm=80.0, detector_mm=80.0, detector="curved")),
])
def test_the_field_of_view_is_the_circle_that_every_view_sees(name, arguments):
    g = OPERATORS[name](detectors=30, **arguments).geometry
    radius = 15.0 if name == "ct" else g.source_mm * math.sin(g.fan_angles(np.array([29.5]))[0])
    x, y = np.meshgrid(g.x_mm, g.y_mm)
    farthest = np.hypot(np.abs(x) + 0.5, np.abs(y) + 0.5)
    seen = field_of_view(g)
    assert seen.dtype == bool and seen.shape == g.shape
    assert seen[farthest < radius - 1e-6].all()
    assert not seen[farthest > radius + 0.02].any()


def test_the_field_of_view_moves_with_the_rotation_centre():
    seen = field_of_view(ct(shape=(20, 30), angles=60, detectors=9, centre=(7, 21)).geometry)
    np.testing.assert_allclose([i.mean() for i in seen.nonzero()], (7, 21))


def test_large_scans_hold_float32_weights():
    A = ct_fan(shape=(48, 48), angles=60, source_mm=100.0, detector_mm=150.0)
    assert A.matrix.forward_values.dtype == torch.float32 and A.matrix.forward_columns.dtype == torch.int32


@BOTH
@pytest.mark.parametrize("arguments, folded", [
    (dict(shape=(12, 12), angles=20), 5),
    (dict(shape=(9, 12), angles=20), 10),
    (dict(shape=(11, 13), angles=20), 5),
    (dict(shape=(11, 13), angles=20, source_mm=8.8), 20),  # the corners of a square would reach the source
    (dict(shape=(12, 12), angles=18, detector_centre=7.0), 9),
    (dict(shape=(12, 12), angles=20, centre=(5.2, 5.5)), 20),
    (dict(shape=(12, 12), angles=20, centre=(5.0, 5.0)), 5),
    (dict(shape=(12, 12), angles=[0.1, 0.2, 0.1 + math.pi / 2, 3.0]), 3),
])
def test_views_that_turns_repeat_are_held_once(detector, arguments, folded):
    arguments = {"source_mm": 20.0, "detector_mm": 90.0, "detector": detector, **arguments}
    A = ct_fan(**arguments)
    assert A.matrix.out_shape[0] == folded
    x = torch.rand(2, *A.in_shape, dtype=torch.float64)
    single = [ct_fan(**{**arguments, "angles": [angle]}) for angle in A.geometry.angles_rad]
    expected = torch.stack([one(x)[:, 0] for one in single], dim=1)
    torch.testing.assert_close(A(x), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("arguments, message", [
    (dict(source_mm=5.0), r"source_mm: got 5; expected more than 5\.65685, the radius of the circle"),
    (dict(source_mm=8.0, centre=(0.0, 0.0)), r"source_mm: got 8; expected more than 10\.6066"),
    (dict(source_mm=-10.0), "source_mm: got -10.0; expected one finite number above 0"),
    (dict(source_mm=float("nan")), "source_mm: got nan"),
    (dict(source_mm=40.0, detector_mm=30.0), r"detector_mm: got 30; expected 40 .*from the source.*detector_mm=70"),
    (dict(detector_mm=float("inf")), "detector_mm: got inf"),
    (dict(detector="round"), "detector: got 'round'; expected 'flat' or 'curved'"),
    (dict(detector="curved", detectors=40), r"a curved detector from -114\.6 to 114\.6 degrees"),
    (dict(detectors=0), "detectors: got 0"),
    (dict(spacing_mm=0.0), "spacing_mm: got 0.0"),
    (dict(detector_spacing_mm=-1.0), "detector_spacing_mm: got -1.0"),
    (dict(centre=(1.0,)), r"centre: got \(1.0,\); expected \(row, column\)"),
    (dict(detector_centre=float("inf")), "detector_centre: got inf"),
    (dict(angles=np.arange(0.0, 360.0)), "look like degrees"),
    (dict(angles=[0.3, 0.3, np.nan]), "1 NaN or infinite; 1 duplicated"),
    (dict(shape=(30000, 30000), angles=10, source_mm=1e6, detector_mm=2e6), r"ct_fan: got a matrix of about .* GiB"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        ct_fan(**{"shape": (8, 8), "angles": 5, "source_mm": 10.0, "detector_mm": 20.0, "detector_spacing_mm": 2.0,
                  **arguments})
