"""Bayes' rule for Gaussian images of the prior's error covariance C and linear data, by few products with A.

For a residual r = y - A x0 the data have the covariance S = A C A^H + N, N = sigma_y^2. With u = S^-1 r the slope of
their log-likelihood is v = A^H u, and the mean moves by C v. Two ways lead there by conjugate gradients:

* data space, S u = r: quick where data are few and spread out (random masks, down-sampling), so that S is even;
* image space, v + G C v = A^H N^-1 r with G = A^H N^-1 A, symmetric in the inner product <a, C b> and preconditioned by
  (1 + K C)^-1, K being the stationary operator nearest to G: for stationary A^H A and C (blur, Cartesian MRI of one
  coil) that is the solution, and CT and holes take few iterations. Data of differing noise make a gain that changes
  from place to place, and the preconditioner follows it (`recon.local_gain`).

All end at the least of <v, C v> + |r - A C v|^2 / N. Which is near to it soonest is tried on one residual drawn from
the model; rows of different weights are solved in image space.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import prod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from operators import Compose, Diagonal
from recon.jacobian import Weighted
from recon.krylov import Goal, dot, squared, truncated_cg, weighted_cg
from recon.likelihood import Measurement
from recon.local_gain import regularised_inverse
from recon.stationary import from_waves, of_points, symbol, waves

FEW = 4  # iterations after which the ways are compared first
MOST, TRIED = 200, 64  # iterations at most, and that are compared at most
LEAST = 10  # roundings of the residual at which iterations in data space end
SHARE = 5e-3  # of a residual, that data count as noisy at least when ways are compared
ROUNDING = 100  # roundings of the objective below which nothing is gained


class ErrorCovariance(Protocol):
    """What a solve wants to know of a `Prior`: C, by its products, and the scale of the images."""

    data_std: float

    def error_filter(self, v: Tensor, sigma: float, power: float) -> Tensor:
        """C^power v."""


class Solved(NamedTuple):
    """What a residual r says: v = A^H S^-1 r, the shift C v, and what this leaves of r over the noise's level,
    |r - A C v|^2 / N, (B,).
    """

    v: Tensor
    shift: Tensor
    misfit: Tensor


class Way(NamedTuple):
    """(r, sigma) -> all of what r says, or the shift alone."""

    name: str
    solve: Callable[[Tensor, float], Solved]
    shift: Callable[[Tensor, float], Tensor]
    closed: bool = False  # without iterations


Goals = Callable[[float], Goal]  # by the level
Ways = Callable[[int, Goals], Way]  # by the most iterations and the goal; what they share is made once


def solver(measurement: Measurement, prior: ErrorCovariance, goal: Goals) -> Way:
    """What r says where C is the prior's error covariance at level sigma; each row by itself.

    Data whose weights differ from row to row are always solved in image space: no row may decide for another.

    Args:
        measurement: linear, with noise of one level.
        prior: of the images.
        goal: what may be left, see `goal_of`: about, for the gains of iterations tell what is to come, but not where
            they come to a rest for a while; and in data space up to ten times as much where the noise level is far
            above the images' own spread.
    """
    if isinstance(measurement.operator, Weighted):
        return weighted_space(measurement, prior)(MOST, goal)
    image = image_space(measurement, prior)
    if image(1, goal).closed:
        return image(1, goal)
    ways = [image, data_space(measurement, prior)]
    if isinstance(measurement.operator, Compose) and isinstance(measurement.operator.outer, Diagonal):
        ways.append(weighted_space(measurement, prior))
    chosen, count = soonest(ways, measurement, prior, goal)
    # beyond what the images' own spread wants, data space takes many more the higher the level, which changes little
    return chosen(count if chosen is ways[1] else MOST, goal)


def soonest(ways: list[Ways], measurement: Measurement, prior: ErrorCovariance, goal: Goals) -> tuple[Ways, int]:
    """The way whose objective is least, where the level is the images' own spread, after as many iterations as it
    takes, a power of two, until the least of twice as many differs by no more than the goal; and how many these are.
    """
    rounding = ROUNDING * torch.finfo(measurement.y.dtype).eps

    def found(count: int) -> list[float]:
        return [objective(way(count, lambda sigma: Goal(0.0, 0.0)), measurement, prior, prior.data_std) for way in ways]

    count, few, more = FEW, found(FEW), found(2 * FEW)
    while count < TRIED and abs(min(few) - min(more)) > max(goal(prior.data_std).least, rounding * min(more)):
        count, few, more = 2 * count, more, found(4 * count)
    return ways[few.index(min(few))], count


def goal_of(measurement: Measurement, prior: ErrorCovariance, tolerance: float) -> Goals:
    """The square of an error of `tolerance` standard deviations of the posterior, summed over as many pixels as there
    are data at most, for data move no more. Above the images' own spread the state's noise exceeds it more and more,
    and as much more is left, but no more than a share of what the data say.
    """
    elements = min(prod(measurement.image_shape[1:]), measurement.count)
    return lambda sigma: Goal(elements * tolerance**2, elements * (tolerance * max(1.0, sigma / prior.data_std)) ** 2)


def objective(way: Way, measurement: Measurement, prior: ErrorCovariance, level: float) -> float:
    """<v, C v> + |r - A C v|^2 / N for one residual r drawn from the model at a level: least at the solution."""
    operator, generator = measurement.operator, torch.Generator().manual_seed(0)
    like = measurement.y.new_zeros((1, *measurement.image_shape[1:]))
    draws = [torch.randn(part.shape, generator=generator, dtype=torch.float64).to(part)
             for part in (like, measurement.y[:1])]  # fmt: skip
    residual = operator(prior.error_filter(draws[0], level, 0.5)) + measurement.sigma * draws[1]
    if operator.measured is not None:
        residual = residual * operator.measured.to(residual)
    found = way.solve(residual, level)
    left = residual - operator(found.shift)
    noise = max(measurement.sigma**2, SHARE**2 * float(residual.square().mean()))
    return float(dot(found.v, found.shift) + squared(left) / noise)


def data_space(measurement: Measurement, prior: ErrorCovariance) -> Ways:
    """`solver` by conjugate gradients on S u = r.

    Of u off by e the mean is off by C A^H e, the square of that by <e, (S - N) S e> / N: at most |S e|^2 / N.
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def spread(u: Tensor, sigma: float) -> Tensor:
        return prior.error_filter(operator.adjoint(u), sigma, 1.0)

    def way(iterations: int, goal: Goals) -> Way:
        def enough(residual: Tensor, sigma: float) -> Tensor:
            """An array of the size of what may be left."""
            size = squared(residual)
            power = (LEAST * torch.finfo(residual.dtype).eps) ** 2 * size
            if noise > 0:
                power = power.maximum(noise * goal(sigma).of(size / noise))
            return (power / residual[0].numel()).sqrt().reshape(-1, *(1,) * (residual.ndim - 1)).expand_as(residual)

        def inner(residual: Tensor, sigma: float) -> Tensor:
            return truncated_cg(
                lambda u: noise * u + operator(spread(u, sigma)), residual, iterations, 1.0, enough(residual, sigma)
            )

        def solve(residual: Tensor, sigma: float) -> Solved:
            u = inner(residual, sigma)
            v = operator.adjoint(u)
            return Solved(v, prior.error_filter(v, sigma, 1.0), noise * squared(u))

        return Way("data", solve, lambda residual, sigma: spread(inner(residual, sigma), sigma))

    return way


