"""Grids of noise levels: their formulas, ends and order."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import recon
from recon.grids import default_levels, geometric_levels, vp_levels
from recon.schedule import geometric, karras, time_travel, uniform_time


def test_geometric_has_constant_ratio_and_ends_in_zero():
    levels = geometric(6, 50.0, 0.01)
    assert levels[0] == 50.0 and levels[-1] == 0.0 and len(levels) == 7
    assert levels[-2] == pytest.approx(0.01, rel=1e-12)
    ratios = [b / a for a, b in pairwise(levels[:-1])]
    assert ratios == pytest.approx([(0.01 / 50.0) ** (1 / 5)] * 5, rel=1e-12)


def test_karras_is_equation_5():
    """sigma_i = (max^(1/rho) + i / (N - 1) (min^(1/rho) - max^(1/rho)))^rho."""
    for steps, high, low, rho in ((18, 80.0, 0.002, 7.0), (2, 3.0, 0.1, 1.0), (5, 10.0, 0.5, 3.0)):
        expected = [
            (high ** (1 / rho) + i / (steps - 1) * (low ** (1 / rho) - high ** (1 / rho))) ** rho for i in range(steps)
        ] + [0.0]
        assert karras(steps, high, low, rho) == pytest.approx(expected, rel=1e-12)


def test_uniform_time_of_vp_is_the_grid_of_ddpm():
    """sigma = sqrt((1 - a) / a), a = exp(-(0.1 t + 9.95 t^2)) at even times from 1 to 0.001."""
    levels = uniform_time(10, recon.VP())
    alphas = [math.exp(-(0.1 * t + 9.95 * t**2)) for t in torch.linspace(1, 1e-3, 10, dtype=torch.float64).tolist()]
    assert levels == pytest.approx([math.sqrt((1 - a) / a) for a in alphas] + [0.0], rel=1e-10)


@pytest.mark.parametrize("grid", [geometric, karras])
def test_one_step_goes_from_the_top_to_zero(grid):
    assert grid(1, 5.0, 0.1) == pytest.approx([5.0, 0.0], rel=1e-12)


@pytest.mark.parametrize("grid", [geometric, karras])
@pytest.mark.parametrize(
    "steps, high, low",
    [(0, 1.0, 0.1), (-3, 1.0, 0.1), (5, 0.1, 1.0), (5, 1.0, 0.0), (5, math.inf, 1.0), (5, math.nan, 1.0)],
)
def test_impossible_grids_are_refused(grid, steps, high, low):
    with pytest.raises(ValueError, match=r"got .* steps from sigma .*; expected at least one step and high > low > 0"):
        grid(steps, high, low)


def test_time_travel_repeats_every_stretch():
    """RePaint's jump length 2, resampling 3: down 2, and twice up again and down."""
    assert time_travel([5.0, 4.0, 3.0, 2.0, 0.0], 2, 3) == [
        5.0,
        4.0,
        3.0,
        5.0,
        4.0,
        3.0,
        5.0,
        4.0,
        3.0,
        2.0,
        0.0,
        3.0,
        2.0,
        0.0,
        3.0,
        2.0,
        0.0,
    ]
    assert time_travel([5.0, 4.0, 3.0, 0.0], 2, 1) == [5.0, 4.0, 3.0, 0.0]
    assert time_travel([5.0, 4.0, 3.0, 0.0], 2, 2) == [5.0, 4.0, 3.0, 5.0, 4.0, 3.0, 0.0, 3.0, 0.0]
    with pytest.raises(ValueError, match="jump 0"):
        time_travel([1.0, 0.0], 0, 2)
    with pytest.raises(ValueError, match="repeats 0"):
        time_travel([1.0, 0.0], 1, 0)


@pytest.mark.parametrize("sde", [recon.VP(), recon.VE(0.005, 20.0), recon.SubVP()], ids=["vp", "ve", "subvp"])
@pytest.mark.parametrize("levels_of", [default_levels, vp_levels, geometric_levels])
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_levels_of_presets_stay_inside_what_the_prior_knows(levels_of, steps, sde):
    prior = recon.GaussianPrior(torch.zeros(1, 4, 4, dtype=torch.float64), torch.ones(4, 4), sde)
    levels = levels_of(prior, steps)
    assert len(levels) == steps + 1
    assert all(a > b for a, b in pairwise(levels))
    assert levels[-1] == 0.0
    assert sde.sigma_min * (1 - 1e-6) <= levels[-2] and levels[0] <= sde.sigma_max * (1 + 1e-6)


def test_vp_levels_follow_ddpm_whatever_process_the_prior_was_trained_with():
    """Even VP times between the ends that the prior knows."""
    for sde in (recon.VP(), recon.VE(0.05, 20.0)):
        prior = recon.GaussianPrior(torch.zeros(3, dtype=torch.float64), torch.eye(3), sde)
        times = torch.tensor([float(recon.VP().time(s)) for s in vp_levels(prior, 9)[:-1]])
        assert torch.allclose(times.diff(), times.diff().mean().expand(8), rtol=1e-6)
    assert vp_levels(recon.GaussianPrior(torch.zeros(3), torch.eye(3), recon.VP()), 9) == pytest.approx(
        uniform_time(9, recon.VP()), rel=1e-6
    )
