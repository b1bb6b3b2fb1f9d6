"""Blur against convolutions written out as loops and those of scipy; kernels; refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch

from operators import OPERATORS
from operators.blur import gaussian_kernel, motion_kernel

blur = OPERATORS["blur"]
RNG = np.random.default_rng(0)


def by_loops(image, kernel, boundary):
    """y[i] = sum over the kernel of k[j] x[i - (j - size // 2)]."""
    result = np.zeros_like(image)
    (height, width), (h, w) = image.shape, kernel.shape
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(h, w):
            row, column = i - (a - h // 2), j - (b - w // 2)
            if boundary == "circular":
                row, column = row % height, column % width
            if 0 <= row < height and 0 <= column < width:
                result[i, j] += kernel[a, b] * image[row, column]
    return result


@pytest.mark.parametrize("boundary", ["circular", "zero"])
@pytest.mark.parametrize("shape", [(6, 8), (7, 5), (6, 7), (3, 2)])
@pytest.mark.parametrize("size", [(3, 3), (4, 3), (2, 6), (1, 1), (15, 16)])
def test_any_kernel_is_convolved(shape, size, boundary):
    kernel, image = RNG.standard_normal(size), RNG.standard_normal(shape)
    found = blur(shape=shape, kernel=kernel, boundary=boundary)(torch.from_numpy(image)).numpy()
    rounding = 1e-13 * np.abs(kernel).sum()
    np.testing.assert_allclose(found, by_loops(image, kernel, boundary), atol=rounding)


@pytest.mark.parametrize("boundary, mode", [("circular", "wrap"), ("zero", "constant")])
@pytest.mark.parametrize("std", [0.6, 1.0, 2.3])
def test_gaussian_is_that_of_scipy(std, boundary, mode):
    image = RNG.standard_normal((24, 31))
    found = blur(shape=image.shape, std=std, boundary=boundary)(torch.from_numpy(image))
    expected = scipy.ndimage.gaussian_filter(image, std, mode=mode, truncate=4.0)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-14)


@pytest.mark.parametrize("boundary, mode", [("circular", "wrap"), ("zero", "constant")])
def test_odd_kernels_are_those_of_scipy(boundary, mode):
    image, kernel = RNG.standard_normal((20, 15)), RNG.standard_normal((5, 7))
    found = blur(shape=image.shape, kernel=kernel, boundary=boundary)(torch.from_numpy(image))
    np.testing.assert_allclose(found.numpy(), scipy.ndimage.convolve(image, kernel, mode=mode), atol=1e-13)


def test_an_impulse_becomes_the_kernel():
    kernel = np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 3.0]])
    image = torch.zeros(7, 7)
    image[3, 3] = 1.0
    found = blur(shape=(7, 7), kernel=kernel)(image)
    np.testing.assert_allclose(found[2:4, 2:5].numpy(), kernel, atol=1e-6)


def test_kernels_made_here_sum_to_one_and_the_users_is_left_alone():
    assert abs(gaussian_kernel(1.7).sum() - 1) < 1e-15
    assert abs(motion_kernel((6.3, 25)).sum() - 1) < 1e-15
    unscaled = blur(shape=(8, 8), kernel=np.full((3, 3), 2.0))
    torch.testing.assert_close(unscaled(torch.ones(8, 8)), torch.full((8, 8), 18.0))


def test_motion_counts_the_path_in_each_pixel():
    np.testing.assert_allclose(motion_kernel((5, 0))[3, 1:6], 0.2, atol=1e-15)
    np.testing.assert_allclose(motion_kernel((4, 90))[:, 2], [0.125, 0.25, 0.25, 0.25, 0.125], atol=1e-15)
    diagonal = np.eye(5)[::-1] * [0, 1, 1, 1, 0] / 3
    np.testing.assert_allclose(motion_kernel((3 * 2**0.5, 45))[1:6, 1:6], diagonal, atol=1e-12)
    np.testing.assert_allclose(motion_kernel((1, 10)), [[0, 0, 0], [0, 1, 0], [0, 0, 0]], atol=1e-15)


@pytest.mark.parametrize("angle", [0, 13, 45, 77, 90, 120, 179])
def test_motion_has_the_angle_and_length_asked_for(angle):
    length = 21.0
    kernel = motion_kernel((length, angle))
    rows, columns = np.indices(kernel.shape) - kernel.shape[0] // 2
    spread = np.array([[np.sum(kernel * a * b) for a in (columns, -rows)] for b in (columns, -rows)])
    values, vectors = np.linalg.eigh(spread)
    assert values[1] == pytest.approx(length**2 / 12, rel=0.02)
    along = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
    assert abs(vectors[:, 1] @ along) > 0.9995
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-12)


@pytest.mark.parametrize("arguments, message", [
    ({}, "got none of std, kernel, motion and defocus; expected exactly one"),
    (dict(std=1.0, kernel=np.ones((3, 3))), "got std and kernel"),
    (dict(std=-1.0), "std: got -1.0; expected one finite number above 0"),
    (dict(std=0.0), "std: got 0.0"),
    (dict(std=float("nan")), "std: got nan"),
    (dict(std=1000.0), "at most the longer side of the image, 9 pixels"),
    (dict(kernel=np.ones(3)), r"kernel: got shape \(3,\); expected two axes"),
    (dict(kernel=np.ones((1, 3, 3))), r"kernel: got shape \(1, 3, 3\).*kernel\[0\]"),
    (dict(kernel=np.zeros((3, 3))), "kernel: got only zeros"),
    (dict(kernel=np.array([[1.0, np.inf]])), "kernel: got 1 entries that are NaN or infinite"),
    (dict(kernel=np.ones((0, 3))), "kernel: got an empty array"),
    (dict(kernel="gaussian"), "kernel: got dtype"),
    (dict(motion=(9,)), r"motion: got \(9,\); expected \(length in pixels, angle in degrees\)"),
    (dict(motion=5), "motion: got 5"),
    (dict(motion=(-3, 0)), "motion length: got -3"),
    (dict(motion=(3, float("nan"))), "motion angle: got nan"),
    (dict(motion=(100, 0)), "motion length: got 100.0; expected at most"),
    (dict(std=1.0, boundary="reflect"), "boundary: got 'reflect'; expected 'circular' or 'zero'"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        blur(shape=(8, 9), **arguments)
