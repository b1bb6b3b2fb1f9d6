"""Defaults < file < environment < flags, and a record that says what was used."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def settings(recon_command, scan, tiny, tmp_path):
    """The resolved settings of a short reconstruction."""
    (tmp_path / "s.toml").write_text('steps = 2\nsamples = 3\ndevice = "cpu"\nnoise = 0.5\n')

    def call(*words):
        words = ["--prior", tiny, "-o", "out", "--overwrite", "--json", *words]
        done = recon_command("reconstruct", scan, *words)
        assert done.code == 0, done.err
        return json.loads(done.out)["settings"]

    return call


def test_a_file_replaces_defaults_and_a_flag_replaces_the_file(settings):
    found = settings("--config", "s.toml", "--samples", 2)
    assert (found["steps"], found["samples"], found["seed"], found["noise"]) == (2, 2, 0, "0.5")


def test_the_environment_stands_between_file_and_flags(settings, monkeypatch, recon_command, scan, tiny):
    monkeypatch.setenv("RECON_DEVICE", "abacus")
    done = recon_command("reconstruct", scan, "--prior", tiny, "--config", "s.toml", "-o", "x")
    assert done.code == 2 and "abacus" in done.err
    assert settings("--config", "s.toml", "--device", "cpu")["device"] == "cpu"


def test_the_record_is_complete(settings, tmp_path, scan, tiny):
    settings("--steps", 2, "--samples", 2)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert set(record) >= {
        "command", "settings", "settings_sha256", "inputs_sha256", "timings_s", "peak_memory_mb", "versions",
        "notes", "network_calls", "chi_square", "chi_square_of_samples", "outputs", "scales",
    }  # fmt: skip
    assert set(record["inputs_sha256"]) == {str(scan), str(tiny)}
    assert len(record["chi_square"]) == 1 and record["network_calls"] == 2
    assert record["scales"]["mean"] == {"low": 0.0, "high": 1.0, "unit": "[0,1]", "colours": "gray"}


def test_results_do_not_depend_on_the_batch_size(recon_command, scan, tmp_path):
    import numpy as np

    import data

    for size in (1, 3):
        words = ["--prior", "headct-64", "--steps", 3, "--samples", 3, "--batch-size", size]
        assert recon_command("reconstruct", scan, *words, "-o", f"out{size}").code == 0
    one, three = (data.read_result(tmp_path / f"out{size}/result.h5").samples for size in (1, 3))
    np.testing.assert_allclose(one, three, atol=1e-4)


def test_the_precision_of_the_network_is_recorded_and_an_unknown_one_refused(settings, refused, scan, tiny):
    assert settings("--steps", 2, "--samples", 2)["precision"] == "float32"
    assert settings("--steps", 2, "--samples", 2, "--precision", "bfloat16")["precision"] == "bfloat16"
    message = refused(2, "reconstruct", scan, "--prior", tiny, "-o", "other", "--precision", "float8")
    assert "float32 or bfloat16" in message
