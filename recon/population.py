"""One particle filter for each item, whose particles are its samples: they share what each has found.

Where the posterior has several modes this is worth far more than a few particles for each sample: the weights choose
among all of them. The samples of an item then depend on each other, and on how many they are; not on the batch size
nor on the other items.

Where images are far from Gaussian the weights of many data differ by many nats, and then few particles are the
ancestors of all: the filter is for data of few numbers, or for many levels, and a spread of nothing says that it has
collapsed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon.condition import Denoise
from recon.grids import default_levels
from recon.kernels import KernelName, kernel_of
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.particles import Kernel, Particle, effective, looked, systematic, uniform
from recon.prior import Prior
from recon.ranges import Share
from recon.sampling import Method


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
        self.before: tuple[Tensor, Tensor] | None = None
        self.sizes: list[float] = []

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if self.log_weights is None:
            x, debt = self.kernel.begin(x, self.prior.start(torch.zeros_like(x), sigma), sigma, noise)
            self.log_weights = -debt
        found = looked(self.kernel, denoise, x, self.before, sigma, sigma_next)
        self.log_weights = self.log_weights + found.worth
        self.sizes.append(float(effective(self.log_weights[None])))
        number = uniform(noise, x)[:1]  # drawn in any case, so that noise does not hang on the weights
        if sigma_next == 0 or self.sizes[-1] < self.threshold * len(x):
            kept = systematic(self.log_weights[None], number, len(x))[0]
            self.log_weights = torch.zeros_like(self.log_weights)
            found = Particle(*(tensor[kept] for tensor in found))
        self.before = found.x0, found.own
        x, debt = self.kernel.draw(found, sigma, sigma_next, noise)
        self.log_weights = self.log_weights - debt
        return x


def population(
    measurement: Measurement,
    prior: Prior,
    steps: int,
    noise: Noise,
    *,
    kernel: KernelName = "drawn",
    threshold: Share = 0.5,
) -> Method:
    """One filter whose particles are the samples of an item, dozens at least, at a network call a sample and level.

    `kernel` is one of `recon.kernels.KERNELS`: "drawn", draws under the error covariance, whose weights are all equal
    for Gaussian images, however many the data, without backpropagation; "spectral", the default's guidance and weights
    by the same covariance; "twisted", the guidance and weights of tds; "mcgdiff", those of smc. A population worth
    fewer than the share `threshold` of its particles is resampled (1: at every level, as published for MCGDiff).

    Reference: Cardoso et al., 2023, algorithm 2, arXiv:2308.07983; Wu et al., 2023, algorithm 1, arXiv:2306.17775.
    """
    levels = default_levels(prior, steps)
    chosen = kernel_of(kernel, measurement, prior, levels)
    return Method(prior.denoise, levels, Population(chosen, prior, threshold))
