"""Coil maps of a phantom whose maps are known, and what must be sampled for them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from ellipses import SHEPP_LOGAN, image

from operators import estimate_coils, low_resolution_coils, mri, sampling_mask, to_channels
from operators.coils import with_image_phase
from operators.espirit import eigen_maps, projection

SIZE, COILS = 64, 4


def true_maps():
    """Smooth sensitivities, sum of squares 1, of coils at the four sides."""
    y, x = (np.mgrid[:SIZE, :SIZE] - SIZE // 2) / (SIZE / 2)
    angle = 2 * np.pi * np.arange(COILS)[:, None, None] / COILS
    near = np.exp(-((x - 1.3 * np.cos(angle)) ** 2 + (y - 1.3 * np.sin(angle)) ** 2) / 2.5)
    maps = near * np.exp(1j * (angle + 0.8 * x * np.cos(angle) + 0.5 * y))
    return maps / np.sqrt((np.abs(maps) ** 2).sum(axis=0))


@pytest.fixture(scope="module")
def scan():
    phantom, maps = image(SHEPP_LOGAN, SIZE, 4), true_maps()
    coil_images = maps * phantom
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(coil_images, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    return phantom, maps, kspace


def agreement(found, maps, phantom):
    """Of the two sets of relative sensitivities at each pixel of the body, one phase left open: 1 if equal."""
    overlap = np.abs((found.conj() * maps).sum(axis=0))
    return overlap[phantom > 0.1] / np.linalg.norm(found, axis=0)[phantom > 0.1]


def test_low_resolution_maps_are_near_the_true_ones_and_take_the_phase(scan):
    phantom, maps, kspace = scan
    found = low_resolution_coils(kspace, 0.2)
    np.testing.assert_allclose((np.abs(found) ** 2).sum(axis=0), 1.0, rtol=1e-12)
    assert np.median(agreement(found, maps, phantom)) > 0.9995
    assert agreement(found, maps, phantom).min() > 0.9
    combined = (found.conj() * maps * phantom).sum(axis=0)
    assert np.linalg.norm(combined.imag) < 0.03 * np.linalg.norm(combined.real), "nearly real"
    assert combined.real[phantom > 0.1].min() > 0, "and not negative"


def test_a_real_image_comes_back_through_maps_that_hold_the_phase(scan):
    phantom, _, kspace = scan
    A = mri(shape=(SIZE, SIZE), acceleration=2, center_fraction=0.2, coils=low_resolution_coils(kspace, 0.2),
            image="real", kind="equispaced")
    y = to_channels(torch.from_numpy(kspace))[None, None] * A.measured
    x = A.pinv(y.float())[0, 0].numpy()
    assert np.linalg.norm(x - phantom) < 0.1 * np.linalg.norm(phantom)


def test_only_the_centre_is_looked_at(scan):
    _, _, kspace = scan
    cut = np.zeros_like(kspace)
    cut[:, 22:42, 22:42] = kspace[:, 22:42, 22:42]
    np.testing.assert_array_equal(low_resolution_coils(cut, 0.2), low_resolution_coils(kspace, 0.2))
    np.testing.assert_array_equal(low_resolution_coils(torch.from_numpy(cut), 0.2), low_resolution_coils(cut, 0.2))


@pytest.mark.parametrize("library", [False, True], ids=["own", "sigpy"])
def test_espirit_maps_are_near_the_true_ones_and_take_the_phase(library, scan, monkeypatch):
    if library:
        pytest.importorskip("sigpy.mri", reason="sigpy is optional")
    else:
        monkeypatch.setitem(sys.modules, "sigpy.mri.app", None)
    phantom, maps, kspace = scan
    found = estimate_coils(kspace, 24 / 64)
    seen = np.linalg.norm(found, axis=0) > 0
    assert seen[phantom > 0.1].mean() > 0.95
    np.testing.assert_allclose((np.abs(found) ** 2).sum(axis=0)[seen], 1.0, rtol=1e-5)
    assert np.median(agreement(found, maps, phantom * seen)) > 0.9999
    combined = (found.conj() * maps * phantom).sum(axis=0)
    assert np.linalg.norm(combined.imag) < 0.05 * np.linalg.norm(combined.real)


def test_the_transform_of_the_patches_correlations_is_the_sum_over_patches():
    rng = np.random.default_rng(0)
    V = rng.standard_normal((5, 3, 4, 4)) + 1j * rng.standard_normal((5, 3, 4, 4))
    shape = (9, 12)
    rows, columns = (np.exp(2j * np.pi * np.outer(np.arange(n) - n // 2, np.arange(4)) / n) for n in shape)
    at = np.einsum("nckl,yk,xl->nyxc", V, rows, columns)
    direct = np.einsum("nyxc,nyxd->yxcd", at, at.conj()) / 16
    np.testing.assert_allclose(projection(V, shape), direct, atol=1e-12)


def test_maps_of_few_harmonics_are_kept_by_the_projection():
    """Maps whose spectra are 3 x 3 points are found exactly, with eigenvalue 1, from k-space without noise."""
    rng = np.random.default_rng(1)
    n, coils = 32, 3
    spectra = np.zeros((coils, n, n), complex)
    spectra[:, 15:18, 15:18] = rng.standard_normal((coils, 3, 3)) + 1j * rng.standard_normal((coils, 3, 3))
    maps = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectra, axes=(1, 2)), norm="forward"), axes=(1, 2))
    image = np.zeros((n, n))
    image[8:24, 10:20] = rng.random((16, 10))
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(maps * image, axes=(1, 2))), axes=(1, 2))
    found, eigenvalue = eigen_maps(kspace, (n, n), kernel=6, threshold=1e-10)
    inside = image > 0
    assert agreement(found, maps / np.linalg.norm(maps, axis=0), inside).min() > 1 - 1e-9
    np.testing.assert_allclose(eigenvalue[inside], 1.0, atol=1e-9)
    assert eigenvalue.max() < 1 + 1e-9


def test_the_phase_of_the_image_goes_into_the_maps(scan):
    """A phase with a ripple that the calibration block is too small to show."""
    phantom, maps, _ = scan
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = phantom * np.exp(1j * (2.0 * np.sin(2 * np.pi * 3 * x) + y))
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(maps * image, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    kspace *= sampling_mask((SIZE, SIZE), 2, 0.2, kind="poisson", seed=0)
    before = low_resolution_coils(kspace, 0.12)
    after = with_image_phase(before, kspace, 0.3)
    np.testing.assert_allclose(np.abs(after), np.abs(before), atol=1e-12)

    def imaginary(S):
        combined = (S.conj() * maps * image).sum(axis=0)
        return np.linalg.norm(combined.imag) / np.linalg.norm(combined)

    assert imaginary(before) > 0.3 > 0.2 > imaginary(after)


@pytest.mark.parametrize("estimate", [estimate_coils, low_resolution_coils])
def test_refusals(estimate, scan):
    kspace = scan[2].copy()
    with pytest.raises(ValueError, match=r"kspace: got shape \(64, 64\); expected \(coils, H, W\)"):
        estimate(kspace[0], 0.2)
    with pytest.raises(ValueError, match="center_fraction: got"):
        estimate(kspace, -0.2)
    with pytest.raises(ValueError, match="center"):
        estimate(kspace, 0.001)
    kspace[:, 30, 31] = 0
    with pytest.raises(ValueError, match="got 1 of .* points without data; .*lower center_fraction"):
        estimate(kspace, 0.2)
