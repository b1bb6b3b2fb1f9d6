"""Ways to what data say of Gaussian images: conjugate gradients in the space of the data or of the images.

For a residual r = y - A x0 the data have the covariance S = A C A^H + N, N = sigma_y^2. With u = S^-1 r the slope of
their log-likelihood is v = A^H u, and the mean moves by C v. Two ways lead there:

* data space, S u = r: quick where data are few and spread out (random masks, down-sampling), so that S is even;
* image space, v + G C v = A^H N^-1 r with G = A^H N^-1 A, symmetric in the inner product <a, C b> and preconditioned by
  (1 + K C)^-1, K being the stationary operator nearest to G: for stationary A^H A and C (blur, Cartesian MRI of one
  coil) that is the solution, and CT and holes take few iterations. Data of differing noise make a gain that changes
  from place to place, and the preconditioner follows it (`recon.local_gain`).

All end at the least of <v, C v> + |r - A C v|^2 / N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from recon.jacobian import Weighted
from recon.krylov import Goal, Linear, System, conjugate_gradients, dot, squared
from recon.likelihood import Measurement
from recon.local_gain import regularised_inverse
from recon.stationary import from_waves, of_points, symbol, waves


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


def image_drawn(measurement: Measurement, prior: ErrorCovariance, level: float, power: float = 0.5) -> Tensor:
    """C^power n for C at a level and one draw of noise n, (1, *event)."""
    shape = (1, *measurement.image_shape[1:])
    draw = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return prior.error_filter(draw.to(measurement.y), level, power)


def data_space(measurement: Measurement, prior: ErrorCovariance) -> Ways:
    """`solver` by conjugate gradients on S u = r.

    Of u off by e the image is off by C A^H e: by the square <e, (S - N) S e> / N in standard deviations of the
    posterior, at most |S e|^2 / N, and, as far as it is like what C draws or like noise, by |S e|^2 / |A|^2 at most.
    """
    operator, noise = measurement.operator, measurement.sigma**2
    likely = [image_drawn(measurement, prior, prior.data_std, power) for power in (0.5, 0.0)]
    gain = min(float(squared(operator(x)) / squared(x)) for x in likely)

    def system(sigma: float) -> System:
        return System(
            dual=None,
            precondition=None,
            move=lambda u: prior.error_filter(operator.adjoint(u), sigma, 1.0),
            apply=lambda u, _, moved: noise * u + operator(moved),
            curvature=lambda u, _, moved: noise * squared(u) + dot(u, operator(moved)),
            left=lambda size: (size / noise if noise else torch.full_like(size, math.inf), size / gain),
        )

    def way(iterations: int, goal: Goals) -> Way:
        def inner(residual: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
            return conjugate_gradients(system(sigma), residual, iterations, goal(sigma))

        def solve(residual: Tensor, sigma: float) -> Solved:
            u, shift = inner(residual, sigma)
            return Solved(operator.adjoint(u), shift, noise * squared(u))

        return Way("data", solve, lambda residual, sigma: inner(residual, sigma)[1])

    return way


def weighted(information: Linear, spread: Linear, precondition: Linear | None, energy: Linear) -> System:
    """v + G C v, symmetric in the inner product <a, C b>, from G, C, the preconditioner, and <a, G a> of each row."""
    return System(
        dual=spread,
        precondition=precondition,
        move=lambda shift: shift,
        apply=lambda v, shift, _: v + information(shift),
        curvature=lambda v, shift, _: dot(v, shift) + energy(shift),
        left=None,
    )


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
        residual: Tensor, sigma: float, iterations: int, goal: Goal
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
            system = weighted(information, spread_at(sigma), None, energy)
            return *conjugate_gradients(system, b, iterations, goal), lambda x: x
        # on waves C and (1 + K C)^-1 are factors, so that an iteration takes two transforms, and none where G = K
        spread, gains = power[..., None], (1 / (1 + response * power / level))[..., None]
        if diagonal:
            v = gains * waves(b)
            return v, spread * v, lambda z: from_waves(z, b)
        system = weighted(
            lambda z: waves(information(from_waves(z, b))), lambda z: spread * z, lambda z: gains * z,
            lambda z: energy(from_waves(z, b)),
        )  # fmt: skip
        return *conjugate_gradients(system, waves(b), iterations, goal), lambda z: from_waves(z, b)

    def way(iterations: int, goal: Goals) -> Way:
        def solve(residual: Tensor, sigma: float) -> Solved:
            v, shift, back = inner(residual, sigma, iterations, goal(sigma))
            v, shift = back(v), back(shift)
            return Solved(v, shift, squared(residual - operator(shift)) / known(sigma)[1])

        def shift(residual: Tensor, sigma: float) -> Tensor:
            _, found, back = inner(residual, sigma, iterations, goal(sigma))
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
        system = weighted(information, spread, preconditioner, lambda x: squared(operator(x)) / noise)
        return conjugate_gradients(system, b, iterations, goal(sigma))

    def way(iterations: int, goal: Goals) -> Way:
        def solve(residual: Tensor, sigma: float) -> Solved:
            v, shift = inner(residual, sigma, iterations, goal)
            return Solved(v, shift, squared(residual - operator(shift)) / noise)

        return Way("weighted", solve, lambda residual, sigma: inner(residual, sigma, iterations, goal)[1])

    return way
