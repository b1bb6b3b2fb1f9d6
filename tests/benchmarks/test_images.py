"""The board runs, resumes after a kill, and scores what it says; on two slices, with an exact prior."""

from __future__ import annotations

import json
import sys

import h5py
import numpy as np
import pytest
import torch

import recon
from tests.benchmarks import images
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
