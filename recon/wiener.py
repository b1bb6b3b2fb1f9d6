"""Bayes' rule for Gaussian images of the prior's error covariance C and linear data, by few products with A.

Which of the ways of `recon.spaces` is near to the solution soonest is tried on one residual drawn from the model, and
whether iterations may end by how little they move the image: not where the preconditioner is far off, for then those
that move it least come first. Rows of different weights are solved in image space.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor

from operators import Compose, Diagonal
from recon.jacobian import Weighted
from recon.krylov import Goal, dot, squared
from recon.likelihood import Measurement
from recon.spaces import (
    ErrorCovariance,
    Goals,
    Solved,
    Way,
    Ways,
    data_space,
    image_drawn,
    image_space,
    weighted_space,
)

FEW = 4  # iterations after which the ways are compared first
MOST, TRIED = 200, 64  # iterations at most, and that are compared at most
LOW = 0.15  # times the images' spread: a level at which iterations are tried too
SHARE = 5e-3  # of a residual, that data count as noisy at least when ways are compared
ROUNDING = 100  # roundings of an image, or of the objective, below which nothing is gained


def solver(measurement: Measurement, prior: ErrorCovariance, goal: Goals, shifts: Goals | None = None) -> Way:
    """What r says where C is the prior's error covariance at level sigma; each row by itself.

    Data whose weights differ from row to row are always solved in image space: no row may decide for another.

    Args:
        measurement: linear, with noise of one level.
        prior: of the images.
        goal: what may be left, see `goal_of`: about, for the gains of iterations tell what is to come, but not where
            they come to a rest for a while.
        shifts: the same of the shift alone, where that is another.
    """

    def way(chosen: Ways, careful: bool) -> Way:
        goals = [without_images(one) if careful else one for one in (goal, shifts or goal)]
        return chosen(MOST, goals[0])._replace(shift=chosen(MOST, goals[1]).shift)

    def far(chosen: Ways, shift: Tensor, residual: Tensor, level: float) -> bool:
        """Whether what the goal leaves is more than it says."""
        apart = chosen(MOST, goal).shift(residual, level) - shift
        return float(squared(apart)) > goal(level).image

    if isinstance(measurement.operator, Weighted):
        return way(weighted_space(measurement, prior), careful=True)
    image = image_space(measurement, prior)
    if image(1, goal).closed:
        return image(1, goal)
    ways = [image, data_space(measurement, prior)]
    if isinstance(measurement.operator, Compose) and isinstance(measurement.operator.outer, Diagonal):
        ways.append(weighted_space(measurement, prior))
    level, residual = prior.data_std, drawn(measurement, prior, prior.data_std)
    chosen, shift = soonest(ways, measurement, residual, level, goal(level))
    if far(chosen, shift, residual, level):
        return way(chosen, careful=True)
    residual = drawn(measurement, prior, LOW * level)  # there data that tell much are harder to solve for
    shift = chosen(MOST, without_images(goal)).shift(residual, LOW * level)
    return way(chosen, careful=far(chosen, shift, residual, LOW * level))


def without_images(goal: Goals) -> Goals:
    """That of the energy alone."""
    return lambda sigma: Goal(goal(sigma).energy)


def soonest(
    ways: list[Ways], measurement: Measurement, residual: Tensor, level: float, goal: Goal
) -> tuple[Ways, Tensor]:
    """The way that is nearest to the shift after as many iterations, a power of two, as the first of them takes to come
    as near as the goal allows, and the shift: that of the least objective, once this and the image are within the goal
    of those that half as many iterations gave. Either alone may stand still before it falls.
    """
    rounding = ROUNDING * torch.finfo(residual.dtype).eps
    left = goal.image or goal.energy * level**2  # a variance is no larger than that of the state's noise

    def found(count: int) -> list[Solved]:
        return [way(count, lambda sigma: Goal(0.0)).solve(residual, level) for way in ways]

    def best(solved: list[Solved]) -> tuple[float, Tensor]:
        values = [objective(one, residual, measurement) for one in solved]
        return min(values), solved[values.index(min(values))].shift

    count, tried = 2 * FEW, [found(FEW), found(2 * FEW)]
    while count < TRIED:
        (higher, before), (value, shift) = best(tried[-2]), best(tried[-1])
        moved, still = float(squared(shift - before)), max(left, rounding**2 * float(squared(shift)))
        if moved <= still and abs(higher - value) <= max(goal.energy, rounding * value):
            break
        count *= 2
        tried.append(found(count))
    _, shift = best(tried[-1])
    for solved in tried:
        apart = [float(squared(one.shift - shift)) for one in solved]
        if min(apart) <= left:
            break
    return ways[apart.index(min(apart))], shift


def goal_of(
    measurement: Measurement, tolerance: float, levels: Sequence[float] = (), share: float | None = None
) -> Goals:
    """The square of an error of `tolerance` standard deviations of the posterior, summed over as many pixels as there
    are data at most, for data move no more; or, where steps lead to a level below, a share of that level's noise.

    An error e of the estimate moves the state at the level s below by e at most, and further levels forget it where
    the data tell better: of Gaussian images with a posterior of variance p, p / (p + s^2) of it is left in the end.
    That is e / (2 s) standard deviations at most, where p = s^2. Were the errors of small steps all alike, e = t s,
    they would add up to pi t standard deviations, as they do where iterations that end early always shift too little.

    Args:
        measurement: linear, with noise of one level.
        tolerance: as above.
        levels: of a run whose steps go a share of the way to the estimate; of others none, for they may go farther.
        share: t; half of `tolerance` by default.
    """
    share = tolerance / 2 if share is None else share
    elements, rising = min(math.prod(measurement.image_shape[1:]), measurement.count), sorted(levels)

    def goal(sigma: float) -> Goal:
        lower = bisect_left(rising, sigma * (1 - 1e-6))
        below = rising[lower - 1] if lower else 0.0
        return Goal(elements * tolerance**2, elements * (share * below) ** 2)

    return goal


def drawn(measurement: Measurement, prior: ErrorCovariance, level: float) -> Tensor:
    """A residual drawn from the model at a level."""
    operator = measurement.operator
    noise = torch.randn(measurement.y[:1].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    residual = operator(image_drawn(measurement, prior, level)) + measurement.sigma * noise.to(measurement.y)
    if operator.measured is not None:
        residual = residual * operator.measured.to(residual)
    return residual


def objective(found: Solved, residual: Tensor, measurement: Measurement) -> float:
    """<v, C v> + |r - A C v|^2 / N of what was found of a residual r: least at the solution."""
    left = residual - measurement.operator(found.shift)
    noise = max(measurement.sigma**2, SHARE**2 * float(residual.square().mean()))
    return float(dot(found.v, found.shift) + squared(left) / noise)
