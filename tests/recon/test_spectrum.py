"""The measured error spectrum: its value for exact denoisers, its filter, its interpolation."""

from __future__ import annotations

import math

import pytest
import torch
from law import relative, spectrum
from torch import nn

import recon
from recon.prior import ScorePrior
from recon.spectrum import ErrorSpectrum, measure, radius


def prior_with(table: ErrorSpectrum | None) -> ScorePrior:
    header = (
        {"error_spectrum": {"sigmas": table.sigmas, "frequencies": table.frequencies, "power": table.power}}
        if table
        else {}
    )
    return ScorePrior(nn.Identity(), (1, 8, 12), recon.VP(), 0.5, header=header)


@pytest.mark.parametrize("shape", [(16, 16), (8, 12), (7, 9)])
def test_measured_spectrum_of_a_gaussian_field(shape):
    """lambda sigma^2 / (lambda + sigma^2) on every ring, to the sampling error of its number of values."""
    values, count = spectrum(*shape), 600
    prior = recon.GaussianPrior(torch.zeros(1, *shape, dtype=torch.float64), values)
    images = prior.sample(
        torch.randn(count, 1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    found = measure(prior.denoise, images, 0.1, 2.0, levels=4)
    assert found.sigmas == pytest.approx([0.1 * 20 ** (i / 3) for i in range(4)], rel=1e-9)
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in shape)
    f = (rows[:, None].square() + columns.square()).sqrt()
    edges = torch.logspace(math.log10(0.75 / max(shape)), math.log10(0.72), 17, dtype=torch.float64)
    rings = [f.flatten() == 0] + [
        (f.flatten() > a) & (f.flatten() <= b) for a, b in zip(edges, [*edges[1:], torch.inf], strict=True)
    ]
    rings = [ring for ring in rings if bool(ring.any())]
    assert len(found.frequencies) == len(rings)
    for sigma, powers in zip(found.sigmas, found.power, strict=True):
        exact = (values * sigma**2 / (values + sigma**2)).flatten()
        for power, ring, frequency in zip(powers, rings, found.frequencies, strict=True):
            # relative standard deviation of a mean of m chi-square values, m the number of real modes
            assert power == pytest.approx(float(exact[ring].mean()), rel=4.5 * math.sqrt(2 / (count * int(ring.sum()))))
            assert frequency == pytest.approx(float(f.flatten()[ring].mean()), rel=1e-12)


def test_measured_spectrum_of_white_noise_is_its_variance():
    """A denoiser that returns its input errs by sigma n: lambda = sigma^2 at every frequency."""
    images = torch.zeros(400, 2, 8, 8)
    found = measure(lambda x, sigma: x, images, 0.5, 3.0, levels=2)
    for sigma, powers in zip(found.sigmas, found.power, strict=True):
        assert all(power == pytest.approx(sigma**2, rel=0.2) for power in powers)
        assert sum(powers) / len(powers) == pytest.approx(sigma**2, rel=0.05)


def table() -> ErrorSpectrum:
    return ErrorSpectrum((0.1, 1.0), (0.0, 0.1, 0.3, 0.7), ((0.02, 0.01, 0.005, 0.001), (2.0, 1.0, 0.4, 0.1)))


def test_gains_go_through_the_table_and_are_log_linear_between():
    """Height 10: frequencies 0, 0.1, 0.3 are on the grid; the constant stands for half of the first."""
    t = table()
    for level, row in zip(t.sigmas, t.power, strict=True):
        gains = t.gains(level, 10, 10)
        assert gains.shape == (10, 6)
        assert float(gains[0, 0]) == pytest.approx(row[0], rel=1e-12)
        assert float(gains[0, 1]) == pytest.approx(row[1], rel=1e-12)
        assert float(gains[3, 0]) == pytest.approx(row[2], rel=1e-12)
        share = math.log(0.2 / 0.1) / math.log(0.3 / 0.1)
        assert float(gains[2, 0]) == pytest.approx(row[1] ** (1 - share) * row[2] ** share, rel=1e-12)
    middle = t.gains(math.sqrt(0.1), 10, 10)
    assert torch.allclose(middle, (t.gains(0.1, 10, 10) * t.gains(1.0, 10, 10)).sqrt(), rtol=1e-12)
    assert torch.allclose(t.gains(0.01, 10, 10), 0.01 * t.gains(0.1, 10, 10), rtol=1e-12)  # sigma^2 below the table
    assert torch.allclose(t.gains(50.0, 10, 10), t.gains(1.0, 10, 10), rtol=1e-12)
    assert float(radius(10, 10)[3, 4]) == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("shape", [(8, 12), (7, 9)])
@pytest.mark.parametrize("known", [table(), None], ids=["measured", "white"])
def test_filter_is_symmetric_positive_and_a_power(known, shape):
    prior, n = prior_with(known), shape[0] * shape[1]
    units = torch.eye(n, dtype=torch.float64).reshape(n, 1, *shape)

    def matrix(power: float, sigma: float = 0.4) -> torch.Tensor:
        return prior.error_filter(units, sigma, power).flatten(1)

    whole = matrix(1.0)
    assert relative(whole, whole.T) < 1e-13
    assert float(torch.linalg.eigvalsh((whole + whole.T) / 2)[0]) > 0
    assert relative(matrix(0.5) @ matrix(0.5), whole) < 1e-12
    assert relative(matrix(-1.0) @ whole, torch.eye(n, dtype=torch.float64)) < 1e-10
    if known is None:
        assert relative(whole, 0.16 * 0.25 / 0.41 * torch.eye(n, dtype=torch.float64)) < 1e-13
    else:
        assert float(whole.trace()) == pytest.approx(float(full_gains(known, 0.4, shape).sum()), rel=1e-10)


def full_gains(t: ErrorSpectrum, sigma: float, shape: tuple[int, int]) -> torch.Tensor:
    """The gains on all frequencies, the mirrored ones put back."""
    half = t.gains(sigma, *shape)
    rows, columns = (-torch.arange(shape[0])) % shape[0], torch.arange(1, (shape[1] + 1) // 2).flip(0)
    return torch.cat([half, half[rows][:, columns]], dim=1)


def test_start_filter_gives_the_start_its_variance():
    """sigma^2 (1 - C / sigma^2)^-1 = S + sigma^2 with C^-1 = S^-1 + sigma^-2, S a known spectrum."""
    shape, sigma, n = (8, 12), 2.0, 96
    f = radius(*shape)
    S = 1 / (0.05 + f)
    known = ErrorSpectrum(
        (sigma, 3.0),
        tuple(sorted(set(f.flatten().tolist()))),
        (tuple(sigma**2 / (0.05 + v) / (sigma**2 + 1 / (0.05 + v)) for v in sorted(set(f.flatten().tolist()))),) * 2,
    )
    root = (
        prior_with(known).start_filter(torch.eye(n, dtype=torch.float64).reshape(n, 1, *shape), sigma).flatten(1)
        * sigma
    )
    unit = torch.fft.irfft2(
        torch.fft.rfft2(torch.eye(n, dtype=torch.float64).reshape(n, *shape)) * (S + sigma**2), s=shape
    ).flatten(1)
    assert relative(root.T @ root, unit) < 1e-10
    white = prior_with(None).start_filter(torch.ones(1, 1, 2, 2, dtype=torch.float64), sigma)
    assert relative(white.square() * sigma**2, torch.full((1, 1, 2, 2), 0.25 + sigma**2, dtype=torch.float64)) < 1e-14


def test_a_wrong_table_is_refused():
    with pytest.raises(ValueError, match=r"got a table of shape \(1, 2\); expected positive values, \(2, 2\)"):
        ErrorSpectrum((0.1, 1.0), (0.0, 0.1), ((1.0, 2.0),))
    with pytest.raises(ValueError, match="positive"):
        ErrorSpectrum((0.1,), (0.0, 0.1), ((1.0, 0.0),))
