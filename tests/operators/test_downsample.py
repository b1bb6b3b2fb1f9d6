"""Down-sampling against block means and bicubic weights written out, and against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from operators import OPERATORS, dense_matrix

downsample = OPERATORS["downsample"]
RNG = np.random.default_rng(0)
SIZES = [((8, 12), 4), ((9, 15), 3), ((10, 6), 2), ((5, 7), 1), ((6, 6), 6)]


def cubic(t):
    """Keys' kernel with a = -1/2, as printed."""
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def bicubic_axis(values, factor):
    """One axis, one output at a time."""
    result = []
    for i in range(len(values) // factor):
        weights = [cubic((j - ((i + 0.5) * factor - 0.5)) / factor) for j in range(len(values))]
        result.append(np.dot(weights, values) / sum(weights))
    return np.array(result)


@pytest.mark.parametrize("shape, factor", SIZES)
def test_average_is_the_mean_of_each_block(shape, factor):
    x = RNG.standard_normal(shape)
    found = downsample(shape=shape, factor=factor)(torch.from_numpy(x)).numpy()
    for i, j in np.ndindex(found.shape):
        block = x[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
        assert found[i, j] == pytest.approx(block.mean(), abs=1e-14)


@pytest.mark.parametrize("shape, factor", SIZES)
def test_bicubic_is_the_formula_on_each_axis(shape, factor):
    x = RNG.standard_normal(shape)
    found = downsample(shape=shape, factor=factor, kernel="bicubic")(torch.from_numpy(x)).numpy()
    rows = np.apply_along_axis(bicubic_axis, 0, x, factor)
    np.testing.assert_allclose(found, np.apply_along_axis(bicubic_axis, 1, rows, factor), atol=1e-14)


@pytest.mark.parametrize("kernel, resample", [("average", Image.BOX), ("bicubic", Image.BICUBIC)])
@pytest.mark.parametrize("shape, factor", SIZES)
def test_both_are_those_of_pillow(shape, factor, kernel, resample):
    x = RNG.random(shape).astype(np.float32)
    small = Image.fromarray(x).resize((shape[1] // factor, shape[0] // factor), resample)
    found = downsample(shape=shape, factor=factor, kernel=kernel)(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), np.asarray(small), atol=5e-7)


@pytest.mark.parametrize("kernel", ["average", "bicubic"])
def test_a_constant_stays_constant(kernel):
    found = downsample(shape=(16, 24), factor=4, kernel=kernel)(torch.full((16, 24), 3.0))
    torch.testing.assert_close(found, torch.full((4, 6), 3.0), atol=1e-6, rtol=0)


def test_the_gram_matrix_of_the_average():
    M = dense_matrix(downsample(shape=(6, 9), factor=3))
    torch.testing.assert_close(M @ M.T, torch.eye(6, dtype=torch.float64) / 9, atol=1e-16, rtol=0)


@pytest.mark.parametrize("arguments, message", [
    (dict(factor=3), r"got 3 for shape \(8, 10\); expected a factor that divides .*crop .* to \(6, 9\)"),
    (dict(factor=20), "take a smaller factor"),
    (dict(factor=0), "factor: got 0; expected a whole number above zero"),
    (dict(factor=-2), "factor: got -2"),
    (dict(factor=2.0), "factor: got 2.0"),
    (dict(factor=True), "factor: got True"),
    (dict(factor=2, kernel="lanczos"), "kernel: got 'lanczos'; expected 'average' or 'bicubic'"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        downsample(shape=(8, 10), **arguments)
