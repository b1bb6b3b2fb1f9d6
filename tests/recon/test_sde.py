"""Drift and diffusion agree with the marginals, time with sigma, and the end point with its density."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import solve_ivp
from torch.distributions import Normal

import recon

PROCESSES = [
    recon.VP(),
    recon.VP(beta_min=0.5, beta_max=5.0),
    recon.VE(),
    recon.VE(0.02, 30.0),
    recon.SubVP(),
    recon.SubVP(0.3, 8.0),
]


@pytest.mark.parametrize("sde", PROCESSES, ids=str)
def test_marginals_solve_the_moment_equations(sde):
    """d mean / dt = f mean and d var / dt = 2 f var + g^2, integrated numerically from t_min."""

    def moments(t: float, state: list[float]) -> list[float]:
        f, g = float(sde.drift_rate(t)), float(sde.diffusion(t))
        return [f * state[0], 2 * f * state[1] + g**2]

    scale, std = (float(v) for v in sde.marginal(sde.t_min))
    times = [0.01, 0.2, 0.6, 1.0]
    solved = solve_ivp(
        moments, (sde.t_min, 1.0), [scale, std**2], t_eval=times, rtol=1e-11, atol=1e-14, method="DOP853"
    )
    for t, mean, variance in zip(times, *solved.y, strict=True):
        scale, std = (float(v) for v in sde.marginal(t))
        assert mean == pytest.approx(scale, rel=1e-8)
        assert variance == pytest.approx(std**2, rel=1e-8)


@pytest.mark.parametrize("sde", PROCESSES, ids=str)
def test_time_inverts_sigma(sde):
    times = torch.linspace(sde.t_min, sde.t_max, 101, dtype=torch.float64)
    sigmas = sde.sigma(times)
    assert sigmas.dtype == torch.float64
    assert bool((sigmas.diff() > 0).all())
    assert torch.allclose(sde.time(sigmas), times, rtol=1e-9, atol=1e-14)
    assert torch.allclose(sde.sigma(sde.time(sigmas)), sigmas, rtol=1e-10)
    assert float(sde.time(sde.sigma_min)) == pytest.approx(sde.t_min, rel=1e-9)
    assert float(sde.time(sde.sigma_max)) == pytest.approx(sde.t_max, rel=1e-9)


def test_known_values():
    """VP keeps unit variance, sub-VP has 1 - e^-B, VE the ratio of its levels; int beta over [0, 1] is 10.05."""
    t = 0.3
    B = 0.1 * t + 19.9 * t**2 / 2
    scale, std = recon.VP().marginal(t)
    assert float(scale**2 + std**2) == pytest.approx(1, rel=1e-14)
    assert float(scale) == pytest.approx(math.exp(-B / 2), rel=1e-14)
    scale, std = recon.SubVP().marginal(t)
    assert float(std) == pytest.approx(1 - math.exp(-B), rel=1e-13)
    assert float(scale) == pytest.approx(math.exp(-B / 2), rel=1e-14)
    assert recon.VP().sigma_max == pytest.approx(math.sqrt(math.exp(10.05) - 1), rel=1e-12)
    scale, std = recon.VE(0.01, 50.0).marginal(0.5)
    assert float(scale) == 1
    assert float(std) == pytest.approx(math.sqrt(0.01 * 50), rel=1e-13)


@pytest.mark.parametrize("sde", PROCESSES, ids=str)
def test_drift_scales_each_item_by_its_own_rate(sde):
    x, t = torch.randn(3, 2, 4, 5, dtype=torch.float64), torch.tensor([0.1, 0.5, 0.9])
    expected = torch.stack([float(sde.drift_rate(float(s))) * item for s, item in zip(t.double(), x, strict=True)])
    assert torch.allclose(sde.drift(x, t), expected, rtol=1e-12)
    assert torch.equal(sde.drift(x, 0.5), float(sde.drift_rate(0.5)) * x)


@pytest.mark.parametrize("sde", PROCESSES, ids=str)
def test_end_point_is_drawn_from_the_density_that_is_reported(sde):
    std = float(sde.marginal(sde.t_max)[1])
    noise = torch.randn(6, 1, 3, 4, dtype=torch.float64)
    x = sde.prior_sample(noise)
    assert torch.allclose(x, std * noise, rtol=1e-14)
    expected = Normal(torch.zeros((), dtype=torch.float64), std).log_prob(x).flatten(1).sum(1)
    assert torch.allclose(sde.prior_log_density(x), expected, rtol=1e-12)


def test_processes_are_values():
    assert recon.VP() == recon.VP(0.1, 20.0) != recon.VP(0.1, 10.0)
    assert {"vp": recon.VP, "ve": recon.VE, "subvp": recon.SubVP}.items() <= recon.SDES.items()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: recon.VP(0.0, 20.0), "beta_min=0.0"),
        (lambda: recon.VP(3.0, 2.0), "0 < beta_min < beta_max"),
        (lambda: recon.SubVP(0.1, math.inf), "beta_max=inf"),
        (lambda: recon.VE(0.0, 1.0), "sigma_low=0.0"),
        (lambda: recon.VE(2.0, 1.0), "largest distance"),
        (lambda: recon.VE(0.1, math.nan), "nan"),
    ],
)
def test_wrong_parameters_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
