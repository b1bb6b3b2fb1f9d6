"""Numbers that are finite, yet nothing can be computed with them in single precision."""

from __future__ import annotations

import json

import numpy as np
import pytest

import data
from cli.run_record import document

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


def strict(text: str) -> dict:
    """JSON as its standard has it: without infinity."""

    def refuse(word: str) -> None:
        raise ValueError(f"got {word}; expected JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_record_is_json_and_says_what_it_had_to_leave_out():
    found = strict(document({"chi_square": [1.5, float("inf")], "scores": {"psnr": float("nan")}, "calls": 3}))
    assert found["chi_square"] == [1.5, None] and found["scores"] == {"psnr": None} and found["calls"] == 3
    assert found["not_finite"] == {"chi_square/1": "inf", "scores/psnr": "nan"}
    assert strict(document({"calls": 3})) == {"calls": 3}


def test_a_result_that_is_the_truth_is_scored_in_json(recon_command, scan, tmp_path):
    assert recon_command("reconstruct", scan, "--method", "fbp", "-o", "out").code == 0
    np.save(tmp_path / "truth.npy", data.read_result(tmp_path / "out/result.h5").reconstruction)
    done = recon_command("evaluate", "out", "--truth", "truth.npy", "--json")
    assert done.code == 0 and strict(done.out)["mean"]["psnr"] is None, done.err
    assert strict(done.out)["not_finite"]["mean/psnr"] == "inf"
