"""The board runs, resumes after a kill, and scores what it says; on two slices, with an exact prior."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
import torch

import recon
from tests.benchmarks import deepinv_samplers, images
from tests.benchmarks.table import read_rows, table


@pytest.fixture
def board(tmp_path, monkeypatch):
    """The command over a file of smooth random slices, with a Gaussian prior in place of a trained one."""
    spots = np.random.default_rng(0).integers(40, 215, (20, 8, 8)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    data = tmp_path / "slices.h5"
    with h5py.File(data, "w") as file:
        file["images"], file["subset"] = spots, np.arange(20) % 2
    prior = recon.GaussianPrior(torch.full((1, 64, 64), 0.5), torch.full((1, 64, 64), 0.04))
    monkeypatch.setattr(recon, "load_prior", lambda name: prior)
    output = tmp_path / "board.jsonl"

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["images", *arguments])
        images.main()

    def measure(methods, tasks="inpaint,downsample"):
        run("--data", str(data), "-o", str(output), "--items", "2", "--samples", "2", "--steps", "3",
            "--methods", methods, "--tasks", tasks)
        return output.read_text()

    run.measure, run.output = measure, output
    return run


def test_rows_are_measured_once_and_a_torn_one_again(board, capsys):
    text = board.measure("pinv,fbp,repaint,pigdm")
    rows = read_rows(board.output)
    cells = [f"{row['method']} {row['task']}" for row in rows]
    # repaint is for masks, filtered backprojection for CT
    assert cells == ["pinv inpaint", "pinv downsample", "repaint inpaint", "pigdm inpaint", "pigdm downsample"]
    assert board.measure("pinv,fbp,repaint,pigdm") == text
    board.output.write_text(text[:-40])
    again = [json.loads(line) for line in board.measure("pinv,fbp,repaint,pigdm").splitlines()]
    for row, repeated in zip(rows, again, strict=True):
        assert {**row, "seconds": 0} == {**repeated, "seconds": 0}
    capsys.readouterr()
    board("--table", str(board.output))
    printed = capsys.readouterr().out
    assert printed == table(again) + "\n" and "**downsample** (2 slices)" in printed
    board("--summary", str(board.output))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| method | calls | samples | inpaint | downsample |" and len(lines) == 5
    [pigdm] = [line.split(" | ") for line in lines if line.startswith("| `pigdm` | 3 | 2 |")]
    row = again[-1]
    assert pigdm[4] == f"{row['psnr']:.2f} / {row['psnr_one']:.2f} / {row['coverage']:.2f} |"


def test_scores_are_those_of_the_images(board):
    board.measure("pinv", "downsample")
    [row] = read_rows(board.output)
    # slices of 8 x 8 blocks survive the means of 4 x 4 blocks: what is left is the noise, times 4 pixels a side
    assert row["psnr"] == pytest.approx(40, abs=0.3) and row["chi_square"] == 0


def test_a_sampler_that_diverges_is_a_row_too(board, monkeypatch):
    def diverge(*arguments, **options):
        raise FloatingPointError("got inf at step 2")

    monkeypatch.setattr(recon, "reconstruct", diverge)
    board.measure("pigdm", "inpaint")
    [row] = read_rows(board.output)
    assert row["failed"] == "diverged" and "step 2" in row["message"]
    assert "pigdm, diverged" in table([row])


def test_baselines_are_tuned_on_training_slices_only(board, monkeypatch):
    asked = []

    def spy(path, subset, count):
        asked.append((subset, count))
        return torch.full((2, 1, 64, 64), 0.5)

    monkeypatch.setattr(images, "slices", spy)
    assert images.tuned("ct", "fbp", "file") in images.GRIDS["fbp"]
    assert asked == [(0, images.TUNED_ON)]


def test_other_values_are_divided_by_their_volumes_percentile(tmp_path):
    stack = np.random.default_rng(0).integers(0, 3000, (7, 16, 16)).astype(np.uint16)
    largest = np.linspace(2000, 2600, 7)
    with h5py.File(tmp_path / "scans.h5", "w") as file:
        file["images"], file["volume_p999"], file["subset"] = stack, largest, np.array([0, 1, 1, 0, 1, 1, 1])
    found = images.slices(tmp_path / "scans.h5", 1, 3)
    expected = np.minimum(stack[[1, 4, 6]] / largest[[1, 4, 6], None, None], 1)
    np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-6)
    assert images.slices(tmp_path / "scans.h5", 0).shape == (2, 1, 16, 16)


def test_kspace_noise_is_that_of_the_pixels():
    m = images.measure("mri", torch.zeros(4, 1, 64, 64), seed=0)
    sampled = m.operator.measured.expand(m.y.shape)
    assert float(sampled.double().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(m.y[sampled].std()) == pytest.approx(0.01, rel=0.03)


def test_samplers_of_a_peer_are_scored_as_ours_are(board, monkeypatch):
    def drawn(method, task, m, prior, calls, samples, seed):
        assert (method, task, calls, samples) == ("DDRM", "inpaint", 3, 2)
        return torch.stack([m.y, m.y + 0.01]), {"nfe": calls, "backpropagations": 0}

    monkeypatch.setattr(deepinv_samplers, "drawn", drawn)
    board.measure("pinv,deepinv DDRM")  # which has no singular vectors of down-sampling
    rows = {(row["method"], row["task"]): row for row in read_rows(board.output)}
    assert list(rows) == [("pinv", "inpaint"), ("pinv", "downsample"), ("deepinv DDRM", "inpaint")]
    pinv, _, peer = rows.values()
    assert peer["psnr_one"] == pinv["psnr"] and peer["calls"] == 3


@pytest.mark.skipif(find_spec("deepinv") is None, reason="deepinv is optional")
@pytest.mark.parametrize("task", ["inpaint", "ct"])
def test_a_peer_restores_with_a_prior_of_ours(task):
    prior = recon.GaussianPrior(torch.full((1, 16, 16), 0.5), torch.full((1, 16, 16), 0.04))
    x = prior.to_value(prior.sample(torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))))
    m = images.measure(task, x, seed=0)
    samples, cost = deepinv_samplers.drawn("PiGDM", task, m, prior, 20, 3, seed=0)
    assert samples.shape == (3, 2, 1, 16, 16) and cost == {"nfe": 20, "backpropagations": 19}
    error, apart = (float((m.operator(image - x)).square().mean()) for image in (samples.mean(0).float(), 0.5))
    assert error < 0.05 * apart
