"""Bayes' rule for Gaussian images of the prior's error covariance C and linear data, by few products with A.

For a residual r = y - A x0 the data have the covariance S = A C A^H + N, N = sigma_y^2. With u = S^-1 r the slope of
their log-likelihood is v = A^H u, and the mean moves by C v. Two ways lead there by conjugate gradients:

* data space, S u = r: quick where data are few and spread out (random masks, down-sampling), so that S is even;
* image space, v + G C v = A^H N^-1 r with G = A^H N^-1 A, symmetric in the inner product <a, C b> and preconditioned by
  (1 + K C)^-1, K being the stationary operator nearest to G: for stationary A^H A and C (blur, Cartesian MRI of one
  coil) that is the solution; for CT and holes eight iterations do what takes tens otherwise. Data of differing noise
  make a gain that changes from place to place, and the preconditioner follows it (`recon.local_gain`).

All end at the least of <v, C v> + |r - A C v|^2 / N. Which is nearer to it after as many iterations as there are to be
is tried on one residual drawn from the model; rows of different weights are solved in image space.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from math import prod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from operators import Compose, Diagonal
from recon.jacobian import Weighted
from recon.krylov import dot, squared, truncated_cg, weighted_cg
from recon.likelihood import Measurement
from recon.local_gain import regularised_inverse
from recon.stationary import from_waves, of_points, symbol, waves

MOST = 50  # up to so many times the iterations that were asked for
FAR = {1: 1.0, 4: 1.0, 16: 5.0}  # level in the images' own spread -> error that is left there, in tolerances
RESIDUAL = 0.1  # tolerances: residual relative to the first at which iterations in data space end
ROUNDING = 100  # roundings of the objective below which nothing is gained
WEIGHTED = 6  # iterations of weighted data over those of data of one level


class ErrorCovariance(Protocol):
    """What a solve wants to know of a `Prior`: C, by its products, and the scale of the images."""

    data_std: float

    def error_filter(self, v: Tensor, sigma: float, power: float) -> Tensor:
        """C^power v."""


class Solved(NamedTuple):
    """What a residual r says: v = A^H S^-1 r, the shift C v, what it leaves r - A C v = N u, and <u, N u>, (B,)."""

    v: Tensor
    shift: Tensor
    left: Tensor
    misfit: Tensor


class Way(NamedTuple):
    """(r, sigma) -> all of what r says, and (part, r, sigma) -> the shift of a part of r, as exact as that of r."""

    name: str
    solve: Callable[[Tensor, float], Solved]
    shift: Callable[[Tensor, Tensor, float], Tensor]
    closed: bool = False  # without iterations


Ways = Callable[[int], Way]  # by the number of iterations; what they share is made once


def solver(measurement: Measurement, prior: ErrorCovariance, iterations: int, tolerance: float) -> Way:
    """What r says where C is the prior's error covariance at level sigma; each row by itself.

    Data whose weights differ from row to row are always solved in image space: no row may decide for another.

    Args:
        measurement: linear, with noise of one level.
        prior: of the images.
        iterations: so many at first, `WEIGHTED` times as many where the data's weights differ; and more where these
            leave an error, as with masks, or detectors which do not cover the image.
        tolerance: root mean square of the error in standard deviations of the posterior.
    """
    if isinstance(measurement.operator, Weighted):
        return weighted_space(measurement, prior, tolerance)(iterations)
    image = image_space(measurement, prior, tolerance)
    if image(1).closed:
        return image(1)

    data = data_space(measurement, prior, tolerance)
    ways = [image, data]
    if isinstance(measurement.operator, Compose) and isinstance(measurement.operator.outer, Diagonal):
        ways.append(weighted_space(measurement, prior, tolerance))

    @cache
    def left_undone(way: Ways, count: int, far: int) -> float:
        return objective(way(count), measurement, prior, far * prior.data_std, tolerance)

    def done(way: Ways, count: int, far: int) -> bool:
        """The objective is above its least by the square of the error, summed over the image."""
        few, more = left_undone(way, count, far), left_undone(way, further(count), far)
        rounding = ROUNDING * torch.finfo(measurement.y.dtype).eps * more
        return few - more <= max(prod(measurement.image_shape[1:]) * (FAR[far] * tolerance) ** 2, rounding)

    good = [way for way in ways if done(way, iterations, 1)]
    chosen = good[0] if len(good) == 1 else min(
        good or ways, key=lambda way: left_undone(way, 2 * iterations, 4 if good else 1)
    )
    most = MOST * iterations
    for far in [1] if chosen is data and not good else FAR:  # data space is best only where data are spread out
        while iterations < most and not done(chosen, iterations, far):
            iterations = further(iterations)
    return chosen(iterations)


def further(iterations: int) -> int:
    """Half as many again."""
    return iterations + max(1, iterations // 2)


def objective(way: Way, measurement: Measurement, prior: ErrorCovariance, level: float, tolerance: float) -> float:
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
    noise = max(measurement.sigma**2, (RESIDUAL * tolerance) ** 2 * float(residual.square().mean()))
    return float(dot(found.v, found.shift) + squared(left) / noise)


def data_space(measurement: Measurement, prior: ErrorCovariance, tolerance: float) -> Ways:
    """`solver` by conjugate gradients on S u = r, until a share of r is left."""
    return data_space_until(measurement, prior, lambda r: RESIDUAL * tolerance * r)


def data_space_until(
    measurement: Measurement, prior: ErrorCovariance, enough: Callable[[Tensor], Tensor]
) -> Ways:
    """`data_space` until what is left of r has the size of enough(r)."""
    operator, noise = measurement.operator, measurement.sigma**2

    def spread(u: Tensor, sigma: float) -> Tensor:
        return prior.error_filter(operator.adjoint(u), sigma, 1.0)

    def way(iterations: int) -> Way:
        def inner(part: Tensor, residual: Tensor, sigma: float) -> Tensor:
            return truncated_cg(
                lambda u: noise * u + operator(spread(u, sigma)), part, iterations, 1.0, enough(residual)
            )

        def solve(residual: Tensor, sigma: float) -> Solved:
            u = inner(residual, residual, sigma)
            v = operator.adjoint(u)
            return Solved(v, prior.error_filter(v, sigma, 1.0), noise * u, noise * squared(u))

        return Way("data", solve, lambda part, residual, sigma: spread(inner(part, residual, sigma), sigma))

    return way


def image_space(measurement: Measurement, prior: ErrorCovariance, tolerance: float) -> Ways:
    """`solver` by preconditioned conjugate gradients on v + G C v = A^H N^-1 r.

    Data without noise are given as much of it as rounding makes.
    """
    operator, like = measurement.operator, measurement.y.new_zeros(measurement.image_shape)
    rows = like if isinstance(operator, Weighted) else like[:1]
    response, diagonal = symbol(operator.normal, rows)
    elements, goal = like[0].numel() / measurement.y[0].numel(), tolerance**2

    def spread_at(sigma: float) -> Callable[[Tensor], Tensor]:
        return lambda x: prior.error_filter(x, sigma, 1.0)

    stationary = symbol(spread_at(prior.data_std), like[:1])[1]

    @lru_cache(maxsize=4)
    def known(sigma: float) -> tuple[Tensor, Tensor]:
        """The response of C, and the noise."""
        power = of_points(spread_at(sigma), like[:1]) if stationary else symbol(spread_at(sigma), like[:1])[0]
        signal = elements * (response * power).flatten(1).mean(1)
        return power, (10 * torch.finfo(like.dtype).eps * signal).clamp(min=measurement.sigma**2)

    def inner(residual: Tensor, sigma: float, iterations: int) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
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
                information, spread_at(sigma), lambda x: x, energy, b, iterations, goal
            ), lambda x: x  # fmt: skip
        # on waves C and (1 + K C)^-1 are factors, so that an iteration takes two transforms, and none where G = K
        spread, gains = power[..., None], (1 / (1 + response * power / level))[..., None]
        if diagonal:
            v = gains * waves(b)
            return v, spread * v, lambda z: from_waves(z, b)
        return *weighted_cg(
            lambda z: waves(information(from_waves(z, b))), lambda z: spread * z, lambda z: gains * z,
            lambda z: energy(from_waves(z, b)), waves(b), iterations, goal,
        ), lambda z: from_waves(z, b)  # fmt: skip

    def way(iterations: int) -> Way:
        def solve(residual: Tensor, sigma: float) -> Solved:
            v, shift, back = inner(residual, sigma, iterations)
            v, shift = back(v), back(shift)
            left = residual - operator(shift)
            return Solved(v, shift, left, squared(left) / known(sigma)[1])

        def shift(part: Tensor, residual: Tensor, sigma: float) -> Tensor:
            _, found, back = inner(part, sigma, iterations)
            return back(found)

        return Way("image", solve, shift, diagonal and stationary)

    return way


def weighted_space(measurement: Measurement, prior: ErrorCovariance, tolerance: float) -> Ways:
    """`image_space` with a preconditioner that follows how much the data weigh from place to place, where C is
    stationary and A^H N^-1 A is not. It takes `WEIGHTED` times as many iterations: what few leave undone at high noise
    levels the prior takes for structure.
    """
    operator, like = measurement.operator, measurement.y.new_zeros(measurement.image_shape)
    rows, noise = like if isinstance(operator, Weighted) else like[:1], measurement.sigma**2

    def information(x: Tensor) -> Tensor:
        return operator.normal(x) / noise

    def plain(iterations: int) -> Way:
        return image_space(measurement, prior, tolerance)(WEIGHTED * iterations)

    if noise == 0:
        return plain
    response, even = symbol(information, rows)
    if even or not symbol(lambda x: prior.error_filter(x, prior.data_std, 1.0), like[:1])[1]:
        return plain
    inverse, goal = regularised_inverse(information, response, rows), tolerance**2

    def inner(residual: Tensor, sigma: float, iterations: int) -> tuple[Tensor, Tensor]:
        def spread(x: Tensor) -> Tensor:
            return prior.error_filter(x, sigma, 1.0)

        b = operator.adjoint(residual) / noise
        preconditioner = inverse(of_points(spread, like[:1]))
        return weighted_cg(
            information, spread, preconditioner, lambda x: squared(operator(x)) / noise, b, WEIGHTED * iterations, goal
        )

    def way(iterations: int) -> Way:
        def solve(residual: Tensor, sigma: float) -> Solved:
            v, shift = inner(residual, sigma, iterations)
            left = residual - operator(shift)
            return Solved(v, shift, left, squared(left) / noise)

        return Way("weighted", solve, lambda part, residual, sigma: inner(part, sigma, iterations)[1])

    return way
