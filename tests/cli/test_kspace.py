"""Measured k-space: axes, coil maps, noise and scale, from a file to an image."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch

import data
import data.kspace
from cli.kspace import phased
from operators import Gaussian, sampling_mask, to_channels
from operators.calibration import brightness, calibration_fraction, outer_covariance, outer_noise
from operators.coils import with_image_phase

SIZE, SIGMA, GAIN = 48, 0.02, 7.0


def phantom() -> np.ndarray:
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    return np.where(rows**2 + (1.4 * columns) ** 2 < 0.7, 0.6, 0.0) + np.where(
        (rows - 0.2) ** 2 + columns**2 < 0.05, 0.4, 0
    )


def coil_maps(coils: int) -> np.ndarray:
    """Smooth complex sensitivities, the sum of whose squares is 1."""
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([np.exp(-0.3 * ((rows - np.sin(a)) ** 2 + (columns - np.cos(a)) ** 2) + 1j * a) for a in angles])
    return maps / np.sqrt((np.abs(maps) ** 2).sum(0))


def coil_images(coils: int) -> np.ndarray:
    return phantom() * coil_maps(coils)


def fourier(images: np.ndarray) -> np.ndarray:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes=axes), norm="ortho"), axes=axes)


@pytest.fixture
def kspace(tmp_path):
    """A file of four coils, half of the lines, in arbitrary units."""
    rng = np.random.default_rng(0)
    mask = sampling_mask((SIZE, SIZE), 2, 0.25, seed=0)
    noise = SIGMA * (rng.standard_normal((4, SIZE, SIZE)) + 1j * rng.standard_normal((4, SIZE, SIZE)))
    values = GAIN * mask * (fourier(coil_images(4)) + noise)
    with h5py.File(tmp_path / "kspace.h5", "w") as file:
        file["kspace"], file["mask"] = values.astype(np.complex64), mask
    return tmp_path / "kspace.h5"


def test_what_k_space_says_of_itself(kspace):
    found = data.kspace.read_kspace(kspace, "coil,row,column")
    assert found.kspace.shape == (1, 4, SIZE, SIZE) and found.coils is None
    assert calibration_fraction(found.mask) == pytest.approx(0.25, abs=0.05)
    assert outer_noise(found.kspace[0], found.mask) == pytest.approx(GAIN * SIGMA, rel=0.15)
    assert brightness(GAIN * fourier(coil_images(4)), np.ones((SIZE, SIZE))) == pytest.approx(GAIN, rel=0.01)


def test_k_space_becomes_an_image(kspace, recon_command, tmp_path):
    done = recon_command("reconstruct", kspace, "--axes", "coil,row,column", "--method", "tv", "-o", "out", "--json")
    assert done.code == 0, done.err
    settings = json.loads(done.out)["settings"]
    assert settings["scale"] == pytest.approx(1 / GAIN, rel=0.15)
    assert settings["noise_level"] == pytest.approx(SIGMA, rel=0.3) and "coil maps are estimated" in done.err
    image = data.read_result(tmp_path / "out/result.h5").mean[0, 0]
    truth = phantom() * settings["scale"] * GAIN
    assert np.sqrt(((image - truth) ** 2).mean()) < 0.06
    again = ["--scale", 0.1, "--noise", 0.2, "--method", "pinv", "-o", "again"]
    done = recon_command("reconstruct", kspace, "--axes", "coil,row,column", *again, "--json")
    assert done.code == 0 and json.loads(done.out)["settings"]["noise_level"] == pytest.approx(0.02)


def test_the_noise_of_each_coil_and_between_coils_is_found(kspace, recon_command, tmp_path):
    rng = np.random.default_rng(1)
    factor = np.array([[1.0, 0, 0, 0], [0.5, 1.2, 0, 0], [0, 0.3, 0.8, 0], [0.2j, 0, 0.2, 6.0]])
    white = SIGMA * (rng.standard_normal((4, SIZE, SIZE)) + 1j * rng.standard_normal((4, SIZE, SIZE)))
    noise = np.tensordot(factor, white, axes=1)
    everywhere = np.ones((SIZE, SIZE))
    found = outer_covariance(noise, everywhere) / (2 * SIGMA**2)
    true = factor @ factor.conj().T
    sizes = np.sqrt(np.outer(np.diag(true), np.diag(true)).real)
    np.testing.assert_allclose(found / sizes, true / sizes, atol=4 / np.sqrt(0.05 * SIZE**2))
    few = outer_covariance(noise[:, :9, :9], np.ones((9, 9)))
    assert few is None and outer_covariance(noise[:1], everywhere) is None
    with h5py.File(kspace, "r+") as file:
        del file["kspace"], file["mask"]
        file["kspace"] = (GAIN * (fourier(coil_images(4)) + noise)).astype(np.complex64)
        file["sens"] = coil_maps(4)
    words = ["reconstruct", kspace, "--axes", "coil,row,column", "--method", "tv", "--json"]
    own = recon_command(*words, "-o", "own")
    assert own.code == 0 and "between coils" in own.err, own.err
    level = GAIN * SIGMA * np.sqrt(np.trace(true).real / 4)
    alike = recon_command(*words, "--noise", level, "-o", "alike")
    errors = []
    for name, done in (("own", own), ("alike", alike)):
        truth = phantom() * json.loads(done.out)["settings"]["scale"] * GAIN
        errors.append(np.sqrt(((data.read_result(tmp_path / name / "result.h5").mean[0, 0] - truth) ** 2).mean()))
    assert errors[0] < 0.9 * errors[1]


def test_fastmri_slices_and_stored_maps(kspace, recon_command, tmp_path):
    with h5py.File(kspace, "r+") as file:
        values, maps = file["kspace"][()], np.ones((4, SIZE, SIZE)) / 2
        del file["kspace"]
        file["kspace"], file["sens"] = np.stack([values, values]), maps.astype(np.complex64)
    done = recon_command("reconstruct", kspace, "--method", "pinv", "-o", "out")
    assert done.code == 2 and "--items" in done.err
    done = recon_command("reconstruct", kspace, "--method", "pinv", "--items", 1, "-o", "out")
    assert done.code == 0 and "estimated from" not in done.err, done.err


@pytest.mark.parametrize(
    ("change", "words", "code", "said"),
    [
        ({}, [], 3, "--axes coil,row,column"),
        ({}, ["--axes", "column,row,coil"], 3, "coil,row,column"),
        ({"kspace": np.ones((4, 8, 8))}, ["--axes", "coil,row,column"], 3, "complex"),
        ({"kspace": np.full((4, SIZE, SIZE), np.nan + 0j)}, ["--axes", "coil,row,column"], 3, "NaN"),
        ({"mask": np.ones((8, 9))}, ["--axes", "coil,row,column"], 3, "(8, 9)"),
        ({"sens": np.ones((3, SIZE, SIZE))}, ["--axes", "coil,row,column"], 3, "coil maps"),
        ({}, ["--axes", "coil,row,column", "--scale", "large"], 2, "--scale auto"),
    ],
)
def test_k_space_that_cannot_be_read(change, words, code, said, kspace, recon_command):
    with h5py.File(kspace, "r+") as file:
        for name, value in change.items():
            if name in file:
                del file[name]
            file[name] = value
    done = recon_command("reconstruct", kspace, *words, "--method", "pinv", "-o", "out")
    assert done.code == code and said in done.err, done.err


def test_flags_of_k_space_with_another_file(recon_command, scan):
    done = recon_command("reconstruct", scan, "--scale", "auto", "--method", "pinv", "-o", "out")
    assert done.code == 2 and "--scale" in done.err


def test_info_describes_measured_k_space(kspace, recon_command):
    found = recon_command("info", kspace)
    assert found.code == 0 and f"4 x {SIZE} x {SIZE}, complex64" in found.out, found.err
    assert "--axes coil,row,column or slice,row,column" in found.out and "mask         stored" in found.out


def test_the_phase_of_every_pixel_is_found():
    """Steep, as beside air: the blurred image of the samples alone misses it."""
    rng = np.random.default_rng(2)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    phase, inside = 2.0 * np.sin(9 * rows) * np.cos(7 * columns), phantom() > 0
    mask, maps = sampling_mask((SIZE, SIZE), 2, 0.25, kind="poisson", seed=0), coil_maps(4)
    noise = SIGMA * (rng.standard_normal((4, SIZE, SIZE)) + 1j * rng.standard_normal((4, SIZE, SIZE)))
    samples = mask * (fourier(maps * phantom() * np.exp(1j * phase)) + noise)
    blurred = with_image_phase(maps, samples)
    y = to_channels(torch.from_numpy(samples.astype(np.complex64)))[None, None]
    found = phased(blurred, y, mask, Gaussian(SIGMA), 1.0)
    agree = {}
    for name, some in (("before", blurred), ("after", found)):
        agree[name] = ((some / maps).mean(0) * np.exp(-1j * phase)).real[inside].mean()
    np.testing.assert_allclose(np.abs(found), np.abs(maps), rtol=1e-6)
    assert agree["before"] < 0.9 and agree["after"] > 0.99
