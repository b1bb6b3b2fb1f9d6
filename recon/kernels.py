"""Kernels of particle filters by the prior's error covariance, and all kernels by their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

import torch
from torch import Tensor

from recon import consistency, guidance
from recon.condition import Denoise, with_vjp
from recon.grids import white_variance
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.particles import Kernel, MCGDiff, Particle, Twisted, drawn_off, gaussian_twist, zeros
from recon.prior import Prior
from recon.ranges import Words
from recon.spaces import Way
from recon.stochastic import memory
from recon.weighing import Narrowed, form, space_of

NATS = 0.1  # that the weights of the default's proposals may be off at a level


class Guided:
    """Proposals by the default's guidance and steps, weighted by the same error covariance.

    The chain is that of `recon.stochastic` without data, the proposal the same with them: their means differ by the
    shift, and by its change where the step remembers. What guidance gets wrong where p(x0 | x) has several modes, the
    weights undo.

    Args:
        guide: of `recon.guidance.weighed`.
        levels: of the run; the first step has none to remember.
    """

    def __init__(self, guide: guidance.Weighed, levels: Sequence[float]) -> None:
        self.guide, self.fresh = guide, {b: 1 - (b / a) ** 2 for a, b in pairwise(levels)}

    def begin(self, x: Tensor, mean: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, Tensor]:
        return x, zeros(x)

    def look(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        x0, vjp = with_vjp(denoise, x, sigma)
        worth, shift = self.guide(x0, vjp, sigma)
        return worth, x0, shift

    def draw(self, at: Particle, sigma: float, sigma_next: float, noise: Noise) -> tuple[Tensor, Tensor]:
        if sigma_next == 0:
            return at.x0 + at.own, zeros(at.x)
        fresh = 1 - (sigma_next / sigma) ** 2
        again = memory(fresh, self.fresh[sigma]) if sigma in self.fresh else 0.0
        prior = at.x - fresh * (at.x - at.x0) + again * (at.x0 - at.x0_before)
        pulled = fresh * at.own + again * (at.own - at.own_before)
        std, n = sigma_next * math.sqrt(fresh), noise(at.x)
        return prior + pulled + std * n, at.worth + drawn_off(pulled / std, n)


def spectral(measurement: Measurement, prior: Prior, levels: Sequence[float]) -> Kernel:
    """The default with weights, for linear operators; one backpropagation a call."""
    return Guided(guidance.weighed(measurement, space_of(measurement, prior, NATS)(measurement, prior)), levels)


def twisted(measurement: Measurement, prior: Prior, levels: Sequence[float]) -> Kernel:
    """For any differentiable operator, by a white spread of x0; one backpropagation a call."""
    return Twisted(gaussian_twist(measurement, white_variance(prior)))


class Drawn:
    """Steps by draws of p(x0 | x, y) for p(x0 | x) = N(x0, C), C the error covariance; no backpropagation.

    The chain p(x' | x) is that of x0 drawn from N(x0, C), and g(x) = N(y; A x0, A C A^H + sigma_y^2). Then x' made of a
    draw given y has the best proposal's law p(x' | x) p(y | x', x) / g(x), by Bayes' rule, and weighs
    g(x') / p(y | x', x): how much better the network at x' explains the data than was foreseen at x, which is 1 for
    Gaussian images. With z = (x' - share x) / (1 - share), x0 seen in noise of variance v, what is foreseen is
    N(y; A m', A C'' A^H + sigma_y^2), m' = x0 + C (C + v)^-1 (z - x0), C'' = C - C (C + v)^-1 C.
    """

    def __init__(self, measurement: Measurement, prior: Prior, levels: Sequence[float]) -> None:
        self.measurement, self.prior = measurement, prior
        self.variance = {a: b**2 / (1 - (b / a) ** 2) for a, b in pairwise(levels)}
        space = space_of(measurement, prior)
        self.way, self.foreseen = space(measurement, prior), space(measurement, Narrowed(prior, self.variance))

    def _explained(self, way: Way, mean: Tensor, sigma: float) -> Tensor:
        """log N(y; A mean, A C A^H + sigma_y^2), but for the determinant."""
        return -0.5 * form(way.solve(self.measurement.residual(mean), sigma))

    def begin(self, x: Tensor, mean: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, Tensor]:
        return x, zeros(x)

    def look(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        x0 = denoise(x, sigma)
        return self._explained(self.way, x0, sigma), x0, torch.zeros_like(x0)

    def draw(self, at: Particle, sigma: float, sigma_next: float, noise: Noise) -> tuple[Tensor, Tensor]:
        x, x0 = at.x, at.x0
        drawn = consistency.drawn_by(self.measurement, self.prior, noise, self.way)(x0, sigma)
        if sigma_next == 0:
            return drawn, zeros(x)
        share, variance = (sigma_next / sigma) ** 2, self.variance[sigma]
        moved = drawn + share * (x - drawn) + sigma_next * (1 - share) ** 0.5 * noise(x)
        seen = (moved - share * x) / (1 - share) - x0
        mean = x0 + self.prior.error_function(seen, sigma, lambda c: c / (c + variance))
        return moved, self._explained(self.foreseen, mean, sigma)


def mcgdiff(measurement: Measurement, prior: Prior, levels: Sequence[float]) -> Kernel:
    """That of smc, for operators with a cheap decomposition; no backpropagation."""
    return MCGDiff(measurement, prior, levels[-2])


KERNELS: dict[str, Callable[[Measurement, Prior, Sequence[float]], Kernel]] = {
    "drawn": Drawn,
    "spectral": spectral,
    "twisted": twisted,
    "mcgdiff": mcgdiff,
}
KernelName = Annotated[str, Words(tuple(KERNELS))]


def kernel_of(name: str, measurement: Measurement, prior: Prior, levels: Sequence[float]) -> Kernel:
    """The kernel of that name, see `KERNELS`, for a run down these levels to 0.

    Raises:
        ValueError: there is none; the message names them.
    """
    if name not in KERNELS:
        raise ValueError(f"got kernel {name!r}; expected one of {', '.join(KERNELS)}")
    return KERNELS[name](measurement, prior, levels)
