"""Log-density by the probability flow against closed forms, with its standard error; encoding and back; the solver."""

from __future__ import annotations

import math

import pytest
import torch
from law import relative, spectrum

import recon
from recon.density import decode, dequantised, encode, log_density, log_density_bound
from recon.ode import rk45
from recon.prior import Units


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture(units: Units | None = None) -> recon.MixturePrior:
    means = torch.tensor([[2.0, 0.0], [-1.0, 1.5], [0.0, -2.0]], dtype=torch.float64)
    covariances = torch.tensor(
        [[[0.3, 0.1], [0.1, 0.2]], [[0.5, -0.2], [-0.2, 0.4]], [[0.2, 0.0], [0.0, 0.6]]], dtype=torch.float64
    )
    return recon.MixturePrior(means, covariances, torch.tensor([0.5, 0.3, 0.2]), units=units)


def test_solver_is_right_to_its_tolerance_and_every_row_is_alone():
    """y' = -k y^2 has y = y0 / (1 + k y0 t); stiff rows take more steps, which others do not notice."""
    y0, k = 1 + draw(5, 3).abs(), torch.tensor([0.1, 1.0, 5.0, 30.0, 100.0], dtype=torch.float64)

    def field(y, t, rows):
        return -k[rows, None] * y.square()

    exact = y0 / (1 + 2 * k[:, None] * y0)
    errors = []
    for tolerance in (1e-4, 1e-7):
        found, evaluations = rk45(field, y0, 1.0, 3.0, tolerance, tolerance)
        errors.append(float((found - exact).abs().max()))
        assert errors[-1] < 10 * tolerance  # of a step; they add up
    assert errors[1] < errors[0] / 50
    assert evaluations[0] < evaluations[-1]
    alone, calls = rk45(lambda y, t, rows: field(y, t, rows + 2), y0[2:3], 1.0, 3.0, 1e-7, 1e-7)
    assert torch.equal(alone[0], found[2]) and int(calls) == int(evaluations[2])
    back, _ = rk45(field, exact[:2], 3.0, 1.0, 1e-9, 1e-9)  # the stiff rows have forgotten their start
    assert relative(back, y0[:2]) < 1e-7


def test_solver_gives_up():
    with pytest.raises(FloatingPointError, match="1 of 1 rows that did not reach the end in 50 steps"):
        rk45(lambda y, t, rows: y.square(), torch.ones(1, 1, dtype=torch.float64), 0.0, 2.0, max_steps=50)


@pytest.mark.parametrize("units", [Units(), Units(2.5, -1.0)])
def test_exact_trace_gives_the_density_of_a_mixture(units):
    """In values v = scale x + shift the density is that of x over scale^n; noise of the lowest level is in it."""
    prior = mixture(units)
    x = draw(6, 2)
    found = log_density(prior, prior.to_value(x), probes=None, rtol=1e-7, atol=1e-7)
    expected = prior.log_density(x, prior.sde.sigma_min) - 2 * math.log(units.scale)
    # the end of the flow is taken as normal: an error of the order of (spread / sigma_max)^2 = 1e-4
    assert torch.allclose(found.nats, expected, atol=3e-4)
    assert not found.standard_error.any() and found.dimension == 2


def test_probes_are_unbiased_and_their_standard_error_is_right():
    prior = recon.GaussianPrior(torch.zeros(1, 4, 6, dtype=torch.float64), spectrum(4, 6))
    x = prior.sample(draw(100, 1, 4, 6))
    found = log_density(prior, x, probes=6, seed=3, rtol=1e-4, atol=1e-4)
    expected = prior.log_density(x, prior.sde.sigma_min)
    z = (found.nats - expected) / found.standard_error
    # Student's t of 5 degrees of freedom: variance 5/3
    assert abs(float(z.mean())) < 0.5 and 1.0 < float(z.square().mean()) < 3.0
    exact = log_density(prior, x[:2], probes=None, rtol=1e-6, atol=1e-6)
    assert torch.allclose(exact.nats, expected[:2], atol=1e-2)


def test_an_image_is_independent_of_those_beside_it():
    prior = recon.GaussianPrior(torch.zeros(1, 4, 6, dtype=torch.float64), spectrum(4, 6))
    x = prior.sample(draw(3, 1, 4, 6))
    whole, alone = log_density(prior, x, probes=2), log_density(prior, x[1:2], probes=2, first=1)
    assert float((whole.nats[1] - alone.nats[0]).abs()) < 1e-9


