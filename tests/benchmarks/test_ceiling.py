"""The supervised ceiling: its linear start, its network's start, and that its training resumes."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import torch

import operators
import recon
from recon.networks import UNet
from recon.prior import ScorePrior, Units
from recon.sde import VP
from tests.benchmarks import ceiling
from tests.benchmarks.table import read_rows

SIZE = (16, 16)


@pytest.fixture
def prior():
    torch.manual_seed(0)
    network = UNet(1, (8, 8), attention=(), unshuffle=2, embedding=16)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return ScorePrior(network, (1, *SIZE), VP(), 0.5, Units(0.5, 0.5, "[0,1]")).eval().requires_grad_(False)


def drawn(count, seed=0):
    return torch.rand(count, 1, *SIZE, generator=torch.Generator().manual_seed(seed))


def test_the_covariance_is_the_mean_over_all_shifts():
    x = drawn(3)[..., :5, :4]
    apart = x.double() - x.double().mean()
    shifted = torch.stack([apart.roll((i, j), (-2, -1)) for i in range(5) for j in range(4)]).reshape(-1, 20)
    torch.testing.assert_close(ceiling.stationary_covariance(x), shifted.T @ shifted / len(shifted), rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", ceiling.TASKS)
def test_the_start_is_bayes_rule_for_gaussian_images(task):
    """E[x | y] = mu + (C^-1 + A^T A / s^2)^-1 A^T (y - A mu) / s^2."""
    A = ceiling.images.operator_of(task, SIZE)
    x, sigma, matrix = drawn(40), 0.3, operators.dense_matrix(A)
    y = A(drawn(2, seed=1))
    mu = x.double().mean().expand(256)
    precision = torch.linalg.inv(ceiling.stationary_covariance(x)) + matrix.T @ matrix / sigma**2
    residual = y.double().flatten(1) - matrix @ mu
    expected = mu + residual @ matrix @ torch.linalg.inv(precision) / sigma**2
    found = ceiling.wiener(A, sigma, x)(y)
    torch.testing.assert_close(found.double(), expected.reshape(found.shape), rtol=0, atol=1e-5)


def test_the_network_starts_as_the_denoiser_and_learns_from_what_is_beside(prior):
    model, start = ceiling.Supervised(prior, 0.3), drawn(2)
    expected = prior.to_value(prior.denoise(prior.from_value(start), 0.3))
    torch.testing.assert_close(model(start, drawn(2, seed=1)), expected, rtol=0, atol=1e-6)
    model(start, drawn(2, seed=1)).square().mean().backward()
    assert float(model.prior.network.stem.weight.grad[:, 4:].abs().max()) > 0
    assert prior.network.stem.weight.grad is None


def test_training_goes_on_where_it_was_stopped(prior, tmp_path, monkeypatch, capsys):
    data, output = tmp_path / "slices.h5", tmp_path / "ceiling.jsonl"
    with h5py.File(data, "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 255, (80, *SIZE)).astype(np.uint8)
        file["subset"] = np.arange(80) % 2
    monkeypatch.setattr(recon, "load_prior", lambda name: prior)
    clock = iter(range(1000))
    monkeypatch.setattr(ceiling.time, "process_time", lambda: next(clock))  # a step takes a second

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ceiling", *arguments])
        ceiling.main()

    def stopped(*arguments):
        kept(*arguments)
        raise KeyboardInterrupt

    kept, command = ceiling.save, ("--data", str(data), "--minutes", "0.1", "--tasks", "inpaint", "-o", str(output))
    monkeypatch.setattr(ceiling, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(*command)
    monkeypatch.setattr(ceiling, "save", kept)
    for _ in range(2):  # the second time nothing is left to do
        run(*command)
    rows = read_rows(output)
    assert [row["seconds"] for row in rows] == [0, 1, 2, 3, 4, 5, 6]
    assert [row["images"] for row in rows] == [16 * k for k in range(7)]
    assert rows[-1]["psnr"] != rows[0]["psnr"] and len({row["psnr_start"] for row in rows}) == 1
    capsys.readouterr()
    run("--table", str(output))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| task | linear estimate | 0 s |") and lines[2].endswith(f" {rows[-1]['psnr']:.2f} |")


def test_a_sampler_stands_beside_the_network():
    rows = [{"task": "ct", "seconds": s, "psnr": p} for s, p in ((0, 25.0), (9, 30.0), (5, 29.0))]
    board = [{"task": task, "method": method, "calls": 20, "samples": 1, "psnr": 27.0}
             for task in ("ct", "blur") for method in ("spectral", "dps")]  # fmt: skip
    lines = ceiling.beside(rows, board, "spectral").splitlines()
    assert lines[2:] == ["| ct | 30.00 | 20 | 1 | 27.00 | 30.01 | 3.00 |"]  # one draw: twice the squared error
    assert ceiling.of_more_draws(0.0, 4) == pytest.approx(0.9691, abs=1e-4)
