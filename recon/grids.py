"""The grids and the weights that presets take from a prior: its noise levels, its spread, where its data are noise."""

from __future__ import annotations

from collections.abc import Callable

from recon.likelihood import Measurement
from recon.prior import Prior
from recon.schedule import geometric, karras, uniform_time
from recon.sde import VP


def default_levels(prior: Prior, steps: int) -> list[float]:
    """The toolkit's own grid: Karras levels from where noise hides the prior to where it is far below its details."""
    return karras(steps, prior.sigma_start, prior.sigma_end)


def vp_levels(prior: Prior, steps: int) -> list[float]:
    """The grid of DDPM: even times of the standard VP process, kept inside the levels that the prior knows."""
    return uniform_time(steps, VP(), prior.sde.sigma_max, prior.sde.sigma_min)


def geometric_levels(prior: Prior, steps: int) -> list[float]:
    """The grid of a VE process: constant ratio."""
    return geometric(steps, prior.sigma_start, prior.sigma_end)


def white_variance(prior: Prior) -> Callable[[float], float]:
    """r^2 = sigma^2 s^2 / (sigma^2 + s^2): the spread of x0 given x for a white prior of standard deviation s."""
    return lambda sigma: sigma**2 * prior.data_std**2 / (sigma**2 + prior.data_std**2)


def noise_damping(measurement: Measurement, prior: Prior) -> float:
    """sigma_y^2 / s^2: where the singular values of A lie below its root, the noise hides images of standard
    deviation s.
    """
    return (measurement.sigma / prior.data_std) ** 2
