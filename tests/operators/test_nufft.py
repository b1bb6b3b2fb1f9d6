"""Radial and spiral MRI against the sum that defines it, the Cartesian transform and tomography; trajectories."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ellipses import LOPSIDED, image

from operators import ct, dot_test, mri, radial_trajectory, spiral_trajectory, to_channels, to_complex
from operators.trajectories import GOLDEN_ANGLE, trajectory_for

RNG = np.random.default_rng(3)


def direct(z, points):
    """y[s] = (H W)^(-1/2) sum over n of z[n] exp(-2 pi i k[s] . (n - c))."""
    height, width = z.shape
    rows = np.exp(-2j * np.pi * points[..., :1] * (np.arange(height) - height // 2))
    columns = np.exp(-2j * np.pi * points[..., 1:] * (np.arange(width) - width // 2))
    return np.einsum("sph,hw,spw->sp", rows, z, columns, optimize=True) / math.sqrt(height * width)


TRAJECTORIES = {
    "anywhere": RNG.uniform(-0.5, 0.5, (4, 60, 2)),
    "the edge": np.array([[[-0.5, -0.5], [0.5, 0.5], [0.5, 0.0], [0.0, -0.5]]]),
    "radial": radial_trajectory(9, 33),
    "spiral": spiral_trajectory(3, 70, 4.0),
}


@pytest.mark.parametrize("shape", [(16, 16), (15, 22), (33, 8), (2, 3)])
@pytest.mark.parametrize("name", TRAJECTORIES)
def test_forward_and_adjoint_are_the_direct_sum(shape, name):
    points = TRAJECTORIES[name]
    A = mri(shape=shape, trajectory=points)
    z = RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)
    expected = direct(z, points)
    found = to_complex(A(to_channels(torch.from_numpy(z)))).numpy()
    assert np.linalg.norm(found - expected) < 5e-7 * np.linalg.norm(expected)
    single = to_complex(A(to_channels(torch.from_numpy(z)).float())).numpy()
    assert np.linalg.norm(single - expected) < 1e-6 * np.linalg.norm(expected)
    y = RNG.standard_normal(points.shape[:2]) + 1j * RNG.standard_normal(points.shape[:2])
    back = to_complex(A.adjoint(to_channels(torch.from_numpy(y)))).numpy()
    inner, outer = np.vdot(y, expected), np.vdot(back, z)
    assert abs(inner - outer) < 5e-7 * np.linalg.norm(y) * np.linalg.norm(expected), "complex, not its real part alone"
    assert dot_test(A) < 1e-12


@pytest.mark.parametrize("shape", [(8, 6), (7, 9)])
def test_on_the_cartesian_grid_it_is_the_centred_transform(shape):
    axes = [(np.arange(n) - n // 2) / n for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    x = torch.randn(2, 2, *shape, dtype=torch.float64)
    cartesian = mri(shape=shape, acceleration=1, center_fraction=0.0)(x)
    torch.testing.assert_close(mri(shape=shape, trajectory=points)(x), cartesian, atol=5e-7, rtol=0)


def test_a_spoke_is_the_transform_of_the_parallel_beam_view_at_its_angle():
    size = 64
    phantom = image(LOPSIDED, size, 8)
    spokes = radial_trajectory(5, 2 * size)
    slow = np.abs(np.linalg.norm(spokes[0], axis=-1)) < 0.1  # where pixels and bins have little effect
    angles = np.arange(5) * GOLDEN_ANGLE % (2 * math.pi)
    A = ct(shape=(size, size), angles=angles, detectors=129, centre=(size // 2, size // 2), detector_centre=64.0)
    views = A(torch.from_numpy(phantom)).numpy()
    frequency = (np.arange(2 * size) - size) / (2 * size)
    expected = views @ np.exp(-2j * np.pi * np.outer(np.arange(129) - 64, frequency)) / size
    found = to_complex(mri(shape=(size, size), trajectory=spokes, image="real")(torch.from_numpy(phantom))).numpy()
    error = np.linalg.norm(found - expected, axis=0)[slow].max() / np.linalg.norm(expected, axis=0).max()
    assert error < 0.01
    mirrored = np.linalg.norm(found.conj() - expected, axis=0)[slow].max() / np.linalg.norm(expected, axis=0).max()
    assert mirrored > 0.1, "the test sees a turned trajectory"


def test_coils_see_the_image_through_their_maps():
    shape, points = (6, 7), TRAJECTORIES["anywhere"]
    maps = RNG.standard_normal((3, *shape)) + 1j * RNG.standard_normal((3, *shape))
    z = RNG.standard_normal(shape) + 1j * RNG.standard_normal(shape)
    y = to_complex(mri(shape=shape, trajectory=points, coils=maps)(to_channels(torch.from_numpy(z)))).numpy()
    assert y.shape == (3, 4, 60)
    for c in range(3):
        expected = direct(maps[c] * z, points)
        assert np.linalg.norm(y[c] - expected) < 5e-7 * np.linalg.norm(expected)


def test_an_image_comes_back_from_enough_spokes():
    phantom = torch.from_numpy(image(LOPSIDED, 24, 8))[None, None].float()
    A = mri(shape=(24, 24), trajectory="radial", acceleration=1, image="real")
    x = A.adjoint(A.gram_solve(A(phantom), 1e-2))
    # The corners of k-space are not sampled, but for what is known from the real image's symmetry.
    assert ((x - phantom).norm() / phantom.norm()).item() < 0.15


def test_radial_spokes():
    points = radial_trajectory(4, 10)
    assert points.shape == (4, 10, 2)
    np.testing.assert_allclose(points[:, 5], 0.0, atol=0)
    np.testing.assert_allclose(points[0, :, 1], np.arange(-5, 5) / 10)
    np.testing.assert_allclose(points[0, :, 0], 0.0)
    outward = points[:, 9] / np.linalg.norm(points[:, 9], axis=-1, keepdims=True)
    turn = np.rad2deg(np.arctan2(-outward[1, 0], outward[1, 1]))
    assert turn == pytest.approx(111.246, abs=1e-3), "counter-clockwise, rows count downwards"
    np.testing.assert_allclose(np.sum(outward[1:] * outward[:-1], axis=-1), math.cos(GOLDEN_ANGLE))


def test_spiral_arms():
    points = spiral_trajectory(4, 400, 5.0)
    radius = np.linalg.norm(points, axis=-1)
    assert radius.max() < 0.5 and radius[:, -1].min() > 0.498 and np.allclose(radius[:, 0], 0)
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    assert steps[:, 100:].max() < 1.1 * steps[:, 100:].min(), "constant speed but for the innermost winding"
    turned = points[1] @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(np.linalg.norm(turned - points[0], axis=-1).min(), 0.0, atol=1e-15)
    windings = np.unwrap(np.arctan2(-points[0, 1:, 0], points[0, 1:, 1]))
    assert (windings[-1] - windings[0]) / (2 * math.pi) == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize("name, full", [("radial", math.pi / 2 * 64), ("spiral", 32)])
def test_acceleration_is_a_share_of_the_nyquist_shots(name, full):
    for acceleration in (1, 4):
        points = trajectory_for(name, (64, 40), acceleration)
        if name == "radial":
            assert points.shape == (round(full / acceleration), 128, 2)
        else:
            windings = np.unwrap(np.arctan2(-points[0, 1:, 0], points[0, 1:, 1]))
            turns = (windings[-1] - windings[0]) / (2 * math.pi) * points.shape[0]
            assert turns == pytest.approx(full / acceleration, rel=0.08)
            steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
            assert np.median(steps) < 1 / 64


@pytest.mark.parametrize("trajectory, message", [
    ("zigzag", "trajectory: got 'zigzag'; expected 'radial', 'spiral' or an array"),
    (np.zeros((5, 2)), r"shape \(5, 2\); expected \(shots, samples, 2\).*points\[None\]"),
    (np.zeros((2, 3, 5)), "put the two coordinates last"),
    (np.full((2, 3, 2), 3.0), r"cycles per pixel in \[-0.5, 0.5\]; divide radians by 2 pi"),
    (np.full((2, 3, 2), np.nan), "12 entries that are NaN"),
])
def test_trajectories_that_are_refused(trajectory, message):
    with pytest.raises(ValueError, match=message):
        mri(shape=(8, 8), trajectory=trajectory)


def test_a_mask_and_a_trajectory_exclude_each_other():
    with pytest.raises(ValueError, match="mri: got mask and trajectory"):
        mri(shape=(8, 8), trajectory="radial", mask=np.ones((8, 8)))


@pytest.mark.parametrize("make, arguments", [
    (radial_trajectory, (0, 5)), (radial_trajectory, (3, 2.5)), (spiral_trajectory, (1, 5, -1.0)),
])
def test_trajectories_without_points_are_refused(make, arguments):
    with pytest.raises(ValueError, match="got"):
        make(*arguments)
