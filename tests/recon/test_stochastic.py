"""The stochastic step of second order: its order in law, its variance at few calls, and what it forgets."""

from __future__ import annotations

import math

import pytest
import torch
from law import field_problem, law, preset_law, relative
from test_steps import GAUSS, MIXTURE, VARIANCES, draw
from torch import Tensor

import recon
from recon.schedule import geometric
from recon.steps import ancestral
from recon.stochastic import Ancestral2M


def test_order_two_in_law():
    """The law of the end converges to N(mean, C + low^2); the mean is that of the ancestral step, to rounding right."""
    high, low, errors = 20.0, 0.5, []
    for steps in (40, 80, 160):
        levels = geometric(steps + 1, high, low)[:-1]
        root = (torch.diag(VARIANCES) + high**2 * torch.eye(4, dtype=torch.float64)).sqrt()
        mean, covariance = law(lambda noise, rows: recon.Method(GAUSS.denoise, levels, Ancestral2M()), GAUSS.mean, root)  # noqa: B023
        assert relative(mean, GAUSS.mean) < 1e-12
        errors.append(relative(covariance, torch.diag(VARIANCES + low**2)))
    assert abs(math.log2(errors[1] / errors[2]) - 2) < 0.2, errors
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.3, errors


@pytest.mark.parametrize(("steps", "tolerance", "lost"), [(50, 0.006, 0.10), (20, 0.03, 0.23)])
def test_images_of_any_spectrum_keep_their_variance(steps, tolerance, lost):
    """On the default's own grid: every mode of three decades, and the first-order step beside it."""
    variances = torch.logspace(-3, 0, 7, dtype=torch.float64)
    prior = recon.GaussianPrior(torch.zeros(7, dtype=torch.float64), torch.diag(variances))
    levels = recon.presets.default_levels(prior, steps)
    root = torch.diag((variances + levels[0] ** 2).sqrt())
    for step, keeps in ((Ancestral2M, True), (ancestral, False)):
        _, covariance = law(lambda noise, rows: recon.Method(prior.denoise, levels, step()), prior.mean, root)  # noqa: B023
        ratio = covariance.diagonal() / variances
        assert float((ratio - 1).abs().max()) < tolerance if keeps else float(ratio.max()) < 1 - lost, ratio


@pytest.mark.parametrize("task", ["inpaint", "blur", "downsample"])
def test_the_posterior_of_a_field_is_calibrated_at_fifty_calls(task):
    problem = field_problem(task, (4, 6))
    options = {"step": "ancestral2m", "tolerance": 1e-8}
    mean, covariance = preset_law("spectral", problem, 50, **options)
    true_mean, true = problem.posterior()
    assert float(((mean - true_mean).square() / true.diagonal()).mean().sqrt()) < 0.01
    assert 0.99 < float(covariance.trace() / true.trace()) < 1.01


def test_update_of_the_paper_on_even_steps():
    """SDE-DPM-Solver++(2M), in its coordinates: x' = (s'/s) e^-h x + (1 - e^-2h) (D + D1 / 2) + s' (1 - e^-2h)^1/2 n.

    Ours differs by the factor of second order, 1 + (1 - e^-2h) / 4.
    """
    levels, states = geometric(6, 5.0, 0.5)[:-1], [draw(3, 4)]
    drawn = [draw(3, 4, seed=10 + i) for i in range(5)]
    h, before = math.log(levels[0] / levels[1]), None
    for s, s_next, n in zip(levels, levels[1:], drawn, strict=False):
        x, D = states[-1], MIXTURE.denoise(states[-1], s)
        share = -math.expm1(-2 * h)
        D1 = 0.0 if before is None else (D - before) / (1 + share / 4)
        states.append(
            s_next / s * math.exp(-h) * x + share * (D + 0.5 * D1) + s_next * math.sqrt(-math.expm1(-2 * h)) * n
        )
        before = D
    noise, found = iter(drawn), []
    recon.sample(MIXTURE.denoise, states[0], levels, Ancestral2M(), (), lambda like: next(noise),
                 lambda i, state: found.append(state))  # fmt: skip
    assert max(relative(a, b) for a, b in zip(found, states[1:], strict=True)) < 1e-12


def test_after_a_move_and_after_noise_is_put_back_the_step_is_the_ancestral_one():
    def moved(denoise, x: Tensor, sigma: float, noise) -> Tensor:
        return x + 0.1

    x = 5 * draw(3, 4)
    for levels, moves in (([5.0, 2.0, 1.0, 0.3], (moved,)), ([1.0, 0.5, 1.0, 0.5], ())):
        ends = []
        for step in (Ancestral2M(), ancestral()):
            drawn = iter(draw(3, 4, seed=i) for i in range(9))
            ends.append(recon.sample(MIXTURE.denoise, x, levels, step, moves, lambda like: next(drawn)))  # noqa: B023
        assert relative(ends[0], ends[1]) < 1e-14
