"""Annealed Langevin dynamics, predictor-corrector methods and split Gibbs have the law of their papers' updates.

The updates are typed on dense matrices, for states x0 + sigma n as in the papers.
"""

from __future__ import annotations

import math

import pytest
import torch
from affine import Affine, fresh, state
from law import Impulses, Problem, preset_law
from test_recursions import STEPS, assert_same_law, eye, problem_of
from torch import Tensor

import recon
from operators import operator_norm
from recon.annealed import annealing_share
from recon.grids import default_levels

TASKS = ["vector", "inpaint", "blur", "downsample", "ct"]


def levels_of(problem: Problem, name: str, **options: object) -> list[float]:
    return recon.METHODS[name](problem.measurement, problem.prior, STEPS, Impulses(0), **options).sigmas


def score(problem: Problem, x: Affine, sigma: float) -> Affine:
    return -(x - problem.mu).under(torch.linalg.inv(problem.C + sigma**2 * eye(len(problem.mu))))


def started(problem: Problem, sigma: float) -> tuple[Tensor, Tensor]:
    return problem.mu, problem.C + sigma**2 * eye(len(problem.mu))


def norm_of(problem: Problem) -> float:
    """The package's own estimate of |A|, from below by power iteration."""
    norm = operator_norm(problem.measurement.operator)
    assert norm == pytest.approx(float(torch.linalg.matrix_norm(problem.M, 2)), rel=1e-2)
    return norm


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("gamma, share, repeats", [(1.0, 0.3, 3), (0.6, 0.1, 2)])
def test_csgm(task, gamma, share, repeats):
    """Jalal et al., 2021, equation 4: x + e (f(x; s) + A^H (y - A x) / (gamma^2 + sigma_y^2)) + sqrt(2 e) n."""
    problem = problem_of(task)
    options = {"gamma": gamma, "share": share, "repeats": repeats}
    n, norm, levels = len(problem.mu), norm_of(problem), levels_of(problem, "csgm", **options)
    assert len(levels) == 2 + (STEPS - 1) // repeats

    def drift(x: Affine, sigma: float) -> Affine:
        variance = problem.sigma_y**2 + (gamma * norm * sigma) ** 2
        return score(problem, x, sigma) + (1 / variance) * (-(x.under(problem.M) - problem.y)).under(problem.M.T)

    mean, covariance = started(problem, levels[0])
    for sigma in levels[1:-1]:
        for _ in range(repeats):
            x, e = state(n), share * sigma**2
            x = x + e * drift(x, sigma) + math.sqrt(2 * e) * fresh(n)
            mean, covariance = x.law(mean, covariance)
    mean, covariance = (state(n) + levels[-2] ** 2 * drift(state(n), levels[-2])).law(mean, covariance)
    assert_same_law(preset_law("csgm", problem, STEPS, **options), (mean, covariance))


def test_size_of_annealed_langevin_steps_is_song_and_ermons():
    """Proposition 3 with e / s_L^2 = a and no data: the variance after K steps from `ratio` times the level."""
    for ratio, repeats in ((1.05, 5), (3.0, 3), (20.0, 3)):

        def variance(a: float, ratio: float = ratio, repeats: int = repeats) -> float:
            value = ratio**2
            for _ in range(repeats):
                value = (1 - a) ** 2 * value + 2 * a
            return value

        best = annealing_share(ratio, repeats)
        assert 0 < best < 1
        assert all(variance(best) <= variance(a) for a in (best - 9e-4, best + 9e-4, 0.01, 0.3, 0.9))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("relaxation, noised", [(1.0, 0.0), (0.7, 1.0)])
