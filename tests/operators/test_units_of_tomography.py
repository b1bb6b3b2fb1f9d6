"""Hounsfield units, and geometries of ASTRA and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ellipses import LOPSIDED, image, relative_error
from skimage.transform import radon

from operators import OPERATORS, astra_geometry, from_hounsfield, to_hounsfield
from operators.adapters import skimage_padded_geometry


def test_water_and_air():
    hu = to_hounsfield(np.array([0.0, 0.0193, 0.0386]), water_per_mm=0.0193)
    np.testing.assert_allclose(hu, [-1000, 0, 1000], atol=1e-9)
    hu = to_hounsfield(np.array([2e-5, 0.0193]), water_per_mm=0.0193, air_per_mm=2e-5)
    np.testing.assert_allclose(hu, [-1000, 0], atol=1e-9)


def test_there_and_back_in_tensors_of_any_dtype():
    hu = torch.linspace(-1000, 3000, 9).reshape(1, 1, 3, 3)
    mu = from_hounsfield(hu, 0.02, 1e-5)
    assert mu.dtype == torch.float32 and mu.shape == hu.shape
    torch.testing.assert_close(to_hounsfield(mu, 0.02, 1e-5), hu, atol=1e-3, rtol=0)


@pytest.mark.parametrize("water, air", [(0.0, 0.0), (-0.02, 0.0), (0.01, 0.02), (float("nan"), 0.0)])
def test_water_must_attenuate_more_than_air(water, air):
    with pytest.raises(ValueError, match="water_per_mm: got"):
        to_hounsfield(np.zeros(2), water, air)


def fanflat(**more):
    return {"type": "fanflat", "DetectorWidth": 1.5, "DetectorCount": 21, "ProjectionAngles": np.array([0.0, 1.0]),
            "DistanceOriginSource": 40.0, "DistanceOriginDetector": 20.0, **more}


def test_fanflat_of_astra():
    spec = astra_geometry(fanflat(), {"GridRowCount": 10, "GridColCount": 12}, unit_mm=0.5)
    g = OPERATORS[spec["name"]](**spec["parameters"]).geometry
    assert (g.source_mm, g.detector_mm, g.detector, g.detectors) == (20.0, 30.0, "flat", 21)
    assert (g.spacing_mm, g.detector_spacing_mm, g.centre, g.detector_centre) == (0.5, 0.75, (4.5, 5.5), 10.0)
    assert g.shape == (10, 12)


def test_a_window_of_astra_places_the_rotation_centre():
    window = {"WindowMinX": -2.0, "WindowMaxX": 4.0, "WindowMinY": -1.0, "WindowMaxY": 3.0}
    volume = {"GridRowCount": 8, "GridColCount": 12, "option": window}
    parallel = {"type": "parallel", "DetectorWidth": 1.0, "DetectorCount": 9, "ProjectionAngles": np.array([0.2])}
    spec = astra_geometry(parallel, volume)
    g = OPERATORS[spec["name"]](**spec["parameters"]).geometry
    assert spec["name"] == "ct" and g.spacing_mm == 0.5
    assert (g.x_mm[0], g.y_mm[0]) == (-1.75, 2.75), "the middle of the first pixel, half a pixel inside the window"


@pytest.mark.parametrize("projections, volume, message", [
    (fanflat(type="fanflat_vec"), {"GridRowCount": 4, "GridColCount": 4}, "type 'fanflat_vec'; expected 'parallel'"),
    (fanflat(), {"GridRowCount": 4, "GridColCount": 4, "option": {"WindowMaxX": 6.0}}, "pixels of 2 x 1; expected"),
])
def test_geometries_of_astra_that_have_no_counterpart(projections, volume, message):
    with pytest.raises(ValueError, match=message):
        astra_geometry(projections, volume)


@pytest.mark.parametrize("size", [40, 41])
def test_padded_sinograms_of_scikit_image(size):
    theta = np.array([0.0, 20.0, 45.0, 90.0, 110.0, 170.0])
    phantom = image(LOPSIDED, size, 8)
    phantom[:, 0] = 0.5  # reaches into the corners
    theirs = radon(phantom, theta, circle=False).T
    A = OPERATORS["ct"](**skimage_padded_geometry((size, size), theta))
    assert A.out_shape == theirs.shape
    ours = A(torch.from_numpy(phantom)).numpy()
    assert relative_error(ours, theirs) < 0.04
    for wrong in (ours[:, ::-1], np.roll(ours, 1, axis=1), np.roll(ours, -1, axis=1)):
        assert relative_error(wrong, theirs) > 0.1


def test_padded_sinograms_of_oblong_images():
    theta, phantom = np.array([0.0, 30.0, 100.0]), np.zeros((21, 34))
    phantom[3:9, 20:31] = 1.0
    theirs = radon(phantom, theta, circle=False).T
    ours = OPERATORS["ct"](**skimage_padded_geometry(phantom.shape, theta))(torch.from_numpy(phantom)).numpy()
    assert ours.shape == theirs.shape and relative_error(ours, theirs) < 0.08
