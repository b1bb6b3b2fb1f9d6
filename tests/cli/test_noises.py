"""Noise models from the command line: simulated, stored, reconstructed by the methods that take them."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch

import data
from cli.measure import from_file
from cli.run_record import Run

POISSON = ["--noise-model", "poisson", "--photons", 200, "--set", "background=2"]
PHOTONS = ["--noise-model", "transmission", "--photons", 1e4]
CT = ["--operator", "ct", "--angles", 9, "--set", "spacing_mm=0.2"]
CASES = {
    "poisson": (["--operator", "blur", "--std", 1, *POISSON], {"gain": 200.0, "background": 2.0}),
    "transmission": ([*CT, *PHOTONS, "--set", "electronic=3"], {"I0": 1e4, "electronic": 3.0}),
    "rician": (["--operator", "identity", "--noise-model", "rician", "--noise", 0.05], {"sigma": 0.05}),
    "laplace": (["--operator", "inpaint", "--keep", 0.5, "--noise-model", "laplace", "--noise", 0.05], {"scale": 0.05}),
    "clip": (["--operator", "clip", "--set", "gain=1.5"], None),
    "quantise": (["--operator", "quantise", "--set", "bits=3"], None),
    "phase_retrieval": (["--operator", "phase_retrieval", "--set", "patterns=2"], None),
}


@pytest.mark.parametrize("case", CASES)
def test_simulate_and_reconstruct(case, recon_command, picture, tiny, tmp_path):
    words, levels = CASES[case]
    assert (done := recon_command("simulate", picture, *words, "-o", "m.h5")).code == 0, done.err
    stored = data.read_measurement(tmp_path / "m.h5")
    assert levels is None or stored.noise == {"model": case, **levels}
    assert recon_command("info", "m.h5").code == 0
    for method in ([], ["--method", "dps"]):
        words = ["--prior", tiny, "--steps", 3, "--samples", 2, *method, "--overwrite", "-o", "out", "--json"]
        done = recon_command("reconstruct", "m.h5", *words)
        assert done.code == 0, done.err
        record = json.loads(done.out)
        assert np.isfinite(record["chi_square"][0]) and (levels is None or record["noise"].startswith(case))
    assert recon_command("evaluate", "out").code == 0


@pytest.mark.parametrize("case", ["poisson", "clip"])
def test_methods_that_cannot_say_which_can(case, recon_command, picture, tiny, tmp_path):
    recon_command("simulate", picture, *CASES[case][0], "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--method", "ddnm", "--steps", 2, "-o", "out")
    assert done.code == 2 and "spectral, pigdm, moment, dps" in done.err and not (tmp_path / "out").exists()
    assert recon_command("reconstruct", "m.h5", "--method", "tv", "-o", "out").code == 2


@pytest.mark.parametrize("method", ["diffpir", "tv", "fbp"])
def test_photon_counts_become_line_integrals_for_methods_of_gaussian_noise(method, recon_command, picture, tiny):
    recon_command("simulate", picture, *CT, *PHOTONS, "-o", "m.h5")
    prior = [] if method in ("tv", "fbp") else ["--prior", tiny, "--steps", 2, "--samples", 2]
    done = recon_command("reconstruct", "m.h5", "--method", method, *prior, "-o", "out")
    assert done.code == 0 and "log(I0 / y)" in done.err, done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--noise-model", "poison", "--photons", 9], "did you mean poisson?"),
        (["--noise-model", "poisson"], "--photons 1e4"),
        (["--noise-model", "poisson", "--photons", 0], "above zero"),
        (["--photons", 100], "--noise-model poisson"),
        (["--noise-model", "poisson", "--photons", 9, "--noise", "1%"], "--noise"),
        (["--noise-model", "rician", "--noise", 0], "above zero"),
        (["--noise-model", "gaussian", "--set", "background=2"], "background"),
    ],
)
def test_noise_that_is_none(words, said, recon_command, picture, tmp_path):
    done = recon_command("simulate", picture, "--operator", "identity", *words, "-o", "m.h5")
    assert done.code == 2 and said in done.err and not (tmp_path / "m.h5").exists()


def test_counts_have_no_level_to_replace(recon_command, picture, tiny):
    recon_command("simulate", picture, *CASES["poisson"][0], "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--noise", 0.1, "-o", "out")
    assert done.code == 2 and "leave out --noise" in done.err


def test_correlated_noise_is_stored_with_its_covariance_and_rebuilt(recon_command, picture, tiny, tmp_path):
    detector = np.arange(24)
    covariance = 1e-4 * 0.8 ** np.abs(detector[:, None] - detector)
    np.save(tmp_path / "factor.npy", np.linalg.cholesky(covariance))
    words = [*CT, "--noise-model", "correlated", "--set", "factor=factor.npy", "--set", "axes=-1"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (done := recon_command("simulate", picture, *words, "-o", "m.h5")).code == 0, done.err
    stored = data.read_measurement(tmp_path / "m.h5").noise
    np.testing.assert_allclose(stored["factor"] @ stored["factor"].T, covariance, atol=1e-18)
    assert stored["model"] == "correlated" and stored["axes"].tolist() == [-1]
    assert "correlated" in recon_command("info", "m.h5").out
    task = from_file(tmp_path / "m.h5", None, None, Run("test", {}))
    residual = task.measurement.residual(torch.from_numpy(task.truth))[0, 0].double().numpy()
    white = np.linalg.solve(stored["factor"], residual.T)
    lag = (white[1:] * white[:-1]).mean() / (white**2).mean()
    assert abs((white**2).mean() - 1) < 0.3 and abs(lag) < 0.3, "white in the factor's units"
    assert (residual[:, 1:] * residual[:, :-1]).mean() / (residual**2).mean() > 0.5, "and correlated in its own"
    for method in ([], ["--method", "ddnm"]):
        sampled = ["--prior", tiny, "--steps", 2, "--samples", 2, *method, "--overwrite", "-o", "out", "--json"]
        assert (done := recon_command("reconstruct", "m.h5", *sampled)).code == 0, done.err
        record = json.loads(done.out)
        assert record["noise"].startswith("correlated") and np.isfinite(record["chi_square"][0])
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--noise", 0.1, "-o", "other")
    assert done.code == 2 and "in its factor" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--set factor=L.npy"),
        (["--set", "factor=3"], "a file of an array"),
        (["--set", "factor=square.npy"], "lower triangular"),
        (["--set", "factor=square.npy", "--noise", 0.1], "in its factor"),
    ],
)
def test_correlated_noise_that_is_none(words, said, recon_command, picture, tmp_path):
    np.save(tmp_path / "square.npy", np.ones((16, 16)))
    words = ["--operator", "identity", "--noise-model", "correlated", *words]
    done = recon_command("simulate", picture, *words, "-o", "m.h5")
    assert done.code == 2 and said in done.err and not (tmp_path / "m.h5").exists(), done.err


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 16, 16), (16, 16), ()])
def test_levels_of_items_without_a_channel_axis(shape, tmp_path):
    y = np.random.default_rng(0).random((3, 16, 16), np.float32)
    level = np.broadcast_to(np.array([0.1, 0.2, 0.3])[:, None, None] if len(shape) == 3 else np.float64(0.1), shape)
    operator = {"name": "identity", "parameters": {"shape": [16, 16]}}
    data.write_measurement(tmp_path / "m.h5", y, operator, {"model": "gaussian", "sigma": np.array(level)})
    for items in (None, "1:3"):
        m = from_file(tmp_path / "m.h5", None, items, Run("test", {})).measurement
        first = 0.2 if items and len(shape) == 3 else 0.1
        clean = m.y - first * torch.ones_like(m.y)
        assert float(m.chi_square(clean)[0]) == pytest.approx(1, abs=1e-5), "a residual of one deviation"


@pytest.mark.parametrize("acceleration", [1, 2])
def test_a_share_means_about_the_same_of_an_image_and_of_its_k_space(acceleration, recon_command, picture, tmp_path):
    words = ["--operator", "mri", "--set", f"acceleration={acceleration}", "--set", "center_fraction=0.25"]
    assert (done := recon_command("simulate", picture, *words, "--noise", "2%", "-o", "m.h5")).code == 0, done.err
    stored, run = data.read_measurement(tmp_path / "m.h5").noise["sigma"], Run("test", {})
    assert from_file(tmp_path / "m.h5", "2%", None, run).measurement.sigma == pytest.approx(stored, rel=0.3)
