"""`recon evaluate --calibration`, the prior's part of a reconstruction and `--noise auto`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

import data


@pytest.fixture
def exact(tmp_path):
    """Results in a folder of results: samples and truths alike, 3 and 4 items."""
    rng = np.random.default_rng(0)
    for name, items in (("a", 3), ("b", 4)):
        draws = rng.standard_normal((6, items, 1, 16, 16)).astype(np.float32)
        truth, samples = draws[0], draws[1:]
        (tmp_path / "all" / name).mkdir(parents=True)
        attrs = {"data_range": 1.0, "truth": truth}
        mean, std = samples.mean(0), samples.std(0, ddof=1)
        data.write_result(tmp_path / "all" / name / "result.h5", mean, mean, std, samples, attrs)
    return tmp_path / "all"


def test_all_items_of_all_results_are_pooled(recon_command, exact, tmp_path):
    done = recon_command("evaluate", exact, "--calibration", "-o", "cal", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["calibration"]
    assert found == json.loads((tmp_path / "cal/calibration.json").read_text())
    assert (found["items"], found["samples"], len(found["rank_histogram"])) == (7, 5, 6)
    assert found["rank_p"] > 0.001 and found["coverage"]["0.9"]["mean"] == pytest.approx(0.9, abs=0.03)
    assert found["crps"] == pytest.approx(1 / np.sqrt(np.pi), rel=0.1) and len(found["reliability"]) == 10
    assert data.read_image(tmp_path / "cal/calibration.png", to_gray=True).values.shape[1] > 500
    lines = recon_command("evaluate", exact, "--calibration").out
    assert "calibration over 7 items, 5 samples each" in lines and "no sign against uniform ranks" in lines


def test_one_item_is_not_tested_and_classical_results_are_refused(recon_command, scan, tiny):
    recon_command("reconstruct", scan, "--prior", tiny, "--samples", 4, "--steps", 2, "-o", "out")
    assert "no test of the ranks" in recon_command("evaluate", "out", "--calibration").out
    recon_command("reconstruct", scan, "--method", "fbp", "-o", "fbp")
    done = recon_command("evaluate", "fbp", "--calibration")
    assert done.code == 2 and "samples" in done.err
    assert recon_command("evaluate", "out", "-o", "x").code == 2


def test_what_the_prior_supplied_is_stored_drawn_and_said(recon_command, picture, tiny, tmp_path):
    words = ["--operator", "inpaint", "--box", "2,3,6,7", "--noise", 1e-4]
    recon_command("simulate", picture, *words, "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--samples", 3, "--steps", 2, "-o", "out", "--json")
    record, result = json.loads(done.out), data.read_result(tmp_path / "out/result.h5")
    hidden = np.zeros((16, 16), bool)
    hidden[2:8, 3:10] = True
    np.testing.assert_allclose(result.null_std[..., hidden], result.std[..., hidden], rtol=1e-4)
    assert result.null_std[..., ~hidden].max() < 1e-3 * result.std.max()
    centred = result.samples - result.samples.mean()
    share = (centred[..., hidden] ** 2).sum() / (centred**2).sum()
    assert record["supplied_by_the_prior"]["of_the_image"] == [pytest.approx(share, rel=1e-3)]
    assert record["scales"]["null_std"] == record["scales"]["std"] and (tmp_path / "out/null_std.png").is_file()
    assert "supplied by the prior" in (tmp_path / "out/report.html").read_text()


def test_a_nonlinear_operator_is_not_split_and_says_why(recon_command, picture, tiny, tmp_path):
    recon_command("simulate", picture, "--operator", "clip", "--noise", 0.02, "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--prior", tiny, "--samples", 2, "--steps", 2, "-o", "out", "--json")
    assert done.code == 0, done.err
    assert "not linear" in json.loads(done.out)["supplied_by_the_prior"]["not_split"]
    assert data.read_result(tmp_path / "out/result.h5").null_std is None
    assert not (tmp_path / "out/null_std.png").exists()


def test_noise_is_estimated_on_request_and_said_to_be(recon_command, tmp_path):
    x = 0.5 + 0.2 * np.hypot(*np.mgrid[-1:1:64j, -1:1:64j])[None]
    data.write_image(tmp_path / "p.png", x + 0.05 * np.random.default_rng(0).standard_normal(x.shape), 0, 1)
    words = ["--operator", "inpaint", "--keep", 0.7, "--method", "tv", "--json"]
    done = recon_command("reconstruct", "p.png", *words, "--noise", "auto", "-o", "a")
    level, known = json.loads(done.out)["noise"].split()
    assert known == "(estimated)" and float(level) == pytest.approx(0.05, rel=0.15)
    assert "estimated from the data" in done.err
    recon_command("simulate", "p.png", "--operator", "ct", "--angles", 20, "--noise", 0.9, "-o", "m.h5")
    done = recon_command("reconstruct", "m.h5", "--method", "fbp", "--noise", "auto", "-o", "b", "--json")
    assert float(json.loads(done.out)["noise"].split()[0]) == pytest.approx(0.9, rel=0.15)
    recon_command("simulate", "p.png", "--operator", "clip", "-o", "c.h5")
    done = recon_command("reconstruct", "c.h5", "--method", "tv", "--noise", "auto", "-o", "d")
    assert done.code == 2 and "state it" in done.err