def image_space(measurement: Measurement, prior: ErrorCovariance) -> Ways:
    """`solver` by preconditioned conjugate gradients on v + G C v = A^H N^-1 r.

    Data without noise are given as much of it as rounding makes.
    """
    operator, like = measurement.operator, measurement.y.new_zeros(measurement.image_shape)
    rows = like if isinstance(operator, Weighted) else like[:1]
    response, diagonal = symbol(operator.normal, rows)
    elements = like[0].numel() / measurement.y[0].numel()

    def spread_at(sigma: float) -> Callable[[Tensor], Tensor]:
        return lambda x: prior.error_filter(x, sigma, 1.0)

    stationary = symbol(spread_at(prior.data_std), like[:1])[1]

    @lru_cache(maxsize=4)
    def known(sigma: float) -> tuple[Tensor, Tensor]:
        """The response of C, and the noise."""
        power = of_points(spread_at(sigma), like[:1]) if stationary else symbol(spread_at(sigma), like[:1])[0]
        signal = elements * (response * power).flatten(1).mean(1)
        return power, (10 * torch.finfo(like.dtype).eps * signal).clamp(min=measurement.sigma**2)

    def inner(
        residual: Tensor, sigma: float, iterations: int, goal: Goals
    ) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """v and C v in coordinates of their own, and the way back from there."""
        power, noise = known(sigma)
        level = noise.reshape(-1, *(1,) * (like.ndim - 1))

        def information(x: Tensor) -> Tensor:
            return operator.normal(x) / level

        def energy(x: Tensor) -> Tensor:
            return squared(operator(x)) / noise

        b = operator.adjoint(residual) / level
        if not stationary:
            return *weighted_cg(
                information, spread_at(sigma), lambda x: x, energy, b, iterations, goal(sigma)
            ), lambda x: x  # fmt: skip
        # on waves C and (1 + K C)^-1 are factors, so that an iteration takes two transforms, and none where G = K
        spread, gains = power[..., None], (1 / (1 + response * power / level))[..., None]
        if diagonal:
            v = gains * waves(b)
            return v, spread * v, lambda z: from_waves(z, b)
        return *weighted_cg(
            lambda z: waves(information(from_waves(z, b))), lambda z: spread * z, lambda z: gains * z,
            lambda z: energy(from_waves(z, b)), waves(b), iterations, goal(sigma),
        ), lambda z: from_waves(z, b)  # fmt: skip

    def way(iterations: int, goal: Goals) -> Way:
        def solve(residual: Tensor, sigma: float) -> Solved:
            v, shift, back = inner(residual, sigma, iterations, goal)
            v, shift = back(v), back(shift)
            return Solved(v, shift, squared(residual - operator(shift)) / known(sigma)[1])

        def shift(residual: Tensor, sigma: float) -> Tensor:
            _, found, back = inner(residual, sigma, iterations, goal)
            return back(found)

        return Way("image", solve, shift, diagonal and stationary)

    return way