def test_one_probe_has_no_standard_error():
    prior = recon.GaussianPrior(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    assert log_density(prior, torch.zeros(2, 2, dtype=torch.float64), probes=1).standard_error.isnan().all()


def test_bits_per_dimension_of_a_uniform_like_density():
    """A value known to 1/256 of its range costs 8 bits."""
    prior = recon.GaussianPrior(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    found = log_density(prior, torch.zeros(1, 2, dtype=torch.float64), probes=None, rtol=1e-6, atol=1e-6)
    expected = (math.log(2 * math.pi) / 2 + math.log(255)) / math.log(2)
    assert float(found.bits_per_dimension(1 / 255)) == pytest.approx(expected, abs=1e-3)


def test_bound_is_the_entropy_on_average_and_below_the_density():
    """With the exact denoiser the bound is tight on average: E_x is minus the entropy of N(m, C + sigma_min^2)."""
    shape, sde, units = (1, 4, 6), recon.VE(0.05, 300.0), Units(2.5, -1.0)
    prior = recon.GaussianPrior(torch.zeros(shape, dtype=torch.float64), spectrum(4, 6), sde, units)
    x, n = prior.sample(draw(500, *shape)), 24
    bound = log_density_bound(prior, prior.to_value(x), levels=60)
    total = prior.covariance.eigenvalues + prior.sde.sigma_min**2
    entropy = 0.5 * float((2 * math.pi * math.e * total).log().sum()) + n * math.log(units.scale)
    scatter = float(bound.std() / math.sqrt(len(x)))
    assert scatter < 0.3 and abs(float(bound.mean()) + entropy) < 4 * scatter
    noisy = x + prior.sde.sigma_min * draw(*x.shape, seed=1)
    density = prior.log_density(noisy, prior.sde.sigma_min) - n * math.log(units.scale)
    coarse = log_density_bound(prior, prior.to_value(x))  # twelve levels: trapezoids of a falling curve add
    assert -0.15 * n < float((coarse - density).mean()) < 3 * scatter


def test_a_worse_denoiser_has_a_lower_bound():
    prior = recon.GaussianPrior(torch.zeros(1, 4, 6, dtype=torch.float64), spectrum(4, 6))
    x, exact = prior.sample(draw(50, 1, 4, 6)), prior.denoise
    best = log_density_bound(prior, x)
    prior.denoise = lambda x, sigma: 0.8 * exact(x, sigma)
    assert float(log_density_bound(prior, x).mean()) < float(best.mean()) - 1


def test_bound_of_an_image_depends_on_its_number_and_not_on_its_batch():
    prior = recon.GaussianPrior(torch.zeros(1, 4, 6, dtype=torch.float64), spectrum(4, 6))
    x = prior.sample(draw(3, 1, 4, 6))
    whole = log_density_bound(prior, x)
    assert torch.allclose(log_density_bound(prior, x[2:], first=2)[0], whole[2], rtol=1e-12)
    assert not torch.allclose(log_density_bound(prior, x[2:])[0], whole[2], rtol=1e-3)


def test_dequantising_noise_is_uniform_in_one_step():
    values = torch.full((3, 1, 64, 64), 0.4, dtype=torch.float64)
    apart = (dequantised(values, 0.1) - values) / 0.1
    assert float(apart.abs().max()) <= 0.5
    counts = torch.histc(apart, 10, -0.5, 0.5)
    assert float((counts / counts.mean() - 1).abs().max()) < 4 * math.sqrt(10 / apart.numel())
    assert torch.equal(dequantised(values[1:2], 0.1, first=1)[0], dequantised(values, 0.1)[1])


def test_encoding_and_back():
    prior = mixture(Units(2.0, 1.0))
    values = prior.to_value(draw(5, 2))
    latent = encode(prior, values, 1e-8, 1e-8)
    assert relative(decode(prior, latent, 1e-8, 1e-8), values) < 1e-4
    assert relative(log_density(prior, values, None, rtol=1e-8, atol=1e-8).latent, latent) < 1e-5
    assert 0.1 < float(latent.square().mean().sqrt()) / prior.sde.sigma_max < 3


@pytest.mark.parametrize(
    "shape, probes, words", [((1, 2), 0, "at least 1, or None"), ((1, 3), 2, r"got images \(3,\)")]
)
def test_wrong_arguments_are_refused(shape, probes, words):
    with pytest.raises(ValueError, match=words):
        log_density(mixture(), torch.zeros(shape), probes)


def test_a_ladder_of_one_level_is_refused():
    with pytest.raises(ValueError, match="at least 2, the ends of the ladder"):
        log_density_bound(mixture(), torch.zeros(1, 2), levels=1)
