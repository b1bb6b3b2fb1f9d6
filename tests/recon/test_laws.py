"""Exact methods have the law of the true posterior, or reach it at the order of their solver.

`law` reads the law off the package's own loop; the formulas to compare it with are written here, on dense matrices.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from law import (
    TASKS,
    Problem,
    condition,
    dense_stationary,
    field_problem,
    law,
    preset_law,
    relative,
    spectrum,
    start,
    vector_problem,
)
from torch import Tensor

import recon
from operators import OPERATORS, Gaussian, dense_matrix
from recon.condition import Guidance, guided, on_estimate
from recon.consistency import spectral_draw
from recon.guidance import moment, spectral
from recon.presets import default_levels
from recon.schedule import karras
from recon.steps import Step, ancestral, euler, heun


def from_start(problem: Problem, sigma: float) -> tuple[Tensor, Tensor]:
    """The law of an exact sampler that starts from N(mu, C + sigma^2), x at that level, in place of x given y.

    Given x at level sigma and y, x0 has mean m + G (x - m) and covariance P - G P with G = P (P + sigma^2)^-1.
    """
    m, P = problem.posterior()
    noise = sigma**2 * torch.eye(len(P), dtype=P.dtype)
    gain = torch.linalg.solve(P + noise, P).T
    return m + gain @ (problem.mu - m), P - gain @ P + gain @ (problem.C + noise) @ gain.T


def exact_draws(problem: Problem, steps: int) -> tuple[Tensor, Tensor]:
    """The preset `spectral_draw` with its conjugate gradients solved to the end."""
    levels = default_levels(problem.prior, steps)

    def build(noise, rows):
        draw = spectral_draw(problem.measurement.rows([0] * rows), problem.prior, noise, tolerance=1e-13)
        return recon.Method(on_estimate(problem.prior.denoise, draw), levels, ancestral())

    return law(build, *start(problem.prior, levels[0]))


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("shape", [(8, 8), (6, 10)])
@pytest.mark.parametrize("task", ["inpaint", "blur", "downsample"])
def test_exact_draws_give_the_posterior_at_any_number_of_steps(task, shape, steps):
    problem = field_problem(task, shape)
    mean, covariance = exact_draws(problem, steps)
    expected = from_start(problem, problem.prior.sigma_start)
    assert relative(mean, expected[0]) < 1e-10
    assert relative(covariance, expected[1]) < 1e-10
    truth = problem.posterior()  # all that is left is that the start does not know the data
    assert relative(mean, truth[0]) < 2e-2
    assert relative(covariance, truth[1]) < 3e-3


@pytest.mark.parametrize("problem", [vector_problem(), field_problem("ct", (4, 6))], ids=["vector", "ct"])
def test_exact_draws_for_vectors_and_tomography(problem):
    mean, covariance = exact_draws(problem, 5)
    expected = from_start(problem, problem.prior.sigma_start)
    assert relative(mean, expected[0]) < 1e-9
    assert relative(covariance, expected[1]) < 1e-9


@pytest.mark.parametrize("task", TASKS)
def test_preset_of_exact_draws_is_exact_to_its_tolerance(task):
    problem = field_problem(task, (6, 6))
    mean, covariance = preset_law("spectral_draw", problem, 5)
    expected = from_start(problem, problem.prior.sigma_start)
    assert relative(mean, expected[0]) < 1e-2
    assert relative(covariance, expected[1]) < 2e-2


def test_start_has_the_law_of_the_state_at_its_level():
    """x0 + sigma n has mean mu and covariance C + sigma^2."""
    for problem in (vector_problem(), field_problem("blur", (4, 6))):
        mean, root = start(problem.prior, 0.7)
        root = root.flatten(1)
        assert relative(mean.flatten(), problem.mu) < 1e-14
        assert relative(root.T @ root, problem.C + 0.49 * torch.eye(len(problem.mu), dtype=torch.float64)) < 1e-13


def by_moment(problem: Problem, rows: int, tolerance: float) -> Guidance:
    return moment(problem.measurement.rows([0] * rows), 1000, tolerance)


def by_spectrum(problem: Problem, rows: int, tolerance: float) -> Guidance:
    return spectral(problem.measurement.rows([0] * rows), problem.prior, tolerance)


def ode_law(
    problem: Problem, levels: list[float], step: Step, tolerance: float, guidance: Callable[..., Guidance] = by_moment
) -> tuple[Tensor, Tensor]:
    """The law of an ODE solver on guidance that is exact for a Gaussian prior."""

    def build(noise, rows):
        guide = guidance(problem, rows, tolerance)
        return recon.Method(guided(problem.prior.denoise, guide), levels, step)

    return law(build, *start(problem.prior, levels[0]))


def exact_flow(problem: Problem, high: float, low: float) -> tuple[Tensor, Tensor]:
    """The probability-flow ODE, solved by hand, applied to N(mu, C + high^2).

    dx / dsigma = sigma (P + sigma^2)^-1 (x - m): the modes of P shrink by the roots of (P + low^2) / (P + high^2).
    """
    m, P = problem.posterior()
    values, vectors = torch.linalg.eigh(P)
    shrink = ((values.clamp(min=0) + low**2) / (values.clamp(min=0) + high**2)).sqrt()
    flow = vectors @ torch.diag(shrink) @ vectors.T
    return m + flow @ (problem.mu - m), flow @ (problem.C + high**2 * torch.eye(len(m), dtype=m.dtype)) @ flow


CASES = {"vector": vector_problem, **{task: lambda task=task: field_problem(task, (4, 6)) for task in TASKS}}


@pytest.mark.parametrize("step, order", [(euler(), 1), (heun, 2)], ids=["euler", "heun"])
@pytest.mark.parametrize(
    "case, guidance",
    [
        ("vector", by_moment),
        ("inpaint", by_moment),
        ("blur", by_moment),
        ("downsample", by_spectrum),
        ("inpaint", by_spectrum),
        pytest.param("ct", by_spectrum, marks=pytest.mark.slow),
        pytest.param("ct", by_moment, marks=pytest.mark.slow),
    ],
)
def test_guidance_converges_at_the_order_of_the_solver(case, guidance, step, order):
    problem = CASES[case]()
    high, low = problem.prior.sigma_start, problem.prior.sigma_end
    truth = exact_flow(problem, high, low)
    errors = []
    for steps in (10, 20, 40):
        found = ode_law(problem, karras(steps + 1, high, low)[:-1], step, 1e-8, guidance)
        errors.append([relative(a, b) for a, b in zip(found, truth, strict=True)])
    observed = [math.log2(coarse / fine) for coarse, fine in zip(errors[1], errors[2], strict=True)]
    assert all(abs(found - order) < 0.15 for found in observed), (observed, errors)
    assert errors[0] > errors[1]


def test_moment_matching_by_heun_is_within_a_percent():
    """From a start far above the prior: an ODE forgets only what is small against it."""
    problem = field_problem("inpaint", (6, 6))
    levels = karras(200, 30 * problem.prior.spread, problem.prior.sigma_end)
    mean, covariance = ode_law(problem, levels, heun, 1e-3)
    truth = problem.posterior()
    assert relative(covariance, truth[1]) < 5e-3
    assert relative(mean, truth[0]) < 1e-2


def test_moment_preset_converges_with_ancestral_steps():
    problem = field_problem("downsample", (4, 6))
    truth = from_start(problem, problem.prior.sigma_start)
    errors = [
        relative(preset_law("moment", problem, steps, iterations=100, tolerance=1e-8)[1], truth[1])
        for steps in (15, 30, 60)
    ]
    assert abs(math.log2(errors[1] / errors[2]) - 1) < 0.15, errors


@pytest.mark.parametrize("name", ["moment", "pigdm", "diffpir", "ddnm"])
def test_vp_and_ve_priors_give_the_same_law_on_the_same_levels(name):
    """The denoiser knows the level only: where both processes hold the levels, nothing else may differ."""
    laws = [preset_law(name, field_problem("inpaint", (4, 4), sde=sde), 8) for sde in (recon.VP(), recon.VE(1e-4, 1e3))]
    assert relative(laws[1][0], laws[0][0]) < 1e-12
    assert relative(laws[1][1], laws[0][1]) < 1e-12


def test_vp_and_ve_priors_on_their_own_levels_agree_to_the_error_of_their_grids():
    """Each from its own largest level to its own smallest one."""
    found = []
    for sde in (recon.VP(), recon.VE(0.01, 60.0)):
        problem = vector_problem(sde=sde)
        found.append(ode_law(problem, karras(100, sde.sigma_max, sde.sigma_min), heun, 1e-6))
    assert relative(found[0][1], found[1][1]) < 5e-3
    assert relative(found[0][0], found[1][0]) < 1e-2
    assert relative(found[0][1], problem.posterior()[1]) < 5e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, parameters, sigma_y",
    [("inpaint", {"keep": 0.4}, 0.1), ("blur", {"std": 1.0}, 0.1), ("ct", {"angles": 20}, 0.4)],
)
def test_moment_matching_on_a_large_field(task, parameters, sigma_y):
    """Relative covariance error below 1 % at 200 Heun steps on 32x32.

    The flow of the exact field is a symmetric matrix F, so that the covariance F S F of the end (S of the start) is
    read off two runs with random probes v: |F S F - P| / |P| as the ratio of |F S F v - P v| and |P v|.
    """
    shape, probes, n = (32, 32), 4, 1024
    prior = recon.GaussianPrior(torch.zeros(1, *shape, dtype=torch.float64), spectrum(*shape))
    operator = OPERATORS[task](shape=shape, **parameters)
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(k, generator=generator, dtype=torch.float64) for k in (n, operator.out_shape))
    y = operator(prior.sample(x.reshape(1, 1, *shape))) + sigma_y * noise
    m, P = condition(
        torch.zeros(n, dtype=torch.float64),
        dense_stationary(spectrum(*shape)),
        dense_matrix(operator),
        y.flatten(),
        sigma_y**2,
    )
    levels = karras(200, 30 * prior.spread, prior.sigma_end)

    def end(states: Tensor) -> Tensor:
        rows = torch.cat([torch.zeros(1, n, dtype=torch.float64), states]).reshape(-1, *prior.shape)
        measurement = recon.Measurement(operator, y.expand(len(rows), *y.shape[1:]), Gaussian(sigma_y))
        denoise = guided(prior.denoise, moment(measurement, 1000, 2e-3))
        with torch.no_grad():
            return recon.sample(denoise, rows, levels, heun, (), torch.zeros_like).flatten(1)

    v = torch.randn(probes, n, generator=generator, dtype=torch.float64)
    ends = end(v)
    flowed = (ends[1:] - ends[0]).reshape(-1, *prior.shape)
    ends = end(levels[0] ** 2 * prior.start_filter(prior.start_filter(flowed, levels[0]), levels[0]).flatten(1))
    assert relative(ends[1:] - ends[0], v @ P) < 1e-2
    assert relative(ends[0], m) < 1e-2
