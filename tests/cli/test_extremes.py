"""Numbers that are finite, yet nothing can be computed with them in single precision."""

from __future__ import annotations

import numpy as np
import pytest

SIMULATED = [
    ["identity", "--noise", "1e38"],
    ["identity", "--noise", "1e300"],
    ["identity", "--noise", "1e-30"],
    ["identity", "--noise", "1e30%"],
    ["identity", "--noise-model", "laplace", "--noise", "1e300"],
    ["identity", "--noise-model", "rician", "--noise", "1e300"],
    ["identity", "--noise-model", "poisson", "--photons", "1e300"],
    ["identity", "--noise-model", "poisson", "--photons", "1e-300"],
    ["ct", "--angles", 9, "--noise-model", "transmission", "--photons", "1e300"],
    ["ct", "--angles", 9, "--noise-model", "transmission", "--photons", 9, "--set", "electronic=1e300"],
    ["ct", "--angles", 9, "--set", "spacing_mm=1e-300"],
    ["ct", "--angles", 9, "--detectors", 10**9],
    ["clip", "--set", "high=1e300"],
]


@pytest.mark.parametrize("words", SIMULATED)
def test_simulate_refuses_them(words, refused, picture):
    refused(2, "simulate", picture, "--operator", *words, "-o", "m.h5")


def test_data_beyond_single_precision_are_refused(refused, tmp_path):
    np.save(tmp_path / "bright.npy", np.full((16, 16), 1e38, np.float32))
    refused(3, "simulate", "bright.npy", "--operator", "ct", "--angles", 9, "-o", "m.h5")


@pytest.mark.parametrize(
    "words",
    [["--noise", "1e38"], ["--noise", "1e-30"], ["--steps", 10**9], ["--label-weight", "1e300"], ["--noise", "1e18"]],
)
def test_reconstruct_refuses_them(words, refused, scan, tiny):
    refused(2, "reconstruct", scan, "--prior", tiny, "--samples", 2, *words, "-o", "out")


def test_a_total_variation_of_endless_noise_is_refused(refused, scan):
    assert "1e+18" in refused(2, "reconstruct", scan, "--method", "tv", "--noise", "1e300", "-o", "out")
