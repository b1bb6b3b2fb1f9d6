"""Compressed sensing, colour and defocus against matrices and areas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from skimage.color import rgb2gray

from operators import OPERATORS, dense_matrix
from operators.blur import disc_kernel
from operators.compressed import walsh_hadamard

hadamard, random_projection, mosaic, grey = (
    OPERATORS[name] for name in ("hadamard", "random_projection", "mosaic", "grey"))


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_fast_transform_is_the_hadamard_matrix(size):
    matrix = torch.from_numpy(scipy.linalg.hadamard(size) / math.sqrt(size))
    torch.testing.assert_close(walsh_hadamard(torch.eye(size).double()), matrix, atol=1e-15, rtol=0)


@pytest.mark.parametrize("shape, length", [((4, 8), 32), ((5, 7), 64)])
def test_scrambled_hadamard_is_rows_of_the_matrix_times_signs(shape, length):
    A = hadamard(shape=shape, ratio=0.5, seed=2)
    signs, rows = (A.spec["parameters"][name] for name in ("signs", "rows"))
    assert len(rows) == round(0.5 * math.prod(shape)) == A.out_shape[0] and len(set(rows)) == len(rows)
    assert set(np.unique(signs)) == {-1, 1}
    full = scipy.linalg.hadamard(length)[rows][:, : math.prod(shape)] / math.sqrt(length)
    np.testing.assert_allclose(dense_matrix(A).numpy(), full * signs.ravel(), atol=1e-15)
    assert A.orthonormal_rows == (length == math.prod(shape))


def test_full_hadamard_gives_the_image_back():
    x = torch.randn(2, 3, 8, 8)
    A = hadamard(shape=(8, 8), ratio=1.0)
    torch.testing.assert_close(A.adjoint(A(x)), x)


def test_random_projections_keep_the_norm_on_average():
    A = random_projection(shape=(16, 16), ratio=0.5)
    assert A.out_shape == (128,)
    entries = dense_matrix(A)
    assert entries.std().item() == pytest.approx(128**-0.5, rel=0.02)
    assert abs(entries.mean().item()) < 3 * 128**-0.5 / entries.numel() ** 0.5
    x = torch.randn(200, 16, 16, dtype=torch.float64)
    assert (A(x).square().sum() / x.square().sum()).item() == pytest.approx(1.0, rel=0.03)


@pytest.mark.parametrize("pattern", ["RGGB", "BGGR", "GRBG", "GBRG"])
def test_a_mosaic_takes_one_colour_a_pixel(pattern):
    x = torch.arange(3.0)[:, None, None].expand(3, 5, 4)
    y = mosaic(shape=(5, 4), pattern=pattern)(x)
    assert y.shape == (1, 5, 4)
    letters = [["RGB"[int(v)] for v in row] for row in y[0]]
    for i, j in np.ndindex(5, 4):
        assert letters[i][j] == pattern[2 * (i % 2) + j % 2]


def test_grey_is_that_of_scikit_image():
    x = np.random.default_rng(0).random((6, 5, 3))
    y = grey(shape=(6, 5))(torch.from_numpy(x).permute(2, 0, 1))
    np.testing.assert_allclose(y[0].numpy(), rgb2gray(x), atol=1e-12)
    mean = grey(shape=(6, 5), weights=(0.5, 0.5))
    assert mean.in_shape == (2, 6, 5) and mean.out_shape == (1, 6, 5)


@pytest.mark.parametrize("radius", [0.3, 0.5, 1.0, 2.5, 6.3])
def test_a_disc_has_the_areas_of_its_pixels(radius):
    kernel = disc_kernel(radius)
    assert kernel.sum() == pytest.approx(1.0) and kernel.shape[0] % 2 == 1
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-15)
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-15)
    fine = (np.arange(400 * kernel.shape[0]) + 0.5) / 400 - kernel.shape[0] / 2
    inside = fine[:, None] ** 2 + fine**2 < radius**2
    areas = inside.reshape(kernel.shape[0], 400, kernel.shape[0], 400).mean(axis=(1, 3))
    np.testing.assert_allclose(kernel, areas / areas.sum(), atol=2e-4)
    assert kernel[0].any() and kernel[:, 0].any(), "no empty rim"


def test_defocus_spreads_a_point_over_the_disc():
    x = torch.zeros(15, 15, dtype=torch.float64)
    x[7, 7] = 1.0
    y = OPERATORS["blur"](shape=(15, 15), defocus=3.0)(x)
    assert y[7, 7].item() == pytest.approx(1 / (9 * math.pi), rel=1e-12)
    assert y[7, 9].item() == pytest.approx(y[7, 7].item(), rel=1e-12)
    assert y[3].abs().max() < 1e-15 and y[4, 7] > 0


@pytest.mark.parametrize("call, message", [
    (lambda: hadamard(shape=(4, 4), ratio=0.0), "ratio: got 0.0"),
    (lambda: hadamard(shape=(4, 4), ratio=25), "divide a percentage by 100: ratio=0.25"),
    (lambda: hadamard(shape=(4, 4), rows=[0, 0]), "different whole numbers from 0 to 15"),
    (lambda: hadamard(shape=(4, 4), rows=[0.5]), "different whole numbers"),
    (lambda: hadamard(shape=(4, 4), rows=[16]), "different whole numbers"),
    (lambda: hadamard(shape=(4, 4), signs=np.zeros((4, 4))), "1 and -1 of shape"),
    (lambda: random_projection(shape=(256, 256)), "at most 134217728 entries; take the operator 'hadamard'"),
    (lambda: random_projection(shape=(4, 4), matrix=np.ones((16, 3))), r"matrix: got shape \(16, 3\)"),
    (lambda: mosaic(shape=(4, 4), pattern="RGB"), "pattern: got 'RGB'; expected 'RGGB' or"),
    (lambda: grey(shape=(4, 4), weights=(0.0, 0.0)), "not all zero"),
    (lambda: OPERATORS["blur"](shape=(8, 8), defocus=0.0), "defocus: got 0.0"),
    (lambda: OPERATORS["blur"](shape=(8, 8), defocus=9.0), "at most the longer side"),
    (lambda: OPERATORS["blur"](shape=(8, 8), defocus=2.0, std=1.0), "got std and defocus"),
])
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
