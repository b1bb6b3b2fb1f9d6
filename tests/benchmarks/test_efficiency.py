"""The board of efficiency takes the network's time, forwards and backwards, and nothing else."""

from __future__ import annotations

import time

import pytest
import torch

import recon
from tests.benchmarks import efficiency

WORK = 0.004


class Slow(torch.autograd.Function):
    """The identity, which takes so much time each way."""

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        busy()
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        busy()
        return gradient


def busy() -> None:
    until = time.process_time() + WORK
    while time.process_time() < until:
        pass


class SlowPrior(recon.GaussianPrior):
    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return super().denoise(Slow.apply(x), sigma)


@pytest.mark.parametrize(("method", "each"), [("diffpir", 1), ("pigdm", 2)])
def test_network_time_is_forward_and_backward(method, each):
    prior = SlowPrior(torch.zeros(1, 8, 8), torch.ones(8, 8))
    m = efficiency.measured("inpaint", prior, 2)
    row = efficiency.timed(method, m, prior, 5, 2)
    assert row["nfe"] == 5 and row["ratio"] == row["total"] / row["network"] > 1
    assert 5 * each * WORK <= row["network"] < 7.5 * each * WORK
    assert "denoise" not in prior.__dict__


def test_images_of_another_size_have_columns_of_their_own():
    rows = [{"method": "dps", "task": "ct", "size": size, "ratio": ratio} for size, ratio in ((64, 1.04), (128, 1.02))]
    header, _, line = efficiency.table(rows).splitlines()
    assert header == "| method | ct, 64 px | ct, 128 px |" and line == "| `dps` | 1.04 | 1.02 |"
    with pytest.raises(ValueError, match="expected"):
        efficiency.measured("blur", recon.load_prior("headct-64"), 1, 100)
    assert efficiency.measured("blur", recon.load_prior("headct-64"), 1, 32).y.shape == (1, 1, 32, 32)
