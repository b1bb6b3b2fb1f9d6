"""One particle filter for each item, whose particles are its samples: they share what each has found.

Where the posterior has several modes this is worth far more than a few particles for each sample: the weights choose
among all of them. The samples of an item then depend on each other, and on how many they are; not on the batch size
nor on the other items.

Where images are far from Gaussian the weights of many data differ by many nats, and then few particles are the
ancestors of all: the filter is for data of few numbers, or for many levels, and a spread of nothing says that it has
collapsed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recon import consistency, guidance
from recon.condition import Denoise
from recon.grids import default_levels, white_variance
from recon.krylov import Linear, dot, truncated_cg
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.particles import (
    Kernel,
    MCGDiff,
    Twisted,
    effective,
    gaussian_twist,
    spectral_twist,
    systematic,
    uniform,
    zeros,
)
from recon.prior import Prior
from recon.ranges import Share
from recon.sampling import Method

ITERATIONS, TOLERANCE = 8, 1e-2  # of the solves, as in the default
WEIGHING, PRECISION = 50, 1e-6  # of solves whose errors would be errors of the weights


def spectral(measurement: Measurement, prior: Prior, last: float) -> Kernel:
    """The default's guidance for linear operators, weighted by the same error covariance; one backpropagation a call.

    What guidance gets wrong where p(x0 | x) has several modes, the weights undo.
    """
    twist = spectral_twist(measurement, prior, ITERATIONS, TOLERANCE)
    return Twisted(twist, guidance.spectral(measurement, prior, ITERATIONS, TOLERANCE))


def twisted(measurement: Measurement, prior: Prior, last: float) -> Kernel:
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

    def __init__(self, measurement: Measurement, prior: Prior, last: float) -> None:
        self.measurement, self.prior = measurement, prior

    def _explained(self, mean: Tensor, spread: Linear) -> Tensor:
        """log N(y; A mean, A C A^H + sigma_y^2) for products u -> C u, but for the determinant."""
        operator, noise = self.measurement.operator, self.measurement.sigma**2
        residual = self.measurement.residual(mean)
        solved = truncated_cg(
            lambda u: operator(spread(operator.adjoint(u))) + noise * u, residual, WEIGHING, PRECISION
        )
        return -0.5 * dot(residual, solved).double()

    def begin(self, x: Tensor, mean: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, Tensor]:
        return x, zeros(x)

    def look(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        x0 = denoise(x, sigma)
        worth = self._explained(x0, lambda u: self.prior.error_filter(u, sigma, 1.0))
        return worth, x0, torch.zeros_like(x0)

    def draw(
        self, worth: Tensor, x: Tensor, x0: Tensor, shift: Tensor, sigma: float, sigma_next: float, noise: Noise
    ) -> tuple[Tensor, Tensor]:
        drawn = consistency.spectral_draw(self.measurement, self.prior, noise, WEIGHING, PRECISION)(x0, sigma)
        if sigma_next == 0:
            return drawn, zeros(x)
        share = (sigma_next / sigma) ** 2
        variance = sigma_next**2 / (1 - share)
        moved = drawn + share * (x - drawn) + sigma_next * (1 - share) ** 0.5 * noise(x)

        def covariance(u: Tensor) -> Tensor:
            return self.prior.error_filter(u, sigma, 1.0)

        def learnt(u: Tensor) -> Tensor:
            """C (C + v)^-1 u."""
            return covariance(truncated_cg(lambda w: covariance(w) + variance * w, u, WEIGHING, PRECISION))

        mean = x0 + learnt((moved - share * x) / (1 - share) - x0)
        return moved, self._explained(mean, lambda u: variance * learnt(u))


KERNELS: dict[str, Callable[[Measurement, Prior, float], Kernel]] = {
    "drawn": Drawn,
    "spectral": spectral,
    "twisted": twisted,
    "mcgdiff": MCGDiff,
}


class Population:
    """A step with memory: the rows of the batch are the particles of one item, weighted and resampled together.

    Make one for each run, without moves; see `recon.particles.ParticleFilter` for several particles a row.

    Attributes:
        log_weights: (B,), not normalised.
        sizes: the effective number of particles at each level.
    """

    def __init__(self, kernel: Kernel, prior: Prior, threshold: float = 0.5) -> None:
        if not 0 <= threshold <= 1:
            raise ValueError(f"got threshold {threshold}; expected a share of the particles, from 0 to 1")
        self.kernel, self.prior, self.threshold = kernel, prior, threshold
        self.log_weights: Tensor | None = None
        self.sizes: list[float] = []

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if self.log_weights is None:
            x, debt = self.kernel.begin(x, self.prior.start(torch.zeros_like(x), sigma), sigma, noise)
            self.log_weights = -debt
        worth, x0, shift = self.kernel.look(denoise, x, sigma, sigma_next)
        self.log_weights = self.log_weights + worth
        self.sizes.append(float(effective(self.log_weights[None])))
        number = uniform(noise, x)[:1]  # drawn in any case, so that noise does not hang on the weights
        if sigma_next == 0 or self.sizes[-1] < self.threshold * len(x):
            kept = systematic(self.log_weights[None], number, len(x))[0]
            self.log_weights = torch.zeros_like(self.log_weights)
            worth, x, x0, shift = (tensor[kept] for tensor in (worth, x, x0, shift))
        x, debt = self.kernel.draw(worth, x, x0, shift, sigma, sigma_next, noise)
        self.log_weights = self.log_weights - debt
        return x


def population(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    kernel: str = "drawn",
    threshold: Share = 0.5,
) -> Method:
    """One filter whose particles are the samples of an item, dozens at least, at a network call a sample and level.

    `kernel` is one of `KERNELS`: "drawn", draws under the error covariance, whose weights are all equal for Gaussian
    images, however many the data, without backpropagation; "spectral", the default's guidance and weights by the same
    covariance; "twisted", the guidance and weights of tds; "mcgdiff", those of smc. A population worth fewer than the
    share `threshold` of its particles is resampled (1: at every level, as published for MCGDiff).

    Reference: Cardoso et al., 2023, algorithm 2, arXiv:2308.07983; Wu et al., 2023, algorithm 1, arXiv:2306.17775.
    """
    if kernel not in KERNELS:
        raise ValueError(f"got kernel {kernel!r}; expected one of {', '.join(KERNELS)}")
    levels = default_levels(prior, steps)
    return Method(prior.denoise, levels, Population(KERNELS[kernel](measurement, prior, levels[-2]), prior, threshold))