def test_score_mri(task, relaxation, noised):
    """Chung and Ye, 2022, algorithm 1: predictor, x + lambda A^H (y - A x), corrector, the same again."""
    problem, snr = problem_of(task), 0.16
    n, norm, levels = len(problem.mu), norm_of(problem), levels_of(problem, "score_mri")

    def pull(x: Affine, sigma: float) -> Affine:
        residual = (noised * sigma * fresh(n)).under(problem.M) + problem.y - x.under(problem.M)
        return x + (relaxation / norm**2) * residual.under(problem.M.T)

    mean, covariance = started(problem, levels[0])
    for sigma, lower in zip(levels, levels[1:], strict=False):
        x = state(n)
        x = x + (sigma**2 - lower**2) * score(problem, x, sigma)
        if lower:
            x = x + math.sqrt(sigma**2 - lower**2) * fresh(n)
        x = pull(x, lower)
        if lower:
            epsilon = 2 * (snr * lower) ** 2
            x = x + epsilon * score(problem, x, lower) + math.sqrt(2 * epsilon) * fresh(n)
        x = pull(x, lower)
        mean, covariance = x.law(mean, covariance)
    assert_same_law(preset_law("score_mri", problem, STEPS, relaxation=relaxation, noised=noised), (mean, covariance))


@pytest.mark.parametrize("task", TASKS)
def test_predictor_corrector(task):
    """Song et al., 2021, algorithms 2 and 4 on the posterior's own score, that of N(m, P + sigma^2 ...) given y."""
    problem, snr = problem_of(task), 0.2
    n, M, levels = len(problem.mu), problem.M, levels_of(problem, "predictor_corrector")
    prior = torch.linalg.inv(problem.C)

    def posterior_score(x: Affine, sigma: float) -> Affine:
        spread = torch.linalg.inv(prior + eye(n) / sigma**2 + M.T @ M / problem.sigma_y**2)
        x0 = ((1 / sigma**2) * x + prior @ problem.mu + M.T @ problem.y / problem.sigma_y**2).under(spread)
        return (1 / sigma**2) * (x0 - x)

    mean, covariance = started(problem, levels[0])
    for sigma, lower in zip(levels, levels[1:], strict=False):
        x = state(n)
        x = x + (sigma**2 - lower**2) * posterior_score(x, sigma)
        if lower:
            x = x + math.sqrt(sigma**2 - lower**2) * fresh(n)
            epsilon = 2 * (snr * lower) ** 2
            x = x + epsilon * posterior_score(x, lower) + math.sqrt(2 * epsilon) * fresh(n)
        mean, covariance = x.law(mean, covariance)
    options = {"snr": snr, "tolerance": 1e-13}
    assert_same_law(preset_law("predictor_corrector", problem, STEPS, **options), (mean, covariance), 1e-8)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("inner", [1, 3])
def test_pnpdm(task, inner):
    """Wu et al., 2024, algorithm 1: x ~ p(x0 | z) by a reverse run, z ~ N(x, rho^2) times the likelihood."""
    problem = problem_of(task)
    n, M = len(problem.mu), problem.M
    levels = default_levels(problem.prior, STEPS // inner)
    mean, covariance = started(problem, levels[0])
    for rho, lower in zip(levels, levels[1:], strict=False):
        x, end = state(n), min(problem.prior.sigma_end, rho / 2)
        fine = [
            (rho ** (1 / 7) + i / max(1, inner - 1) * (end ** (1 / 7) - rho ** (1 / 7))) ** 7 for i in range(inner)
        ] + [0.0]
        for s, s_next in zip(fine, fine[1:], strict=False):
            # p(x_next | x, x0) of the forward process, with E[x0 | x] for x0
            x = x + (s**2 - s_next**2) * score(problem, x, s)
            x = x + (s_next * math.sqrt(s**2 - s_next**2) / s) * fresh(n)
        if lower:
            spread = torch.linalg.inv(eye(n) / lower**2 + M.T @ M / problem.sigma_y**2)
            middle = (x / lower**2 + M.T @ problem.y / problem.sigma_y**2).under(spread)
            x = middle + fresh(n).under(torch.linalg.cholesky(spread))
        mean, covariance = x.law(mean, covariance)
    assert_same_law(preset_law("pnpdm", problem, STEPS, inner=inner), (mean, covariance))


def test_correctors_have_names():
    problem = problem_of("inpaint")
    for method in ("csgm", "predictor_corrector"):
        with pytest.raises(ValueError, match="got move='ula'; expected one of langevin, mala"):
            recon.reconstruct(problem.measurement, problem.prior, method, 10, samples=1, options={"move": "ula"})
    post = recon.reconstruct(problem.measurement, problem.prior, "csgm", 10, samples=1, options={"move": "mala"})
    assert post.nfe == 10  # a move at one level, of three times three calls
