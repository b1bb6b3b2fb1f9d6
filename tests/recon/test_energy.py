"""Energies: their values, the shift against closed forms, sums of guidances, and what a run ends in."""

from __future__ import annotations

import math

import pytest
import torch
from law import law, relative, start, vector_problem
from torch import Tensor

import recon
from recon.condition import guided, with_vjp
from recon.energy import ENERGIES, energy, energy_moment, entropy, squared, total, total_variation
from recon.guidance import white
from recon.presets import default_levels, white_variance
from recon.schedule import karras
from recon.steps import ancestral, heun

PROBLEM = vector_problem()
N = len(PROBLEM.mu)


def eye() -> Tensor:
    return torch.eye(N, dtype=torch.float64)


def target(x: Tensor) -> Tensor:
    """(x - b)^T H (x - b) / 2 with a matrix that is not diagonal."""
    return 0.5 * ((x - 0.3) @ HESSIAN * (x - 0.3)).sum(1)


ROOT = torch.randn(N, N, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
HESSIAN = ROOT @ ROOT.T + 0.1 * eye()


@pytest.mark.parametrize("sigma", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("function, hessian, middle", [(squared, eye(), 0.0), (target, HESSIAN, 0.3)])
def test_moments_give_the_mean_of_the_tilted_gaussian(function, hessian, middle, sigma):
    """p(x0 | x) exp(-w E) is Gaussian, of precision C^-1 + w H: the shift leads from x0 to its mean."""
    weight, x = 1.7, 2 * torch.randn(3, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x0, vjp = with_vjp(PROBLEM.prior.denoise, x, sigma)
    found = x0 + energy_moment(function, weight, iterations=50, tolerance=1e-13)(x0, vjp, sigma)
    precision = torch.linalg.inv(PROBLEM.C) + eye() / sigma**2
    right = x0 @ precision + weight * middle * hessian.sum(1)
    expected = torch.linalg.solve(precision + weight * hessian, right.T).T
    assert relative(found, expected) < 1e-9


def test_run_ends_in_the_tilted_gaussian():
    """N(mu, C) exp(-w |x|^2 / 2): read off the loop exactly, and met at the order of Heun's method."""
    weight, errors = 2.0, []
    tilted = torch.linalg.inv(torch.linalg.inv(PROBLEM.C) + weight * eye())
    for steps in (20, 40):
        levels = karras(steps, 60.0, 1e-3)
        guide = energy_moment(squared, weight, 6, 1e-12)

        def build(noise, rows, guide=guide, levels=levels):
            return recon.Method(guided(PROBLEM.prior.denoise, guide), levels, heun)

        mean, covariance = law(build, *start(PROBLEM.prior, levels[0]))
        errors.append(relative(covariance, tilted))
    assert errors[1] < 0.02 and math.log2(errors[0] / errors[1]) > 1.5
    assert relative(mean, torch.linalg.solve(eye() + weight * PROBLEM.C, PROBLEM.mu)) < 2e-2


def test_plain_energy_equals_its_recursion():
    """x0 - w sigma^2 J grad E(x0), typed on matrices, along a run of ancestral steps without their noise."""
    weight, levels = 0.8, default_levels(PROBLEM.prior, 12)
    method = recon.Method(guided(PROBLEM.prior.denoise, energy(target, lambda s: weight)), levels, ancestral())
    x = mine = 3 * torch.randn(2, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        x = recon.sample(method.denoise, x, levels, method.step, (), torch.zeros_like)
    for sigma, lower in zip(levels, levels[1:], strict=False):
        J = torch.linalg.solve(PROBLEM.C + sigma**2 * eye(), PROBLEM.C)
        x0 = PROBLEM.mu + (mine - PROBLEM.mu) @ J
        x0 = x0 - weight * sigma**2 * ((x0 - 0.3) @ HESSIAN) @ J
        mine = x0 + (lower / sigma) ** 2 * (mine - x0)
    assert relative(x, mine) < 1e-10


def test_guidances_add_up():
    x = torch.randn(3, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x0, vjp = with_vjp(PROBLEM.prior.denoise, x, 0.7)

    def kept(v, last=False):
        return vjp(v)

    data = white(PROBLEM.measurement.rows([0] * 3), white_variance(PROBLEM.prior))
    parts = [data, energy(squared, 0.4), energy(total_variation, 0.1)]
    assert relative(total(*parts)(x0, vjp, 0.7), sum(part(x0, kept, 0.7) for part in parts)) < 1e-13


def test_values_of_the_energies():
    x = torch.tensor([[[[0.0, 3.0], [4.0, 3.0]]]], dtype=torch.float64)
    assert float(total_variation(x, 0.0)) == pytest.approx(5 + 1)  # (3, 4) at the corner, -1 along the last row
    assert float(total_variation(torch.tensor([[1.0, 4.0, 2.0]]), 0.0)) == pytest.approx(5)
    assert float(squared(x)) == pytest.approx(17)
    flat, peak = torch.full((1, 8), 0.5), 20 * torch.eye(8)[:1]
    assert float(entropy(flat)) == pytest.approx(-math.log(8), rel=1e-6) and float(entropy(peak)) > float(entropy(flat))


@pytest.mark.parametrize("name", ENERGIES)
def test_energies_are_of_each_image_alone(name):
    x = torch.randn(3, 1, 5, 4, generator=torch.Generator().manual_seed(4))
    assert torch.allclose(ENERGIES[name](x)[1:2], ENERGIES[name](x[1:2]))


def test_linear_energy_has_no_curvature():
    """E = <b, x>: the mean moves by -w C b, whatever the number of iterations."""
    x = torch.randn(2, N, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x0, vjp = with_vjp(PROBLEM.prior.denoise, x, 0.9)
    C = torch.linalg.inv(torch.linalg.inv(PROBLEM.C) + eye() / 0.81)
    shift = energy_moment(lambda v: v.sum(1), 0.5)(x0, vjp, 0.9)
    assert relative(shift, (-0.5 * C.sum(1)).expand(2, N)) < 1e-9


def test_preset_lowers_the_energy_that_it_is_given():
    plain, penalised = (
        recon.reconstruct(PROBLEM.measurement, PROBLEM.prior, "energy", 20, 32,
                          options={"penalty": lambda x: squared(x), "weight": weight}).samples
        for weight in (0.0, 3.0)
    )
    assert float(penalised.square().mean()) < 0.9 * float(plain.square().mean())
    pigdm = recon.reconstruct(PROBLEM.measurement, PROBLEM.prior, "pigdm", 20, 32).samples
    assert relative(plain, pigdm) < 1e-12
