"""Noise of counting: photons, and the photons that a body lets through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.special import ndtr, pdtr, pdtrik
from torch import Tensor

from operators.checks import data_pair, fault, level_at_least, level_for, unit_draws
from operators.noise import Gaussian

FLOOR = 1e-3  # counts: below, the log likelihood of counts above zero is continued by its Taylor polynomial
LEAST_COUNT = 0.5  # what the logarithm takes for fewer


@dataclass(frozen=True, eq=False)
class Poisson:
    """y ~ Poisson(gain clean + background): counts.

    Args:
        gain: Expected counts for each unit of clean, above zero; a number, or a tensor broadcastable to y.
        background: Expected counts that do not come from the image (scatter, dark counts), zero or more.

    Raises:
        ValueError: gain is not above zero, background is negative, or one is not finite.
    """

    gain: float | Tensor = 1.0
    background: float | Tensor = 0.0
    draws: ClassVar[int] = 1

    def __post_init__(self) -> None:
        level_at_least("gain", self.gain, "give the counts for each unit of the image", above=True)
        level_at_least("background", self.background, "give the expected counts of an empty image")

    def rate(self, clean: Tensor) -> Tensor:
        """gain clean + background, the expected counts."""
        return level_for("gain", self.gain, clean) * clean + level_for("background", self.background, clean)

    def sample(self, clean: Tensor, *noise: Tensor) -> Tensor:
        """The Poisson counts that have the quantiles of the unit normal `noise`: (B, *out_shape).

        Raises:
            ValueError: a rate is negative.
        """
        unit_draws(clean, noise, self.draws)
        return poisson_quantile(noise[0], self.rate(clean))

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """log of the probability of y counts, summed over all axes but the first: (B,).

        Exact for rates of zero or more where nothing was counted, and above 0.001 elsewhere. Below, where the law ends
        but samplers pass through, it is continued by a parabola that pushes back.

        Raises:
            ValueError: y has negative values.
        """
        data_pair(y, clean)
        return poisson_log_likelihood(y, self.rate(clean)).flatten(1).sum(dim=1)

    def mean(self, clean: Tensor) -> Tensor:
        """The rate."""
        return self.rate(clean)

    def slope(self, y: Tensor, clean: Tensor) -> Tensor:
        """gain (y / rate - 1), continued as the likelihood is."""
        return level_for("gain", self.gain, y) * poisson_slope(y, self.rate(clean))

    def deviation(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y - rate) / sqrt(rate), of rates of at least 0.5."""
        return counted(y, self.rate(clean))

    def local(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """By the Fisher information gain^2 / rate, of rates of at least 0.5."""
        rate = self.rate(clean)
        return level_for("gain", self.gain, y) * rate.clamp(min=LEAST_COUNT).rsqrt(), counted(y, rate)


@dataclass(frozen=True, eq=False)
class TransmissionCT:
    """y = Poisson(I0 exp(-clean)) + electronic n: photons behind a body, clean being the line integrals of attenuation.

    Args:
        I0: Expected counts without the body, above zero; a number, or a tensor broadcastable to y (one for each bin).
        electronic: Standard deviation of the read-out noise in counts, zero or more.

    Raises:
        ValueError: I0 is not above zero, electronic is negative, or one is not finite.

    Reference: the model of La Riviere, Bian and Vargas, "Penalized-likelihood sinogram restoration for computed
        tomography", 2006, for one energy and a gain of one.
    """

    I0: float | Tensor
    electronic: float | Tensor = 0.0
    draws: ClassVar[int] = 2

    def __post_init__(self) -> None:
        level_at_least("I0", self.I0, "give the counts of an empty scanner", above=True)
        level_at_least("electronic", self.electronic, "give the read-out noise in counts")

    def rate(self, clean: Tensor) -> Tensor:
        """I0 exp(-clean), the expected counts."""
        return level_for("I0", self.I0, clean) * torch.exp(-clean)

    def sample(self, clean: Tensor, *noise: Tensor) -> Tensor:
        """Counts (B, *out_shape) from two tensors of unit normal values: of the photons, and of the read-out."""
        unit_draws(clean, noise, self.draws)
        electronic = level_for("electronic", self.electronic, clean)
        return poisson_quantile(noise[0], self.rate(clean)) + electronic * noise[1]

    def log_likelihood(self, y: Tensor, clean: Tensor) -> Tensor:
        """log p(y | clean), summed over all axes but the first: (B,).

        Exact without electronic noise. With it, by the shifted Poisson approximation: y + electronic^2, zero if
        negative, counts as Poisson of rate + electronic^2, which has the right mean and variance.

        Reference: Yavuz and Fessler, "Statistical image reconstruction methods for randoms-precorrected PET scans",
            1998.
        """
        data_pair(y, clean)
        rate, counts, variance = self._shifted(y, clean)
        return poisson_log_likelihood(counts, rate + variance).flatten(1).sum(dim=1)

    def mean(self, clean: Tensor) -> Tensor:
        """The rate."""
        return self.rate(clean)

    def slope(self, y: Tensor, clean: Tensor) -> Tensor:
        """-rate (counts / (rate + electronic^2) - 1), of the shifted counts of `log_likelihood`."""
        rate, counts, variance = self._shifted(y, clean)
        return -rate * poisson_slope(counts, rate + variance)

    def deviation(self, y: Tensor, clean: Tensor) -> Tensor:
        """(y - rate) / sqrt(rate + electronic^2), of variances of at least 0.5."""
        rate, _, variance = self._shifted(y, clean)
        return counted(y + variance, rate + variance)

    def local(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """By the Fisher information rate^2 / (rate + electronic^2), of variances of at least 0.5, where it is not
        below the slope: rays that are expected to be dark and are not say little of how far off they are, and steps of
        slope over information would be as long as the counts differ; so they are 1 at most, a factor e in the counts.
        """
        rate, _, variance = self._shifted(y, clean)
        spread = (rate + variance).clamp(min=LEAST_COUNT).sqrt()
        slope = -rate * (y - rate) / spread.square()
        root = torch.maximum(rate / spread, slope.abs().sqrt())
        return root, slope / root.clamp(min=torch.finfo(root.dtype).tiny)

    def _shifted(self, y: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The rate, and the counts and the variance that electronic noise adds to it, by the shifted approximation."""
        variance = level_for("electronic", self.electronic, y).square()
        return self.rate(clean), torch.where(variance > 0, (y + variance).clamp(min=0.0), y), variance

    def logarithmic(self, y: Tensor) -> tuple[Tensor, Gaussian]:
        """Line integrals log(I0 / y), with the normal noise that they nearly have: variance (y + electronic^2) / y^2.

        Counts below 0.5 are taken for 0.5, with the large variance that goes with it. Below about 20 counts the
        logarithm is biased, and the likelihood of the counts themselves is better.

        Returns:
            y_log of the shape of y, and the noise model, for operators that give line integrals.
        """
        electronic = level_for("electronic", self.electronic, y)
        counts = y.clamp(min=LEAST_COUNT)
        sigma = (counts + electronic.square()).sqrt() / counts
        return (level_for("I0", self.I0, y) / counts).log(), Gaussian(sigma)


def poisson_log_likelihood(counts: Tensor, rate: Tensor) -> Tensor:
    """counts log(rate) - rate - log(counts!), element by element, continued as `Poisson.log_likelihood` says.

    Arranged as a deviance from rate = counts, so that float32 keeps its digits at large counts.
    """
    if bool((counts < 0).any()):
        raise fault("y", f"values from {counts.min():g}", "counts of zero or more", "subtract no offset from counts")
    some = counts > 0
    edge = torch.where(some, FLOOR, 0.0).to(rate)
    below = rate < edge
    lawful, short = torch.where(below, edge, rate), torch.where(below, rate - edge, 0.0)
    y, mean = torch.where(some, counts, 1.0), torch.where(some, lawful, 1.0)
    near = (mean - y).abs() < y / 2
    ratio = torch.where(near, torch.log1p(torch.where(near, (mean - y) / y, 0.0)), (mean / y).log())
    deviance = torch.where(some, y * ratio - (mean - y), -lawful)
    exact = counts.double()
    best = torch.where(some, torch.xlogy(exact, exact) - exact - torch.lgamma(exact + 1.0), 0.0).to(rate)
    slope = torch.where(some, counts / FLOOR - 1.0, -1.0)
    return best + deviance + slope * short - counts.clamp(min=1.0) / (2 * FLOOR**2) * short.square()


def poisson_slope(counts: Tensor, rate: Tensor) -> Tensor:
    """The derivative of `poisson_log_likelihood` by the rate."""
    edge = torch.where(counts > 0, FLOOR, 0.0).to(rate)
    lawful = torch.where(counts > 0, counts / rate.clamp(min=FLOOR), 0.0) - 1.0
    return lawful - counts.clamp(min=1.0) / FLOOR**2 * (rate - edge).clamp(max=0.0)


def counted(counts: Tensor, rate: Tensor) -> Tensor:
    """(counts - rate) / sqrt(rate), of variances of at least `LEAST_COUNT`."""
    return (counts - rate) * rate.clamp(min=LEAST_COUNT).rsqrt()


def poisson_quantile(noise: Tensor, rate: Tensor) -> Tensor:
    """The least k with P(Poisson(rate) <= k) >= P(normal <= noise), in the dtype of rate."""
    if not bool((rate >= 0).all()):
        raise fault("rate", f"values from {rate.min():g}", "expected counts of zero or more",
                    "give images that are not negative, or a background")
    share = ndtr(noise.detach().cpu().double().numpy())
    mean = rate.detach().cpu().double().numpy()
    safe = np.maximum(mean, 1e-300)
    k = np.ceil(pdtrik(share, safe))
    before = np.maximum(k - 1.0, 0.0)
    k = np.where(pdtr(before, safe) >= share, before, k)  # pdtrik may end a rounding error above a whole number
    return torch.from_numpy(np.where(mean > 0, k, 0.0)).to(rate)