def weighted_space(measurement: Measurement, prior: ErrorCovariance) -> Ways:
    """`image_space` with a preconditioner that follows how much the data weigh from place to place, where C is
    stationary and A^H N^-1 A is not.
    """
    operator, like = measurement.operator, measurement.y.new_zeros(measurement.image_shape)
    rows, noise = like if isinstance(operator, Weighted) else like[:1], measurement.sigma**2

    def information(x: Tensor) -> Tensor:
        return operator.normal(x) / noise

    if noise == 0:
        return image_space(measurement, prior)
    response, even = symbol(information, rows)
    if even or not symbol(lambda x: prior.error_filter(x, prior.data_std, 1.0), like[:1])[1]:
        return image_space(measurement, prior)
    inverse = regularised_inverse(information, response, rows)

    def inner(residual: Tensor, sigma: float, iterations: int, goal: Goals) -> tuple[Tensor, Tensor]:
        def spread(x: Tensor) -> Tensor:
            return prior.error_filter(x, sigma, 1.0)

        b = operator.adjoint(residual) / noise
        preconditioner = inverse(of_points(spread, like[:1]))
        return weighted_cg(
            information, spread, preconditioner, lambda x: squared(operator(x)) / noise, b, iterations, goal(sigma)
        )

    def way(iterations: int, goal: Goals) -> Way:
        def solve(residual: Tensor, sigma: float) -> Solved:
            v, shift = inner(residual, sigma, iterations, goal)
            return Solved(v, shift, squared(residual - operator(shift)) / noise)

        return Way("weighted", solve, lambda residual, sigma: inner(residual, sigma, iterations, goal)[1])

    return way
