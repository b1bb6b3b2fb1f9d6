"""The board of the Gaussian field: its posterior, its scores, and that it resumes."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from tests.benchmarks import field
from tests.benchmarks.table import read_rows

SMALL = (8, 6)


@pytest.mark.parametrize("task", field.TASKS)
def test_the_posterior_is_that_of_the_normal_equations(task):
    """P = (C^-1 + A^H A / s^2)^-1 and m = mu + P A^H (y - A mu) / s^2, with C from draws of the prior's own filter."""
    m = field.measured(task, 2, SMALL)
    truth, prior, n = field.posterior(m, SMALL), field.prior_of(SMALL), 48
    units = torch.eye(n).reshape(n, 1, *SMALL)
    root = (prior.sample(units) - prior.mean).flatten(1).double() / 2  # values are half of the normalised ones
    A = m.operator(units).flatten(1).T.double()
    P = torch.linalg.inv(torch.linalg.inv(root.T @ root) + A.T @ A / field.SIGMA**2)
    mu = torch.full((n,), 0.5, dtype=torch.float64)
    mean = mu + (m.y.double().flatten(1) - A @ mu) @ A @ P / field.SIGMA**2
    torch.testing.assert_close(truth.mean, mean, rtol=0, atol=2e-5)
    torch.testing.assert_close(truth.variance, P.diagonal(), rtol=2e-4, atol=0)
    assert float(root.square().sum(0).mean()) == pytest.approx(field.STD**2, rel=1e-5)


def test_exact_samples_score_at_the_floor():
    variance = torch.linspace(0.1, 2.0, 500, dtype=torch.float64)
    truth = field.Truth(torch.randn(3, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64), variance)
    n = torch.randn(64, 3, 500, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    good = field.scores((truth.mean + variance.sqrt() * n).reshape(64, 3, 1, 20, 25), truth)
    assert good["error"] == pytest.approx(1 / math.sqrt(64), rel=0.05)
    assert good["variance"] == pytest.approx(1, abs=0.02)
    bad = field.scores((truth.mean + variance.sqrt() * (0.5 * n + 1)).reshape(64, 3, 1, 20, 25), truth)
    assert bad["error"] == pytest.approx(1, rel=0.02) and bad["variance"] == pytest.approx(0.25, rel=0.02)


def test_rows_are_measured_once_and_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(field, "SIZE", SMALL)
    monkeypatch.setattr(field.measured, "__defaults__", (SMALL,))
    monkeypatch.setattr(field.posterior, "__defaults__", (SMALL,))
    monkeypatch.setattr(field.prior_of, "__defaults__", (SMALL,))
    output = tmp_path / "field.jsonl"

    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["field", "-o", str(output), *arguments])
        field.main()

    for _ in range(2):
        run("--calls", "3", "--samples", "4", "--items", "1", "--seeds", "2", "--tasks", "inpaint,ct",
            "--methods", "spectral,ddrm")  # fmt: skip
    rows = read_rows(output)
    assert [(row["method"], row["task"], row["seed"]) for row in rows] == [
        ("spectral", "inpaint", 0), ("ddrm", "inpaint", 0), ("spectral", "inpaint", 1), ("ddrm", "inpaint", 1),
        ("spectral", "ct", 0), ("spectral", "ct", 1),
    ]  # fmt: skip
    assert all(row["nfe"] == 3 for row in rows)
    capsys.readouterr()
    run("--table")
    lines = capsys.readouterr().out.splitlines()
    mean = (rows[0]["error"] + rows[2]["error"]) / 2
    assert lines[2].startswith(f"| recon | spectral | 3 | 3 | {mean:.3f} / ") and lines[2].endswith("| 1.00 |")
    assert lines[3].startswith("| recon | ddrm | 3 | 0 | ") and len(lines) == 4
