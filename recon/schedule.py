"""Noise levels for samplers: float64 lists, falling, that end in 0 (the last step returns the estimate itself)."""

from __future__ import annotations

import math

import torch

from recon.sde import SDE


def _check(steps: int, high: float, low: float) -> None:
    if steps < 1 or not 0 < low < high < math.inf:
        raise ValueError(f"got {steps} steps from sigma {high} to {low}; expected at least one step and high > low > 0")


def geometric(steps: int, high: float, low: float) -> list[float]:
    """`steps` levels of constant ratio from high to low, then 0. Reference: Song and Ermon, 2019, arXiv:1907.05600."""
    _check(steps, high, low)
    return [*(high * (low / high) ** (i / max(1, steps - 1)) for i in range(steps)), 0.0]


def karras(steps: int, high: float, low: float, rho: float = 7.0) -> list[float]:
    """`steps` levels evenly spaced in sigma^(1/rho), then 0. Reference: Karras et al., 2022, equation 5,
    arXiv:2206.00364.
    """
    _check(steps, high, low)
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [*((a + i / max(1, steps - 1) * (b - a)) ** rho for i in range(steps)), 0.0]


def uniform_time(steps: int, sde: SDE, high: float = math.inf, low: float = 0.0) -> list[float]:
    """The levels at `steps` evenly spaced times of a process, then 0: the grid of DDPM and DDIM on a VP process.

    The times end at 1e-3, and stay where the level is between `high` and `low`.

    Reference: Ho et al., 2020, arXiv:2006.11239; Song et al., 2021, section 4, arXiv:2011.13456.
    """
    latest = float(sde.time(min(high, sde.sigma_max)))
    earliest = float(sde.time(max(low, float(sde.sigma(max(1e-3, sde.t_min))))))
    return [*sde.sigma(torch.linspace(latest, earliest, steps, dtype=torch.float64)).tolist(), 0.0]


def time_travel(levels: list[float], jump: int, repeats: int) -> list[float]:
    """Levels that go `jump` steps down, back up, and down again, `repeats` times in all for each stretch.

    Reference: Lugmayr et al., RePaint, 2022, section 4.2, arXiv:2201.09865.
    """
    if jump < 1 or repeats < 1:
        raise ValueError(f"got jump {jump} and repeats {repeats}; expected both at least 1")
    path = [levels[0]]
    for start in range(0, len(levels) - 1, jump):
        stretch = levels[start : start + jump + 1]
        for again in range(repeats):
            path += stretch if again else stretch[1:]
    return path
