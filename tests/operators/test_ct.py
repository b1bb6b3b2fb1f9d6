"""Tomography against polygon areas, analytic sinograms of ellipses and scikit-image; geometry; refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ellipses import LOPSIDED, SHEPP_LOGAN, image, relative_error, sinogram
from skimage.transform import iradon, radon

from operators import OPERATORS, dense_matrix, from_skimage, to_skimage
from operators.adapters import skimage_geometry

ct = OPERATORS["ct"]


def clipped(polygon, normal, bound):
    """The part of a convex polygon with normal . p <= bound (Sutherland and Hodgman)."""
    kept = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        inside_p, inside_q = normal @ p <= bound, normal @ q <= bound
        if inside_p:
            kept.append(p)
        if inside_p != inside_q:
            kept.append(p + (bound - normal @ p) / (normal @ (q - p)) * (q - p))
    return kept


def area(polygon):
    pairs = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    return 0.5 * abs(sum(p[0] * q[1] - p[1] * q[0] for p, q in pairs))


@pytest.mark.parametrize("shape, spacing, bins, width, centre, on_detector", [
    ((4, 5), 1.0, 8, 1.0, (1.5, 2.0), 3.5),
    ((5, 3), 0.7, 9, 0.4, (2.0, 1.0), 4.0),
    ((4, 4), 0.5, 3, 1.3, (2.0, 1.0), 0.5),
])
def test_entries_are_areas_of_pixel_and_strip_by_width(shape, spacing, bins, width, centre, on_detector):
    angles = np.array([0.0, 0.4, math.pi / 4, math.pi / 2, 2.3, math.pi, -1.0])
    A = ct(shape=shape, angles=angles, detectors=bins, spacing_mm=spacing, detector_spacing_mm=width,
           centre=centre, detector_centre=on_detector, projector="strip")
    expected = np.zeros((angles.size, bins, *shape))
    corners = [np.array(c) for c in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
    for a, k, i, j in np.ndindex(expected.shape):
        pixel = [(np.array([j - centre[1], centre[0] - i]) + c) * spacing for c in corners]
        normal = np.array([np.cos(angles[a]), np.sin(angles[a])])
        middle = (k - on_detector) * width
        strip = clipped(pixel, normal, middle + width / 2)
        strip = clipped(strip, -normal, -(middle - width / 2)) if strip else []
        expected[a, k, i, j] = area(strip) / width if strip else 0.0
    found = dense_matrix(A).reshape(expected.shape).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-11)


@pytest.mark.parametrize("size, subpixels", [(64, 1), (65, 1), (64, 16), (65, 16), (128, 8)])
def test_error_on_ellipses_is_no_larger_than_that_of_scikit_image(size, subpixels):
    theta = np.arange(60) * 3.0
    geometry = skimage_geometry(size, theta)
    angles, phantom = np.deg2rad(theta), image(SHEPP_LOGAN, size, subpixels)
    # Where N is even scikit-image turns about a point half a pixel right of and below the image's centre.
    away = 0.5 if size % 2 == 0 else 0.0
    offsets = np.arange(size) - size // 2 + away * (np.cos(angles) - np.sin(angles))[:, None]
    truth = sinogram(SHEPP_LOGAN, size, angles, offsets)
    fractions = (np.arange(16) + 0.5) / 16 - 0.5
    bins = np.mean([sinogram(SHEPP_LOGAN, size, angles, offsets + f) for f in fractions], axis=0)
    # Values at points alias more than means over pixels; strips smooth that.
    ours = ct(**geometry, projector="strip" if subpixels == 1 else "auto")(torch.from_numpy(phantom)).numpy()
    theirs = radon(phantom, theta, circle=True).T
    assert relative_error(ours, truth) <= relative_error(theirs, truth), "against line integrals"
    assert relative_error(ours, bins) <= relative_error(theirs, bins), "against means over the bins"


def test_error_on_ellipses_falls_with_the_pixel():
    angles = np.arange(30) * np.pi / 30
    errors = []
    for size in (32, 64, 128, 256):
        A = ct(shape=(size, size), angles=angles, detectors=32, spacing_mm=64 / size, detector_spacing_mm=2.0)
        rays = [A.geometry.offsets_mm + f for f in ((np.arange(64) + 0.5) / 64 - 0.5) * 2]
        truth = np.mean([sinogram(SHEPP_LOGAN, 64, angles, t) for t in rays], axis=0)
        errors.append(relative_error(A(torch.from_numpy(image(SHEPP_LOGAN, size, 4))).numpy(), truth))
    assert errors[-1] < 0.004, errors
    assert errors[-1] < 0.3 * errors[0], errors


def test_mass_is_kept_at_every_angle():
    A = ct(shape=(9, 12), angles=13, spacing_mm=0.6, detector_spacing_mm=0.35, projector="strip")
    x = torch.rand(9, 12, dtype=torch.float64)
    mass = A(x).sum(dim=1) * 0.35
    torch.testing.assert_close(mass, torch.full_like(mass, float(x.sum()) * 0.6**2), atol=1e-12, rtol=0)


def test_first_axis_is_angle_second_is_detector_and_orientation():
    A = ct(shape=(5, 7), angles=np.array([0.0, np.pi / 2, np.pi / 4]), detectors=9)
    assert A.out_shape == (3, 9)
    x = torch.zeros(5, 7)
    x[0, 6] = 1.0  # top right: x = 3, y = 2
    y = A(x)
    assert int(y[0].argmax()) == 4 + 3
    assert int(y[1].argmax()) == 4 + 2
    centroid = float((y[2] * (torch.arange(9) - 4)).sum() / y[2].sum())
    assert centroid == pytest.approx(5 / math.sqrt(2), abs=0.04)


def test_a_count_is_evenly_spread_over_a_half_turn_without_its_end():
    angles = ct(shape=(4, 4), angles=4).geometry.angles_rad
    np.testing.assert_allclose(angles, [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4])


@pytest.mark.parametrize("shape", [(64, 64), (5, 8), (8, 5), (7, 7), (1, 6)])
def test_default_bins_see_the_whole_image(shape):
    A = ct(shape=shape, angles=17, projector="strip")
    mass = A(torch.ones(shape, dtype=torch.float64)).sum(dim=1)
    torch.testing.assert_close(mass, torch.full_like(mass, shape[0] * shape[1]), atol=1e-10, rtol=0)
    assert (A.out_shape[1] - shape[1]) % 2 == 0, "at angle 0 bins face columns"


def test_a_turn_by_pi_mirrors_the_detector():
    A = ct(shape=(6, 7), angles=np.array([0.3, 0.3 + np.pi]))
    y = A(torch.rand(6, 7, dtype=torch.float64))
    torch.testing.assert_close(y[0], y[1].flip(0), atol=1e-12, rtol=0)


def test_lengths_scale_the_data():
    x = torch.rand(6, 6, dtype=torch.float64)
    one, two = (ct(shape=(6, 6), angles=5, spacing_mm=s)(x) for s in (1.0, 2.0))
    torch.testing.assert_close(two, 2.0 * one, atol=1e-12, rtol=0)


@pytest.mark.parametrize("size", [40, 41])
def test_sinograms_of_scikit_image_both_ways(size):
    theta = np.array([0.0, 20.0, 45.0, 90.0, 110.0, 170.0])
    phantom = image(LOPSIDED, size, 8)
    y, parameters = from_skimage(radon(phantom, theta, circle=True), theta)
    A = ct(**parameters)
    assert y.shape == A.out_shape
    ours = A(torch.from_numpy(phantom)).numpy()
    assert relative_error(ours, y) < 0.03
    for wrong in (ours[:, ::-1], np.roll(ours, 1, axis=1), np.roll(ours, -1, axis=1), ours[::-1]):
        assert relative_error(wrong, y) > 0.12, "the test sees a mirrored, shifted or reordered sinogram"
    back, degrees = to_skimage(y, parameters["angles"])
    np.testing.assert_allclose(back, radon(phantom, theta, circle=True))
    np.testing.assert_allclose(degrees, theta)


@pytest.mark.parametrize("size", [40, 41])
def test_our_sinograms_are_reconstructed_by_scikit_image(size):
    theta = np.arange(0.0, 180.0, 2.0)
    phantom = image(LOPSIDED, size, 8)
    y = ct(**skimage_geometry(size, theta))(torch.from_numpy(phantom)).numpy()
    found = iradon(*to_skimage(y, np.deg2rad(theta)), circle=True)
    reference = iradon(radon(phantom, theta, circle=True), theta, circle=True)
    assert relative_error(found, phantom) < 1.03 * relative_error(reference, phantom)


@pytest.mark.parametrize("call, message", [
    (lambda: from_skimage(np.ones((5, 9)), np.arange(5.0)), r"\(5, 9\) with 5 angles.*transpose it"),
    (lambda: from_skimage(np.ones((5, 9)), np.arange(4.0)), "the angles that radon was called with"),
    (lambda: to_skimage(np.ones((5, 9)), np.arange(9.0)), r"expected \(9, detectors\)"),
])
def test_sinograms_that_do_not_fit_their_angles_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("angles, message", [
    (np.arange(0.0, 180.0), r"values from 0 to 179, which look like degrees.*np.deg2rad"),
    ([0.1, np.nan, 0.2, np.inf], "2 NaN or infinite"),
    ([0.1, 0.5, 0.1], "1 duplicated"),
    ([0.0, 2 * np.pi], "1 duplicated"),
    ([0.3, np.nan, 0.3], "1 NaN or infinite; 1 duplicated.*drop those views; keep one view"),
    ([np.nan, 90.0], "1 NaN or infinite; values from 90 to 90, which look like degrees"),
    ([], "expected a count, or a list of radians"),
    ([[0.1, 0.2]], r"shape \(1, 2\)"),
    (0, "angles: got 0"),
    (-3, "angles: got -3"),
    (2.5, "expected a count, or a list of radians"),
    (True, "angles: got True"),
    ("many", "expected a count"),
    ([0.1 + 1j], "dtype complex128"),
])
def test_angles_are_refused_with_all_that_is_wrong(angles, message):
    with pytest.raises(ValueError, match=message):
        ct(shape=(8, 8), angles=angles)


def test_a_full_turn_and_a_single_angle_are_fine():
    assert ct(shape=(4, 4), angles=np.arange(8) * np.pi / 4).out_shape[0] == 8
    assert ct(shape=(4, 4), angles=[0.5]).out_shape[0] == 1
    assert ct(shape=(4, 4), angles=torch.tensor([0.5, 1.0])).out_shape[0] == 2


@pytest.mark.parametrize("arguments, message", [
    (dict(detectors=0), "detectors: got 0"),
    (dict(detectors=9.5), "detectors: got 9.5"),
    (dict(spacing_mm=0.0), "spacing_mm: got 0.0; expected one finite number above 0"),
    (dict(spacing_mm=float("nan")), "spacing_mm: got nan"),
    (dict(detector_spacing_mm=-1.0), "detector_spacing_mm: got -1.0"),
    (dict(centre=(1.0,)), r"centre: got \(1.0,\); expected \(row, column\)"),
    (dict(centre=(float("nan"), 1.0)), "centre"),
    (dict(detector_centre=float("inf")), "detector_centre: got inf"),
    (dict(shape=(40000, 40000), angles=10), r"ct: got a matrix of about .* GiB"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        ct(**{"shape": (8, 8), "angles": 5, **arguments})


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_second_derivatives_and_forward_mode():
    A = ct(shape=(5, 6), angles=4)
    x = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(A, x) and torch.autograd.gradgradcheck(A, x)
    tangent = torch.rand_like(x)
    with torch.autograd.forward_ad.dual_level():
        pushed = A(torch.autograd.forward_ad.make_dual(x.detach(), tangent))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(pushed).tangent, A(tangent))


def test_large_scans_hold_float32_weights():
    A = ct(shape=(64, 64), angles=180)
    assert A.matrix.forward_values.dtype == torch.float32 and A.matrix.forward_columns.dtype == torch.int32
    x = torch.rand(64, 64, dtype=torch.float64)
    torch.testing.assert_close(A(x.float()).double(), A(x), atol=1e-6 * float(A(x).max()), rtol=0)


def test_a_geometry_that_misses_the_image_is_refused():
    for name, more in (("ct", {}), ("ct_fan", {"source_mm": 500.0, "detector_mm": 900.0})):
        with pytest.raises(ValueError, match="expected data that see the image"):
            OPERATORS[name](shape=(8, 8), angles=5, detector_centre=1000.0, **more)
