"""Log-density by the probability flow against closed forms, with its standard error; encoding and back; the solver."""

from __future__ import annotations

import math

import pytest
import torch
from law import relative, spectrum

import recon
from recon.density import decode, encode, log_density
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
    whole, alone = log_density(prior, x, probes=2), log_density(prior, x[:1], probes=2)
    assert float((whole.nats[0] - alone.nats[0]).abs()) < 1e-9


def test_bits_per_dimension_of_a_uniform_like_density():
    """A value known to 1/256 of its range costs 8 bits."""
    prior = recon.GaussianPrior(torch.zeros(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64))
    found = log_density(prior, torch.zeros(1, 2, dtype=torch.float64), probes=None, rtol=1e-6, atol=1e-6)
    expected = (math.log(2 * math.pi) / 2 + math.log(255)) / math.log(2)
    assert float(found.bits_per_dimension(1 / 255)) == pytest.approx(expected, abs=1e-3)


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
